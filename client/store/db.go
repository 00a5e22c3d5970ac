package store

import (
	"errors"
	"fmt"
	"iter"
)

// A DB is an ordered map from bytes to bytes with transactions. Its methods may be
// called from any goroutine, but not from inside a transaction of the same goroutine.
type DB interface {
	// View shows f the map as the last Update left it, and returns its error.
	View(f func(KV) error) error
	// Update runs f and then makes all its changes durable together. On an error, of f
	// too, none was made. There is one Update at a time.
	Update(f func(KV) error) error
	// SetMark sets a number that outlives the process, but not the machine: it costs no
	// flush to the disk. Before the first, and when in doubt, a mark is 0. Neither it nor
	// Marks may wait for a transaction: who runs that may wait for their caller.
	SetMark(m Mark, to uint64) error
	Marks() [Marks]uint64
	// Close waits for transactions that run, and frees the file.
	Close() error
}

// A KV is the map inside a transaction. What it returns is valid until the transaction
// ends, and must not be changed. Put takes over the value, and copies the key.
type KV interface {
	Get(key []byte) []byte // nil if there is none
	Put(key, value []byte)
	Delete(key []byte)
	// Scan yields the keys from and below to, ascending or descending. The map must
	// not be changed meanwhile.
	Scan(from, to []byte, descending bool) iter.Seq2[[]byte, []byte]
}

// A Mark names a number kept by DB.SetMark.
type Mark int

const (
	MarkBegun   Mark = iota // newest delivery that was passed to its handler
	MarkHandled             // newest delivery whose handler has returned
	MarkWritten             // newest entry of the outbox that was written to a connection
	Marks                   // how many there are
)

var (
	// ErrLocked means that another process, or another client of this one, has the file.
	ErrLocked = errors.New("in use by another client")
	// ErrCorrupt means that a file is no store, or is damaged.
	ErrCorrupt = errors.New("corrupt")
	// ErrValue means that something was to be written that could not be read again. The
	// store is as it was.
	ErrValue = errors.New("cannot be stored")
	// ErrForeign means that a store holds the data of another user or service.
	ErrForeign = errors.New("holds data of somebody else")
	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("closed")
)

// An Error reports that a store cannot be opened, read or written. All errors of a DB are
// such.
type Error struct {
	Path string // of the file; empty for a store in memory
	Err  error
}

func (e *Error) Error() string {
	if e.Path == "" {
		return "client: store: " + e.Err.Error()
	}
	return fmt.Sprintf("client: store %s: %v", e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
