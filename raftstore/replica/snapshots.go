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
	"sync"
	"sync/atomic"

	"github.com/belfry-im/belfry/shard"
	"github.com/hashicorp/raft"
)

// stateFile is what Raft calls the file with a snapshot's bytes.
const stateFile = "state.bin"

// snapshotsPath returns where the snapshots of a replica are, as Raft has it.
func snapshotsPath(dir string) string { return filepath.Join(dir, "snapshots") }

// openSnapshots opens the snapshots of shard in dir and removes what a crash left of
// unfinished ones. log is set by the caller, before the first use.
func openSnapshots(dir string, shard uint32, fs VFS, log *hclogger) (*snapshotStore, error) {
	store, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, log)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	path := snapshotsPath(dir)
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
	return &snapshotStore{FileSnapshotStore: store, shard: shard, fs: fs, dir: path}, nil
}

// errOvertaken is the error of a snapshot of this replica's own that was dropped,
// because one from the leader was about to replace the state that it shows.
var errOvertaken = errors.New("raftstore: a snapshot from the leader came first")

// A snapshotStore differs from Raft's own store in four things. It flushes a snapshot
// to the disk piece by piece. It opens one without reading all of it to verify a
// checksum, since the state's decoder verifies its own. It lists only snapshots from
// which the log leads on.
//
// And it orders snapshots of the replica's own with those that are installed: Raft
// takes whichever ends last for the newest, and goes back to it. So an installation
// drops an own snapshot that is being taken, and begins when Raft has done with that.
type snapshotStore struct {
	*raft.FileSnapshotStore
	shard uint32
	fs    VFS // see Hold
	dir   string
	log   *logStore

	taking sync.Mutex // held by take

	mu         sync.Mutex
	own        *ownSnapshot // the one that is being taken; nil for none
	installing bool         // one that is not the replica's own is being written
	installed  uint64       // index of the newest one that was installed since the start
}

// An ownSnapshot is one that the replica takes of its state.
type ownSnapshot struct {
	written   bool          // Persist has begun; guarded by snapshotStore.mu
	overtaken atomic.Bool   // it is to be dropped
	done      chan struct{} // closed when Raft has done with it
}

// take calls snapshot, which has Raft take a snapshot. Raft takes none otherwise. The
// error is errOvertaken if it was dropped in favour of an installation.
func (s *snapshotStore) take(snapshot func() error) error {
	s.taking.Lock()
	defer s.taking.Unlock()
	own := &ownSnapshot{done: make(chan struct{})}
	s.mu.Lock()
	s.own = own
	s.mu.Unlock()
	err := snapshot()
	s.mu.Lock()
	s.own = nil
	s.mu.Unlock()
	close(own.done)
	if err != nil && own.overtaken.Load() {
		return errOvertaken
	}
	return err
}

// beginOwn lets the replica's own snapshot at index be written. The error is
// errOvertaken if it would be dropped.
func (s *snapshotStore) beginOwn(index uint64) (*ownSnapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.own
	if own == nil {
		return nil, errors.New("raftstore: snapshot outside of take")
	}
	if s.installing || index < s.installed {
		own.overtaken.Store(true)
	}
	if own.overtaken.Load() {
		return nil, errOvertaken
	}
	own.written = true
	return own, nil
}

// beginInstall lets a snapshot at index be written that is not the replica's own. It
// drops an own one that is being written, and returns when Raft has done with that.
func (s *snapshotStore) beginInstall(index uint64) error {
	first, err := s.log.FirstIndex()
	if err != nil {
		return err
	}
	if first > index+1 {
		return fmt.Errorf("raftstore: snapshot at %d does not reach the log, which begins at %d", index, first)
	}
	s.mu.Lock()
	s.installing = true
	own := s.own
	wait := own != nil && own.written
	if wait {
		own.overtaken.Store(true)
	}
	s.mu.Unlock()
	if wait {
		<-own.done
	}
	return nil
}

// endInstall ends what beginInstall began. index is 0 if nothing was installed.
func (s *snapshotStore) endInstall(index uint64) {
	if first, err := s.log.FirstIndex(); err == nil && index > 0 && first == index+1 && s.log.monotonic {
		s.log.joined.Store(first)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.installing = false
	s.installed = max(s.installed, index)
}

// List returns the newest snapshot, and behind it the older ones from which the log
// leads on.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	metas, err := s.FileSnapshotStore.List()
	if err != nil || len(metas) < 2 {
		return metas, err
	}
	first, err := s.log.FirstIndex()
	if err != nil {
		return nil, err
	}
	n := 1
	for n < len(metas) && first > 0 && first <= metas[n].Index+1 {
		n++
	}
	return metas[:n], nil
}

// trailing is how many entries before the replica's own newest snapshot stay in the log at
// least. A leader goes back by an entry for each append that a follower refuses, and
// should find that entry here.
const trailing = 64

// bounds returns the index of the newest snapshot, and up to which index the log is not
// needed: all snapshots hold that, or it was replaced by one that was installed.
func (s *snapshotStore) bounds() (newest, spare uint64, err error) {
	metas, err := s.List()
	if err != nil || len(metas) == 0 {
		return 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	newest = metas[0].Index
	spare = s.installed
	if own := newest - min(newest, trailing); own > spare {
		spare = own
	}
	for _, m := range metas {
		if m.Index >= s.installed {
			spare = min(spare, m.Index)
		}
	}
	return newest, spare, nil
}

// lastEntry sets entry to the last one of the snapshot at index, without its data.
func (s *snapshotStore) lastEntry(index uint64, entry *raft.Log) error {
	metas, err := s.List()
	if err != nil {
		return err
	}
	for _, m := range metas {
		if m.Index == index {
			*entry = raft.Log{Index: index, Term: m.Term}
			return nil
		}
	}
	return raft.ErrLogNotFound
}

// verify reads a snapshot and returns an error if it cannot be restored.
func (s *snapshotStore) verify(id string) error {
	_, data, err := s.Open(id)
	if err != nil {
		return err
	}
	defer data.Close()
	_, err = shard.Restore(data, s.shard)
	return err
}

func (s *snapshotStore) remove(id string) error {
	return errors.Join(os.RemoveAll(filepath.Join(s.dir, id)), SyncDir(s.dir))
}

func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration,
	cIndex uint64, transport raft.Transport,
) (raft.SnapshotSink, error) {
	Hold(s.fs)
	sink, err := s.FileSnapshotStore.Create(version, index, term, c, cIndex, transport)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.dir, sink.ID()+".tmp", stateFile))
	if err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	return &steadySink{SnapshotSink: sink, store: s, index: index, file: f}, nil
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
	return metas[i], &openSnapshot{bufio.NewReaderSize(f, readAhead), f, metas[i]}, nil
}

// An openSnapshot is what is read of a snapshot.
type openSnapshot struct {
	io.Reader
	io.Closer
	meta *raft.SnapshotMeta
}

// snapshotMeta returns what is known of the snapshot from which data reads, nil for
// nothing.
func snapshotMeta(data io.ReadCloser) *raft.SnapshotMeta {
	if w, ok := data.(raft.ReadCloserWrapper); ok {
		data = w.WrappedReadCloser()
	}
	if s, ok := data.(*openSnapshot); ok {
		return s.meta
	}
	return nil
}

// writeBackBytes is how much of a snapshot is written before that is flushed to
// the disk. If all were flushed at the end, hundreds of megabytes would reach
// the disk at once, and every commit would wait behind them.
const writeBackBytes = 1 << 20

// A steadySink takes one snapshot. It flushes what is written to it to the disk,
// writeBackBytes at a time.
type steadySink struct {
	raft.SnapshotSink
	store *snapshotStore
	index uint64
	// own is set by beginOwn, which comes before the first Write if the snapshot is the
	// replica's own.
	own        *ownSnapshot
	installing bool
	file       *os.File // the one that is written, open a second time
	written    int64
	flushed    int64
}

// beginOwn has to be called before the first Write of a snapshot of the replica's own.
func (s *steadySink) beginOwn() (err error) {
	s.own, err = s.store.beginOwn(s.index)
	return err
}

func (s *steadySink) Write(p []byte) (int, error) {
	switch {
	case s.own != nil:
		if s.own.overtaken.Load() {
			return 0, errOvertaken
		}
	case !s.installing:
		if err := s.store.beginInstall(s.index); err != nil {
			return 0, err
		}
		s.installing = true
	}
	Hold(s.store.fs)
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
	Hold(s.store.fs)
	err := s.SnapshotSink.Close()
	if err == nil {
		s.end(s.index)
	} else {
		s.end(0)
	}
	return err
}

func (s *steadySink) Cancel() error {
	s.file.Close()
	err := s.SnapshotSink.Cancel()
	s.end(0)
	return err
}

func (s *steadySink) end(index uint64) {
	if s.installing {
		s.installing = false
		s.store.endInstall(index)
	}
}
