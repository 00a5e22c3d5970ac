// Package raftstore keeps the shards of one node: each shard is a state machine
// of package shard, replicated by a Raft group of its own.
//
// A key (a user) hashes to a slot, a slot belongs to a shard, a shard has one
// leader. What the package adds around the pure core is everything that the
// core must not have: disks, clocks, goroutines and failure.
//
//	Store     routes a key to its group and answers the gateway
//	group     one shard: opens, serves, fails, re-opens
//	proposer  gathers commands into log entries (group commit)
//	courier   carries letters from this shard to the others, in order, until confirmed
//	hub       knows which sessions listen here, and wakes them
//	clock     the time that enters the state, never backwards
//
// # Outcomes
//
// An error that is ErrUnavailable means that nothing was proposed; one that is
// ErrUnknown means that the command may still take effect, and a repeat is
// safe. A refusal by the state is a shard.Result, or where a method has no
// result to give a *shard.RefusedError.
//
// # Ordering
//
// Commands that one goroutine submits for one key are applied in that order.
// Everything that must see the state between two entries (a login's sync, a
// linearizable read) runs inside the apply step. Letters of one direction of a
// conversation arrive in the order of their numbers; nothing else is promised
// between shards.
//
// # Locks
//
// A group's mu is held for writing while an entry is applied and for reading by
// reads. Below it come the locks of proposer, courier, hub and orphans, none of
// which is held while another of them is taken, and last that of presence. No
// lock is held across I/O.
package raftstore
