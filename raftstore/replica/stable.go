package replica

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A halt ends goroutines of Raft where Raft would panic about a storage error:
// they run their deferred calls and exit, as if the process had died at that
// point. It is armed once Raft runs; before, such errors are returned.
type halt struct {
	on       atomic.Bool
	once     sync.Once
	released chan struct{} // closed when nothing is to wait for storage any more
}

func newHalt() *halt        { return &halt{released: make(chan struct{})} }
func (h *halt) arm()        { h.on.Store(true) }
func (h *halt) armed() bool { return h.on.Load() }
func (h *halt) release()    { h.once.Do(func() { close(h.released) }) }
func (h *halt) exit()       { runtime.Goexit() }

const stableFile = "stable.db"

// openStable opens what keeps the term and the vote of a replica: a small file of its own,
// or its part of a log that is shared.
func openStable(cfg *Config, log *logStore) (stableFiles, error) {
	if cfg.RaftLog == LogShared {
		return votesInLog{log.LogStore.(*sharedGroup)}, nil
	}
	bolt, err := openBolt(filepath.Join(cfg.Dir, stableFile))
	if err != nil {
		return nil, fmt.Errorf("open stable store: %w", err)
	}
	return bolt, nil
}

// stableFiles are what a raft.StableStore is kept in.
type stableFiles interface {
	raft.StableStore
	Close() error
}

// votesInLog are what a replica has set in a log that is shared, which is closed apart.
type votesInLog struct{ *sharedGroup }

func (votesInLog) Close() error { return nil }

// A stableStore keeps a replica's term and vote. Raft panics when it cannot write them, so writes are repeated until they
// succeed.
type stableStore struct {
	stableFiles
	halt  *halt
	stuck func(error) // told of each failed attempt
	fs    VFS         // see Hold
}

// stableRetry is the pause between attempts to store a term or a vote.
const stableRetry = 200 * time.Millisecond

func (s *stableStore) Set(key, value []byte) error {
	return s.persist(func() error { return s.stableFiles.Set(key, value) })
}

func (s *stableStore) SetUint64(key []byte, value uint64) error {
	return s.persist(func() error { return s.stableFiles.SetUint64(key, value) })
}

func (s *stableStore) persist(write func() error) error {
	for {
		Hold(s.fs)
		err := write()
		if err == nil || !s.halt.armed() {
			return err
		}
		s.stuck(err)
		select {
		case <-s.halt.released:
			s.halt.exit()
		case <-time.After(stableRetry):
		}
	}
}
