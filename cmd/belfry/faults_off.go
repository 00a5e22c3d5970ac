//go:build !faults

package main

import (
	"net/http"

	"github.com/belfry-im/belfry/raftstore"
)

// faults does nothing: only a build with the tag "faults" can be told to fail.
// See faults_on.go.
type faults struct{}

func (*faults) configure(*raftstore.Config) {}

func (*faults) handler(admin http.Handler, _ func(http.Handler) http.Handler, _ *raftstore.Store) http.Handler {
	return admin
}
