package replica

import (
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// batchCommands and batchBytes bound one log entry, and thereby how long the state
	// is locked to apply it and how much the log writes at once. A single command may
	// be larger than batchBytes and then has an entry to itself.
	batchCommands = 4096
	batchBytes    = 1 << 20
	// headerRoom is kept free in front of the commands: the time of a batch is
	// stamped when it is proposed, not when its first command came.
	headerRoom = 16
	// waiterBytes is what a waiter counts for in the queue, in addition to its
	// command.
	waiterBytes = 256
)

// A Waiter holds what is to be called for a command, or for a read that goes with
// the next batch.
type Waiter struct {
	Read bool // there is no command
	// Routed passes the command to Config.Moved if its slot has moved. Without it,
	// Done gets that refusal.
	Routed bool
	Key    command.UserID // of a Routed command: the user or group whose slot it needs
	Origin any            // what Config.Moved keeps here about the command

	// Patience is how long a command may wait for commands without patience, to share
	// their log entry. It keeps its place in the order.
	Patience time.Duration
	// Step runs in the apply step, after the whole batch, with the shard's lock
	// held; nil for none. now is the time as of which to read. The result is nil for
	// a read.
	Step func(s *shard.State, now int64, result *command.Result)
	// Done is called exactly once, on the proposer's goroutine; nil for none.
	Done func(command.Result, error)

	start, end int // of the command in the batch's buf; set by add
}

// A batch holds the commands of one log entry, and their waiters.
type batch struct {
	buf      []byte // headerRoom, then commands
	entry    []byte // the part of buf that is the log entry, once proposed
	commands int
	waiters  []Waiter  // in the order of arrival
	opened   time.Time // when it began to wait to be proposed

	wait func() error // by the pipeline: what proposer.propose returned

	refused bool // set by proposer.propose: it has failed already, nothing may follow it

	// Set by the apply step, which closes applied when it is through.
	out     shard.Outcome
	err     error
	applied chan struct{}
}

// seal completes the entry with its header, which has the time of the batch.
func (b *batch) seal(atMS int64) {
	var room [headerRoom]byte
	header := command.AppendBatchHeader(room[:0], atMS)
	start := headerRoom - len(header)
	copy(b.buf[start:headerRoom], header)
	b.entry = b.buf[start:]
}

// size returns the bytes that the batch counts for in the queue.
func (b *batch) size() int { return len(b.buf) + len(b.waiters)*waiterBytes }
