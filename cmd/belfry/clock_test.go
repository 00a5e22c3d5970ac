package main

import (
	"testing"
	"time"
)

// TestClockWeekAhead sets the wall clock further ahead than anything lives, for
// five minutes, and back. Nothing expires by it, and what has expired by the
// time that really passed is hidden although the shard does nothing.
func TestClockWeekAhead(t *testing.T) {
	const ahead = 169 * time.Hour
	s := startFaultServer(t)
	alice := s.login(t, "alice", "phone", nil)
	alice.sync()
	began := num(t, alice.say("u:bob", "1"), "time")
	alice.request("send", obj{"conv": "u:bob", "cid": "short", "body": obj{"text": "short"}, "ttl": 60})

	s.jumpClock(ahead)
	want := func(cids ...string) {
		t.Helper()
		messages, _ := alice.history("u:bob", nil)
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
	s.passTime(61 * time.Second)
	want("1")
	s.passTime(4 * time.Minute)
	alice.say("u:bob", "2")
	bob := s.login(t, "bob", "phone", obj{"autoRead": false})
	if got := bob.sync().Messages; len(got) != 2 {
		t.Fatalf("bob got %v, want what has not expired: 1 and 2", got)
	}
	s.jumpClock(-ahead)
	alice.say("u:bob", "3")
	want("1", "2", "3")
	if got := s.login(t, "bob", "desk", nil).sync().Messages; len(got) != 3 {
		t.Errorf("bob's other device got %v, want 1, 2 and 3", got)
	}
}

// TestClockFollowed has a wall clock that stays where it was set: ahead, it is
// followed once it has stood; back, time goes on and never falls. A restart
// takes the wall clock as it is then, but not below what was applied.
func TestClockFollowed(t *testing.T) {
	const ahead = 10 * time.Hour
	s := startFaultServer(t, "--clock-settle=1m")
	alice := s.login(t, "alice", "phone", nil)
	alice.sync()
	first := num(t, alice.say("u:bob", "1"), "time")
	s.jumpClock(ahead)
	if at := num(t, alice.say("u:bob", "2"), "time"); at-first > time.Minute.Milliseconds() {
		t.Errorf("followed at once: %d after %d", at, first)
	}
	s.passTime(61 * time.Second)
	followed := num(t, alice.say("u:bob", "3"), "time")
	if followed-first < ahead.Milliseconds() {
		t.Errorf("not followed after it had stood: %d after %d", followed, first)
	}
	s.jumpClock(-ahead)
	last := followed
	later := func(cid string) {
		t.Helper()
		at := num(t, alice.say("u:bob", cid), "time")
		if at < last || at > followed+10*time.Minute.Milliseconds() {
			t.Errorf("cid %s has time %d, want from %d on, not far", cid, at, last)
		}
		last = at
	}
	later("4")
	s.passTime(2 * time.Minute)
	later("5")
	s.kill()
	s.restart()
	alice.login(nil)
	later("6")
	if got, _ := alice.history("u:bob", nil); len(got) != 6 {
		t.Errorf("history = %v, want 6 messages", got)
	}
}
