package faults

import (
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// TestClockWeekAhead sets the wall clock further ahead than anything lives, for
// five minutes, and back. Nothing expires by it, and what has expired by the
// time that really passed is hidden although the shard does nothing.
func TestClockWeekAhead(t *testing.T) {
	const ahead = 169 * time.Hour
	s := harness.StartFaults(t)
	alice := s.Login(t, "alice", "phone", nil)
	alice.Sync()
	began := wstest.Num(t, alice.Say("u:bob", "1"), "time")
	alice.Request("send", obj{"conv": "u:bob", "cid": "short", "body": obj{"text": "short"}, "ttl": 60})

	s.JumpClock(ahead)
	want := func(cids ...string) {
		t.Helper()
		messages, _ := alice.History("u:bob", nil)
		if len(messages) != len(cids) {
			t.Fatalf("history = %v, want cids %v", messages, cids)
		}
		last := began
		for i, m := range messages {
			if m.CID != cids[i] || m.Time < last || m.Time > began+10*time.Minute.Milliseconds() {
				t.Errorf("message %d is cid %s at %d, want %s between %d and ten minutes after %d", i, m.CID, m.Time, cids[i], last, began)
			}
			last = m.Time
		}
	}
	want("1", "short")
	s.PassTime(61 * time.Second)
	want("1")
	s.PassTime(4 * time.Minute)
	alice.Say("u:bob", "2")
	bob := s.Login(t, "bob", "phone", obj{"autoRead": false})
	if got := bob.Sync().Messages; len(got) != 2 {
		t.Fatalf("bob got %v, want what has not expired: 1 and 2", got)
	}
	s.JumpClock(-ahead)
	alice.Say("u:bob", "3")
	want("1", "2", "3")
	if got := s.Login(t, "bob", "desk", nil).Sync().Messages; len(got) != 3 {
		t.Errorf("bob's other device got %v, want 1, 2 and 3", got)
	}
}

// TestClockFollowed has a wall clock that stays where it was set: ahead, it is
// followed once it has stood; back, time goes on and never falls. A restart
// takes the wall clock as it is then, but not below what was applied.
func TestClockFollowed(t *testing.T) {
	const ahead = 10 * time.Hour
	s := harness.StartFaults(t, "--clock-settle=1m")
	alice := s.Login(t, "alice", "phone", nil)
	alice.Sync()
	first := wstest.Num(t, alice.Say("u:bob", "1"), "time")
	s.JumpClock(ahead)
	if at := wstest.Num(t, alice.Say("u:bob", "2"), "time"); at-first > time.Minute.Milliseconds() {
		t.Errorf("followed at once: %d after %d", at, first)
	}
	s.PassTime(61 * time.Second)
	followed := wstest.Num(t, alice.Say("u:bob", "3"), "time")
	if followed-first < ahead.Milliseconds() {
		t.Errorf("not followed after it had stood: %d after %d", followed, first)
	}
	s.JumpClock(-ahead)
	last := followed
	later := func(cid string) {
		t.Helper()
		at := wstest.Num(t, alice.Say("u:bob", cid), "time")
		if at < last || at > followed+10*time.Minute.Milliseconds() {
			t.Errorf("cid %s has time %d, want from %d on, not far", cid, at, last)
		}
		last = at
	}
	later("4")
	s.PassTime(2 * time.Minute)
	later("5")
	s.Kill()
	s.Restart()
	alice.Login(nil)
	later("6")
	if got, _ := alice.History("u:bob", nil); len(got) != 6 {
		t.Errorf("history = %v, want 6 messages", got)
	}
}

// TestFaultClock sees messages out of their time, and keeps them when only the
// wall clock is wrong.
func TestFaultClock(t *testing.T) {
	s := harness.StartFaults(t)
	alice := s.Login(t, "alice", "phone", nil)
	alice.Request("send", obj{"conv": "u:bob", "cid": "short", "ttl": 60, "body": obj{}})
	alice.Say("u:bob", "long")

	s.JumpClock(1000 * time.Hour)
	bob := s.Login(t, "bob", "phone", obj{"autoRead": false})
	if got := bob.Sync().Messages; len(got) != 2 {
		t.Errorf("after the wall clock jumped: %v, want both messages", got)
	}
	s.PassTime(61 * time.Second)
	bob.Login(obj{"autoRead": false})
	if got := bob.Sync().Messages; len(got) != 1 || got[0].CID != "long" {
		t.Errorf("after 61 s: %v, want the one that lives long", got)
	}
}
