package shard

import "github.com/belfry-im/belfry/shard/command"

// Ways to spoil a group, as those of export_test.go do users.

func (s *State) spoiltTeam(id command.GroupID) *user {
	u := s.spoilt(id.Key())
	if u == nil || u.group == nil || u.group.dismissedMS != 0 {
		return nil
	}
	return u
}

func (s *State) spoiltMember(id command.GroupID, name command.UserID) *member {
	if u := s.spoiltTeam(id); u != nil {
		return s.member(u.group, name)
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
		m.unlistedTo = 0
	}
}

// ForgetSavedSettings forgets what former members of a group had set.
func ForgetSavedSettings(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil {
		for i := range u.group.sanctions.items {
			u.group.sanctions.items[i].settings = 0
		}
	}
}

// ShowBeforeJoin shows a member what was sent before they joined.
func ShowBeforeJoin(s *State, id command.GroupID, name command.UserID) {
	if m := s.spoiltMember(id, name); m != nil {
		m.visibleFrom = 1
	}
}

// ForgetLetterVersions has a user take older letters of groups for news.
func ForgetLetterVersions(s *State, name command.UserID) {
	if u := s.spoilt(name); u != nil {
		for i := range u.memberships.items {
			u.memberships.items[i].version = 1
		}
	}
}

// LoseHidden forgets what members hid from themselves.
func LoseHidden(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil {
		u.group.hidden = nil
	}
}

// LoseGroupLetters forgets what users' shards have still to be told.
func LoseGroupLetters(s *State, id command.GroupID) {
	u := s.spoilt(id.Key())
	if u == nil || u.group == nil {
		return
	}
	for _, n := range u.group.letters {
		s.letterBytes -= len(n.bytes)
	}
	u.group.letters = nil
}

// MissDeletion shows one message again of those that were deleted.
func MissDeletion(s *State, id command.GroupID) {
	u := s.spoiltTeam(id)
	if u == nil {
		return
	}
	c := &u.convs.items[0]
	for i, t := range s.tombstonesOf(u, c) {
		if t.reason == gapDeleted && t.seq >= c.log.First() {
			rest := append(append([]tombstone(nil), s.tombstonesOf(u, c)[:i]...), s.tombstonesOf(u, c)[i+1:]...)
			s.extraMut(u, c).tombstones.replace(s.arena, rest)
			return
		}
	}
}

// AgeEvents returns the newest event of a group a number that every reader has
// passed.
func AgeEvents(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil && len(u.group.events) > 0 {
		u.group.events[len(u.group.events)-1].Arrival = firstArrival
	}
}

// ForgetEventsForgotten has a group say that it knows all its events.
func ForgetEventsForgotten(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil {
		u.group.eventsForgotten = 0
	}
}

// AgeRecalls is AgeEvents for recalls.
func AgeRecalls(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil && len(u.group.recalls) > 0 {
		u.group.recalls[len(u.group.recalls)-1].arrival = firstArrival
	}
}

// RestGroup has a group's rate forget what was sent.
func RestGroup(s *State, id command.GroupID) {
	if u := s.spoiltTeam(id); u != nil {
		u.group.rateFullUS = 0
	}
}

// ReviveMember has a group keep a member's old point of joining.
func ReviveMember(s *State, id command.GroupID, name command.UserID) {
	if m := s.spoiltMember(id, name); m != nil {
		m.joinArrival = firstArrival + 1
	}
}

// HiddenBytes returns the bytes that hidden messages of a group are said to take, and
// what they come to one by one.
func HiddenBytes(s *State, id command.GroupID) (said, want int) {
	u := s.lookupGroup(id)
	if u == nil || u.group == nil {
		return 0, 0
	}
	var counted groupRecord
	for name, tombstones := range u.group.hidden {
		counted.setHidden(name, tombstones)
	}
	return u.group.hiddenBytes, counted.hiddenBytes
}

// LetterBytes adds up all letters that wait, those of frozen slots included.
func LetterBytes(s *State) (n int) {
	for u := range s.everybody {
		for i := range u.outbox {
			for _, b := range u.outbox[i].bytes {
				n += len(b)
			}
		}
		if u.group == nil {
			continue
		}
		for _, l := range u.group.letters {
			n += len(l.bytes)
		}
	}
	return n
}
