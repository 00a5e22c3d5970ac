package raftstore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

func TestSendLive(t *testing.T) {
	cfg := testConfig(t)
	cfg.Limits.GroupRate, cfg.Limits.GroupBurst = 1, 3
	s := open(t, cfg)
	stored, live := groupIn(s, 0, 0), groupIn(s, 1, 0)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	createGroup(t, s, stored, command.GroupPrivate, alice)
	createGroup(t, s, live, command.GroupLive, alice)
	var ear groupEar
	s.WatchGroup(live, &ear)

	m := groupMessage(live, bob, 1)
	m.Mentions = []string{"carol"}
	sent, err := s.SendLive(m)
	if err != nil || sent.ID != m.ID || sent.Time == 0 || sent.Duplicate {
		t.Fatalf("SendLive = %+v, %v", sent, err)
	}
	m.Body[0], m.Mentions[0] = 0, "dave" // the caller's again
	heard := ear.heard()
	if len(heard) != 1 {
		t.Fatalf("heard %d messages, want 1", len(heard))
	}
	if got := heard[0]; got.Group != live || got.From != bob || got.Session != 1 || got.Time != sent.Time || got.Seq != 0 ||
		string(got.CID) != "c1" || got.Body[0] != 0xa1 || got.Mentions[0] != "carol" {
		t.Errorf("message = %+v", got)
	}
	if info, _, _ := s.Group(live, alice); info.LastSeq != 0 {
		t.Errorf("a live group has stored %d messages", info.LastSeq)
	}

	muted := s.Now() + 60_000
	do(t, s, &command.SetMember{Group: live, By: alice, User: bob, MutedUntil: &muted})
	_, err = s.SendLive(m)
	wantRefused(t, "a muted user", err, command.CodeForbidden)
	_, err = s.SendLive(groupMessage(stored, bob, 2))
	wantRefused(t, "a stranger in a stored group", err, command.CodeForbidden)
	admin := groupMessage(stored, bob, 2)
	admin.Admin = true
	if _, err = s.SendLive(admin); err != nil {
		t.Errorf("an administrator in a stranger's name: %v", err)
	}
	_, err = s.SendLive(groupMessage("nothing", bob, 2))
	wantRefused(t, "no group", err, command.CodeNotFound)
	_, err = s.SendLive(&command.SendGroup{Group: live, User: alice})
	wantRefused(t, "no cid", err, command.CodeBadRequest)

	for n := range 2 { // one of the burst is gone
		if _, err := s.SendLive(groupMessage(live, alice, 10+n)); err != nil {
			t.Fatalf("within the burst: %v", err)
		}
	}
	_, err = s.SendLive(groupMessage(live, alice, 12))
	wantRefused(t, "over the burst", err, command.CodeRateLimited)
	if refused, ok := err.(*command.RefusedError); ok && (refused.RetryAfterMS <= 0 || refused.RetryAfterMS > 1000) {
		t.Errorf("retry after %d ms, want 1-1000", refused.RetryAfterMS)
	}
	s.UnwatchGroup(live, &ear)
}

func TestTypingInGroups(t *testing.T) {
	s := open(t, testConfig(t))
	group := groupIn(s, 0, 0)
	alice, bob, stranger := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 1, 1)
	createGroup(t, s, group, command.GroupChatroom, alice, bob)
	var own, his, other ear
	login(t, s, alice, "phone", &own)
	login(t, s, bob, "phone", &his)
	login(t, s, stranger, "phone", &other)
	typing := func(from command.UserID) {
		t.Helper()
		if err := s.TypingGroup(from, group); err != nil {
			t.Errorf("TypingGroup(%s): %v", from, err)
		}
	}
	typing(alice)
	if heard := his.heard(); len(heard) != 1 || heard[0].Kind != store.SignalTyping || heard[0].User != alice || heard[0].Group != group {
		t.Fatalf("heard %+v, want alice typing in the group", heard)
	}
	wantRefused(t, "a stranger", s.TypingGroup(stranger, group), command.CodeForbidden)
	wantRefused(t, "no group", s.TypingGroup(alice, "nothing"), command.CodeNotFound)
	muted := s.Now() + 60_000
	do(t, s, &command.SetMember{Group: group, By: alice, User: bob, MutedUntil: &muted})
	wantRefused(t, "a muted member", s.TypingGroup(bob, group), command.CodeForbidden)
	if n := len(own.heard()) + len(other.heard()); n != 0 || len(his.heard()) != 1 {
		t.Errorf("a stranger, a muted member or nobody typing was told %d times", n)
	}
	var many []command.UserID
	for n := range store.MaxTyping {
		many = append(many, userIn(s, 0, n+1))
	}
	do(t, s, &command.AddMembers{Group: group, By: alice, Users: many})
	typing(alice)
	if n := len(his.heard()); n != 1 {
		t.Errorf("typing was told %d times in a large group, want 1 from before", n)
	}
}

func TestPresenceThroughAGroup(t *testing.T) {
	s := open(t, testConfig(t))
	group := groupIn(s, 0, 0)
	alice, bob, carol := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 1, 1)
	createGroup(t, s, group, command.GroupPrivate, alice, bob)
	createGroup(t, s, groupIn(s, 1, 0), command.GroupPrivate, carol)
	wantGroups(t, s, bob, group)
	login(t, s, bob, "phone", &ear{})
	login(t, s, carol, "phone", &ear{})
	if seen, err := s.Presence(alice, []command.UserID{bob}); err != nil || len(seen) != 0 {
		t.Errorf("Presence of who was put into a group = %v, %v; want nothing", seen, err)
	}
	if seen, err := s.Presence(bob, []command.UserID{alice}); err != nil || len(seen) != 0 {
		t.Errorf("Presence of who never logged in = %v, %v; want nothing", seen, err)
	}
	login(t, s, alice, "phone", &ear{})
	do(t, s, &command.SendGroup{Group: group, User: bob, ID: command.MsgID{1}, CID: "1", Body: []byte{1}})
	eventually(t, "bob's shard knows that he has spoken", func() bool {
		refs, err := s.GroupsOf(t.Context(), bob)
		return err == nil && len(refs) == 1 && !refs[0].Invited
	})
	seen, err := s.Presence(alice, []command.UserID{carol, bob})
	if err != nil || len(seen) != 1 || !seen[bob].Online {
		t.Errorf("Presence = %v, %v; want bob alone", seen, err)
	}
	if seen, err := s.Presence(bob, []command.UserID{alice}); err != nil || len(seen) != 1 {
		t.Errorf("Presence = %v, %v; want alice", seen, err)
	}
	do(t, s, &command.LeaveGroup{Group: group, User: bob})
	wantGroups(t, s, bob)
	if seen, err := s.Presence(alice, []command.UserID{bob}); err != nil || len(seen) != 0 {
		t.Errorf("Presence of who has left = %v, %v", seen, err)
	}
	do(t, s, &command.AddMembers{Group: group, By: alice, Users: []command.UserID{bob}})
	wantGroups(t, s, bob, group)
	block(t, s, bob, alice)
	if seen, err := s.Presence(alice, []command.UserID{bob}); err != nil || len(seen) != 0 {
		t.Errorf("Presence of who has blocked the asker = %v, %v", seen, err)
	}
}

func TestEligibility(t *testing.T) {
	s, alice, bob := acquainted(t)
	login(t, s, bob, "phone", &ear{})
	block(t, s, bob, alice)
	users := []command.UserID{bob, alice}
	if got := s.Eligibility(alice, users); got[0] != (store.Eligibility{Known: true, Exists: true, Blocks: true}) || got[1] != (store.Eligibility{Known: true}) {
		t.Errorf("Eligibility = %+v, want bob there and blocking", got)
	}
	if got := s.Eligibility("", users); got[0].Blocks {
		t.Errorf("Eligibility for nobody = %+v, want no block", got)
	}
	if err := s.stopShard(1); err != nil {
		t.Fatal(err)
	}
	if got := s.Eligibility(alice, users); !errors.Is(got[0].Err, store.ErrUnavailable) || got[1].Err != nil {
		t.Errorf("Eligibility with bob's shard down = %+v, want ErrUnavailable for him alone", got)
	}
	if err := s.resumeShard(1); err != nil {
		t.Fatal(err)
	}
}

// A message that passes through has its place among what changes its group: the
// watchers hear them in that order, whatever happens at the same time.
func TestSendLiveKeepsTheOrder(t *testing.T) {
	cfg := testConfig(t)
	cfg.Limits.GroupRate = -1
	s := open(t, cfg)
	group, owner := groupIn(s, 0, 0), userIn(s, 0, 0)
	createGroup(t, s, group, command.GroupLive, owner)
	var ear groupEar
	s.WatchGroup(group, &ear)
	defer s.UnwatchGroup(group, &ear)
	var senders sync.WaitGroup
	stop := make(chan struct{})
	for n := range 4 {
		senders.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				m := groupMessage(group, userIn(s, 1, n), i+1)
				if err := again(t, func() error { _, err := s.SendLive(m); return err }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	muted := s.Now() + 60_000
	for range 200 {
		muted++
		do(t, s, &command.SetMember{Group: group, By: owner, User: userIn(s, 0, 1), MutedUntil: &muted})
		m := groupMessage(group, owner, 1)
		err := again(t, func() error {
			before, _, err := s.Group(group, owner)
			if err != nil {
				return err
			}
			m.CID = fmt.Sprint("behind ", before.Arrival)
			_, err = s.SendLive(m)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	senders.Wait()
	last := uint64(0)
	for _, m := range ear.heard() {
		if m.Arrival < last {
			t.Fatalf("a message at %d came after one at %d", m.Arrival, last)
		}
		last = m.Arrival
		if at, ok := strings.CutPrefix(string(m.CID), "behind "); ok && at != fmt.Sprint(m.Arrival) {
			t.Errorf("a message at %d was sent when %s had happened", m.Arrival, at)
		}
	}
	if last < 200 {
		t.Errorf("the newest message is at %d, want behind all 200 changes", last)
	}
}
