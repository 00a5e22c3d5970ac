package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/belfry-im/belfry/raftstore/diskgate"
	"github.com/belfry-im/belfry/raftstore/sharedlog"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"go.etcd.io/bbolt"
)

const (
	// boltLockWait bounds the wait for a bbolt file that somebody else holds.
	boltLockWait = time.Second
)

// errLogFailed answers every append after one that failed. Whether the failed
// one was stored is only known once the log has been opened again.
var errLogFailed = errors.New("raftstore: log failed and waits to be opened again")

// errLogClosed answers what Raft reads after its shutdown.
var errLogClosed = errors.New("raftstore: log is closed")

// errIncomplete is the error of a replica whose log and snapshots lack something between
// them.
var errIncomplete = errors.New("raftstore: entries are lost")

// A logStore is the Raft log of one replica. After a failed append it calls
// failed, once, and refuses further appends: raft-wal cannot go on without
// being opened again, and neither kind of log knows what the failed write has
// left on disk.
type logStore struct {
	raft.LogStore
	monotonic bool
	snapshots *snapshotStore
	appended  func(time.Duration) // told how long each append took, fsync included
	failed    func(error)         // told of the first failure
	halt      *halt

	// gate is locked for reading by reads: Raft may begin one after its shutdown,
	// to measure the age of the log, and raft-wal panics if it is closed
	// meanwhile.
	gate   sync.RWMutex
	closed bool // guarded by gate

	broken atomic.Bool
	gone   atomic.Uint64      // up to this index the log was compacted, or replaced by a snapshot
	joined atomic.Uint64      // where the log begins if a snapshot that was just installed ends right before it, else 0
	since  atomic.Int64       // when the append that is out began, Unix ns; 0: none is out
	took   diskgate.Latencies // of appends
	recent *recent            // nil: nobody reads what was just stored
}

// openLog opens the log of a replica. user is told of a log that is shared.
func openLog(cfg *Config, log *hclogger, user sharedlog.User) (*logStore, error) {
	switch cfg.RaftLog {
	case LogWAL:
		path := filepath.Join(cfg.Dir, "log")
		if err := os.MkdirAll(path, DirMode); err != nil {
			return nil, err
		}
		vfs := cfg.WALFS
		if vfs == nil {
			vfs = walfs.New()
		}
		meta := &metadb.BoltMetaDB{}
		filer := segment.NewFiler(path, vfs)
		var store *wal.WAL
		err := repairTail(path, meta, filer, cfg.SegmentBytes)
		if err == nil {
			store, err = wal.Open(path, wal.WithMetaStore(heldMeta{meta, vfs}), wal.WithSegmentSize(cfg.SegmentBytes),
				wal.WithSegmentFiler(&segmentFiler{Filer: filer}), wal.WithLogger(log.Named("wal")))
		}
		if err != nil {
			meta.Close()
			return nil, fmt.Errorf("open log: %w", err)
		}
		return &logStore{LogStore: store, monotonic: true}, nil
	case LogBolt:
		store, err := openBolt(filepath.Join(cfg.Dir, "log.db"))
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		return &logStore{LogStore: heldLog{store, store.Close, cfg.WALFS}}, nil
	case LogShared:
		store, err := openShared(cfg, user)
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		return &logStore{LogStore: store, monotonic: true}, nil
	}
	return nil, fmt.Errorf("raftstore: raft log %q: want %q, %q or %q", cfg.RaftLog, LogWAL, LogBolt, LogShared)
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	if err := removeUnfinished(path); err != nil {
		return nil, err
	}
	return raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: boltLockWait}})
}

// isUnfinished reports whether a bbolt file is shorter than a new one without content.
func isUnfinished(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	// A file begins with four pages; the first tells their size, which is that of
	// the machine it was made on: a header of 16 bytes, then magic, version, size.
	const magic, pages = 0xed0cdaed, 4
	head := make([]byte, 28)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	size := int64(os.Getpagesize())
	if n == len(head) && binary.NativeEndian.Uint32(head[16:]) == magic {
		size = int64(binary.NativeEndian.Uint32(head[24:]))
	}
	return info.Size() < pages*size, nil
}

// IsMonotonic forwards a method that the embedded interface hides: Raft looks
// for it on the store that it was given.
func (l *logStore) IsMonotonic() bool { return l.monotonic }

func (l *logStore) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// appendBytes bounds what a log is given to append at once, but for a single entry. A
// follower that catches up gets up to 64 entries in one call, of 1 MiB each; raft-wal
// would keep a buffer of that size.
const appendBytes = 2 << 20

func (l *logStore) StoreLogs(entries []*raft.Log) error {
	for len(entries) > 0 {
		n, size := 1, len(entries[0].Data)
		for ; n < len(entries) && size+len(entries[n].Data) <= appendBytes; n++ {
			size += len(entries[n].Data)
		}
		if err := l.append(entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func (l *logStore) append(entries []*raft.Log) error {
	if l.broken.Load() {
		return errLogFailed
	}
	l.joined.Store(0)
	start := time.Now()
	l.since.Store(start.UnixNano())
	err := l.LogStore.StoreLogs(entries)
	l.since.Store(0)
	if err != nil {
		l.fail(fmt.Errorf("append: %w", err))
		return err
	}
	took := time.Since(start)
	l.took.Add(took)
	if l.recent != nil {
		l.recent.add(entries)
	}
	if l.appended != nil {
		l.appended(took)
	}
	return nil
}

// appending reports whether an append is out.
func (l *logStore) appending() bool { return l.since.Load() != 0 }

func (l *logStore) fail(err error) {
	if l.broken.CompareAndSwap(false, true) && l.failed != nil {
		l.failed(err)
	}
}

// GetLog ends the calling goroutine of Raft if the disk does not give back an
// entry that was stored: Raft would panic, and end the other shards, too.
//
// Of entries that are gone it has the last one, without data, if that is the last one of
// a snapshot. A follower is asked for its term when it is to append behind a snapshot, and
// Raft looks for it in the log alone, unless the log is empty.
func (l *logStore) GetLog(index uint64, entry *raft.Log) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	if l.closed {
		return errLogClosed
	}
	if gone := l.gone.Load(); index <= gone { // raft-wal may still have it, though replaced
		if index < gone {
			return raft.ErrLogNotFound
		}
		return l.snapshots.lastEntry(index, entry)
	}
	if l.recent != nil && l.recent.get(index, entry) {
		return nil
	}
	err := l.LogStore.GetLog(index, entry)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || !l.halt.armed() {
		return err
	}
	l.fail(fmt.Errorf("read entry %d: %w", index, err))
	l.halt.exit()
	return err
}

func (l *logStore) FirstIndex() (uint64, error) {
	l.gate.RLock()
	defer l.gate.RUnlock()
	if l.closed {
		return 0, errLogClosed
	}
	return l.LogStore.FirstIndex()
}

// DeleteRange deletes what Raft may delete, which shows in the range: entries that no
// snapshot holds are a tail that conflicts with the leader's log, and go. Others are
// compacted, or make room for a snapshot that was installed. Of these DeleteRange keeps
// those since the oldest snapshot from which the log leads on: if a newer one turns out
// unreadable, that one and the log give the same state.
//
// A log that an installed snapshot replaces is known to be right only behind it. All
// before goes, and what is behind stays, though Raft asks raft-wal to drop it as well:
// it may have been acknowledged, and Raft goes on as if it were there.
func (l *logStore) DeleteRange(first, last uint64) error {
	newest, kept, err := l.snapshots.bounds()
	if err != nil {
		return err
	}
	if first > newest {
		if l.joined.Swap(0) == first {
			return nil // no tail that conflicts, but what is behind an installed snapshot
		}
		err := l.delete(first, last)
		if err != nil { // what is left of the tail is not known
			l.fail(fmt.Errorf("delete entries %d to %d: %w", first, last, err))
		}
		return err
	}
	if last = min(last, kept); first > last {
		return nil
	}
	return l.compact(first, last, newest)
}

// delete deletes entries at one end of the log.
func (l *logStore) delete(first, last uint64) error {
	if l.recent != nil {
		defer l.recent.forget() // what was read meanwhile is not kept
	}
	return l.LogStore.DeleteRange(first, last)
}

// compact deletes the first entries of the log, whose newest snapshot is at snapshot.
func (l *logStore) compact(first, last, snapshot uint64) error {
	if err := l.delete(first, last); err != nil {
		return err
	}
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	if first == 0 {
		first = snapshot + 1 // of what will be appended
	}
	l.gone.Store(first - 1)
	return nil
}

// reconcile drops a log that the newest snapshot replaces, which is there when the
// process ended while that snapshot was being installed. Should the snapshot be
// unreadable, reconcile removes it instead, if the log does without. The error is
// errIncomplete if snapshots and log do not make up a state.
func (l *logStore) reconcile() error {
	snapshots, err := l.snapshots.List()
	if err != nil {
		return err
	}
	newest := new(raft.SnapshotMeta) // of an empty state
	if len(snapshots) > 0 {
		newest = snapshots[0]
	}
	first, err := l.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.LastIndex()
	if err != nil || last == 0 {
		l.gone.Store(newest.Index)
		return err
	}
	l.gone.Store(first - 1)
	if first > newest.Index+1 {
		return fmt.Errorf("%w: the log begins with entry %d, the newest snapshot ends with %d", errIncomplete, first, newest.Index)
	}
	if len(snapshots) == 0 || first == newest.Index+1 {
		return nil
	}
	if last >= newest.Index {
		var at raft.Log
		switch err := l.LogStore.GetLog(newest.Index, &at); {
		case errors.Is(err, raft.ErrLogNotFound): // Raft.Restore leaves that gap
			return l.compact(first, newest.Index, newest.Index)
		case err != nil:
			return fmt.Errorf("read entry %d: %w", newest.Index, err)
		case at.Term == newest.Term:
			return nil
		}
	}
	if err := l.snapshots.verify(newest.ID); err != nil {
		if first > 1 && len(snapshots) == 1 {
			return fmt.Errorf("%w: %w", errIncomplete, err)
		}
		return errors.Join(l.snapshots.remove(newest.ID), l.reconcile())
	}
	return l.compact(first, last, newest.Index)
}

func (l *logStore) Close() error {
	l.gate.Lock()
	defer l.gate.Unlock()
	l.closed = true
	return l.LogStore.(io.Closer).Close()
}

// AppendP99 returns how long 99 of 100 appends to the log take at most, of the last ones
// since the replica was opened: with an fsync each. It is 0 before there was one.
func (r *Replica) AppendP99() time.Duration {
	if in := r.instance.Load(); in != nil {
		return in.logs.took.P99()
	}
	return 0
}

// AppendTimes is AppendP99 with what half of them take at most.
func (r *Replica) AppendTimes() (p50, p99 time.Duration) {
	if in := r.instance.Load(); in != nil {
		return in.logs.took.Quantiles()
	}
	return 0, 0
}
