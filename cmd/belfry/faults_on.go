//go:build faults

package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway"
	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/replica"
)

// faults makes a server fail when it is told to, for tests that have to see it
// recover. Its calls stand beside those of the administration:
//
//	POST /faults/shards/{n}/stop       shard n loses its leader
//	POST /faults/shards/{n}/resume     and gets one again
//	POST /faults/shards/{n}/transfer   shard n is handed over to another node
//	POST /faults/clock/pass/{duration} so much time passes at once
//	POST /faults/clock/jump/{duration} the wall clock is set so far ahead, or back
//	POST /faults/disk/hang             what is written to the data folder waits
//	POST /faults/disk/resume           and go on
//	GET  /faults/replicas              what each replica here has applied, and its checksum
//
// The clock is right again after a restart. Snapshots are taken early, files of the log
// are small, and sessions whose node is lost are logged out early, so that short runs see
// many. Only a build with the tag
// "faults" has all this.
type faults struct {
	passed, jumped atomic.Int64 // nanoseconds
	disk           *replica.HangingDisk
}

// configure makes the store read a clock that the calls can set, and write to a
// disk that they can hang.
func (f *faults) configure(c *raftstore.Config) {
	c.SnapshotBytes, c.SegmentBytes = 4<<20, 256<<10
	c.ClaimWithin = 5 * time.Second
	f.disk = c.HangingDisk()
	start := time.Now()
	c.Clock = func() (wall time.Time, mono time.Duration) {
		now, passed := time.Now(), time.Duration(f.passed.Load())
		return now.Round(0).Add(passed + time.Duration(f.jumped.Load())), now.Sub(start) + passed
	}
}

func (f *faults) handler(admin http.Handler, requireAdmin func(http.Handler) http.Handler, store *raftstore.Store) http.Handler {
	calls := http.NewServeMux()
	calls.HandleFunc("POST /faults/shards/{n}/stop", onShard(store.StopShard))
	calls.HandleFunc("POST /faults/shards/{n}/resume", onShard(store.ResumeShard))
	calls.HandleFunc("POST /faults/shards/{n}/transfer", func(w http.ResponseWriter, r *http.Request) {
		onShard(func(shard int) error { return store.TransferShard(r.Context(), shard) })(w, r)
	})
	calls.HandleFunc("POST /faults/clock/pass/{duration}", onClock(&f.passed, 0))
	calls.HandleFunc("POST /faults/clock/jump/{duration}", onClock(&f.jumped, -maxClockFault))

	calls.HandleFunc("POST /faults/disk/hang", onDisk(f.disk.Hang))
	calls.HandleFunc("POST /faults/disk/resume", onDisk(f.disk.Resume))

	calls.HandleFunc("GET /faults/replicas", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(store.ReplicasHere()) // fails only on a client that has gone
	})

	mux := http.NewServeMux()
	mux.Handle("/", admin)
	mux.Handle("/faults", admin) // which the mux would redirect
	mux.Handle("/faults/", requireAdmin(calls))
	return gateway.ExactPaths(mux, admin)
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

func onDisk(do func()) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		do()
		w.WriteHeader(http.StatusNoContent)
	}
}

// maxClockFault keeps sums of durations far from their limit.
const maxClockFault = 10 * 365 * 24 * time.Hour

func onClock(offset *atomic.Int64, least time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.PathValue("duration"))
		if err != nil || d < least || d > maxClockFault {
			http.Error(w, "duration: want one such as 61s, of at most ten years", http.StatusBadRequest)
			return
		}
		offset.Add(int64(d))
		w.WriteHeader(http.StatusNoContent)
	}
}
