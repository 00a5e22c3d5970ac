package replica

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// stateFile is what Raft calls the file with a snapshot's bytes.
const stateFile = "state.bin"

// openSnapshots opens the snapshots in dir and removes what a crash left of
// unfinished ones.
func openSnapshots(dir string, log *hclogger) (*snapshotStore, error) {
	store, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, log)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	path := filepath.Join(dir, "snapshots")
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasSuffix(e.Name(), ".tmp") {
			if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return &snapshotStore{FileSnapshotStore: store, dir: path}, nil
}

// A snapshotStore differs from Raft's own in two things: it flushes a snapshot
// to the disk piece by piece, and it opens one without reading all of it to
// verify a checksum, since the state's decoder verifies its own.
type snapshotStore struct {
	*raft.FileSnapshotStore
	dir string
}

func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration,
	cIndex uint64, transport raft.Transport,
) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, c, cIndex, transport)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.dir, sink.ID()+".tmp", stateFile))
	if err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	return &steadySink{SnapshotSink: sink, file: f}, nil
}

func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	metas, err := s.List()
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(metas, func(m *raft.SnapshotMeta) bool { return m.ID == id })
	if i < 0 {
		return nil, nil, fmt.Errorf("raftstore: snapshot %s: %w", id, os.ErrNotExist)
	}
	f, err := os.Open(filepath.Join(s.dir, id, stateFile))
	if err != nil {
		return nil, nil, err
	}
	const readAhead = 256 << 10
	return metas[i], &bufferedFile{bufio.NewReaderSize(f, readAhead), f}, nil
}

type bufferedFile struct {
	io.Reader
	io.Closer
}

// writeBackBytes is how much of a snapshot is written before that is flushed to
// the disk. If all were flushed at the end, hundreds of megabytes would reach
// the disk at once, and every commit would wait behind them.
const writeBackBytes = 1 << 20

// A steadySink flushes what is written to it to the disk, writeBackBytes at a
// time.
type steadySink struct {
	raft.SnapshotSink
	file    *os.File // the one that is written, open a second time
	written int64
	flushed int64
}

func (s *steadySink) Write(p []byte) (int, error) {
	n, err := s.SnapshotSink.Write(p)
	s.written += int64(n)
	if err == nil && s.written-s.flushed >= writeBackBytes {
		// Should it fail, the sync at the end will, too.
		_ = writeBack(s.file, s.flushed, s.written-s.flushed)
		s.flushed = s.written
	}
	return n, err
}

func (s *steadySink) Close() error {
	s.file.Close()
	return s.SnapshotSink.Close()
}

func (s *steadySink) Cancel() error {
	s.file.Close()
	return s.SnapshotSink.Cancel()
}
