package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// What stores that do not ask by queries yet need.

// UpdatesAfter reads what came after an arrival number: visible messages except those
// that the session itself sent, and changes except those that it made. It reads at
// most maxMessages messages and, beyond the first message, about maxBytes bytes.
func (s *State) UpdatesAfter(name command.UserID, session command.SessionID, after uint64, up *query.Updates, maxMessages, maxBytes int, now int64) {
	s.readSince(&query.UpdatesAfter{User: name, Session: session, After: after, MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: up}, now)
}

// NextSync reads the next part of a sync, with bounds as in UpdatesAfter. Messages
// that are no longer visible are left out. With a cursor, changes that the device
// missed come at their place in the order.
func (s *State) NextSync(name command.UserID, sync *query.Sync, up *query.Updates, maxMessages, maxBytes int, now int64) {
	if err := sync.ReadOn(func(q query.Query) error { return s.Answer(q, now) }, name, up, maxMessages, maxBytes); err != nil {
		up.Reset()
	}
}

// Cursor returns the text of a point in the order of a user, or of a group given by
// its key.
func (s *State) Cursor(name command.UserID, arrival uint64) string {
	return query.Cursor(s.epoch, name, arrival)
}

// GroupCursor returns a point in the order of a group as text.
func (s *State) GroupCursor(id command.GroupID, arrival uint64) string {
	return query.Cursor(s.epoch, id.Key(), arrival)
}

// A GroupSet has the groups of one user, to be asked whether others are in one of
// them.
type GroupSet = groupSet

// GroupSet returns that of a user, nil if they are in no group.
func (s *State) GroupSet(name command.UserID) *GroupSet {
	refs := s.GroupsOf(name)
	if len(refs) == 0 {
		return nil
	}
	groups := make([]command.GroupID, len(refs))
	for i := range refs {
		groups[i] = refs[i].Group
	}
	return newGroupSet(groups)
}

// InAnyOf reports whether a user is in a group of a set by their own will.
func (s *State) InAnyOf(name command.UserID, set *GroupSet) bool {
	u := s.lookup(name)
	return u != nil && s.inOneOf(u, set)
}
