package replica

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// A snapshot writes one snapshot of the state to disk. It is what Raft calls an
// FSMSnapshot.
type snapshot struct {
	*Replica
	of int64 // Replica.replaced when the view was taken; another value: the view is gone
	// The backlog when the view was taken; the snapshot replaces that part of the
	// log.
	bytes, time int64
}

// Persist writes the snapshot. It locks the shard to encode one chunk at a
// time, and not while it writes.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	err := s.write(sink.(*steadySink))
	if err == nil {
		s.logged.bytes.Add(-s.bytes)
		s.logged.time.Add(-s.time)
		return nil
	}
	// Raft's store leaves an unfinished snapshot in place, which takes room that a
	// full disk lacks.
	return errors.Join(err, os.RemoveAll(filepath.Join(snapshotsPath(s.cfg.Dir), sink.ID()+".tmp")))
}

func (s *snapshot) write(sink *steadySink) error {
	if err := sink.beginOwn(); err != nil {
		return errors.Join(err, sink.Cancel())
	}
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
	if err := s.unusable(); err != nil {
		return nil, false, err
	}
	if s.replaced.Load() != s.of {
		return nil, false, errOvertaken
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
	// A stopped state is not touched again.
	if s.stoppedErr() == nil && s.replaced.Load() == s.of {
		s.view.Release()
		s.view = nil
	}
}
