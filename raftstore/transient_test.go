package raftstore

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

func TestRepeatsOfWhatIsStoredNowhere(t *testing.T) {
	cfg := testConfig(t)
	cfg.Limits.GroupRate, cfg.Limits.GroupBurst = 1, 2
	s := open(t, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	group := groupIn(s, 0, 0)
	createGroup(t, s, group, command.GroupLive, alice)
	var bobs ear
	var groups groupEar
	from := login(t, s, alice, "phone", &ear{})
	login(t, s, bob, "phone", &bobs)
	s.WatchGroup(group, &groups)
	defer s.UnwatchGroup(group, &groups)

	id := byte(0)
	ways := map[string]struct {
		send  func(cid string, body byte) (command.MsgID, command.Result, error)
		heard func() int
	}{
		"to a user": {func(cid string, body byte) (command.MsgID, command.Result, error) {
			id++
			m := &command.Send{User: alice, Session: from.Session, To: bob, ID: command.MsgID{id}, CID: cid, Body: []byte{body}}
			r, err := s.SendEphemeral(m)
			return m.ID, r, err
		}, func() int { return len(bobs.heard()) }},
		"to a group": {func(cid string, body byte) (command.MsgID, command.Result, error) {
			id++
			m := &command.SendGroup{User: alice, Session: from.Session, Group: group, ID: command.MsgID{id}, CID: cid, Body: []byte{body}}
			r, err := s.SendLive(m)
			return m.ID, r, err
		}, func() int { return len(groups.heard()) }},
	}
	for name, way := range ways {
		firstID, first, err := way.send("c", 1)
		if err != nil || first.ID != firstID || first.Duplicate {
			t.Fatalf("%s: first = %+v, %v", name, first, err)
		}
		for range 5 { // more than the group's rate: repeats do not count for it
			if _, r, err := way.send("c", 1); err != nil || r.ID != first.ID || r.Time != first.Time || !r.Duplicate {
				t.Errorf("%s: repeat = %+v, %v, want the first's %+v", name, r, err, first)
			}
		}
		_, _, err = way.send("c", 2)
		wantRefused(t, name+": another body", err, command.CodeConflict)
		if n := way.heard(); n != 1 {
			t.Errorf("%s: %d messages were passed on, want 1", name, n)
		}
		if _, r, err := way.send("d", 1); err != nil || r.Duplicate || way.heard() != 2 {
			t.Errorf("%s: another cid = %+v, %v, want it passed on", name, r, err)
		}
	}
}

func TestPassedTable(t *testing.T) {
	p := newTransientDedup(10 * time.Millisecond)
	key := func(n int) transientKey { return transientKey{from: "alice", to: "bob", cid: fmt.Sprint(n)} }
	pass := func(n int, now int64) bool {
		_, repeat, err := p.record(key(n), command.MsgID{1}, 1, now)
		if err != nil {
			t.Fatal(err)
		}
		return repeat
	}
	for _, k := range []transientKey{key(0), {from: "alice", group: "bob", cid: "0"}, {from: "bob", to: "alice", cid: "0"}, {from: "alice", to: "bobo", cid: ""}} {
		if _, repeat, _ := p.record(k, command.MsgID{}, 1, 1000); repeat {
			t.Errorf("%+v is a repeat", k)
		}
	}
	if !pass(0, 1009) || pass(0, 1010) || !pass(0, 1019) {
		t.Error("a repeat is known for another time than the window of 10 ms since the first")
	}
	for n := range 3 * maxTransient {
		if pass(n+1, 1020) {
			t.Fatalf("message %d is a repeat", n)
		}
		if held := len(p.young) + len(p.old); held > maxTransient {
			t.Fatalf("%d messages are held, want at most %d", held, maxTransient)
		}
	}
	if n := 3 * maxTransient; !pass(n-maxTransient/2+1, 1020) {
		t.Error("a message among the newest half of those that fit is forgotten")
	}
	if pass(1, 1050); len(p.young) != 1 || pass(2, 1070) || len(p.young)+len(p.old) != 2 {
		t.Errorf("%d and %d are held long after their window, want 1 and 1", len(p.young), len(p.old))
	}
}

func TestPassedAtTheSameMoment(t *testing.T) {
	p := newTransientDedup(time.Second)
	var passed atomic.Int32
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			if _, repeat, _ := p.record(transientKey{cid: "c"}, command.MsgID{byte(n)}, 0, 1); !repeat {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if n := passed.Load(); n != 1 {
		t.Errorf("%d of 8 at once were passed on, want 1", n)
	}
}
