package shard

import (
	"fmt"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// history makes n rows, a second apart, the last of them as of now.
func (b *bench) history(first, n int, from ...command.UserID) []command.ImportRow {
	rows := make([]command.ImportRow, n)
	for i := range rows {
		number := first + i
		rows[i] = command.ImportRow{
			Row: uint64(number), From: from[i%len(from)], Time: b.now - int64(n-1-i)*1000,
			ID: command.MsgID{9, byte(number)}, CID: fmt.Sprint(number), Body: []byte(fmt.Sprint("m", number)),
		}
	}
	return rows
}

func TestImportIntoAGroup(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate, "bob")
	view := b.view("bob", query.GroupSyncAsk{Group: "team"}, 20)
	touched := func() int { return len(b.out.Groups) + len(b.out.Members) + len(b.out.Users) }

	// All is read, nobody is told, and members find it in history.
	if r := b.do(&command.ImportGroup{Group: "team", Stream: 7, Rows: b.history(1, 3, "alice", "gone")}); r.Code != command.OK || touched() != 0 {
		t.Fatalf("ImportGroup: %v, %d were told", r.Err(), touched())
	}
	b.wantUnread("team", "bob")
	b.wantPage("team", "bob", "1-3 1:alice:m1 2:gone:m2 3:alice:m3")
	var up query.Updates
	b.s.GroupUpdatesAfter("team", view.Arrival, &up, 100, 1<<20, b.now)
	if len(up.Items) != 0 {
		t.Errorf("GroupSince = %d items after an import, want none", len(up.Items))
	}

	// The same stream goes on, as unread; what came before changes nothing.
	sum := b.s.Checksum(command.SlotOf(string(command.GroupID("team").Key())))
	if r := b.do(&command.ImportGroup{Group: "team", Stream: 7, Unread: true, Rows: b.history(2, 2, "alice")}); r.Code != command.OK {
		t.Fatal(r.Err())
	}
	if b.s.Checksum(command.SlotOf(string(command.GroupID("team").Key()))) != sum {
		t.Error("a repeated import changed the group")
	}
	if r := b.do(&command.ImportGroup{Group: "team", Stream: 8, Rows: b.history(1, 2, "alice")}); r.Code != command.CodeConflict || r.Seq != 1 {
		t.Errorf("another stream = %d, seq %d, want a conflict in row 1", r.Code, r.Seq)
	}
	b.now += 5000
	rows := b.history(3, 3, "alice", "bob")
	rows[2].TTL = 60
	if r := b.do(&command.ImportGroup{Group: "team", Stream: 7, Unread: true, Rows: rows}); r.Code != command.OK {
		t.Fatal(r.Err())
	}
	b.wantUnread("team", "bob", 5)
	b.wantUnread("team", "alice", 4)

	// What is sent then is pushed, and keeps the stream out. A device with a cursor
	// is not pushed what was imported.
	b.post("team", "alice", "live")
	b.s.GroupUpdatesAfter("team", view.Arrival, &up, 100, 1<<20, b.now)
	if len(up.Messages) != 1 || up.Messages[0].Seq != 6 {
		t.Errorf("GroupSince = %d messages, want the live one alone", len(up.Messages))
	}
	if v := b.view("bob", query.GroupSyncAsk{Group: "team", HasCursor: true, Cursor: view.Cursor}, 20); !slices.Equal(v.Push, []uint64{6}) {
		t.Errorf("with a cursor %v are pushed, want 6", v.Push)
	}
	if v := b.view("bob", query.GroupSyncAsk{Group: "team"}, 20); !slices.Equal(v.Push, []uint64{5, 6}) {
		t.Errorf("without a cursor %v are pushed, want 5 and 6", v.Push)
	}
	if r := b.do(&command.ImportGroup{Group: "team", Stream: 7, Rows: b.history(6, 1, "alice")}); r.Code != command.CodeConflict || r.Seq != 6 {
		t.Errorf("behind a message = %d, seq %d, want a conflict in row 6", r.Code, r.Seq)
	}
	if r := b.do(&command.ImportGroup{Group: "team", Stream: 7, Rows: rows}); r.Code != command.OK {
		t.Errorf("a repeat behind a message = %v, want OK", r.Err())
	}
	b.now += 61_000
	b.do(&command.PurgeExpired{LastSlot: command.Slots - 1})
	b.wantUnread("team", "bob", 6)
	if status, code := b.s.ImportGroupStatus("team", 7, b.now); code != command.OK || status.AcceptsRows || status.Row != 5 || status.Next != 7 {
		t.Errorf("ImportGroupView = %+v, %d", status, code)
	}
	b.do(&command.DeleteMessagesFrom{Group: "team", Sender: "gone"})
	b.wantPage("team", "bob", "1-6 1:alice:m1 3:alice:m3 4:bob:m4 6:alice:live deleted:2-2 expired:5-5")
}

func TestImportHoldsTheLimits(t *testing.T) {
	b := newBench(t, command.Limits{OfflineMaxMessages: 3, UserBytes: 400})
	if r := b.do(&command.Import{User: "bob", Peer: "alice", Stream: 7, Unread: true, Rows: b.history(1, 20, "")}); r.Code != command.OK {
		t.Fatal(r.Err())
	}
	info, _ := b.s.User("bob", b.now)
	if info.Bytes > 400 || info.Queued != 3 || info.Messages < 4 || info.Messages >= 20 {
		t.Errorf("User = %+v, want 3 queued and at most 400 bytes", info)
	}
	if seqs := b.s.UnreadSeqs("bob", "alice", b.now); !slices.Equal(seqs, []uint64{18, 19, 20}) {
		t.Errorf("UnreadSeqs = %v, want the newest 3", seqs)
	}
	if sync := b.login("bob", "phone", ""); len(sync.Lost) == 0 {
		t.Error("what limits took is not named as lost")
	}
}

// TestCursorAcksNoLostImport has a limit take what was imported. A cursor is no
// ack of it either, since it was never pushed.
func TestCursorAcksNoLostImport(t *testing.T) {
	b := newBench(t, command.Limits{OfflineMaxMessages: 3, UserBytes: 400})
	if r := b.do(&command.Import{User: "bob", Peer: "alice", Stream: 7, Unread: true, Rows: b.history(1, 5, "")}); r.Code != command.OK {
		t.Fatal(r.Err())
	}
	cursor := b.login("bob", "phone", "").Cursor
	b.send("bob", "alice", "what is lost behind this is another run")
	for n := range 20 {
		b.send("alice", "bob", fmt.Sprint("live ", n))
	}
	b.do(&command.Login{User: "bob", Device: "phone", AutoRead: true, HasCursor: true, Cursor: cursor})
	if sync := b.login("bob", "tablet", ""); len(sync.Lost) == 0 || sync.Lost[0].From != 1 {
		t.Errorf("lost = %+v, want the import from seq 1 on", sync.Lost)
	}
}

// TestImportBelowTheCutoff imports messages that are below the cutoff.
func TestImportBelowTheCutoff(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.now += 100_000
	b.do(&command.RaiseCutoff{Cutoff: b.now - 2500, MaxWork: 1})
	b.do(&command.Import{User: "bob", Peer: "alice", Stream: 7, Rows: b.history(1, 5, "")})
	if info, _ := b.s.User("bob", b.now); info.Messages != 3 {
		t.Errorf("%d messages are stored, want the 3 above the cutoff", info.Messages)
	}
	if status := b.s.ImportStatus("bob", "alice", 7, b.now); status.Next != 6 || status.Cutoff != b.now-2500 {
		t.Errorf("ImportView = %+v", status)
	}
}

// TestImportWhereAllHasExpired uses a conversation anew whose messages are gone.
func TestImportWhereAllHasExpired(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.send("alice", "bob", "a")
	b.send("bob", "alice", "b")
	if status := b.s.ImportStatus("alice", "bob", 7, b.now); status.AcceptsRows {
		t.Error("a conversation with messages is open to an import")
	}
	week := b.s.Limits().HistoryTTL.Milliseconds()
	b.now += week
	status := b.s.ImportStatus("alice", "bob", 7, b.now)
	if !status.AcceptsRows || status.Next != 3 || status.LastTime != 0 {
		t.Errorf("ImportView = %+v, want it open from seq 3", status)
	}
	rows := b.history(1, 3, "")
	for i := range rows {
		rows[i].Time -= week / 2 // before what was there, in its own time
	}
	if r := b.do(&command.Import{User: "alice", Peer: "bob", Stream: 7, Rows: rows}); r.Code != command.OK {
		t.Fatal(r.Err())
	}
	var p query.Page
	b.s.History(query.HistoryQuery{User: "alice", Peer: "bob", Limit: 10, MaxBytes: 1 << 20}, &p, b.now)
	if len(p.Updates.Messages) != 3 || p.Updates.Messages[0].Seq != 3 || p.Updates.Messages[0].Time != rows[0].Time {
		t.Errorf("History = %+v, want 3 messages from seq 3 on, of their own time", p.Updates.Messages)
	}
	if r := b.do(&command.Import{User: "alice", Peer: "bob", Stream: 7, Rows: []command.ImportRow{{Row: 9, Time: rows[0].Time, CID: "x", Body: []byte{1}}}}); r.Code != command.CodeBadRequest || r.Seq != 9 {
		t.Errorf("an earlier time = %d, seq %d, want a bad request in row 9", r.Code, r.Seq)
	}
}

func TestImportUnreadLeavesOutOnesOwn(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate, "bob")
	if r := b.do(&command.ImportGroup{Group: "team", Stream: 7, Unread: true, Rows: b.history(1, 5, "alice", "bob")}); r.Code != command.OK {
		t.Fatal(r.Err())
	}
	b.wantUnread("team", "alice", 2, 4)
	b.wantUnread("team", "bob", 1, 3, 5)
}

// Of what a half-failed import has brought, the receiver may hold a row that the
// sender's view lacks behind rows that both have.
func TestRecallAndReceiptPastARowWithoutPeer(t *testing.T) {
	b := newBench(t, command.Limits{})
	sent := b.history(1, 2, "")
	came := b.history(1, 2, "")
	sent[0].Own, sent[1].Own, came[0].Peer = true, true, 1
	for _, cmd := range []command.Command{
		&command.Import{User: "alice", Peer: "bob", Stream: 7, Unread: true, Rows: sent},
		&command.Import{User: "bob", Peer: "alice", Stream: 7, Unread: true, Rows: came},
	} {
		if err := func() error { r := b.do(cmd); return r.Err() }(); err != nil {
			t.Fatal(err)
		}
	}
	login := b.do(&command.Login{User: "alice", Device: "phone"})
	b.do(&command.ReadReport{User: "bob", Peer: "alice", Seq: 2})
	var up query.Updates
	b.s.UpdatesAfter("alice", login.Session, firstArrival, &up, 100, 1<<20, b.now)
	if n := len(up.Changes); n != 1 || up.Changes[0].Kind != query.ChangeReceipt || up.Changes[0].Seq != 1 {
		t.Errorf("changes of alice = %+v, want a receipt for 1", up.Changes)
	}
	if r := b.do(&command.Recall{User: "alice", Peer: "bob", Seq: 1}); r.Code != command.OK {
		t.Fatal(r.Err())
	}
	var p query.Page
	b.s.History(query.HistoryQuery{User: "bob", Peer: "alice", Limit: 10, MaxBytes: 1 << 20}, &p, b.now)
	if len(p.Updates.Messages) != 1 || p.Updates.Messages[0].Seq != 2 {
		t.Errorf("bob sees %d messages after the recall, want the second alone", len(p.Updates.Messages))
	}
}
