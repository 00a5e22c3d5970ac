package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// groupIn finds a group of a shard; n tells several apart.
func groupIn(s *Store, id, n int) command.GroupID {
	for i := 0; ; i++ {
		group := command.GroupID(fmt.Sprintf("group%d", i))
		if int(s.shardOf(group.Key()).id) == id {
			if n--; n < 0 {
				return group
			}
		}
	}
}

// do proposes what has to succeed.
func do(t testing.TB, s *Store, cmd command.Command) command.Result {
	t.Helper()
	r, err := proposeAgain(t, s, cmd)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatalf("%T: %v", cmd, err)
	}
	return r
}

func createGroup(t testing.TB, s *Store, group command.GroupID, kind command.GroupKind, owner command.UserID, members ...command.UserID) {
	t.Helper()
	do(t, s, &command.CreateGroup{
		Group: group, By: owner, Owner: owner, Kind: kind, Settings: kind.Settings(), Members: members,
	})
}

func groupMessage(group command.GroupID, from command.UserID, n int) *command.SendGroup {
	return &command.SendGroup{Group: group, User: from, Session: 1, ID: msgID(uint64(n)), CID: fmt.Sprintf("c%d", n), Body: []byte{0xa1, 'x'}}
}

func groupsOf(t testing.TB, s *Store, user command.UserID) (groups []command.GroupID) {
	t.Helper()
	refs, err := s.GroupsOf(context.Background(), user)
	if err != nil {
		t.Fatalf("GroupsOf(%s): %v", user, err)
	}
	for _, ref := range refs {
		groups = append(groups, ref.Group)
	}
	return groups
}

// wantGroups waits until a user's shard has heard of all that concerns him.
func wantGroups(t testing.TB, s *Store, user command.UserID, want ...command.GroupID) {
	t.Helper()
	slices.Sort(want)
	var got []command.GroupID
	eventually(t, fmt.Sprintf("%s is in %v", user, want), func() bool {
		if s.Ready() != nil {
			return false
		}
		got = groupsOf(t, s, user)
		return slices.Equal(got, want)
	})
}

func wantRefused(t testing.TB, what string, err error, code command.Code) {
	t.Helper()
	if refused, ok := errors.AsType[*command.RefusedError](err); !ok || refused.Code != code {
		t.Errorf("%s: %v, want refusal %d", what, err, code)
	}
}

// The members of a group live in other shards than the group does.
func TestGroupOfSeveralShards(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.RaftLog = kind
			cfg.Shards = 3
			s := open(t, cfg)
			group := groupIn(s, 0, 0)
			alice, bob, carol := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 2, 0)
			var ear groupEar
			s.WatchGroup(group, &ear)
			createGroup(t, s, group, command.GroupPrivate, alice, bob, carol)
			wantGroups(t, s, alice, group)
			wantGroups(t, s, bob, group)
			wantGroups(t, s, carol, group)
			do(t, s, &command.Send{User: bob, To: alice, ID: command.MsgID{1}, CID: "hello", Body: []byte{1}})
			owner, put := query.GroupCounts{Joined: 1, Owned: 1}, query.GroupCounts{ByStrangers: 1}
			want := []store.Eligibility{{Known: true, GroupCounts: owner}, {Known: true, Wrote: true, GroupCounts: put}, {}, {Known: true, GroupCounts: put}}
			if got := s.Eligibility(alice, []command.UserID{alice, bob, "nobody", carol}); !slices.Equal(got, want) {
				t.Errorf("Eligibility = %v, want %v", got, want)
			}
			do(t, s, groupMessage(group, bob, 9)) // he wants to be there, then
			eventually(t, "the group counts for bob", func() bool {
				return s.Eligibility("", []command.UserID{bob})[0].GroupCounts == query.GroupCounts{Joined: 1}
			})
			before := ear.woken()
			for n := range 5 {
				do(t, s, groupMessage(group, alice, n))
			}
			eventually(t, "the watcher is woken by messages", func() bool { return ear.woken() > before })
			if r := do(t, s, &command.ReadGroup{Group: group, User: bob, Session: 7, Seq: 4}); r.Unread != 2 {
				t.Errorf("unread = %d after reading all but 2", r.Unread)
			}
			eventually(t, "the watcher is told of bob's view", func() bool {
				ear.mu.Lock()
				defer ear.mu.Unlock()
				return slices.Contains(ear.members, bob)
			})
			do(t, s, &command.LeaveGroup{Group: group, User: carol})
			wantGroups(t, s, carol)
			eventually(t, "the outbox is empty", func() bool { return outboxEmpty(s) })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			s = open(t, cfg)
			wantGroups(t, s, bob, group)
			wantGroups(t, s, carol)
			info, exists, err := s.Group(group, bob)
			if err != nil || !exists || info.Members != 2 || info.Owner != alice || info.Role != command.RoleMember || info.LastSeq != 6 {
				t.Errorf("Group after restart = %+v, %v, %v", info, exists, err)
			}
			if members, more, err := s.Members(group, "", 10); err != nil || more || len(members) != 2 {
				t.Errorf("Members after restart = %v, %v, %v", members, more, err)
			}
			if r := do(t, s, groupMessage(group, alice, 4)); !r.Duplicate || r.Seq != 6 {
				t.Errorf("repeat after restart = %+v, want the first answer", r)
			}
		})
	}
}

// What happens to a membership while the member's shard is away is what he finds.
func TestGroupLettersWaitForTheMembersShard(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards = 3
	s := open(t, cfg)
	left, joined, gone, stays := groupIn(s, 0, 0), groupIn(s, 0, 1), groupIn(s, 0, 2), groupIn(s, 2, 0)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	createGroup(t, s, gone, command.GroupChatroom, alice, bob)
	createGroup(t, s, left, command.GroupChatroom, alice, bob)
	wantGroups(t, s, bob, gone, left)
	if err := s.stopShard(1); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the last word counts
		do(t, s, &command.LeaveGroup{Group: left, User: bob})
		do(t, s, &command.JoinGroup{Group: left, User: bob})
	}
	do(t, s, &command.LeaveGroup{Group: left, User: bob})
	do(t, s, &command.DismissGroup{Group: gone, By: alice})
	createGroup(t, s, joined, command.GroupPrivate, alice)
	do(t, s, &command.AddMembers{Group: joined, By: alice, Users: []command.UserID{bob}})
	createGroup(t, s, stays, command.GroupPrivate, alice, bob)

	// The letters outlive the reign that wrote them.
	if err := s.stopShard(0); err != nil {
		t.Fatal(err)
	}
	if err := s.resumeShard(0); err != nil {
		t.Fatal(err)
	}
	if err := s.resumeShard(1); err != nil {
		t.Fatal(err)
	}
	wantGroups(t, s, bob, joined, stays)
	eventually(t, "all letters are confirmed and forgotten", func() bool { return outboxEmpty(s) && s.shards()[1].outbox.Load() == 0 })
}

// Memberships change while the shards of both sides come and go.
func TestGroupLettersSurviveRestarts(t *testing.T) {
	s := open(t, testConfig(t))
	group := groupIn(s, 0, 0)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	createGroup(t, s, group, command.GroupChatroom, alice)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 201 {
			var cmd command.Command = &command.JoinGroup{Group: group, User: bob}
			if n%2 == 1 {
				cmd = &command.LeaveGroup{Group: group, User: bob}
			}
			for { // as a client does: repeat until answered
				r, err := s.Propose(context.Background(), cmd)
				if err == nil && r.Code == command.OK {
					break
				}
				if err == nil {
					t.Errorf("%T: %v", cmd, r.Err())
					return
				}
			}
		}
	}()
	for i := 0; ; i++ {
		if err := s.stopShard(i % 2); err != nil {
			t.Fatal(err)
		}
		if err := s.resumeShard(i % 2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the shard serves again", func() bool { return s.Ready() == nil })
		select {
		case <-done:
		default:
			continue
		}
		break
	}
	wantGroups(t, s, bob, group)
	eventually(t, "all letters are confirmed and forgotten", func() bool { return outboxEmpty(s) && s.shards()[1].outbox.Load() == 0 })
}

func TestGroupLettersAreBounded(t *testing.T) {
	cfg := testConfig(t)
	cfg.OutboxBytes = 10_000
	s := open(t, cfg)
	group := groupIn(s, 0, 0)
	alice, near := userIn(s, 0, 0), userIn(s, 0, 1)
	createGroup(t, s, group, command.GroupChatroom, alice)
	if err := s.stopShard(1); err != nil {
		t.Fatal(err)
	}
	added := 0
	for ; added < 1000; added++ {
		_, err := s.Propose(context.Background(), &command.AddMembers{Group: group, By: alice, Users: []command.UserID{userIn(s, 1, added)}})
		if errors.Is(err, store.ErrUnavailable) && store.RetryAfter(err) > 0 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if added < 20 || added > 100 {
		t.Errorf("%d letters waited within 10 kB", added)
	}
	for _, cmd := range []command.Command{
		&command.CreateGroup{Group: groupIn(s, 0, 1), By: alice, Owner: alice, Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings(), Members: []command.UserID{userIn(s, 1, 0)}},
		&command.RemoveMembers{Group: group, By: alice, Users: []command.UserID{userIn(s, 1, 0)}},
		&command.LeaveGroup{Group: group, User: userIn(s, 1, 0)},
		&command.DismissGroup{Group: group, By: alice},
	} {
		if _, err := s.Propose(context.Background(), cmd); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%T, which writes a letter: %v, want ErrUnavailable", cmd, err)
		}
	}
	do(t, s, &command.AddMembers{Group: group, By: alice, Users: []command.UserID{near}})
	do(t, s, groupMessage(group, alice, 1))
	if err := s.resumeShard(1); err != nil {
		t.Fatal(err)
	}
	wantGroups(t, s, userIn(s, 1, added-1), group)
	eventually(t, "there is room again", func() bool { return s.shards()[1].outbox.Load() == 0 })
	do(t, s, &command.DismissGroup{Group: group, By: alice})
	wantGroups(t, s, userIn(s, 1, added-1))
}

func TestSyncGroups(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards = 3
	s := open(t, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	var asks []query.GroupSyncAsk
	for id := range 3 {
		for n := range 4 {
			group := groupIn(s, id, n)
			createGroup(t, s, group, command.GroupPrivate, alice, bob)
			for i := range n {
				do(t, s, groupMessage(group, alice, i))
			}
			asks = append(asks, query.GroupSyncAsk{Group: group})
		}
	}
	strange := groupIn(s, 0, 9)
	createGroup(t, s, strange, command.GroupPrivate, alice)
	asks = append(asks, query.GroupSyncAsk{Group: strange}, query.GroupSyncAsk{Group: "nothing"})

	views, left := s.SyncGroups(context.Background(), bob, asks, 2, 1000)
	if len(views) != 12 || len(left) != 0 {
		t.Fatalf("SyncGroups = %d views, %v left; want 12, none", len(views), left)
	}
	unread := make(map[command.GroupID]int)
	for _, v := range views {
		unread[v.Group] = v.Unread
		if len(v.Push) != min(v.Unread, 2) {
			t.Errorf("%s: push %v of %d unread, want at most 2", v.Group, v.Push, v.Unread)
		}
		if v.Cursor != s.Cursor(v.Group.Key(), v.Arrival) {
			t.Errorf("%s: cursor %q is not that of %d", v.Group, v.Cursor, v.Arrival)
		}
	}
	for id := range 3 {
		for n := range 4 {
			if got := unread[groupIn(s, id, n)]; got != n {
				t.Errorf("unread of group %d of shard %d = %d, want %d", n, id, got, n)
			}
		}
	}

	if err := s.stopShard(2); err != nil {
		t.Fatal(err)
	}
	views, left = s.SyncGroups(context.Background(), bob, asks, 2, 1000)
	lost := slices.ContainsFunc(left, func(a query.GroupSyncAsk) bool {
		return a.Group != "nothing" && s.shardOf(a.Group.Key()).id != 2
	})
	if len(views) != 8 || len(left) < 4 || lost {
		t.Errorf("with a shard down: %d views, %v left; want 8, and those of that shard", len(views), left)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if views, left := s.SyncGroups(ended, bob, asks, 2, 1000); len(views)+len(left) < 12 {
		t.Errorf("with a context that has ended: %d views, %d left", len(views), len(left))
	}
	if err := s.resumeShard(2); err != nil {
		t.Fatal(err)
	}
}

func TestGroupHistoryIsForMembers(t *testing.T) {
	s := open(t, testConfig(t))
	group := groupIn(s, 0, 0)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	createGroup(t, s, group, command.GroupPrivate, alice)
	do(t, s, groupMessage(group, alice, 1))
	page := new(query.Page)
	read := func(user command.UserID, group command.GroupID, admin bool) error {
		return s.History(query.HistoryQuery{User: user, Group: group, Admin: admin, Limit: 10, MaxBytes: 1 << 20}, page)
	}
	if err := read(alice, group, false); err != nil || len(page.Updates.Messages) != 1 {
		t.Errorf("a member reads %d messages, %v; want 1", len(page.Updates.Messages), err)
	}
	if m := &page.Updates.Messages[0]; m.Group != group || m.From != alice || m.Seq != 1 {
		t.Errorf("message = %+v", m)
	}
	wantRefused(t, "a stranger", read(bob, group, false), command.CodeForbidden)
	wantRefused(t, "no group", read(alice, "nothing", false), command.CodeNotFound)
	if err := read("", group, true); err != nil || len(page.Updates.Messages) != 1 {
		t.Errorf("an administrator reads %d messages, %v; want 1", len(page.Updates.Messages), err)
	}
	var b query.Updates
	if err := s.GroupSince(group, 0, &b, 10, 1<<20); err != nil || len(b.Messages) != 1 || len(b.Events) != 1 {
		t.Errorf("GroupSince = %d messages, %d events, %v; want 1, 1", len(b.Messages), len(b.Events), err)
	}
	if err := s.GroupMessages(alice, group, []uint64{1, 9}, &b); err != nil || len(b.Messages) != 1 {
		t.Errorf("GroupMessages = %d messages, %v; want 1", len(b.Messages), err)
	}
	m := query.Membership{Group: group, User: alice}
	if err := s.Read(&m); !m.IsMember || err != nil || m.JoinedAt >= b.Messages[0].Arrival {
		t.Errorf("Membership = %+v, %v; want it to begin before the message", m, err)
	}
	if err := s.GroupSince(group, m.JoinedAt, &b, 10, 1<<20); err != nil || len(b.Events) != 1 {
		t.Errorf("GroupSince the joining = %d events, %v; want the joining itself", len(b.Events), err)
	}
	m = query.Membership{Group: group, User: bob}
	if err := s.Read(&m); m.IsMember || m.WasMember || err != nil {
		t.Errorf("Membership of a stranger = %+v, %v", m, err)
	}
	at := s.Cursor(group.Key(), b.Through)
	if views, _ := s.SyncGroups(context.Background(), alice, []query.GroupSyncAsk{{Group: group, HasCursor: true, Cursor: at}}, 10, 10); len(views) != 1 || views[0].Reset || len(views[0].Push) != 0 {
		t.Errorf("SyncGroups from the cursor %q = %+v, want nothing new", at, views)
	}
	do(t, s, &command.ReadGroup{Group: group, User: alice, Session: 2, Seq: 1})
	do(t, s, &command.HideMessages{Group: group, User: alice, Session: 2, Seqs: []uint64{1}})
	changes, err := s.MemberChanges(group, alice, 1, b.Through)
	if err != nil || len(changes) != 1 || changes[0].Kind != query.ChangeMessagesDeleted {
		t.Errorf("MemberChanges = %+v, %v; want a deletion", changes, err)
	}
}

func TestJoinRequests(t *testing.T) {
	s := open(t, testConfig(t))
	group := groupIn(s, 0, 0)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	createGroup(t, s, group, command.GroupPublic, alice)
	if r := do(t, s, &command.JoinGroup{Group: group, User: bob, Message: "hi"}); !r.Pending {
		t.Errorf("JoinGroup = %+v, want it to wait", r)
	}
	requests, err := s.JoinRequests(group)
	if err != nil || len(requests) != 1 || requests[0].User != bob || requests[0].Message != "hi" {
		t.Errorf("JoinRequests = %+v, %v", requests, err)
	}
	do(t, s, &command.AnswerJoin{Group: group, By: alice, User: bob, Accept: true})
	wantGroups(t, s, bob, group)
}
