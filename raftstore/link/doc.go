// Package link connects the nodes of a cluster: one port at each, mutual TLS, and on
// it the control connection of each pair, the streams of Raft, snapshots, and gRPC.
package link
