package raftstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An entry that cannot be decoded stops its shard, now and after a restart. The
// other shard and the process go on.
func TestStoppedShard(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.RaftLog = kind
			s := open(t, cfg)
			alice, anna, bob := userIn(s, 0, 0), userIn(s, 0, 1), userIn(s, 1, 0)
			send(t, s, message(alice, anna, 1))
			send(t, s, message(bob, bob, 1))

			if err := s.shards()[0].here().replica.Enqueue(0, []byte{0xff}, replica.Waiter{}); err != nil {
				t.Fatal(err)
			}
			stopped := func(s *Store) {
				t.Helper()
				path := filepath.Join(cfg.Dir, "shard-0000", replica.StoppedFile)
				eventually(t, "the reason is written", func() bool { _, err := os.Stat(path); return err == nil })
				text, _ := os.ReadFile(path)
				if !strings.Contains(string(text), "shard 0 has stopped at entry") {
					t.Errorf("%s says %q", replica.StoppedFile, text)
				}
				if err := s.Ready(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "shard 0") {
					t.Errorf("Ready = %v, want shard 0 unavailable", err)
				}
				if _, err := s.Propose(context.Background(), message(alice, anna, 2)); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("Propose = %v, want ErrUnavailable", err)
				}
				if err := s.History(query.HistoryQuery{User: alice, Peer: anna, Limit: 1}, new(query.Page)); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("History = %v, want ErrUnavailable", err)
				}
				if _, err := s.Recents(context.Background(), alice, 1<<20); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("Recents = %v, want ErrUnavailable", err)
				}
				if _, err := s.Login(context.Background(), &command.Login{User: alice, Device: "d"}, query.RecentsOn, &ear{}); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("Login = %v, want ErrUnavailable", err)
				}
			}
			stopped(s)
			send(t, s, message(bob, bob, 2))
			send(t, s, message(bob, alice, 3)) // waits for a shard that may come back
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			s = open(t, cfg)
			stopped(s)
			send(t, s, message(bob, bob, 4))
			if got := cids(t, s, bob, bob); len(got) != 3 {
				t.Errorf("the other shard holds %v", got)
			}
		})
	}
}

// A panic in a read stops the shard as well, and no other goroutine notices.
func TestPanicInRead(t *testing.T) {
	s := open(t, testConfig(t))
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	err := s.shards()[0].here().local.ReadLocal(func(*shard.State, int64) { panic("planted") })
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "planted") {
		t.Errorf("read = %v", err)
	}
	if _, err := s.Propose(context.Background(), message(alice, alice, 1)); err == nil {
		t.Error("a stopped shard took a command")
	}
	send(t, s, message(bob, bob, 1))
}

// What cannot be decoded is refused before it is in the log.
func TestMalformedCommandIsRefused(t *testing.T) {
	s := open(t, testConfig(t))
	long := command.UserID(strings.Repeat("x", command.MaxName+1))
	r, err := s.Propose(context.Background(), &command.Send{User: long, To: "bob", CID: "1", Body: []byte{1}})
	if err != nil || r.Code != command.CodeBadRequest {
		t.Errorf("Propose = %+v, %v; want CodeBadRequest", r, err)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
}
