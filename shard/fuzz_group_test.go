package shard

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// groupStory goes on with story: a batch of each kind of command on groups.
// zoe is a member of a group whose shard is not hers.
func groupStory() [][]command.Command {
	talk := func(from command.UserID, cid string, ttl uint32) *command.SendGroup {
		return &command.SendGroup{Group: "team", User: from, Session: 1, ID: command.MsgID{2}, CID: cid, Body: []byte{0xa1, 'y'}, TTL: ttl, Mentions: []string{"bob"}}
	}
	public := command.GroupPublic.Settings()
	public.History = command.HistoryAll
	return [][]command.Command{
		{&command.CreateGroup{
			Group: "team", By: "alice", Owner: "alice", Kind: command.GroupPublic, Settings: public, Name: "a team",
			Properties: []byte{0x80}, Members: []command.UserID{"zoe", "yan"}, Salt: 7,
		}},
		{&command.CreateGroup{Group: "live", Owner: "alice", Kind: command.GroupLive, Settings: command.GroupLive.Settings()}},
		{talk("alice", "1", 0), talk("alice", "1", 0), talk("zoe", "2", 60), talk("alice", "3", 0), talk("yan", "4", 0), talk("yan", "5", 0)},
		{&command.JoinGroup{Group: "team", User: "bob", Message: "please"}, &command.JoinGroup{Group: "team", User: "xia"}, &command.JoinGroup{Group: "team", User: "wen"}},
		{&command.AnswerJoin{Group: "team", By: "alice", User: "bob", Accept: true}, &command.AnswerJoin{Group: "team", User: "xia"}},
		{&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob", "uma", "tom"}}},
		{&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"tom", "bob"}}},
		{&command.LeaveGroup{Group: "team", User: "uma"}},
		{&command.SetMember{Group: "team", By: "alice", User: "zoe", Role: command.RoleAdmin, MutedUntil: new(int64(storyTime))}},
		{&command.SetMember{Group: "live", User: "bob", MutedUntil: new(int64(2 * storyTime))}},
		{&command.SetGroup{Group: "team", By: "alice", Name: new("the team"), Properties: []byte{}, Owner: "zoe"}},
		{&command.AnswerOwner{Group: "team", User: "zoe", Accept: true}, &command.AnswerOwner{Group: "team", User: "alice"}},
		{&command.RemoveMembers{Group: "team", By: "zoe", Users: []command.UserID{"yan", "sam"}, Ban: 60}, &command.Unban{Group: "team", By: "zoe", User: "sam"}},
		{&command.SetGroup{Group: "team", Settings: command.SettingsChange{MaxMembers: new(9), Join: command.JoinOpen, Unread: new(true), MutedAll: new(false)}}},
		{&command.SetGroup{Group: "team", By: "zoe", Owner: "alice"}},
		{&command.ReadGroup{Group: "team", User: "alice", Session: 1, Seq: 1, MayMoveBack: true}},
		{&command.RecallGroup{Group: "team", By: "zoe", Seq: 1}, &command.RecallGroup{Group: "team", Seq: 2, Silent: true}},
		{&command.HideMessages{Group: "team", User: "zoe", Session: 1, Seqs: []uint64{3, 4}}},
		{&command.DeleteMessagesFrom{Group: "team", Sender: "alice"}},
		{&command.HideGroup{Group: "team", User: "alice", Session: 1, Messages: true}, &command.HideGroup{Group: "team", User: "zoe"}},
		{&command.SetGroupView{Group: "team", User: "alice", Muted: new(true), Pinned: new(false)}},
		{&command.TrimOutbox{From: "group team", To: "zoe", UpTo: 1}},
		{&command.Deliver{Letter: command.Letter{From: "group other", To: "bob", Number: 5, Kind: command.LetterLeft}}},
		{&command.Deliver{Letter: command.Letter{From: "group other", To: "bob", Number: 4, Kind: command.LetterJoined, Seq: 1}}},
		{&command.DismissGroup{Group: "live"}},
		{talk("alice", "6", 0)},
	}
}

// readGroups asks everything about all groups that a user can ask.
func readGroups(s *State, user command.UserID, up *query.Updates, p *query.Page) {
	now := s.Now()
	s.GroupsOf(user)
	for _, id := range []command.GroupID{"team", "live", ""} {
		cursor := s.GroupCursor(id, s.GroupArrival(id))
		for _, q := range []query.GroupSyncAsk{{Group: id}, {Group: id, HasCursor: true, Cursor: cursor}, {Group: id, HasCursor: true, Cursor: s.GroupCursor(id, 2)}} {
			s.SyncGroups(user, []query.GroupSyncAsk{q}, 2, 3, now)
		}
		s.Group(id, user)
		s.Members(id, user, 2)
		s.Member(id, user)
		s.JoinRequests(id)
		s.Bans(id, user, 2)
		s.MemberSince(id, user)
		s.GroupUnread(id, user, now)
		s.MemberChanges(id, user, 1, 0)
		s.GroupUpdatesAfter(id, 0, up, 2, 1<<20, now)
		s.GroupUpdatesAfter(id, 2, up, 100, 1<<20, now)
		s.GroupMessages(user, id, []uint64{0, 1, 3, 1 << 60}, up, now)
		for _, admin := range []bool{false, true} {
			s.History(query.HistoryQuery{User: user, Group: id, Admin: admin, Limit: 100, MaxBytes: 1 << 20}, p, now)
			s.History(query.HistoryQuery{User: user, Group: id, Admin: admin, HasAfter: true, Limit: 1, MaxBytes: 1}, p, now)
		}
	}
	s.Groups(func(command.GroupID) bool { return true })
}

// TestGroupsAreNoUsers has no command make a user of what is a group's key: the
// record could not be told from a group's.
func TestGroupsAreNoUsers(t *testing.T) {
	const key = command.UserID("group team")
	for name, cmd := range map[string]command.Command{
		"login":         &command.Login{User: key, Device: "phone"},
		"logout":        &command.Logout{User: key},
		"sender":        &command.Send{User: key, To: "bob", CID: "1", Body: []byte{1}},
		"receiver":      &command.Send{User: "alice", To: key, CID: "1", Body: []byte{1}},
		"no group":      &command.Send{User: "alice", To: command.GroupPrefix, CID: "1", Body: []byte{1}},
		"blocked":       &command.Block{User: "alice", Target: key},
		"letter to":     &command.Deliver{Letter: command.Letter{From: "zoe", To: key, Number: 1, Kind: command.LetterBlock}},
		"letter from":   &command.Deliver{Letter: command.Letter{From: key, To: "bob", Number: 1, Kind: command.LetterBlock}},
		"user's notice": &command.Deliver{Letter: command.Letter{From: "zoe", To: "bob", Number: 1, Kind: command.LetterJoined}},
		"member":        &command.JoinGroup{Group: "team", User: key},
		"members":       &command.AddMembers{Group: "team", Users: []command.UserID{"bob", key}},
		"owner":         &command.CreateGroup{Group: "team", Owner: key, Kind: command.GroupPublic, Settings: command.GroupPublic.Settings()},
	} {
		t.Run(name, func(t *testing.T) {
			b := command.AppendCommand(nil, cmd)
			if err := new(Checker).Check(b); err == nil {
				t.Error("Check = nil, want an error")
			}
			if err := decodeBatch(append(command.AppendBatchHeader(nil, storyTime), b...)); err == nil {
				t.Error("decodeBatch = nil, want an error")
			}
		})
	}
	for name, cmd := range map[string]command.Command{
		"notice": &command.Deliver{Letter: command.Letter{From: key, To: "bob", Number: 1, Kind: command.LetterJoined}},
		"trim":   &command.TrimOutbox{From: key, To: "bob", UpTo: 1},
	} {
		if err := new(Checker).Check(command.AppendCommand(nil, cmd)); err != nil {
			t.Errorf("Check of a %s = %v, want nil", name, err)
		}
	}
}

// TestStoryIsNotRefused keeps the story one of which something comes.
func TestStoryIsNotRefused(t *testing.T) {
	s := NewState(1)
	var out Outcome
	for i, batch := range story() {
		s.Apply(batch, &out)
		for j, r := range out.Results {
			if r.Code != command.OK {
				t.Errorf("batch %d, command %d: code %d: %s", i, j, r.Code, r.Detail)
			}
		}
	}
}

// TestRestoreOfGroupsAllocatesLittle is TestRestoreAllocatesLittle for groups.
func TestRestoreOfGroupsAllocatesLittle(t *testing.T) {
	const many = 100_000
	hidden := make([]tombstone, many)
	for i := range hidden {
		hidden[i] = tombstone{seq: uint64(i), reason: gapDeleted}
	}
	names := make([]command.UserID, many)
	for i := range names {
		names[i] = command.UserID(fmt.Sprintf("%05d", i))
	}
	tests := map[string]func(*State, *user){
		"members": func(s *State, u *user) {
			for _, name := range names[:many/10] {
				s.addMember(u, name, member{role: command.RoleMember, visibleFrom: 1})
			}
		},
		"hides of one": func(s *State, u *user) {
			s.addMember(u, "u", member{role: command.RoleMember, visibleFrom: 1})
			u.group.hidden = map[command.UserID][]tombstone{"u": hidden}
		},
		"hides of many": func(s *State, u *user) {
			u.group.hidden = map[command.UserID][]tombstone{}
			for _, name := range names[:many/10] {
				s.addMember(u, name, member{role: command.RoleMember, visibleFrom: 1})
				u.group.hidden[name] = hidden[:1]
			}
		},
		"requests": func(_ *State, u *user) { u.group.requests = make([]query.JoinRequest, many) },
		"events": func(_ *State, u *user) {
			u.arrival = many
			for i := range uint64(many) {
				u.group.events = append(u.group.events, query.GroupEvent{Arrival: i + 1})
			}
		},
		"users of events": func(_ *State, u *user) {
			u.arrival = many
			for i := range uint64(keptEvents) {
				u.group.events = append(u.group.events, query.GroupEvent{Arrival: i + 1, Users: make([]command.UserID, command.MaxUsers)})
			}
		},
		"recalls": func(_ *State, u *user) {
			u.arrival = many
			for i := range uint64(many) {
				u.group.recalls = append(u.group.recalls, groupRecall{arrival: i + 1})
			}
		},
		"notices": func(_ *State, u *user) {
			u.group.letters = map[command.UserID]groupLetter{}
			for _, name := range names[:many/10] {
				l := command.AppendLetter(nil, &command.Letter{Kind: command.LetterJoined, From: u.name, To: name, Number: 1})
				u.group.letters[name] = groupLetter{version: 1, bytes: l}
			}
		},
	}
	for name, fill := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewState(1)
			u := &user{name: "group g"}
			s.openConv(u, "")
			u.group = &groupRecord{id: "g", kind: command.GroupPublic, settings: command.GroupPublic.Settings()}
			fill(s, u)
			checkRestoreBytes(t, frameRecord(appendUser(s, u)))
		})
	}
	t.Run("groups of a user", func(t *testing.T) {
		s := NewState(1)
		u := &user{name: "u"}
		for _, name := range names {
			ms := membership{name: s.arena.Alloc(len(name)), nameLen: uint8(len(name)), version: 1}
			copy(s.arena.Bytes(ms.name, len(name)), name)
			u.memberships.add(s.arena, ms)
		}
		checkRestoreBytes(t, frameRecord(appendUser(s, u)))
	})
}
