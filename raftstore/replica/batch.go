package replica

import (
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// batchCommands and batchBytes bound one log entry: how long the state is
	// locked for it, and how much the log writes at once. A single command may
	// be larger than batchBytes and then has an entry of its own.
	batchCommands = 4096
	batchBytes    = 1 << 20
	// headerRoom is kept free in front of the commands: the time of a batch is
	// stamped when it is proposed, not when its first command came.
	headerRoom = 16
	// waiterBytes is what a waiter counts in the queue, beside its command.
	waiterBytes = 256
)

// A Waiter is told what became of a command, or of a read that rides along with the
// next batch.
type Waiter struct {
	Read bool // there is no command
	// Routed says that the command goes to Config.Moved if its slot has moved. Others
	// are answered so.
	Routed bool
	Key    command.UserID // of a command that is Routed: whose slot it needs
	Origin any            // for Config.Moved: what it knows of the command already

	// Patience is how long a command may wait for others that have none, and
	// then rides along with them. It keeps its place in the order.
	Patience time.Duration
	// Step runs in the apply step, after the whole batch, with the shard's lock
	// held; nil for none. now is the time as of which to read. The result is nil for
	// a read.
	Step func(s *shard.State, now int64, result *command.Result)
	// Done is called exactly once, on the proposer's goroutine; nil for none.
	Done func(command.Result, error)

	start, end int // of the command in the batch's buf; set by add
}

// A batch is what becomes one log entry.
type batch struct {
	buf      []byte // headerRoom, then commands
	entry    []byte // the part of buf that is the log entry, once proposed
	commands int
	waiters  []Waiter  // in the order of arrival
	opened   time.Time // when it began to wait for the one before

	// Set by the apply step, which closes applied when it is through.
	out     shard.Outcome
	err     error
	applied chan struct{}
}

// seal completes the entry with its time.
func (b *batch) seal(atMS int64) {
	var room [headerRoom]byte
	header := command.AppendBatchHeader(room[:0], atMS)
	start := headerRoom - len(header)
	copy(b.buf[start:headerRoom], header)
	b.entry = b.buf[start:]
}

// size is what the batch counts in the queue.
func (b *batch) size() int { return len(b.buf) + len(b.waiters)*waiterBytes }
