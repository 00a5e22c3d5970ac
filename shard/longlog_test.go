package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// What one request costs must not grow with what its sender has filled a log
// with. These tests hold such requests to their results; what they cost is told
// with -v.

// timed does something five times and notes the shortest it took.
func (b *bench) timed(what string, do func()) {
	b.t.Helper()
	best := time.Hour
	for range 5 {
		at := time.Now()
		do()
		best = min(best, time.Since(at))
	}
	b.t.Logf("%s: %v", what, best)
}

// longLog is how many entries a log is filled with: its walk takes milliseconds.
const longLog = 100_000

func newLongBench(t testing.TB) *bench {
	const much = 64 << 20
	return newBench(t, command.Limits{
		UserBytes: much, GroupBytes: much, GroupRate: -1, DedupWindow: time.Millisecond, RecallWindow: time.Hour,
		OfflineMaxMessages: 1000,
	})
}

func (b *bench) fill(cmd func(i int) command.Command) {
	b.t.Helper()
	for i := range longLog {
		b.now++
		if r := b.do(cmd(i)); r.Code != command.OK {
			b.t.Fatal(r.Err())
		}
	}
	b.now += 1000
}

func (b *bench) fillDirect() {
	b.t.Helper()
	b.fill(func(i int) command.Command {
		return &command.Send{User: "alice", Session: 1, To: "bob", ID: command.MsgID{1}, CID: "1", Body: []byte{1}}
	})
}

func TestReportsInALongLog(t *testing.T) {
	b := newLongBench(t)
	b.fillDirect()
	b.timed("a report of own messages", func() {
		b.do(&command.ReadReport{User: "alice", Session: 1, Peer: "bob", Seq: 1 << 40})
	})
	// The note of it holds nobody's receipt back.
	b.send("bob", "alice", "hi")
	b.do(&command.ReadReport{User: "alice", Session: 1, Peer: "bob", Seq: 1 << 40})
	if got := b.s.lookup("bob").coldOf(&b.s.lookup("bob").convs.items[0]).peerRead; got != longLog+1 {
		t.Errorf("bob's receipt is for %d, want %d", got, longLog+1)
	}
}

func TestRecallsInALongLog(t *testing.T) {
	b := newLongBench(t)
	b.fillDirect()
	seq := uint64(0)
	b.timed("a recall of an old message", func() {
		seq++
		if r := b.do(&command.Recall{User: "alice", Session: 1, Peer: "bob", Seq: seq}); r.Code != command.OK {
			t.Fatal(r.Err())
		}
	})
	var p query.Page
	b.s.History(query.HistoryQuery{User: "bob", Peer: "alice", From: 1, To: 10, Limit: 100, MaxBytes: 1 << 20}, &p, b.now)
	if want := []query.Gap{{From: 1, To: seq, Reason: query.GapRecalled}}; len(p.Gaps) != 1 || p.Gaps[0] != want[0] {
		t.Errorf("bob's gaps = %v, want %v", p.Gaps, want)
	}
}

// Letters that programs before this one have written bear the time of the recall.
func TestRecallByAnOlderLetter(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.send("alice", "bob", "hi")
	b.now += 1000
	r := b.do(&command.Deliver{Letter: command.Letter{From: "alice", To: "bob", Number: 2, Kind: command.LetterRecall, Seq: 1, Time: b.now}})
	if r.Code != command.OK {
		t.Fatal(r.Err())
	}
	if code := b.s.tombstoneOf(b.s.lookup("bob"), &b.s.lookup("bob").convs.items[0], 1); code != gapRecalled {
		t.Errorf("mark of the message = %d, want %d", code, gapRecalled)
	}
}

func TestDeletionsInALongLog(t *testing.T) {
	b := newLongBench(t)
	b.fillDirect()
	upTo := uint64(longLog)
	b.timed("deleting 100 queued messages", func() {
		seqs := make([]uint64, 100)
		for i := range seqs {
			seqs[i], upTo = upTo, upTo-1
		}
		if r := b.do(&command.DeleteMessages{User: "bob", Session: 1, Peer: "alice", Seqs: seqs}); r.Code != command.OK {
			t.Fatal(r.Err())
		}
	})
	if got, want := b.s.lookup("bob").queued, 1000-int(longLog-upTo); got != want {
		t.Errorf("%d messages are queued, want %d", got, want)
	}
}

func TestExpiredInALongGroup(t *testing.T) {
	b := newLongBench(t)
	b.group("team", command.GroupPrivate, "bob")
	b.post("team", "alice", "first") // without a ttl: what follows stays in the log behind it
	b.fill(func(i int) command.Command {
		return &command.SendGroup{Group: "team", User: "alice", Session: 1, ID: command.MsgID{1}, CID: "1", Body: []byte{1}, TTL: 3600 - uint32(i%2)*3599}
	})
	b.now += 2000 // every other message has expired
	unread := 1 + longLog/2
	b.timed("an unread count with messages that expire", func() {
		if r := b.do(&command.ReadGroup{Group: "team", User: "bob", Session: 1, Seq: 0}); r.Unread != unread {
			t.Fatalf("unread = %d, want %d", r.Unread, unread)
		}
	})
	if got := len(b.s.GroupUnread("team", "bob", b.now)); got != unread {
		t.Errorf("%d seqs are unread, want %d", got, unread)
	}
	b.do(&command.HideMessages{Group: "team", User: "bob", Session: 1, Seqs: []uint64{2, 3, 4, 5}})
	b.do(&command.RecallGroup{Group: "team", By: "alice", Seq: 2})
	seqs := b.s.GroupUnread("team", "bob", b.now)
	if r := b.do(&command.ReadGroup{Group: "team", User: "bob", Session: 1, Seq: 0}); r.Unread != len(seqs) {
		t.Errorf("unread = %d, want %d", r.Unread, len(seqs))
	}
	b.now += 3700_000 // all but the first have expired
	b.timed("a page over what has expired", func() {
		var p query.Page
		b.s.History(query.HistoryQuery{User: "bob", Group: "team", Limit: 20, MaxBytes: 1 << 18}, &p, b.now)
		if got := fmt.Sprint(len(p.Updates.Messages), p.From, p.To, p.More, len(p.Gaps)); got != fmt.Sprint(1, 1, longLog+1, false, 2) {
			t.Fatalf("page = %s, gaps %v", got, p.Gaps[:min(len(p.Gaps), 6)])
		}
	})
	b.timed("a login over what has expired", func() {
		if v := b.view("bob", query.GroupSyncAsk{Group: "team"}, 20); v.LastSeq != 1 || v.Unread != 1 {
			t.Fatalf("last %d, unread %d", v.LastSeq, v.Unread)
		}
	})
}

func TestForgettingManyGroups(t *testing.T) {
	b := newBench(t, command.Limits{})
	const groups = 20_000
	for i := range groups {
		b.now++
		id := command.GroupID(fmt.Sprint("g", i))
		b.do(&command.CreateGroup{Group: id, By: "alice", Owner: "alice", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings()})
		b.do(&command.DismissGroup{Group: id, By: "alice"})
	}
	b.now += keptLeftMS + groups
	b.do(&command.Logout{User: "alice"}) // for the time
	u := b.s.lookup("alice")
	at := time.Now()
	b.s.forgetMemberships(u)
	t.Logf("forgetting %d groups: %v", groups, time.Since(at))
	if n := len(u.memberships.items); n != 0 {
		t.Errorf("%d groups are left", n)
	}
}
