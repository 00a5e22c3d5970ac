// Package store holds what a gateway and the store share: what the store tells
// a gateway (watchers, signals), how it fails, and the rows of imports and
// exports. It does not depend on how the store is replicated, so a gateway that
// uses it links no Raft.
package store
