// Package raftstore keeps the shards of one node: each shard is a state machine of
// package shard, which package replica replicates.
//
// A key (a user) hashes to a slot, a slot belongs to a shard, a shard has one
// leader. This package routes to that leader, and does what concerns several shards or
// the sessions that listen.
//
//	Store       routes a key to its shard and answers the gateway
//	owners      which shard owns each slot, by the map of package placement
//	shardRef    one shard, wherever its replicas are
//	localShard  its replica on this node, and what belongs to that beside the state
//	leader      what this node does as leader of a shard: operations of all nodes, letters,
//	            hooks, sessions left behind
//	line        keeps in order what is asked of a shard whose leader is elsewhere or unknown
//	cluster     this node among others: who leads what, streams to their leaders
//	courier     carries letters from one shard to the others, in order, until confirmed
//	hooker      tells hooks what one shard has stored
//	hub         knows which sessions listen here, and wakes them
//	budget      keeps the memory of the process within its limit
//
// # Leaders
//
// Every node tells the others at once which shards it leads. A command, a login or a
// linearizable read goes to the leader of its shard: by a function call if that is this
// node, else through the shard's line and a stream of package peer. At either end it is
// executed by the same function, leader.execute, in exactly the leadership that it was
// addressed to. When that ends, the line sends what is unanswered to the next one, in the
// old order. A node knows the highest leadership of each shard, and believes no answer
// of an earlier one.
//
// # Outcomes
//
// An error that is store.ErrUnavailable means that nothing was proposed; one that
// is store.ErrUnknown means that the command may still take effect, and a repeat is
// safe. A refusal by the state is a command.Result, or where a method has no
// result to give a *command.RefusedError.
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
// A replica's lock is held for writing while an entry is applied and for reading by
// reads. Below it come the locks of courier, hub and orphans, none of which is held
// while another of them is taken, and last that of presence. No lock is held across
// I/O.
package raftstore
