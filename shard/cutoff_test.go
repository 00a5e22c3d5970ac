package shard

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// TestRaiseCutoffBoundsItsWork takes all that many users hold: no step removes more
// than it may by much, and together they come to the end.
func TestRaiseCutoffBoundsItsWork(t *testing.T) {
	const users, messages, work = 300, 40, 1000
	s := raiseCutoffState(users, messages)
	var out Outcome
	messageBytes, used := s.byAge.total, s.arena.Stats().Used
	steps := 0
	for next := uint16(0); next < command.Slots; steps++ {
		before := s.byAge.total
		batch := command.AppendBatchHeader(nil, s.now)
		s.Apply(command.AppendCommand(batch, &command.RaiseCutoff{Cutoff: s.now, FirstSlot: next, MaxWork: work}), &out)
		next = out.Results[0].NextSlot
		// The last user of a step goes as a whole: they hold what they sent and received.
		if removed, most := before-s.byAge.total, (work/entryWork+2*messages)*raiseCutoffEntry; removed > most {
			t.Fatalf("step %d removed %d bytes, want at most %d", steps, removed, most)
		}
	}
	if least := users * 2 * messages * entryWork / work; steps < least/2 {
		t.Errorf("%d steps, want about %d", steps, least)
	}
	if freed := used - s.arena.Stats().Used; s.byAge.total != 0 || freed < messageBytes {
		t.Errorf("%d bytes of messages left, %d freed of %d", s.byAge.total, freed, messageBytes)
	}
}

// TestRaiseCutoffLeavesWhatStaysAlone puts all totals in error by one. That stays when
// a little of what users have not read goes: nobody has counted the rest.
func TestRaiseCutoffLeavesWhatStaysAlone(t *testing.T) {
	const users, messages, taken = 50, 200, 3
	s := raiseCutoffState(users, messages)
	start := s.now - 60_000
	unread := func(n int) (c *conv) {
		u := s.lookup(command.UserID(fmt.Sprint("user", n)))
		return &u.convs.items[s.findConv(u, command.UserID(fmt.Sprint("user", (n+users-1)%users)))]
	}
	for n := range users {
		s.addQueued(s.lookup(command.UserID(fmt.Sprint("user", n))), unread(n), 1, 0)
	}
	var out Outcome
	batch := command.AppendBatchHeader(nil, s.now)
	s.Apply(command.AppendCommand(batch, &command.RaiseCutoff{Cutoff: start + taken - 1, MaxWork: 1 << 30}), &out)
	for n := range users {
		c := unread(n)
		if c.log.Len() != messages-taken || int(c.queued) != messages-taken+1 || int(c.queuedBytes) != c.log.Bytes() {
			t.Fatalf("%d messages left of user %d, %d counted, %d bytes of %d: want %d left, 1 more counted",
				c.log.Len(), n, c.queued, c.queuedBytes, c.log.Bytes(), messages-taken)
		}
	}
}

// TestRaiseCutoffCountsWhatItLooksAt takes one message of each log whose queue holds
// one that has expired: the whole queue must be counted anew, and each step may
// do so for a few users.
func TestRaiseCutoffCountsWhatItLooksAt(t *testing.T) {
	const users, messages, work = 300, 100, 1000
	s := raiseCutoffState(users, messages)
	var out Outcome
	batch := command.AppendBatchHeader(nil, s.now)
	for i := range users {
		batch = command.AppendCommand(batch, &command.Send{
			User: command.UserID(fmt.Sprint("user", i)), To: command.UserID(fmt.Sprint("user", (i+1)%users)),
			ID: command.MsgID{byte(i)}, CID: "short", TTL: 1, Body: []byte{1},
		})
	}
	s.Apply(batch, &out)
	s.Apply(command.AppendBatchHeader(nil, s.now+2000), &out)
	cutoff := s.now - 62_000
	for next := uint16(0); next < command.Slots; {
		before := s.byAge.total
		batch := command.AppendBatchHeader(nil, s.now)
		s.Apply(command.AppendCommand(batch, &command.RaiseCutoff{Cutoff: cutoff, FirstSlot: next, MaxWork: work}), &out)
		next = out.Results[0].NextSlot
		if removed, most := before-s.byAge.total, (work/messages+1)*2*raiseCutoffEntry; removed > most {
			t.Fatalf("a step removed %d bytes, want at most %d", removed, most)
		}
	}
	for i := range users {
		u := s.lookup(command.UserID(fmt.Sprint("user", i)))
		if u.queued != messages-1 {
			t.Fatalf("%d messages in the queue of user %d, want %d", u.queued, i, messages-1)
		}
	}
}

// TestLetterBelowTheCutoff has a letter come that is too old to be kept: it goes
// at once, as lost, and leaves nothing to look for.
func TestLetterBelowTheCutoff(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.now = 1_700_000_000_000
	b.do(&command.PurgeExpired{})
	b.do(&command.RaiseCutoff{Cutoff: b.now - 1000, FirstSlot: command.Slots - 1})
	b.send("carol", "bob", "kept")
	for n := range uint64(2) {
		b.do(&command.Deliver{Letter: command.Letter{Kind: command.LetterMessage, From: "alice", To: "bob", Number: n + 1, Seq: n + 1, CID: "c", Time: b.now - 2000, Body: []byte{1}}})
		u := b.s.lookup("bob")
		if lost := u.extraOf(&u.convs.items[1]).lost.items(b.s.arena); u.queued != 1 || len(lost) != 1 || lost[0].to != n+1 {
			t.Errorf("%d messages in the queue, lost: %v, want 1 and up to %d", u.queued, lost, n+1)
		}
		if b.s.cutoffReaches(u) {
			t.Error("bob counts as holding something older than the cutoff")
		}
	}
}

// slotNames finds names of users in slot 7.
func slotNames(n int) (names []command.UserID) {
	for i := 0; len(names) < n; i++ {
		if name := loadUser(i); command.SlotOf(string(name)) == 7 {
			names = append(names, name)
		}
	}
	return names
}

// TestRaiseCutoffStopsAlikeOnReplicas stops a RaiseCutoff within a slot: a replica made
// from a snapshot, which has its users in another order, stops at the same one.
func TestRaiseCutoffStopsAlikeOnReplicas(t *testing.T) {
	b := newBench(t, command.Limits{})
	names := slotNames(40)
	for i := range names {
		b.send(names[(i*17+5)%len(names)], "b", "m")
	}
	b.now += 10
	b.do(&command.PurgeExpired{})
	other, err := Restore(bytes.NewReader(snapshot(b.s)), 1)
	if err != nil {
		t.Fatal(err)
	}
	batch := command.AppendCommand(command.AppendBatchHeader(nil, b.now), &command.RaiseCutoff{Cutoff: b.now, FirstSlot: 7, MaxWork: 90})
	for _, s := range []*State{b.s, other} {
		s.Apply(batch, &b.out)
		if next := b.out.Results[0].NextSlot; next != 7 {
			t.Errorf("Retain = %d, want to go on in slot 7", next)
		}
	}
	if got, want := other.Checksum(7), b.s.Checksum(7); got != want {
		t.Errorf("Checksum(7) = %x on the replica, want %x", got, want)
	}
}

// raiseCutoffEntry is more than a message of raiseCutoffState takes in a log.
const raiseCutoffEntry = 300

// raiseCutoffState has users in one circle, each of whom wrote so many messages of
// 128 bytes to the next, in the last minute before its time.
func raiseCutoffState(users, messages int) *State {
	s := NewState(1)
	var out Outcome
	at := int64(1_700_000_000_000)
	batch := command.AppendCommand(command.AppendBatchHeader(nil, at), openAll())
	s.Apply(command.AppendCommand(batch, &command.Configure{Version: 1, Limits: command.Limits{UserBytes: -1, OfflineMaxBytes: -1, OfflineMaxMessages: -1}}), &out)
	body := make([]byte, 128)
	for n := range messages {
		batch := command.AppendBatchHeader(nil, at+int64(n))
		for i := range users {
			batch = command.AppendCommand(batch, &command.Send{
				User: command.UserID(fmt.Sprint("user", i)), To: command.UserID(fmt.Sprint("user", (i+1)%users)),
				ID: command.MsgID{byte(i), byte(n)}, CID: fmt.Sprint(n), Body: body,
			})
		}
		s.Apply(batch, &out)
	}
	s.Apply(command.AppendBatchHeader(nil, at+60_000), &out)
	return s
}

// BenchmarkRaiseCutoff frees a million messages by steps as the store asks for them,
// and returns the longest of these.
func BenchmarkRaiseCutoff(b *testing.B) {
	const users, messages = 5000, 100 // each in two logs
	longest, took, steps := time.Duration(0), time.Duration(0), 0
	for b.Loop() {
		b.StopTimer()
		s := raiseCutoffState(users, messages)
		var out Outcome
		b.StartTimer()
		for next := uint16(0); next < command.Slots; steps++ {
			batch := command.AppendBatchHeader(nil, s.now)
			batch = command.AppendCommand(batch, &command.RaiseCutoff{Cutoff: s.now, FirstSlot: next, MaxWork: 12_000})
			start := time.Now()
			s.Apply(batch, &out)
			d := time.Since(start)
			took += d
			longest = max(longest, d)
			next = out.Results[0].NextSlot
		}
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*users*messages*2), "ns/message")
	b.ReportMetric(float64(longest.Microseconds()), "µs/longest-step")
	b.ReportMetric(float64(took.Microseconds())/float64(steps), "µs/step")
}

// BenchmarkRaiseCutoffLittle takes the oldest message of each log of a thousand users
// with 900 unread ones, as a budget does every 100 ms, and returns the longest step.
func BenchmarkRaiseCutoffLittle(b *testing.B) {
	const users, messages = 1000, 900
	s := raiseCutoffState(users, messages)
	cutoff := s.now - 60_000
	longest, steps := time.Duration(0), 0
	var out Outcome
	for b.Loop() {
		for next := uint16(0); next < command.Slots; steps++ {
			batch := command.AppendBatchHeader(nil, s.now)
			batch = command.AppendCommand(batch, &command.RaiseCutoff{Cutoff: cutoff, FirstSlot: next, MaxWork: 12_000})
			start := time.Now()
			s.Apply(batch, &out)
			longest = max(longest, time.Since(start))
			next = out.Results[0].NextSlot
		}
		cutoff++
	}
	b.ReportMetric(float64(longest.Microseconds()), "µs/longest-step")
	b.ReportMetric(float64(steps)/float64(b.N), "steps/op")
}
