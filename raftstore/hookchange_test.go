package raftstore

import (
	"fmt"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// TestHooksHearOfChanges has users and an administrator read, recall and delete, and
// what is refused or changes nothing told to nobody.
func TestHooksHearOfChanges(t *testing.T) {
	hooks := &hookLog{}
	cfg := testConfig(t)
	cfg.Hooks = hooks
	s := open(t, cfg)
	alice, bob, team := userIn(s, 0, 0), userIn(s, 1, 0), groupIn(s, 1, 0)
	createGroup(t, s, team, command.GroupPrivate, alice, bob)
	for n := range 4 {
		send(t, s, message(alice, bob, n))
		do(t, s, groupMessage(team, alice, n))
	}
	eventually(t, "delivered", func() bool { return len(cids(t, s, bob, alice)) == 4 })

	told := func() []string { hooks.mu.Lock(); defer hooks.mu.Unlock(); return slices.Clone(hooks.changes) }
	var want []string // the shards of the two users tell in no certain order
	expect := func(cmd command.Command, user command.UserID, c query.Change) {
		t.Helper()
		if cmd != nil {
			do(t, s, cmd)
		}
		text := fmt.Sprintf("kind %d of %q with %q%q: seq %d, %v by %q", c.Kind, user, c.Peer, c.Group, c.Seq, c.Ranges, c.By)
		if want = append(want, text); c.Kind == query.ChangeRead {
			want[len(want)-1] += fmt.Sprintf(", %d unread, <nil>", c.Time)
		}
		eventually(t, fmt.Sprintf("hooks told of\n%q, want\n%q", told(), text), func() bool { return slices.Contains(told(), want[len(want)-1]) })
	}
	one := func(seq uint64) []query.Range { return []query.Range{{From: seq, To: seq}} }

	// Time is what is unread in all, here.
	expect(&command.ReadReport{User: bob, Peer: alice, Seq: 2}, bob, query.Change{Kind: query.ChangeRead, Peer: alice, Seq: 2, Time: 6})
	do(t, s, &command.ReadReport{User: bob, Peer: alice, Seq: 1})
	expect(&command.ReadReport{User: bob, Peer: alice, Seq: 3, Auto: true}, bob, query.Change{Kind: query.ChangeRead, Peer: alice, Seq: 3, Time: 5})
	expect(&command.SetRead{User: bob, Peer: alice, Seq: 1}, bob, query.Change{Kind: query.ChangeRead, Peer: alice, Seq: 1, Time: 7})
	expect(&command.ReadGroup{User: bob, Group: team, Seq: 3}, bob, query.Change{Kind: query.ChangeRead, Group: team, Seq: 3, Time: 4})
	expect(groupMessage(team, bob, 4), bob, query.Change{Kind: query.ChangeRead, Group: team, Seq: 5, Time: 3})

	recall := &command.Recall{User: alice, Peer: bob, Seq: 4}
	expect(recall, alice, query.Change{Kind: query.ChangeRecall, Peer: bob, Ranges: one(4), By: alice})
	expect(nil, bob, query.Change{Kind: query.ChangeRecall, Peer: alice, Ranges: one(4), By: alice})
	do(t, s, recall)
	expect(&command.RecallGroup{Group: team, By: alice, Seq: 1}, "", query.Change{Kind: query.ChangeRecall, Group: team, Ranges: one(1), By: alice})
	expect(&command.RecallGroup{Group: team, Seq: 2, Silent: true}, "", query.Change{Kind: query.ChangeMessagesDeleted, Group: team, Ranges: one(2)})
	expect(&command.HideMessages{Group: team, User: bob, Seqs: []uint64{1, 3, 5}}, bob,
		query.Change{Kind: query.ChangeMessagesDeleted, Group: team, Ranges: []query.Range{{From: 3, To: 3}, {From: 5, To: 5}}})
	expect(&command.DeleteMessagesFrom{Group: team, Sender: alice}, "",
		query.Change{Kind: query.ChangeMessagesDeleted, Group: team, Ranges: []query.Range{{From: 3, To: 4}}})
	do(t, s, &command.DeleteMessagesFrom{Group: team, Sender: alice})
	expect(&command.HideGroup{Group: team, User: bob}, bob, query.Change{Kind: query.ChangeConversationDeleted, Group: team, Seq: 5})
	do(t, s, &command.HideGroup{Group: team, User: bob})
	deletion := &command.DeleteMessages{User: bob, Peer: alice, Seqs: []uint64{1, 2, 4}}
	expect(deletion, bob, query.Change{Kind: query.ChangeMessagesDeleted, Peer: alice, Ranges: []query.Range{{From: 1, To: 2}}})
	do(t, s, deletion)
	expect(&command.DeleteConversation{User: bob, Peer: alice, Messages: true}, bob,
		query.Change{Kind: query.ChangeConversationDeleted, Peer: alice, Seq: 4})
	do(t, s, &command.DeleteConversation{User: bob, Peer: alice, Messages: true})
	expect(&command.ReadReport{User: bob, Peer: alice, Seq: 4}, bob, query.Change{Kind: query.ChangeRead, Peer: alice, Seq: 4})
	got := told()
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("hooks told of\n%q, want\n%q", got, want)
	}
}

// TestHookChangesWait has reads of a conversation that waits become one, and what is
// too much dropped and counted.
func TestHookChangesWait(t *testing.T) {
	var q hookChangeQueue
	read := func(user command.UserID, seq uint64) {
		q.add(&shard.HookChange{User: user, Change: query.Change{Kind: query.ChangeRead, Peer: "alice", Seq: seq}})
	}
	check := func(n, dropped int, want ...string) {
		t.Helper()
		changes, lost := q.next(n)
		var got []string
		for _, c := range changes {
			got = append(got, fmt.Sprint(c.User, c.Kind, c.Seq))
		}
		if !slices.Equal(got, want) || lost != dropped {
			t.Errorf("took %v and %d dropped, want %v and %d", got, lost, want, dropped)
		}
	}
	read("bob", 1)
	read("carol", 1)
	read("bob", 2)
	q.add(&shard.HookChange{User: "bob", Change: query.Change{Kind: query.ChangeRecall, Peer: "alice"}})
	check(1, 0, "bob1 2")
	read("bob", 3)
	read("carol", 2)
	check(9, 0, "carol1 2", "bob3 0", "bob1 3")
	check(9, 0)
	for n := range hookEvents + 3 {
		read(command.UserID(fmt.Sprint("u", n)), 1)
	}
	read("u0", 2)
	check(1, 3, "u01 2")
	read("u0", 3)
	if changes, lost := q.next(2 * hookEvents); len(changes) != hookEvents || lost != 0 || len(q.reads) != 0 {
		t.Errorf("took %d and %d dropped, %d reads are left, want %d, 0, 0", len(changes), lost, len(q.reads), hookEvents)
	}
}
