//go:build !faults

package main

import (
	"net/http"

	"github.com/belfry-im/belfry/raftstore"
)

// withFaults adds nothing: only a build with the tag "faults" can be told to
// fail. See faults_on.go.
func withFaults(admin http.Handler, _ func(http.Handler) http.Handler, _ *raftstore.Store) http.Handler {
	return admin
}
