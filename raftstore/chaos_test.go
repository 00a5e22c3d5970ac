package raftstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft-wal/fs"
)

// Users of all shards write to each other and repeat what was not answered,
// while shards stop, lose their disk and take snapshots. In the end every view
// holds every message once, each sender's in the order in which he sent them,
// and a restart gives the same state.
func TestChaos(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			const shards, messages = 3, 100
			vfs := &faultyFS{VFS: fs.New(), shard: "shard-0001"}
			cfg := testConfig(t)
			cfg.Shards = shards
			cfg.walFS = vfs
			s := open(t, cfg)
			var users []command.UserID
			for id := range shards {
				users = append(users, userIn(s, id, 0), userIn(s, id, 1))
			}
			var writers sync.WaitGroup
			for _, from := range users {
				writers.Go(func() {
					for n := range messages {
						for _, to := range users {
							if to != from {
								sendUntilAnswered(t, s, from, to, n)
							}
						}
					}
				})
			}
			done := make(chan struct{})
			go func() { writers.Wait(); close(done) }()
			wreak(t, s, vfs, rand.New(rand.NewPCG(seed, 1)), done)

			eventually(t, "all shards serve and all letters are confirmed", func() bool { return s.Ready() == nil && outboxEmpty(s) })
			for i, a := range users {
				for _, b := range users[:i] {
					checkView(t, s, a, b, messages)
					checkView(t, s, b, a, messages)
				}
			}
			sums := []map[uint16]uint64{checksums(s, 0), checksums(s, 1), checksums(s, 2)}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, cfg)
			for id := range sums {
				if !equalSums(checksums(s, id), sums[id]) {
					t.Errorf("shard %d after restart differs", id)
				}
			}
		})
	}
}

func sendUntilAnswered(t *testing.T, s *Store, from, to command.UserID, n int) {
	cmd := message(from, to, n)
	cmd.CID = fmt.Sprintf("%s/%d", from, n)
	for {
		r, err := s.Propose(context.Background(), cmd)
		switch {
		case err == nil && r.Code == command.OK:
			return
		case err == nil:
			t.Errorf("%s → %s: %v", from, to, r.Err())
			return
		case !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown):
			t.Errorf("%s → %s: %v", from, to, err)
			return
		}
		time.Sleep(time.Millisecond) // a client backs off; nothing depends on it
	}
}

// wreak does damage until done, and leaves all in order.
func wreak(t *testing.T, s *Store, vfs *faultyFS, rnd *rand.Rand, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		id := rnd.IntN(len(s.shards()))
		switch rnd.IntN(3) {
		case 0:
			if err := s.stopShard(id); err != nil {
				t.Fatal(err)
			}
			if err := s.resumeShard(id); err != nil {
				t.Fatal(err)
			}
		case 1:
			s.shards()[id].here().local.Snapshot() // may fail: the shard may be going
		case 2:
			vfs.failSyncs.Store(true)
			eventually(t, "the log failed, or nobody wrote", func() bool {
				select {
				case <-done:
					return true
				default:
					return s.shards()[1].here().replica.Ready() != nil
				}
			})
			vfs.failSyncs.Store(false)
		}
		target := s.shards()[rnd.IntN(len(s.shards()))].here().local.Applied() + int64(rnd.IntN(400))
		eventually(t, "some time passes", func() bool { return s.Now() >= target })
	}
}

// checkView checks that user holds all messages of a conversation.
func checkView(t *testing.T, s *Store, user, peer command.UserID, messages int) {
	t.Helper()
	all := cids(t, s, user, peer)
	for _, from := range []command.UserID{user, peer} {
		var got, want []string
		for _, cid := range all {
			if strings.HasPrefix(cid, string(from)+"/") {
				got = append(got, cid)
			}
		}
		for n := range messages {
			want = append(want, fmt.Sprintf("%s/%d", from, n))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s sees of %s: %v", user, from, got)
		}
	}
}
