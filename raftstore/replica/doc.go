// Package replica runs one shard on this node: a state machine of package shard
// behind a Raft instance, with its log and its snapshots.
//
//	Replica     opens, serves while this node leads the shard, fails, is opened again
//	instance    what Raft runs from one opening to the next: logs, votes, snapshots
//	leadership  from the moment that this node leads the shard until it does not
//	proposer    gathers commands into log entries (group commit), several of them on
//	            their way at once where there are other voters
//	fsm         applies them, and takes and loads snapshots
//	peers       its transport, and what the other replicas are known to have
//	Clock       the time that enters the state, never backwards
//
// # Outcomes
//
// An error that is store.ErrUnavailable means that nothing was proposed; one that
// is store.ErrUnknown means that the command may still take effect. A refusal by
// the state is a command.Result.
//
// # Ordering
//
// Commands that one goroutine enqueues are applied in that order. What must see
// the state between two entries (a login's sync, a linearizable read) runs inside
// the apply step, as Waiter.Step.
//
// # Locks
//
// A replica's mu is held for writing while an entry is applied and for reading by
// reads. The proposer's lock comes below it, and so do those that a Leader takes.
// No lock is held across I/O.
package replica
