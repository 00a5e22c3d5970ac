// Package store is what the edge and the store share: what the store tells a
// gateway (watchers, signals), how it fails, and the rows that go in and out of
// it. It knows nothing of how the store is replicated, and is a leaf beside
// package shard, so that a gateway links no Raft.
package store
