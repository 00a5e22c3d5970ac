package shard

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// newGroupBench returns a bench with a private group "team", its owner ann and members.
func newGroupBench(t testing.TB, limits command.Limits, members ...command.UserID) *bench {
	t.Helper()
	b := newBench(t, limits)
	r := b.do(&command.CreateGroup{
		Group: "team", By: "ann", Owner: "ann", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings(), Members: members, Salt: 7,
	})
	if err := r.Err(); err != nil {
		t.Fatalf("CreateGroup: %v", err)
	}
	return b
}

// talk sends a message to the group.
func (b *bench) talk(from command.UserID, text string) command.Result {
	b.t.Helper()
	b.ids++
	r := b.do(&command.SendGroup{Group: "team", User: from, ID: command.MsgID{b.ids}, CID: text, Body: []byte(text)})
	if err := r.Err(); err != nil {
		b.t.Fatalf("SendGroup(%s, %q): %v", from, text, err)
	}
	return r
}

func TestOwnMessagesAboveACursorSetBack(t *testing.T) {
	b := newGroupBench(t, command.Limits{}, "bob")
	for i, from := range []command.UserID{"ann", "ann", "ann", "bob", "ann"} {
		b.talk(from, fmt.Sprint(i+1))
	}
	b.wantUnread("team", "bob", 5)
	b.do(&command.ReadGroup{Group: "team", User: "bob", Seq: 1, MayMoveBack: true})
	b.wantUnread("team", "bob", 2, 3, 5)
	b.do(&command.ReadGroup{Group: "team", User: "bob", Seq: 2})
	b.wantUnread("team", "bob", 3, 5)
	b.do(&command.ReadGroup{Group: "team", User: "bob", Seq: 100})
	b.wantUnread("team", "bob")
}

func TestLostOfAGroupAfterACursor(t *testing.T) {
	b := newGroupBench(t, command.Limits{GroupBytes: 400}, "bob")
	cursor := b.s.GroupCursor("team", b.s.GroupArrival("team"))
	for i := range 20 {
		b.talk("ann", fmt.Sprintf("%030d", i))
	}
	var p query.Page
	b.s.History(query.HistoryQuery{User: "bob", Group: "team", Limit: 100, MaxBytes: 1 << 20}, &p, b.now)
	first := p.Updates.Messages[0].Seq
	if first < 3 {
		t.Fatalf("all but %d messages are held, want many gone", first-1)
	}
	want := fmt.Sprint([]query.Lost{{Group: "team", From: 1, To: first - 1, Count: int(first - 1)}})
	for _, q := range []query.GroupSyncAsk{{Group: "team"}, {Group: "team", HasCursor: true, Cursor: cursor}} {
		if got := b.s.SyncGroups("bob", []query.GroupSyncAsk{q}, 20, 1000, b.now).Items[0].Lost; fmt.Sprint(got) != want {
			t.Errorf("SyncGroups(%+v): Lost = %v, want %v", q, got, want)
		}
	}
	q := query.GroupSyncAsk{Group: "team", HasCursor: true, Cursor: b.s.GroupCursor("team", b.s.GroupArrival("team"))}
	if got := b.s.SyncGroups("bob", []query.GroupSyncAsk{q}, 20, 1000, b.now).Items[0].Lost; got != nil {
		t.Errorf("SyncGroups with a cursor after all: Lost = %v, want none", got)
	}
}

func TestLostOfAGroupBelowTheCutoff(t *testing.T) {
	b := newGroupBench(t, command.Limits{}, "bob")
	for _, text := range []string{"1", "2", "3"} {
		b.talk("ann", text)
	}
	b.do(&command.RecallGroup{Group: "team", By: "ann", Seq: 2})
	b.now += 1000
	// A budget of 0 leaves the messages in the log.
	b.do(&command.RaiseCutoff{Cutoff: b.now - 1000})
	want := fmt.Sprint([]query.Lost{{Group: "team", From: 1, To: 1, Count: 1}, {Group: "team", From: 3, To: 3, Count: 1}})
	for _, what := range []string{"before", "after"} {
		if got := b.s.SyncGroups("bob", []query.GroupSyncAsk{{Group: "team"}}, 20, 1000, b.now).Items[0].Lost; fmt.Sprint(got) != want {
			t.Errorf("Lost = %v %s they are removed, want %v", got, what, want)
		}
		b.do(&command.SetGroupView{Group: "team", User: "bob"}) // any command on the group removes them
	}
}

func TestNobodyJoinsAGroup(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.do(&command.CreateGroup{Group: "team", Kind: command.GroupChatroom, Settings: command.GroupChatroom.Settings()})
	if r := b.do(&command.JoinGroup{Group: "team"}); r.Code != command.CodeBadRequest {
		t.Errorf("JoinGroup of no user: code %d, want %d", r.Code, command.CodeBadRequest)
	}
	if members, _ := b.s.Members("team", "", 10); members != nil {
		t.Errorf("Members = %v, want none", members)
	}
}

// TestDropSlotFreesGroups is TestDropSlotFreesAll for groups and their members.
func TestDropSlotFreesGroups(t *testing.T) {
	for _, during := range []string{"no snapshot", "a snapshot", "a snapshot given up"} {
		t.Run(during, func(t *testing.T) {
			b := newGroupBench(t, command.Limits{GroupBytes: 4 << 10, GroupRate: -1}, "bob", "cyd")
			b.drop(command.SlotOf("dan"), 1) // the letters to them wait
			change := func() {
				for n := range 60 {
					b.now++
					r := b.talk(command.UserID([]string{"ann", "bob"}[n%2]), fmt.Sprint(b.now))
					if n%3 == 0 {
						b.do(&command.HideMessages{Group: "team", User: "bob", Seqs: []uint64{r.Seq}})
					}
					if n%5 == 0 {
						b.do(&command.RecallGroup{Group: "team", By: "ann", Seq: r.Seq})
					}
				}
				b.do(&command.DeleteMessagesFrom{Group: "team", Sender: "bob"})
				for _, cmd := range []command.Command{
					&command.AddMembers{Group: "team", By: "ann", Users: []command.UserID{"dan", "eve"}},
					&command.RemoveMembers{Group: "team", By: "ann", Users: []command.UserID{"cyd", "dan"}},
					&command.LeaveGroup{Group: "team", User: "bob"},
					&command.AddMembers{Group: "team", By: "ann", Users: []command.UserID{"bob", "cyd"}},
					&command.CreateGroup{Group: "brief", By: "ann", Owner: "ann", Kind: command.GroupChatroom, Settings: command.GroupChatroom.Settings(), Members: []command.UserID{"bob", "dan"}},
					&command.JoinGroup{Group: "brief", User: "eve"},
					&command.DismissGroup{Group: "brief", By: "ann"},
					&command.PurgeExpired{LastSlot: command.Slots - 1},
				} {
					if r := b.do(cmd); r.Err() != nil {
						t.Fatalf("%T: %v", cmd, r.Err())
					}
				}
				b.now += keptLeftMS
				b.do(&command.PurgeExpired{LastSlot: command.Slots - 1})
				b.do(&command.RaiseCutoff{Cutoff: b.now - 5, MaxWork: 1 << 30})
			}
			change()
			if b.s.letterBytes == 0 || len(b.s.lookupGroup("team").group.letters) != 1 {
				t.Fatalf("%d bytes of letters wait, want a notice of dan", b.s.letterBytes)
			}
			if during != "no snapshot" {
				w := b.s.Snapshot()
				CutFine(w, 1, 64)
				w.Next(nil)
				change()
				if during == "a snapshot" {
					for more := true; more; {
						_, more = w.Next(nil)
					}
				}
				w.Release()
			}
			change()
			for slot := range uint16(command.Slots) {
				if b.s.Owns(slot) {
					b.drop(slot, 7)
				}
			}
			for range 10_000 {
				b.s.arena.Free(b.s.arena.Alloc(1), 1) // has what waits carried out
			}
			if got := b.s.arena.Stats(); got.Used != 0 || got.Deferred != 0 || b.s.tableBytes != 0 || b.s.letterBytes != 0 {
				t.Errorf("%+v, %d bytes of tables and %d of letters after all is dropped, want nothing used", got, b.s.tableBytes, b.s.letterBytes)
			}
		})
	}
}
