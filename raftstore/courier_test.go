package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

func wantCIDs(t *testing.T, s *Store, user, peer command.UserID, n int) {
	t.Helper()
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("c%d", i))
	}
	var got []string
	eventually(t, fmt.Sprintf("%s has %d messages", user, n), func() bool {
		if s.Ready() != nil {
			return false
		}
		got = cids(t, s, user, peer)
		return len(got) >= n
	})
	if !slices.Equal(got, want) {
		t.Errorf("%s has %v, want %v", user, got, want)
	}
}

// Scenario 24: a send is answered while the receiver's shard has no leader, and
// delivered once it has one again.
func TestSendWhileDestinationIsDown(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.RaftLog = kind
			cfg.Shards = 3
			s := open(t, cfg)
			alice, bob, carol := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 2, 0)
			if err := s.stopShard(1); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Propose(context.Background(), message(bob, alice, 0)); !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("stopped shard: %v, want ErrUnavailable", err)
			}
			for n := range 20 {
				send(t, s, message(alice, bob, n))
			}
			// Others are not delayed.
			send(t, s, message(alice, carol, 0))
			eventually(t, "carol has hers", func() bool { return len(cids(t, s, carol, alice)) == 1 })
			if err := s.resumeShard(1); err != nil {
				t.Fatal(err)
			}
			wantCIDs(t, s, bob, alice, 20)
			eventually(t, "all letters are confirmed and forgotten", func() bool { return outboxEmpty(s) && s.shards()[1].outbox.Load() == 0 })
		})
	}
}

// Both shards come and go while messages are sent: none is lost, none comes
// twice, and the order stays.
func TestLettersSurviveRestartsOfBothShards(t *testing.T) {
	s := open(t, testConfig(t))
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	const messages = 400
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range messages {
			for { // as a client does: repeat until answered
				r, err := s.Propose(context.Background(), message(alice, bob, n))
				if err == nil && r.Code == command.OK {
					break
				}
				if err == nil {
					t.Errorf("message %d: %v", n, r.Err())
					return
				}
			}
		}
	}()
	for i := 0; ; i++ {
		if err := s.stopShard(i % 2); err != nil {
			t.Fatal(err)
		}
		if err := s.resumeShard(i % 2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the shard serves again", func() bool { return s.Ready() == nil })
		select {
		case <-done:
		default:
			continue
		}
		break
	}
	wantCIDs(t, s, alice, bob, messages)
	wantCIDs(t, s, bob, alice, messages)
}

// What waits for a shard that is down is bounded, and only for that shard.
func TestOutboxIsBounded(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards = 3
	cfg.OutboxBytes = 20_000
	s := open(t, cfg)
	alice, bob, carol := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 2, 0)
	if err := s.stopShard(1); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for ; sent < 1000; sent++ {
		_, err := s.Propose(context.Background(), message(alice, bob, sent))
		if errors.Is(err, store.ErrUnavailable) && store.RetryAfter(err) > 0 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if sent < 50 || sent > 200 {
		t.Errorf("%d messages waited within 20 kB", sent)
	}
	if _, err := s.Propose(context.Background(), &command.Block{User: alice, Target: bob}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Block, which writes a letter: %v, want ErrUnavailable", err)
	}
	send(t, s, message(alice, carol, 0))
	if err := s.resumeShard(1); err != nil {
		t.Fatal(err)
	}
	wantCIDs(t, s, bob, alice, sent)
	eventually(t, "there is room again", func() bool { return s.shards()[1].outbox.Load() == 0 })
	send(t, s, message(alice, bob, sent))
}

// The bytes counted for a destination go with the reign that counted them.
func TestOutboxCountSurvivesRestartOfSource(t *testing.T) {
	s := open(t, testConfig(t))
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	if err := s.stopShard(1); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		send(t, s, message(alice, bob, n))
	}
	before := s.shards()[1].outbox.Load()
	if err := s.stopShard(0); err != nil {
		t.Fatal(err)
	}
	if n := s.shards()[1].outbox.Load(); n != 0 {
		t.Errorf("%d bytes counted by a shard that is down", n)
	}
	if err := s.resumeShard(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the letters are counted again", func() bool { return s.shards()[1].outbox.Load() == before })
	if err := s.resumeShard(1); err != nil {
		t.Fatal(err)
	}
	wantCIDs(t, s, bob, alice, 5)
}

// TestChangeIsKnownWhenAnswered looks into the users' shards as soon as a change
// of membership has been answered; one that is down delays no answer for long.
func TestChangeIsKnownWhenAnswered(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards = 3
	s := open(t, cfg)
	ann, bob, cat := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 2, 0)
	joined := func(user command.UserID) int { return s.Eligibility("", []command.UserID{user})[0].Joined }
	for n := range 100 {
		id := command.GroupID(fmt.Sprint("team", n))
		makeGroup(t, s, id, ann, bob, cat)
		if a, b, c := joined(ann), joined(bob), joined(cat); a != n+1 || b != 1 || c != n+1 {
			t.Fatalf("after group %d was made, its members know of %d, %d and %d groups", n+1, a, b, c)
		}
		mustPropose(t, s, &command.RemoveMembers{Group: id, Users: []command.UserID{bob}})
		if b := joined(bob); b != 0 {
			t.Fatalf("after bob was removed from group %d, he knows of %d groups", n+1, b)
		}
	}
	id := groupIn(s, 0, 0)
	makeGroup(t, s, id, ann)
	if err := s.stopShard(1); err != nil {
		t.Fatal(err)
	}
	mustPropose(t, s, &command.AddMembers{Group: id, Users: []command.UserID{bob}})
	if err := s.resumeShard(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the shard is back", func() bool { return s.Ready() == nil })
	// The courier may still sit out a pause.
	other := groupIn(s, 0, 1)
	makeGroup(t, s, other, ann, bob)
	if n := joined(bob); n != 2 {
		t.Errorf("once his shard is back, bob knows of %d groups, want 2", n)
	}
}
