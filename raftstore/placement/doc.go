// Package placement is what all nodes of a cluster have to agree on: which nodes
// there are, which of them hold which replicas, which shard owns which slots, and the
// cluster's configuration. A [Map] is all of that at one moment.
package placement
