package raftstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
	"golang.org/x/sys/unix"
)

// faultyFS is a file system on which appends to one shard's log can fail.
type faultyFS struct {
	types.VFS
	shard      string
	failWrites atomic.Bool // nothing is written
	failSyncs  atomic.Bool // written, but perhaps never stored
}

type faultyFile struct {
	types.WritableFile
	fs *faultyFS
}

func (f *faultyFS) wrap(dir string, file types.WritableFile, err error) (types.WritableFile, error) {
	if err != nil || !strings.Contains(dir, f.shard) {
		return file, err
	}
	return &faultyFile{file, f}, nil
}

func (f *faultyFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	file, err := f.VFS.Create(dir, name, size)
	return f.wrap(dir, file, err)
}

func (f *faultyFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	file, err := f.VFS.OpenWriter(dir, name)
	return f.wrap(dir, file, err)
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fs.failWrites.Load() {
		return 0, unix.ENOSPC
	}
	return f.WritableFile.WriteAt(p, off)
}

func (f *faultyFile) Sync() error {
	if f.fs.failSyncs.Load() {
		return unix.EIO
	}
	return f.WritableFile.Sync()
}

// After a failed append the outcome is unknown, the shard refuses until its
// disk works, and then goes on without a restart of the process.
func TestFailedAppend(t *testing.T) {
	for _, kind := range []string{"write", "sync"} {
		t.Run(kind, func(t *testing.T) {
			vfs := &faultyFS{VFS: fs.New(), shard: "shard-0000"}
			fault := &vfs.failWrites
			if kind == "sync" {
				fault = &vfs.failSyncs
			}
			cfg := testConfig(t)
			cfg.walFS = vfs
			s := open(t, cfg)
			alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
			e := &ear{}
			login(t, s, alice, "phone", e)
			for n := range 10 {
				send(t, s, message(alice, bob, n))
			}
			wantCIDs(t, s, bob, alice, 10)

			fault.Store(true)
			if _, err := s.Propose(context.Background(), message(alice, bob, 10)); !errors.Is(err, store.ErrUnknown) {
				t.Errorf("append that fails: %v, want ErrUnknown", err)
			}
			eventually(t, "the shard refuses", func() bool {
				_, err := s.Propose(context.Background(), message(alice, bob, 11))
				return errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown)
			})
			for n := range 20 {
				send(t, s, message(bob, alice, n)) // the other shard goes on
			}
			if got := cids(t, s, bob, alice); len(got) < 30 {
				t.Errorf("bob's shard is affected: he sees %d messages", len(got))
			}

			fault.Store(false)
			eventually(t, "the shard serves again", func() bool { return s.Ready() == nil })
			for n := 10; n < 20; n++ { // the client repeats what it has no answer to
				send(t, s, message(alice, bob, n))
			}
			for _, view := range [][2]command.UserID{{alice, bob}, {bob, alice}} {
				var got []string
				eventually(t, "all messages are there", func() bool {
					got = cids(t, s, view[0], view[1])
					return len(got) >= 40
				})
				slices.Sort(got)
				if got = slices.Compact(got); len(got) != 20 { // each cid once from alice and once from bob
					t.Errorf("%s sees %d different cids in 40 messages, want 20", view[0], len(got))
				}
			}
			if len(e.kicked()) > 0 {
				t.Errorf("session kicked: %v", e.kicked())
			}
			// An answer comes after the wakes of all that was applied before.
			if _, err := s.Blocked(context.Background(), alice); err != nil {
				t.Fatal(err)
			}
			e.mu.Lock()
			wakes := e.wakes
			e.mu.Unlock()
			send(t, s, message(bob, alice, 99))
			eventually(t, "the session is woken", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.wakes > wakes })
			eventually(t, "the outbox is empty", func() bool { return outboxEmpty(s) }) // a Trim would change the sums
			sums := checksums(s, 0)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, cfg)
			if !equalSums(checksums(s, 0), sums) {
				t.Error("state after restart differs")
			}
		})
	}
}

// A write that fails concerns all shards that share a log: it is opened again once, and they
// go on with all that was acknowledged.
func TestSharedLogFails(t *testing.T) {
	for _, kind := range []string{"write", "sync"} {
		t.Run(kind, func(t *testing.T) {
			vfs := &faultyFS{VFS: fs.New(), shard: "log"}
			fault := &vfs.failWrites
			if kind == "sync" {
				fault = &vfs.failSyncs
			}
			cfg := testConfig(t)
			cfg.RaftLog, cfg.walFS = RaftLogShared, vfs
			s := open(t, cfg)
			users := []command.UserID{userIn(s, 0, 0), userIn(s, 1, 0)}
			for n := range 10 {
				send(t, s, message(users[0], users[0], n))
				send(t, s, message(users[1], users[1], n))
			}
			fault.Store(true)
			if _, err := s.Propose(context.Background(), message(users[0], users[0], 10)); !errors.Is(err, store.ErrUnknown) {
				t.Errorf("append that fails: %v, want ErrUnknown", err)
			}
			for _, u := range users { // also the shard that had nothing to write
				eventually(t, "the shard refuses", func() bool {
					_, err := s.Propose(context.Background(), message(u, u, 11))
					return errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown)
				})
			}
			fault.Store(false)
			eventually(t, "the shards serve again", func() bool { return s.Ready() == nil })
			for _, u := range users {
				send(t, s, message(u, u, 12))
				got := cids(t, s, u, u)
				for n := range 10 {
					if !slices.Contains(got, message(u, u, n).CID) {
						t.Errorf("%s sees %v, without message %d", u, got, n)
					}
				}
			}
			if n := s.data.log.Opened(); n != 2 {
				t.Errorf("the log was opened %d times, want 2", n)
			}
		})
	}
}

func TestLowDiskRefusesSends(t *testing.T) {
	cfg := testConfig(t)
	s := open(t, cfg)
	alice := userIn(s, 0, 0)
	eventually(t, "a send is refused", func() bool {
		s.diskLow.Store(true) // until the store looks for itself
		_, err := s.Propose(context.Background(), message(alice, alice, 1))
		return errors.Is(err, store.ErrUnavailable) && store.RetryAfter(err) > 0
	})
	login(t, s, alice, "phone", &ear{})
	s.checkDisk()
	send(t, s, message(alice, alice, 1))
}
