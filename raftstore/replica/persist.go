package replica

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/belfry-im/belfry/shard"
	"github.com/hashicorp/raft"
)

// A snapshot is one on its way to the disk.
type snapshot struct {
	*Replica
	view *shard.SnapshotWriter
	// What was applied since the snapshot before, when the view was taken.
	bytes, time int64
}

// Persist writes the snapshot. The shard is locked for one chunk at a time, and
// never while writing.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	err := s.write(sink)
	if err == nil {
		s.logged.bytes.Add(-s.bytes)
		s.logged.time.Add(-s.time)
		return nil
	}
	// Raft's store keeps what it could not finish, and with it the room that a
	// full disk lacks.
	return errors.Join(err, os.RemoveAll(filepath.Join(s.cfg.Dir, "snapshots", sink.ID()+".tmp")))
}

func (s *snapshot) write(sink raft.SnapshotSink) error {
	var chunk []byte
	for more := true; more; {
		var err error
		if chunk, more, err = s.next(chunk[:0]); err == nil {
			_, err = sink.Write(chunk)
		}
		if err != nil {
			return errors.Join(err, sink.Cancel())
		}
	}
	return sink.Close()
}

func (s *snapshot) next(dst []byte) (chunk []byte, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stoppedErr(); err != nil {
		return nil, false, err
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = s.Stop("a snapshot", cause)
		}
	}()
	chunk, more = s.view.Next(dst)
	return chunk, more, nil
}

func (s *snapshot) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stoppedErr() == nil { // a stopped state is not touched again
		s.view.Release()
	}
}
