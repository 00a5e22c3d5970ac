package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A bench drives one shard that owns all slots.
type bench struct {
	t   testing.TB
	s   *State
	now int64
	out Outcome
	ids byte
}

func newBench(t testing.TB, limits command.Limits) *bench {
	b := &bench{t: t, s: NewState(1), now: 1_000_000}
	b.do(openAll())
	b.do(&command.Configure{Version: 1, Limits: limits.WithDefaults()})
	return b
}

// openAll gives a new shard all slots.
func openAll() *command.OpenSlots {
	return &command.OpenSlots{Epoch: 1, Slots: []command.SlotRange{{Last: command.Slots - 1}}}
}

// do applies one command. The result is a copy.
func (b *bench) do(cmd command.Command) command.Result {
	b.s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, b.now), cmd), &b.out)
	return b.out.Results[0]
}

func (b *bench) send(from, to command.UserID, text string) command.Result {
	b.t.Helper()
	b.ids++
	r := b.do(&command.Send{User: from, To: to, ID: command.MsgID{b.ids}, CID: text, Body: []byte(text)})
	if err := r.Err(); err != nil {
		b.t.Fatalf("send(%s, %s, %q): %v", from, to, text, err)
	}
	return r
}

func (b *bench) login(user command.UserID, device, since string) *query.Sync {
	b.t.Helper()
	r := b.do(&command.Login{User: user, Device: device, HasCursor: since != "", Cursor: since})
	if err := r.Err(); err != nil {
		b.t.Fatalf("login(%s, %s): %v", user, device, err)
	}
	return b.s.StartSync(user, &r, query.RecentsOn, b.now)
}

// pushed lists the bodies that a sync pushes.
func (b *bench) pushed(user command.UserID, sync *query.Sync) string {
	var up query.Updates
	got := ""
	for {
		b.s.NextSync(user, sync, &up, 2, 1<<20, b.now)
		for _, m := range up.Messages {
			got += fmt.Sprintf("%s:%d ", m.Body, m.Seq)
		}
		if !up.More {
			return got
		}
	}
}

func (b *bench) wantPushed(user command.UserID, sync *query.Sync, want string) {
	b.t.Helper()
	if got := b.pushed(user, sync); got != want {
		b.t.Errorf("pushed(%s) = %q, want %q", user, got, want)
	}
}

func TestQueueComesAtLogin(t *testing.T) {
	b := newBench(t, command.Limits{})
	for _, text := range []string{"m1", "m2", "m3"} {
		b.send("alice", "bob", text)
		b.now++
	}
	sync := b.login("bob", "phone", "")
	if sync.UnreadTotal != 3 || sync.Offline != 3 || len(sync.Conversations) != 1 || sync.Conversations[0].LastSeq != 3 {
		t.Errorf("sync = %+v, want 3 unread in one conversation", sync)
	}
	b.wantPushed("bob", sync, "m1:1 m2:2 m3:3 ")
	if r := b.do(&command.ReadReport{User: "bob", Session: sync.Session, Peer: "alice", Seq: 2}); r.Unread != 1 {
		t.Errorf("unread after readReport = %d, want 1", r.Unread)
	}
	b.wantPushed("bob", b.login("bob", "tablet", ""), "m3:3 ")
	b.wantPushed("bob", b.login("bob", "tablet", sync.Cursor), "")

	page := query.Page{}
	b.s.History(query.HistoryQuery{User: "alice", Peer: "bob", Limit: 10, MaxBytes: 1 << 20}, &page, b.now)
	if len(page.Updates.Messages) != 3 || page.From != 1 || page.To != 3 || page.More {
		t.Errorf("history = %+v, want 1..3", page)
	}
	sync = b.login("alice", "phone", "")
	if c := sync.Conversations[0]; c.PeerReadSeq != 2 {
		t.Errorf("peerReadSeq = %d, want 2", c.PeerReadSeq)
	}
}

func TestFullestConversationLosesItsOldest(t *testing.T) {
	b := newBench(t, command.Limits{OfflineMaxMessages: 3})
	b.send("carol", "bob", "quiet")
	for i := range 5 {
		b.send("alice", "bob", fmt.Sprint("n", i+1))
	}
	for range 2 {
		sync := b.login("bob", "fresh", "")
		b.wantPushed("bob", sync, "quiet:1 n4:4 n5:5 ")
		if len(sync.Lost) != 1 || sync.Lost[0] != (query.Lost{Peer: "alice", From: 1, To: 3, Count: 3}) {
			t.Errorf("lost = %+v, want alice 1-3", sync.Lost)
		}
	}
	b.do(&command.ReadReport{User: "bob", Peer: "alice", Seq: 2})
	if sync := b.login("bob", "fresh", ""); len(sync.Lost) != 1 || sync.Lost[0].Count != 1 {
		t.Errorf("lost after a report of 2 = %+v, want 3", sync.Lost)
	}
}

func TestTimeRunsOut(t *testing.T) {
	b := newBench(t, command.Limits{OfflineTTL: time.Minute, HistoryTTL: time.Hour})
	b.send("alice", "bob", "m1")
	b.now += time.Minute.Milliseconds()
	sync := b.login("bob", "phone", "")
	if sync.UnreadTotal != 0 || sync.Offline != 0 {
		t.Errorf("sync = %+v, want nothing unread", sync)
	}
	b.wantPushed("bob", sync, "m1:1 ") // the last message, through recents
	b.now += time.Hour.Milliseconds()
	sync = b.login("bob", "phone", "")
	b.wantPushed("bob", sync, "")
	b.do(&command.PurgeExpired{FirstSlot: 0, LastSlot: command.Slots - 1})
	if r := b.send("alice", "bob", "m2"); r.Seq != 2 {
		t.Errorf("seq after expiry = %d, want 2", r.Seq)
	}
	page := query.Page{}
	b.s.History(query.HistoryQuery{User: "bob", Peer: "alice", Limit: 10, MaxBytes: 1 << 20}, &page, b.now)
	if len(page.Gaps) != 1 || page.Gaps[0] != (query.Gap{From: 1, To: 1, Reason: query.GapExpired}) {
		t.Errorf("gaps = %+v, want 1 expired", page.Gaps)
	}
}

func TestRepeatedSend(t *testing.T) {
	b := newBench(t, command.Limits{})
	send := &command.Send{User: "alice", To: "bob", ID: command.MsgID{1}, CID: "c", Body: []byte("x")}
	first := b.do(send)
	b.now += 1000
	again := b.do(&command.Send{User: "alice", To: "bob", ID: command.MsgID{2}, CID: "c", Body: []byte("x")})
	if !again.Duplicate || again.ID != first.ID || again.Seq != first.Seq || again.Time != first.Time {
		t.Errorf("repeat = %+v, want %+v", again, first)
	}
	if r := b.do(&command.Send{User: "alice", To: "bob", ID: command.MsgID{3}, CID: "c", Body: []byte("y")}); r.Code != command.CodeConflict {
		t.Errorf("other body: code %d, want conflict", r.Code)
	}
	b.now += 10 * time.Minute.Milliseconds()
	if r := b.do(&command.Send{User: "alice", To: "bob", ID: command.MsgID{4}, CID: "c", Body: []byte("x"), Retry: true}); !r.Duplicate {
		t.Errorf("retry after the window = %+v, want the first", r)
	}
	if r := b.do(&command.Send{User: "alice", To: "bob", ID: command.MsgID{5}, CID: "c", Body: []byte("x")}); r.Duplicate || r.Seq != 2 {
		t.Errorf("after the window = %+v, want a new message", r)
	}
}

func TestRecallReachesBothSides(t *testing.T) {
	b := newBench(t, command.Limits{})
	sync := b.login("bob", "phone", "")
	b.send("alice", "bob", "m1")
	b.send("alice", "bob", "m2")
	if r := b.do(&command.Recall{User: "bob", Peer: "alice", Seq: 1}); r.Code != command.CodeForbidden {
		t.Errorf("recall of another's message: code %d, want forbidden", r.Code)
	}
	if r := b.do(&command.Recall{User: "alice", Peer: "bob", Seq: 2}); r.Code != command.OK {
		t.Errorf("recall: %v", r.Err())
	}
	var up query.Updates
	b.s.UpdatesAfter("bob", sync.Session, sync.Arrival, &up, 100, 1<<20, b.now)
	if len(up.Messages) != 1 || len(up.Changes) != 1 || up.Changes[0].Ranges[0] != (query.Range{From: 2, To: 2}) || up.Changes[0].By != "alice" {
		t.Errorf("since = %+v %+v, want m1 and the recall of 2", up.Messages, up.Changes)
	}
	if fresh := b.login("bob", "tablet", ""); fresh.UnreadTotal != 1 || fresh.Conversations[0].LastSeq != 1 {
		t.Errorf("sync = %+v, want 1 unread, last 1", fresh)
	}
	b.now += 3 * time.Minute.Milliseconds()
	if r := b.do(&command.Recall{User: "alice", Peer: "bob", Seq: 1}); r.Code != command.CodeTooLate {
		t.Errorf("late recall: code %d, want too late", r.Code)
	}
}

func TestBlockTakesEffect(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.send("alice", "bob", "m1")
	b.do(&command.Block{User: "bob", Target: "alice"})
	r := b.do(&command.Send{User: "alice", To: "bob", ID: command.MsgID{9}, CID: "c", Body: []byte("x")})
	if r.Code != command.CodeForbidden {
		t.Errorf("send to the blocker: code %d, want forbidden", r.Code)
	}
	if got := fmt.Sprint(b.s.Blocked("bob")); got != "[alice]" {
		t.Errorf("Blocked(bob) = %s, want [alice]", got)
	}
	b.do(&command.Block{User: "bob", Target: "alice", Undo: true})
	b.send("alice", "bob", "m2")
}

// A note to oneself is one entry, read at once.
func TestNoteToSelf(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.send("alice", "alice", "note")
	sync := b.login("alice", "phone", "")
	if sync.UnreadTotal != 0 || len(sync.Conversations) != 1 {
		t.Errorf("sync = %+v, want one read conversation", sync)
	}
	b.wantPushed("alice", sync, "note:1 ")
}
