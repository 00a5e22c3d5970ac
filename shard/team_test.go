package shard

import (
	"fmt"
	"testing"
)

// newTeam gives a bench with a private group "team", its owner ann and members.
func newTeam(t testing.TB, limits Limits, members ...UserID) *bench {
	t.Helper()
	b := newBench(t, limits)
	r := b.do(&CreateGroup{
		Group: "team", By: "ann", Owner: "ann", Kind: GroupPrivate, Settings: GroupPrivate.Settings(), Members: members, Salt: 7,
	})
	if err := r.Err(); err != nil {
		t.Fatalf("CreateGroup: %v", err)
	}
	return b
}

// talk sends a message to the group.
func (b *bench) talk(from UserID, text string) Result {
	b.t.Helper()
	b.ids++
	r := b.do(&SendGroup{Group: "team", User: from, ID: MsgID{b.ids}, CID: text, Body: []byte(text)})
	if err := r.Err(); err != nil {
		b.t.Fatalf("SendGroup(%s, %q): %v", from, text, err)
	}
	return r
}

func (b *bench) wantUnread(user UserID, want ...uint64) {
	b.t.Helper()
	views := b.s.SyncGroups(user, []GroupAsk{{Group: "team"}}, 0, b.now)
	if len(views) != 1 || views[0].Unread != len(want) {
		b.t.Errorf("SyncGroups(%s) = %+v, want %d unread", user, views, len(want))
	}
	if got := b.s.GroupUnread("team", user, b.now); fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("GroupUnread(%s) = %v, want %v", user, got, want)
	}
}

func TestOwnMessagesAboveACursorSetBack(t *testing.T) {
	b := newTeam(t, Limits{}, "bob")
	for i, from := range []UserID{"ann", "ann", "ann", "bob", "ann"} {
		b.talk(from, fmt.Sprint(i+1))
	}
	b.wantUnread("bob", 5)
	b.do(&ReadGroup{Group: "team", User: "bob", Seq: 1, Back: true})
	b.wantUnread("bob", 2, 3, 5)
	b.do(&ReadGroup{Group: "team", User: "bob", Seq: 2})
	b.wantUnread("bob", 3, 5)
	b.do(&ReadGroup{Group: "team", User: "bob", Seq: 100})
	b.wantUnread("bob")
}
