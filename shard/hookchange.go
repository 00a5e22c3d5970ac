package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A HookChange is a Change that hooks are told of, at the time it was made.
type HookChange struct {
	User command.UserID // in whose view it is; "": in that of all members of Group
	query.Change
}

// ChangeKinds is a set of kinds of changes.
type ChangeKinds uint16

// Add puts a kind into the set.
func (k *ChangeKinds) Add(kind query.ChangeKind) { *k |= 1 << kind }

// Has tells whether a kind is in the set.
func (k ChangeKinds) Has(kind query.ChangeKind) bool { return k&(1<<kind) != 0 }

// hooksWant tells whether hooks are told of changes of a kind. State must not depend
// on it: replicas differ in that.
func (s *State) hooksWant(kind query.ChangeKind) bool { return s.out.WantedChanges.Has(kind) }

// addHookChange has hooks told of a change that they want to know.
func (s *State) addHookChange(user command.UserID, c query.Change) {
	c.Time = s.now
	s.out.Changes = append(s.out.Changes, HookChange{User: user, Change: c})
}

// addOwnHookChange tells of a change in a user's own view of a conversation, if hooks want
// to know.
func (s *State) addOwnHookChange(u *user, i int, c query.Change) {
	if s.hooksWant(c.Kind) {
		c.Peer = command.UserID(s.peer(&u.convs.items[i]))
		s.addHookChange(u.name, c)
	}
}

// addRecallHookChange tells of a message that was recalled, in one of its two views.
func (s *State) addRecallHookChange(u *user, i int, seq uint64, by command.UserID) {
	if s.hooksWant(query.ChangeRecall) {
		s.addOwnHookChange(u, i, query.Change{Kind: query.ChangeRecall, By: by, Ranges: []query.Range{{From: seq, To: seq}}})
	}
}

// addMemberHookChange does the same for a member's view of a group.
func (s *State) addMemberHookChange(u *user, name command.UserID, c query.Change) {
	if s.hooksWant(c.Kind) {
		c.Group = u.group.id
		s.addHookChange(name, c)
	}
}

// addGroupHookChange tells of messages of a group that were taken away from all: recalled,
// or deleted by an administrator, who is nobody.
func (s *State) addGroupHookChange(u *user, rc groupRecall) {
	kind := query.ChangeRecall
	if rc.by == "" {
		kind = query.ChangeMessagesDeleted
	}
	if s.hooksWant(kind) {
		s.addHookChange("", query.Change{
			Kind: kind, Group: u.group.id, By: rc.by, Sender: rc.sender, Ranges: []query.Range{{From: rc.from, To: rc.to}},
		})
	}
}

// addSeq extends ranges by a seq.
func addSeq(ranges []query.Range, seq uint64) []query.Range {
	if n := len(ranges); n > 0 && ranges[n-1].To+1 == seq {
		ranges[n-1].To = seq
		return ranges
	}
	return append(ranges, query.Range{From: seq, To: seq})
}
