// Package placement is what all nodes of a cluster have to agree on: which nodes
// there are, which of them hold which replicas, which shard owns which slots, and the
// cluster's configuration. A [Map] is all of that at one moment.
//
// A [State] is pure: [Command] after [Command] it gives the next map. A [Group] is a
// node's part: up to five stores are voters of one Raft group that decides on commands,
// all other nodes follow. Every node keeps the newest map that it has seen, and starts
// from it, so a cluster that has lost its quorum still knows itself.
package placement
