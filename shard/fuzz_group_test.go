package shard

import (
	"fmt"
	"testing"
)

// groupStory goes on with story: a batch of each kind of command on groups.
// zoe is a member of a group whose shard is not hers.
func groupStory() [][]Command {
	talk := func(from UserID, cid string, ttl uint32) *SendGroup {
		return &SendGroup{Group: "team", User: from, Session: 1, ID: MsgID{2}, CID: cid, Body: []byte{0xa1, 'y'}, TTL: ttl, Mentions: []string{"bob"}}
	}
	public := GroupPublic.Settings()
	public.History = HistoryAll
	return [][]Command{
		{&CreateGroup{
			Group: "team", By: "alice", Owner: "alice", Kind: GroupPublic, Settings: public, Name: "a team",
			Properties: []byte{0x80}, Members: []UserID{"zoe", "yan"}, Salt: 7,
		}},
		{&CreateGroup{Group: "live", Owner: "alice", Kind: GroupLive, Settings: GroupLive.Settings()}},
		{talk("alice", "1", 0), talk("alice", "1", 0), talk("zoe", "2", 60), talk("alice", "3", 0), talk("yan", "4", 0), talk("yan", "5", 0)},
		{&JoinGroup{Group: "team", User: "bob", Message: "please"}, &JoinGroup{Group: "team", User: "xia"}, &JoinGroup{Group: "team", User: "wen"}},
		{&AnswerJoin{Group: "team", By: "alice", User: "bob", Accept: true}, &AnswerJoin{Group: "team", User: "xia"}},
		{&AddMembers{Group: "team", By: "alice", Users: []UserID{"bob", "uma", "tom"}}},
		{&RemoveMembers{Group: "team", By: "alice", Users: []UserID{"tom", "bob"}}},
		{&LeaveGroup{Group: "team", User: "uma"}},
		{&SetMember{Group: "team", By: "alice", User: "zoe", Role: RoleAdmin, MutedUntil: new(int64(storyTime))}},
		{&SetMember{Group: "live", User: "bob", MutedUntil: new(int64(2 * storyTime))}},
		{&SetGroup{Group: "team", By: "alice", Name: new("the team"), Properties: []byte{}, Owner: "zoe"}},
		{&AnswerOwner{Group: "team", User: "zoe", Accept: true}, &AnswerOwner{Group: "team", User: "alice"}},
		{&RemoveMembers{Group: "team", By: "zoe", Users: []UserID{"yan", "sam"}, Ban: 60}, &Unban{Group: "team", By: "zoe", User: "sam"}},
		{&SetGroup{Group: "team", Settings: SettingsChange{MaxMembers: new(9), Join: JoinOpen, Unread: new(true), MutedAll: new(false)}}},
		{&SetGroup{Group: "team", By: "zoe", Owner: "alice"}},
		{&ReadGroup{Group: "team", User: "alice", Session: 1, Seq: 1, Back: true}},
		{&RecallGroup{Group: "team", By: "zoe", Seq: 1}, &RecallGroup{Group: "team", Seq: 2, Silent: true}},
		{&HideMessages{Group: "team", User: "zoe", Session: 1, Seqs: []uint64{3, 4}}},
		{&DeleteSender{Group: "team", Sender: "alice"}},
		{&HideGroup{Group: "team", User: "alice", Session: 1, Messages: true}, &HideGroup{Group: "team", User: "zoe"}},
		{&SetGroupView{Group: "team", User: "alice", Muted: new(true), Pinned: new(false)}},
		{&Trim{From: "group team", To: "zoe", UpTo: 1}},
		{&Deliver{Letter: Letter{From: "group other", To: "bob", Number: 5, Kind: LetterLeft}}},
		{&Deliver{Letter: Letter{From: "group other", To: "bob", Number: 4, Kind: LetterJoined, Seq: 1}}},
		{&DismissGroup{Group: "live"}},
		{talk("alice", "6", 0)},
	}
}

// readGroups asks everything about all groups that a user can ask.
func readGroups(s *State, user UserID, b *Batch, p *Page) {
	now := s.Now()
	s.GroupsOf(user)
	for _, id := range []GroupID{"team", "live", ""} {
		cursor := s.GroupCursor(id, s.GroupArrival(id))
		for _, ask := range []GroupAsk{{Group: id}, {Group: id, HasCursor: true, Cursor: cursor}, {Group: id, HasCursor: true, Cursor: s.GroupCursor(id, 2)}} {
			s.SyncGroups(user, []GroupAsk{ask}, 2, 3, now)
		}
		s.Group(id, user)
		s.Members(id, user, 2)
		s.Member(id, user)
		s.JoinRequests(id)
		s.Bans(id, user, 2)
		s.JoinedAt(id, user)
		s.GroupUnread(id, user, now)
		s.MemberChanges(id, user, 1, 0)
		s.GroupSince(id, 0, b, 2, 1<<20, now)
		s.GroupSince(id, 2, b, 100, 1<<20, now)
		s.GroupMessages(user, id, []uint64{0, 1, 3, 1 << 60}, b, now)
		for _, admin := range []bool{false, true} {
			s.History(HistoryQuery{User: user, Group: id, Admin: admin, Limit: 100, MaxBytes: 1 << 20}, p, now)
			s.History(HistoryQuery{User: user, Group: id, Admin: admin, HasAfter: true, Limit: 1, MaxBytes: 1}, p, now)
		}
	}
	s.Groups(func(GroupID) bool { return true })
}

// TestGroupsAreNoUsers has no command make a user of what is a group's key: the
// record could not be told from a group's.
func TestGroupsAreNoUsers(t *testing.T) {
	const key = UserID("group team")
	for name, cmd := range map[string]Command{
		"login":         &Login{User: key, Device: "phone"},
		"logout":        &Logout{User: key},
		"sender":        &Send{User: key, To: "bob", CID: "1", Body: []byte{1}},
		"receiver":      &Send{User: "alice", To: key, CID: "1", Body: []byte{1}},
		"no group":      &Send{User: "alice", To: groupPrefix, CID: "1", Body: []byte{1}},
		"blocked":       &Block{User: "alice", Target: key},
		"letter to":     &Deliver{Letter: Letter{From: "zoe", To: key, Number: 1, Kind: LetterBlock}},
		"letter from":   &Deliver{Letter: Letter{From: key, To: "bob", Number: 1, Kind: LetterBlock}},
		"user's notice": &Deliver{Letter: Letter{From: "zoe", To: "bob", Number: 1, Kind: LetterJoined}},
		"member":        &JoinGroup{Group: "team", User: key},
		"members":       &AddMembers{Group: "team", Users: []UserID{"bob", key}},
		"owner":         &CreateGroup{Group: "team", Owner: key, Kind: GroupPublic, Settings: GroupPublic.Settings()},
	} {
		t.Run(name, func(t *testing.T) {
			b := AppendCommand(nil, cmd)
			if err := new(Checker).Check(b); err == nil {
				t.Error("Check = nil, want an error")
			}
			if err := DecodeBatch(append(AppendBatchHeader(nil, storyTime), b...)); err == nil {
				t.Error("DecodeBatch = nil, want an error")
			}
		})
	}
	for name, cmd := range map[string]Command{
		"notice": &Deliver{Letter: Letter{From: key, To: "bob", Number: 1, Kind: LetterJoined}},
		"trim":   &Trim{From: key, To: "bob", UpTo: 1},
	} {
		if err := new(Checker).Check(AppendCommand(nil, cmd)); err != nil {
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
			if r.Code != OK {
				t.Errorf("batch %d, command %d: code %d: %s", i, j, r.Code, r.Detail)
			}
		}
	}
}

// TestRestoreOfGroupsAllocatesLittle is TestRestoreAllocatesLittle for groups.
func TestRestoreOfGroupsAllocatesLittle(t *testing.T) {
	const many = 100_000
	hides := make([]mark, many)
	for i := range hides {
		hides[i] = mark{seq: uint64(i), reason: gapDeleted}
	}
	names := make([]UserID, many)
	for i := range names {
		names[i] = UserID(fmt.Sprintf("%05d", i))
	}
	tests := map[string]func(*State, *user){
		"members": func(s *State, u *user) {
			for _, name := range names[:many/10] {
				s.addMember(u, name, member{role: RoleMember, from: 1})
			}
		},
		"hides of one": func(s *State, u *user) {
			s.addMember(u, "u", member{role: RoleMember, from: 1})
			u.team.hides = map[UserID][]mark{"u": hides}
		},
		"hides of many": func(s *State, u *user) {
			u.team.hides = map[UserID][]mark{}
			for _, name := range names[:many/10] {
				s.addMember(u, name, member{role: RoleMember, from: 1})
				u.team.hides[name] = hides[:1]
			}
		},
		"requests": func(_ *State, u *user) { u.team.requests = make([]JoinRequest, many) },
		"events": func(_ *State, u *user) {
			u.arrival = many
			for i := range uint64(many) {
				u.team.events = append(u.team.events, GroupEvent{Arrival: i + 1})
			}
		},
		"users of events": func(_ *State, u *user) {
			u.arrival = many
			for i := range uint64(keptEvents) {
				u.team.events = append(u.team.events, GroupEvent{Arrival: i + 1, Users: make([]UserID, maxUsers)})
			}
		},
		"recalls": func(_ *State, u *user) {
			u.arrival = many
			for i := range uint64(many) {
				u.team.recalls = append(u.team.recalls, teamRecall{arrival: i + 1})
			}
		},
		"notices": func(_ *State, u *user) {
			u.team.notices = map[UserID]notice{}
			for _, name := range names[:many/10] {
				l := AppendLetter(nil, &Letter{Kind: LetterJoined, From: u.name, To: name, Number: 1})
				u.team.notices[name] = notice{version: 1, bytes: l}
			}
		},
	}
	for name, fill := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewState(1)
			u := &user{name: "group g"}
			s.open(u, "")
			u.team = &team{id: "g", kind: GroupPublic, settings: GroupPublic.Settings()}
			fill(s, u)
			checkRestoreBytes(t, frameRecord(appendUser(s, u)))
		})
	}
	t.Run("groups of a user", func(t *testing.T) {
		s := NewState(1)
		u := &user{name: "u"}
		for _, name := range names {
			ref := teamRef{name: s.arena.Alloc(len(name)), nameLen: uint8(len(name)), version: 1}
			copy(s.arena.Bytes(ref.name, len(name)), name)
			u.teams.add(s.arena, ref)
		}
		checkRestoreBytes(t, frameRecord(appendUser(s, u)))
	})
}
