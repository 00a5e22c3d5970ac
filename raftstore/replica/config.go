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

// DefaultSegmentBytes is the default size of a log file. raft-wal allocates it
// ahead; its own default of 64 MiB is much for a node with many shards.
const DefaultSegmentBytes = 8 << 20

// A Config is the configuration of a Replica. Every field but WALFS must be set.
type Config struct {
	Shard       uint32
	First, Last uint16 // slots, inclusive
	Dir         string // of this replica; it is made in a directory that exists
	Node        string // names this node in Raft
	RaftLog     string // LogWAL or LogBolt

	// A new leader commits these if the state has other values.
	Limits    command.Limits
	Epoch     uint64
	HookBytes int // bounds what is kept for hooks; 0: nothing is

	QueueBytes    int   // bounds the commands that wait to be proposed
	SnapshotBytes int64 // the least growth of the log between two snapshots
	SegmentBytes  int   // of a log file of raft-wal
	ExpireEvery   time.Duration

	// Clock reads the wall clock and a clock that never jumps, both at one moment.
	Clock       func() (wall time.Time, mono time.Duration)
	ClockSettle time.Duration // how long a jump of the wall clock must stand before it is followed

	// Lead returns the Leader for a new leadership of this node. A command given to
	// enqueue is proposed in that leadership or never.
	Lead func(enqueue func(command []byte, w Waiter) error) Leader
	// Moved takes over a Routed command that was refused because its slot has moved,
	// and has to see that the waiter's Done is called. command and w are only valid
	// during the call.
	Moved func(command []byte, w *Waiter)
	// Notify is called with the outcome of each entry, in order, after the waiters of
	// the entry's commands.
	Notify func(*shard.Outcome)

	Log     *slog.Logger
	Metrics *Metrics
	WALFS   VFS // nil: the file system
}

// A VFS is the file system below a log of raft-wal.
type VFS = types.VFS

// Modes of the directories and files that are made: they hold messages, so nobody
// else may read them.
const (
	DirMode  = 0o700
	FileMode = 0o600
)
