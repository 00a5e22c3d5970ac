package shard

import (
	"fmt"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func (b *bench) trace(q query.TraceMessage) query.MessageTrace {
	b.t.Helper()
	if err := b.s.Answer(&q, b.now); err != nil {
		b.t.Fatalf("TraceMessage: %v", err)
	}
	return q.Trace
}

// A message is found in both views, by seq and by id, with what became of it there.
func TestTraceMessage(t *testing.T) {
	b := newBench(t, command.Limits{})
	for i := range 3 {
		b.send("alice", "bob", fmt.Sprint(i))
	}
	b.do(&command.ReadReport{User: "bob", Peer: "alice", Seq: 1})
	b.do(&command.Recall{User: "alice", Peer: "bob", Seq: 3})
	for _, c := range []struct {
		name         string
		q            query.TraceMessage
		seq          uint64
		from         command.UserID
		reason       query.GapReason
		unread       bool
		read, byPeer uint64
	}{
		{"bob's, read", query.TraceMessage{User: "bob", Peer: "alice", Seq: 1}, 1, "alice", "", false, 1, 0},
		{"bob's, unread", query.TraceMessage{User: "bob", Peer: "alice", ID: command.MsgID{2}}, 2, "alice", "", true, 1, 0},
		{"bob's, recalled", query.TraceMessage{User: "bob", Peer: "alice", Seq: 3}, 3, "alice", query.GapRecalled, false, 1, 0},
		{"alice's, read", query.TraceMessage{User: "alice", Peer: "bob", ID: command.MsgID{1}}, 1, "alice", "", false, 0, 1},
		{"alice's, recalled", query.TraceMessage{User: "alice", Peer: "bob", ID: command.MsgID{3}}, 3, "alice", query.GapRecalled, false, 0, 1},
		{"no such seq", query.TraceMessage{User: "bob", Peer: "alice", Seq: 4}, 0, "", "", false, 0, 0},
		{"no such id", query.TraceMessage{User: "bob", Peer: "alice", ID: command.MsgID{9}}, 0, "", "", false, 0, 0},
		{"no such view", query.TraceMessage{User: "bob", Peer: "carol", Seq: 1}, 0, "", "", false, 0, 0},
	} {
		got := b.trace(c.q)
		if got.Seq != c.seq || got.From != c.from || got.Reason != c.reason || got.Unread != c.unread {
			t.Errorf("%s: %+v", c.name, got)
		}
		if c.seq != 0 && (got.ReadSeq != c.read || c.byPeer != 0 && got.PeerReadSeq != c.byPeer) {
			t.Errorf("%s: read up to %d and by the peer up to %d, want %d and %d", c.name, got.ReadSeq, got.PeerReadSeq, c.read, c.byPeer)
		}
	}
}

// In a group a member's view has reasons of its own; the log without a member has not.
func TestTraceGroupMessage(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate)
	b.post("team", "alice", "early")
	b.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
	b.post("team", "alice", "late")
	b.post("team", "alice", "hidden")
	b.do(&command.HideMessages{Group: "team", User: "bob", Session: 1, Seqs: []uint64{3}})
	for _, c := range []struct {
		user   command.UserID
		seq    uint64
		reason query.GapReason
		unread bool
	}{
		{"", 1, "", false}, {"", 3, "", false},
		{"bob", 1, query.GapNotMember, false}, {"bob", 2, "", true}, {"bob", 3, query.GapDeleted, false},
	} {
		got := b.trace(query.TraceMessage{User: c.user, Group: "team", Seq: c.seq})
		if got.Seq != c.seq || got.From != "alice" || got.Reason != c.reason || got.Unread != c.unread {
			t.Errorf("seq %d as %q sees it: %+v, want reason %q, unread %v", c.seq, c.user, got, c.reason, c.unread)
		}
	}
}

// What has left the log is still a gap with its reason, without what the entry said.
func TestTraceEvictedMessage(t *testing.T) {
	b := newBench(t, command.Limits{UserBytes: 1 << 10, OfflineMaxBytes: 1 << 10})
	for i := range 200 {
		b.send("alice", "bob", fmt.Sprint(i))
	}
	got := b.trace(query.TraceMessage{User: "bob", Peer: "alice", Seq: 1})
	if got.Seq != 1 || got.Reason != query.GapEvicted || got.From != "" || got.First <= 1 || got.Last != 200 {
		t.Errorf("an evicted message: %+v", got)
	}
}

func TestFindMessage(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate, "bob")
	for i := range 3 {
		b.now += 1000
		b.send("alice", "bob", fmt.Sprint(i))
		b.post("team", "alice", fmt.Sprint(i))
	}
	all := query.SlotRange{Last: command.Slots - 1}
	find := func(id byte, from, to int64) (places map[query.MessagePlace]bool) {
		q := &query.FindMessage{SlotRange: all, ID: command.MsgID{id}, From: from, To: to}
		if err := b.s.Answer(q, b.now); err != nil {
			t.Fatal(err)
		}
		places = make(map[query.MessagePlace]bool)
		for _, p := range q.Places {
			places[p] = true
		}
		return places
	}
	// Ids are 1, 3, 5 to bob and 2, 4, 6 in the group; the middle ones are of the same second.
	at := b.now - 1000
	if got := find(3, at, at); len(got) != 2 || !got[query.MessagePlace{User: "alice", Peer: "bob", Seq: 2}] || !got[query.MessagePlace{User: "bob", Peer: "alice", Seq: 2}] {
		t.Errorf("a message between users is at %v", got)
	}
	if got := find(4, at, at); len(got) != 1 || !got[query.MessagePlace{Group: "team", Seq: 2}] {
		t.Errorf("a message to a group is at %v", got)
	}
	for _, window := range [][2]int64{{0, at - 1}, {at + 1, b.now}} {
		if got := find(3, window[0], window[1]); len(got) != 0 {
			t.Errorf("outside of its time a message is at %v", got)
		}
	}
}

// CountSender says what DeleteMessagesFrom then deletes.
func TestCountSenderIsWhatIsDeleted(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate, "bob")
	for i := range 5 {
		b.post("team", "bob", fmt.Sprint("b", i))
		b.post("team", "alice", fmt.Sprint("a", i))
	}
	b.do(&command.RecallGroup{Group: "team", By: "bob", Seq: 3})
	q := &query.CountSender{Group: "team", Sender: "bob"}
	count := func() int {
		if err := b.s.Answer(q, b.now); err != nil {
			t.Fatal(err)
		}
		return q.Messages
	}
	n := count()
	if r := b.do(&command.DeleteMessagesFrom{Group: "team", Sender: "bob"}); n != 4 || r.Deleted != n || q.Bytes == 0 || !q.Exists {
		t.Errorf("counted %d of %d bytes, deleted %d, want 4", n, q.Bytes, r.Deleted)
	}
	if n := count(); n != 0 {
		t.Errorf("counted %d afterwards, want none", n)
	}
	q.Group = "none"
	if n := count(); n != 0 || q.Exists {
		t.Errorf("a group that does not exist: %d, %v", n, q.Exists)
	}
}

// Losses tell what limits took and from whom, and forget those whose loss is oldest.
func TestLosses(t *testing.T) {
	b := newBench(t, command.Limits{OfflineMaxMessages: 10, UserBytes: 1 << 10, OfflineMaxBytes: 1 << 10})
	for i := range 100 {
		b.now++
		b.send("alice", "bob", fmt.Sprint(i))
	}
	totals, latest := b.s.Losses()
	if totals[LostQueue].Messages != 90 || totals[LostHistory].Messages == 0 || totals[LostMemory].Messages != 0 {
		t.Errorf("totals = %+v, want 90 of the queue, some of history, none for memory", totals)
	}
	var bob *Loss
	for i := range latest {
		if l := &latest[i]; l.User == "bob" && l.Kind == LostQueue {
			bob = l
		}
	}
	if bob == nil || bob.Messages != 90 || bob.Last != b.now || bob.First >= bob.Last {
		t.Errorf("bob's queue lost %+v", bob)
	}
	for i := range 2 * keptLosses {
		for k := range 11 {
			b.now++
			b.send("carol", command.UserID(fmt.Sprint("user", i)), fmt.Sprint(i, "-", k))
		}
	}
	_, latest = b.s.Losses()
	counts := make(map[LossKind]int)
	for _, l := range latest {
		counts[l.Kind]++
		if l.User == "bob" && l.Kind == LostQueue {
			t.Error("the oldest of many losses is still there")
		}
	}
	if counts[LostQueue] != keptLosses {
		t.Errorf("%d queues are remembered, want %d", counts[LostQueue], keptLosses)
	}

	erased := fmt.Sprint("user", 2*keptLosses-1)
	b.do(&command.EraseUser{User: command.UserID(erased), MaxWork: 1 << 30})
	_, latest = b.s.Losses()
	if slices.ContainsFunc(latest, func(l Loss) bool { return l.User == command.UserID(erased) }) {
		t.Error("an erased user is still remembered")
	}

	b.do(&command.RaiseCutoff{Cutoff: b.now - 1, MaxWork: 1 << 30})
	if totals, _ := b.s.Losses(); totals[LostMemory].Messages == 0 || totals[LostMemory].Bytes == 0 {
		t.Errorf("a risen cutoff took %+v", totals[LostMemory])
	}
}

// At a limit each send notes a loss.
func TestNotingALossAllocatesNothing(t *testing.T) {
	var l losses
	users := make([]*user, 2*keptLosses)
	for i := range users {
		users[i] = &user{name: command.UserID(fmt.Sprint("user", i))}
		l.note(users[i], LostHistory, 1, 100, int64(i))
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		l.note(users[i%len(users)], LostHistory, 1, 100, int64(i))
		i++
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
