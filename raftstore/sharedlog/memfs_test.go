package sharedlog

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
)

var errDisk = errors.New("the disk fails")

// A memFS is a disk that can crash, fail and fill up.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*memFile
	durable map[string]*memFile
	renames []func(map[string]*memFile) // since the last sync of the folder
	room    int64                       // bytes of new files that fit; -1: any

	failWrite, failSync int  // that many more calls succeed, then one fails; 0: none does
	lieSync, lieDir     bool // planted: a sync does nothing
}

type memFile struct {
	fs            *memFS
	data, durable []byte
	writes        []memWrite // since the last sync
}

type memWrite struct {
	at   int64
	data []byte
}

func newMemFS() *memFS {
	return &memFS{names: map[string]*memFile{}, durable: map[string]*memFile{}, room: -1}
}

// crash returns the disk as it may be after a crash now: of what was not synced some
// prefix is there, or some sectors.
func (fs *memFS) crash(rng *rand.Rand) *memFS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	next := newMemFS()
	next.lieSync, next.lieDir = fs.lieSync, fs.lieDir
	names := maps.Clone(fs.durable)
	for _, rename := range fs.renames { // some of them
		if rng.IntN(2) == 0 {
			rename(names)
		}
	}
	for name, f := range names {
		data := slices.Clone(f.durable)
		for _, w := range f.writes {
			write := func(from, to int) {
				data = grown(data, int(w.at)+to)
				copy(data[int(w.at)+from:], w.data[from:to])
			}
			if rng.IntN(3) > 0 {
				n := rng.IntN(len(w.data) + 1)
				write(0, n)
				if n < len(w.data) {
					break
				}
				continue
			}
			const sector = 64
			for from := 0; from < len(w.data); from += sector {
				if rng.IntN(2) == 0 {
					write(from, min(from+sector, len(w.data)))
				}
			}
		}
		next.names[name] = &memFile{fs: next, data: data, durable: slices.Clone(data)}
	}
	next.durable = maps.Clone(next.names)
	return next
}

func grown(data []byte, size int) []byte {
	if size > len(data) {
		data = append(data, make([]byte, size-len(data))...)
	}
	return data
}

func (fs *memFS) rename(f func(map[string]*memFile)) {
	f(fs.names)
	fs.renames = append(fs.renames, f)
}

func (fs *memFS) List(string) ([]string, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return slices.Sorted(maps.Keys(fs.names)), nil
}

func (fs *memFS) Create(_, name string, size int64) (File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.names[name] != nil {
		return nil, os.ErrExist
	}
	if fs.room >= 0 {
		if fs.room < size {
			return nil, syscall.ENOSPC
		}
		fs.room -= size
	}
	f := &memFile{fs: fs, data: make([]byte, size)}
	fs.rename(func(names map[string]*memFile) { names[name] = f })
	return f, nil
}

func (fs *memFS) Open(_, name string) (File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.names[name]; f != nil {
		return f, nil
	}
	return nil, os.ErrNotExist
}

func (fs *memFS) Rename(_, from, to string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.names[from]
	if f == nil || fs.names[to] != nil {
		return errors.New("no such file, or one with the new name")
	}
	fs.rename(func(names map[string]*memFile) {
		if names[from] == f {
			delete(names, from)
			names[to] = f
		}
	})
	return nil
}

func (fs *memFS) Remove(_, name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.names[name]
	if f == nil {
		return os.ErrNotExist
	}
	if fs.room >= 0 {
		fs.room += int64(len(f.data))
	}
	fs.rename(func(names map[string]*memFile) {
		if names[name] == f {
			delete(names, name)
		}
	})
	return nil
}

func (fs *memFS) SyncDir(string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !fs.lieDir {
		fs.durable, fs.renames = maps.Clone(fs.names), nil
	}
	return nil
}

// fails reports whether a call is the one that is to fail.
func fails(left *int) bool {
	if *left > 0 {
		*left--
		return *left == 0
	}
	return false
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	n, err := len(p), error(nil)
	if fails(&f.fs.failWrite) {
		n, err = n/2, errDisk
	}
	f.data = grown(f.data, int(off)+n)
	copy(f.data[off:], p[:n])
	f.writes = append(f.writes, memWrite{off, slices.Clone(p[:n])})
	return n, err
}

// Sync, when it fails, leaves what was written readable and not stored, and forgets that.
func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if fails(&f.fs.failSync) {
		f.writes = f.writes[:len(f.writes)/2]
		return errDisk
	}
	if f.fs.lieSync {
		return nil
	}
	for _, w := range f.writes {
		f.durable = grown(f.durable, int(w.at)+len(w.data))
		copy(f.durable[w.at:], w.data)
	}
	f.durable = grown(f.durable, len(f.data))
	f.writes = nil
	return nil
}

func (f *memFile) Close() error { return nil }

// image returns copies of the files, as they are read.
func (fs *memFS) image() map[string][]byte {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	files := map[string][]byte{}
	for name, f := range fs.names {
		files[name] = slices.Clone(f.data)
	}
	return files
}

// diskOf returns a disk with those files.
func diskOf(files map[string][]byte) *memFS {
	fs := newMemFS()
	for name, data := range files {
		fs.names[name] = &memFile{fs: fs, data: slices.Clone(data), durable: slices.Clone(data)}
	}
	fs.durable = maps.Clone(fs.names)
	return fs
}

func openOn(t testing.TB, fs FS) *Log {
	t.Helper()
	l, err := Open(Config{Dir: t.TempDir(), SegmentBytes: minSegmentBytes, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
