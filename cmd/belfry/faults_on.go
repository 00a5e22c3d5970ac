//go:build faults

package main

import (
	"net/http"
	"strconv"

	"github.com/belfry-im/belfry/raftstore"
)

// withFaults puts calls beside those of the administration that make the
// server fail, for tests that have to see it recover:
//
//	POST /faults/shards/{n}/stop      shard n loses its leader
//	POST /faults/shards/{n}/resume    and gets one again
//
// Only a build with the tag "faults" has them.
func withFaults(admin http.Handler, requireAdmin func(http.Handler) http.Handler, store *raftstore.Store) http.Handler {
	faults := http.NewServeMux()
	faults.HandleFunc("POST /faults/shards/{n}/stop", onShard(store.StopShard))
	faults.HandleFunc("POST /faults/shards/{n}/resume", onShard(store.ResumeShard))

	mux := http.NewServeMux()
	mux.Handle("/", admin)
	mux.Handle("/faults/", requireAdmin(faults))
	return mux
}

func onShard(do func(shard int) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil {
			http.Error(w, "shard: want a number", http.StatusBadRequest)
			return
		}
		if err := do(n); err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
