// Package shard is the deterministic in-memory store of one shard: users, their
// conversations, offline queues, read cursors and outgoing letters.
//
// It is pure. It has no clock, no randomness, no goroutine, no logger and does
// no I/O: committed batches of commands go into State.Apply, results and
// effects come out, and the same batches in the same order give the same state
// on every replica. The time is that of the batch.
//
// Every user has one log for each conversation (package ring), and a group one
// log for all members. Most reads are derived from those logs and a few cursors:
// the offline queue is the messages that came in above the read cursor and the
// queue's floor, recents are the newest visible entries, gaps are seqs without a
// visible entry. docs/design.md explains the words.
//
// A State is not safe for concurrent use. Its owner applies batches under a write
// lock and reads under a read lock. Reads return copies.
//
// A refusal is a Result. A broken invariant or an undecodable batch panics
// with an *InvariantError: the owner stops this shard, at the same index on
// all its replicas, and leaves the process running.
package shard
