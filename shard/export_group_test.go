package shard

import "github.com/belfry-im/belfry/shard/command"

// Ways to spoil a group, as those of export_test.go do users.

func (s *State) spoiltTeam(id command.GroupID) *user {
	u := s.spoilt(id.Key())
	if u == nil || u.team == nil || u.team.dismissed != 0 {
		return nil
	}
	return u
}

func (s *State) spoiltMember(id command.GroupID, name command.UserID) *member {
	if u := s.spoiltTeam(id); u != nil {
		return s.member(u.team, name)
	}
	return nil
}

// DriftGroupUnread has a member's cursor fall back by one.
func DriftGroupUnread(s *State, id command.GroupID, name command.UserID) {
	if m := s.spoiltMember(id, name); m != nil && m.read > 0 {
		m.read--
	}
}

// ForgetGroupFloor has a group that was taken off recents count again.
func ForgetGroupFloor(s *State, id command.GroupID, name command.UserID) {
	if m := s.spoiltMember(id, name); m != nil {
		m.floor = 0
	}
}

// ForgetWishes forgets what former members of a group had set.
func ForgetWishes(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil {
		for i := range u.team.sanctions.items {
			u.team.sanctions.items[i].wish = 0
		}
	}
}

// OpenPast shows a member what was sent before he joined.
func OpenPast(s *State, id command.GroupID, name command.UserID) {
	if m := s.spoiltMember(id, name); m != nil {
		m.from = 1
	}
}

// ForgetNoticeVersions has a user take older letters of groups for news.
func ForgetNoticeVersions(s *State, name command.UserID) {
	if u := s.spoilt(name); u != nil {
		for i := range u.teams.items {
			u.teams.items[i].version = 1
		}
	}
}

// LoseHides forgets what members hid from themselves.
func LoseHides(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil {
		u.team.hides = nil
	}
}

// LoseNotices forgets what users' shards have still to be told.
func LoseNotices(s *State, id command.GroupID) {
	u := s.spoilt(id.Key())
	if u == nil || u.team == nil {
		return
	}
	for _, n := range u.team.notices {
		s.letterBytes -= len(n.bytes)
	}
	u.team.notices = nil
}

// MissDeletion shows one message again of those that were deleted.
func MissDeletion(s *State, id command.GroupID) {
	u := s.spoiltTeam(id)
	if u == nil {
		return
	}
	c := &u.convs.items[0]
	for i, m := range s.marksOf(u, c) {
		if m.reason == gapDeleted && m.seq >= c.log.First() {
			rest := append(append([]mark(nil), s.marksOf(u, c)[:i]...), s.marksOf(u, c)[i+1:]...)
			s.rare(u, c).marks.replace(s.arena, rest)
			return
		}
	}
}

// AgeEvents gives the newest event of a group a number that every reader has
// passed.
func AgeEvents(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil && len(u.team.events) > 0 {
		u.team.events[len(u.team.events)-1].Arrival = firstArrival
	}
}

// ForgetForgotten has a group say that it knows all its events.
func ForgetForgotten(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil {
		u.team.forgotten = 0
	}
}

// AgeRecalls is AgeEvents for recalls.
func AgeRecalls(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil && len(u.team.recalls) > 0 {
		u.team.recalls[len(u.team.recalls)-1].arrival = firstArrival
	}
}

// RestGroup has a group's rate forget what was sent.
func RestGroup(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil {
		u.team.rateFull = 0
	}
}

// ReviveMember has a group keep a member's old point of joining.
func ReviveMember(s *State, id command.GroupID, name command.UserID) {
	if m := s.spoiltMember(id, name); m != nil {
		m.joinedAt = firstArrival + 1
	}
}

// HiddenBytes gives the bytes that the hides of a group are said to take, and
// what they come to one by one.
func HiddenBytes(s *State, id command.GroupID) (said, want int) {
	u := s.lookupGroup(id)
	if u == nil || u.team == nil {
		return 0, 0
	}
	var counted team
	for name, marks := range u.team.hides {
		counted.setHides(name, marks)
	}
	return u.team.hidden, counted.hidden
}

// LetterBytes adds up all letters that wait, those of frozen slots included.
func LetterBytes(s *State) (n int) {
	for _, sl := range s.slots {
		if sl == nil {
			continue
		}
		for number := range sl.users.all {
			u := s.user(number)
			for i := range u.outbox {
				for _, b := range u.outbox[i].bytes {
					n += len(b)
				}
			}
			if u.team == nil {
				continue
			}
			for _, l := range u.team.notices {
				n += len(l.bytes)
			}
		}
	}
	return n
}
