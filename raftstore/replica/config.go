package replica

import (
	"log/slog"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft-wal/types"
)

// The kinds of Raft log that Config.RaftLog names.
const (
	LogWAL  = "wal"
	LogBolt = "boltdb"
)

// DefaultSegmentBytes is the size of a log file where nothing else is wanted.
// raft-wal allocates it ahead; its own default of 64 MiB is much for a node with
// many shards.
const DefaultSegmentBytes = 8 << 20

// A Config says how a Replica is to run. Every field but WALFS must be set.
type Config struct {
	Shard       uint32
	First, Last uint16 // slots, inclusive
	Dir         string // of this replica; it is made in a directory that exists
	Node        string // names this node in Raft
	RaftLog     string // LogWAL or LogBolt

	// What a leader has committed if the state says something else.
	Limits    command.Limits
	Epoch     uint64
	HookBytes int // bounds what is kept for hooks; 0: nothing is

	QueueBytes    int   // bounds the commands that wait to be proposed
	SnapshotBytes int64 // the least that the log grows between two snapshots
	SegmentBytes  int   // of a log file of raft-wal
	ExpireEvery   time.Duration

	// Clock reads the wall clock and a clock that never jumps, both at one moment.
	Clock       func() (wall time.Time, mono time.Duration)
	ClockSettle time.Duration // how long a jump of the wall clock must stand before it is followed

	// Lead returns what this node does as leader of the shard, for one leadership.
	// What enqueue takes is proposed in this leadership or never.
	Lead func(enqueue func(command []byte, w Waiter) error) Leader
	// Moved takes over the answer to a waiter that is Routed and whose command was
	// refused because its slot has moved. command and w are only valid during the call.
	Moved func(command []byte, w *Waiter)
	// Notify tells those concerned what an entry did. It is called for each entry, in
	// order, after those who submitted its commands were answered.
	Notify func(*shard.Outcome)

	Log     *slog.Logger
	Metrics *Metrics
	WALFS   VFS // nil: the file system
}

// A VFS is the file system below a log of raft-wal.
type VFS = types.VFS

// Modes of what is made on disk: messages are read by whoever reads its files.
const (
	DirMode  = 0o700
	FileMode = 0o600
)
