package replica

import (
	"io"
	"log/slog"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
)

// The kinds of Raft log that Config.RaftLog names.
const (
	LogWAL    = "wal"
	LogBolt   = "boltdb"
	LogShared = "shared"
)

// DefaultSegmentBytes is the default size of a log file. raft-wal allocates it
// ahead; its own default of 64 MiB is much for a node with many shards.
const DefaultSegmentBytes = 8 << 20

// A Config is the configuration of a Replica. Every field must be set whose comment
// does not say what its zero value means.
type Config struct {
	Shard uint32
	Dir   string // of this replica; it is made in a directory that exists
	// Made: MakeFiles has been called for Dir before. Without its files the replica is not
	// opened: it may have voted.
	Made    bool
	ID      string // of this replica in Raft: no other one of the shard has it, ever
	RaftLog string // LogWAL, LogBolt or LogShared
	// NodeLog is what LogShared keeps log and votes in, under the base name of Dir. nil: in
	// a log of the replica's own, in Dir.
	NodeLog *NodeLog

	// Transport opens what this replica talks to the others of its shard with, for one
	// opening of the replica. The closer is closed before anything else of the
	// replica; nil: there is nothing to close. A nil Transport: the replica is the only
	// one of its shard.
	Transport func() (raft.ServerAddress, raft.Transport, io.Closer)
	// Bootstrap has the members of a shard that is new, this replica among them; it is
	// ignored once the replica has a log. Empty: the replica waits until a leader adds
	// it. Without Transport it has no meaning.
	Bootstrap []Member
	// Desired returns the members that the shard is to have; it must not block. The
	// leader adds and removes members, one at a time, until Raft's configuration has
	// just these. nil, or nil returned: they stay as they are.
	Desired func() []Member
	// OnLeader is told when this replica begins to serve as leader, and when it ends;
	// term is that of the leadership, 0 at the end. It must not block. nil: nobody is.
	OnLeader func(term uint64)
	// PromoteAfter is how long a replica that was added has to be caught up and reached
	// before it gets a vote; default 10 s.
	PromoteAfter time.Duration
	// OnRemoved is told once when this replica is no member any more and has closed its
	// files. OnSlowDisk is told when the disk below the log has hung, and often of late.
	// They must not block. nil: nobody is told.
	OnRemoved, OnSlowDisk func()
	// ElectionTimeout is that of heartbeats, of elections and of the leader's lease; what
	// follows from it is in election.go. Default 400 ms, 100 ms without Transport.
	ElectionTimeout time.Duration

	// Configuration returns the configuration of the shard as this node knows it; it must
	// not block. A leader commits it if its version is above that of the state's: when it
	// begins, and soon after there is a newer one.
	Configuration func() command.Configure

	// Slots opens those that the shard is made with. A leader commits it in a state to
	// which no map has given slots; later maps change them by commands of their own.
	Slots command.OpenSlots

	QueueBytes    int   // bounds the commands that wait to be proposed
	SnapshotBytes int64 // the least growth of the log between two snapshots
	SegmentBytes  int   // of a file of the log
	ExpireEvery   time.Duration
	// ChecksumEvery is how long a round takes in which the replicas of a shard with
	// several compute checksums of their state. Default DefaultChecksumEvery.
	ChecksumEvery time.Duration

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
	// Lost takes over a Routed command that a leadership has left undone at its end, or
	// reports false: then its Done gets err. It is called in the order of Enqueue,
	// before Leader.Close. command and w are only valid during the call. nil: none is
	// taken over.
	Lost func(command []byte, w *Waiter, err error) bool
	// Notify is called with the outcome of each entry, in order, after the waiters of
	// the entry's commands.
	Notify func(*shard.Outcome)

	Log     *slog.Logger
	Metrics *Metrics
	WALFS   VFS // nil: the file system
}

// A TransportFunc is Config.Transport.
type TransportFunc = func() (raft.ServerAddress, raft.Transport, io.Closer)

// A ServerID is Config.ID, as Raft writes it.
type ServerID = raft.ServerID

// Transports returns a TransportFunc that calls open for each opening of the replica. A
// replica whose transport cannot be opened, since what it belongs to is closed, reaches
// nobody.
func Transports[T interface {
	raft.Transport
	io.Closer
}](id string, open func() (T, error)) TransportFunc {
	return func() (raft.ServerAddress, raft.Transport, io.Closer) {
		addr := raft.ServerAddress(id)
		t, err := open()
		if err != nil {
			_, nobody := raft.NewInmemTransport(addr)
			return addr, nobody, nobody
		}
		return addr, t, t
	}
}

// A Member is a replica of a shard, as Raft is to know it.
type Member struct {
	ID string // Config.ID of that replica; it is its address for Raft, too
	// Away means that the replica's node cannot be reached from here, or not this one
	// from there: it is given no vote, and does not count for a quorum.
	Away bool
}

// A VFS is the file system below a log, but for that of boltdb.
type VFS = types.VFS

// Modes of the directories and files that are made: they hold messages, so nobody
// else may read them.
const (
	DirMode  = 0o700
	FileMode = 0o600
)
