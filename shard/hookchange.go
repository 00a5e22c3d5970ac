package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A HookChange is a change as webhooks are told of it, when it is made.
type HookChange struct {
	User command.UserID // whose view changed; "" = that of all members of Group
	query.Change
}

// A ChangeKinds is a set of kinds of changes.
type ChangeKinds uint16

// Add adds a kind to the set.
func (k *ChangeKinds) Add(kind query.ChangeKind) { *k |= 1 << kind }

// Has reports whether a kind is in the set.
func (k ChangeKinds) Has(kind query.ChangeKind) bool { return k&(1<<kind) != 0 }

// hooksWant reports whether webhooks are told of changes of a kind. The state must not
// depend on it, because replicas differ in that.
func (s *State) hooksWant(kind query.ChangeKind) bool { return s.out.WantedChanges.Has(kind) }

// addHookChange adds a change to the outcome, for webhooks.
func (s *State) addHookChange(user command.UserID, c query.Change) {
	c.Time = s.now
	s.out.Changes = append(s.out.Changes, HookChange{User: user, Change: c})
}

// addOwnHookChange adds a change in a user's own view of conversation i, if webhooks
// want it.
func (s *State) addOwnHookChange(u *user, i int, c query.Change) {
	if s.hooksWant(c.Kind) {
		c.Peer = command.UserID(s.peer(&u.convs.items[i]))
		s.addHookChange(u.name, c)
	}
}

// addRecallHookChange adds the recall of a message in one of its two views, if
// webhooks want it.
func (s *State) addRecallHookChange(u *user, i int, seq uint64, by command.UserID) {
	if s.hooksWant(query.ChangeRecall) {
		s.addOwnHookChange(u, i, query.Change{Kind: query.ChangeRecall, By: by, Ranges: []query.Range{{From: seq, To: seq}}})
	}
}

// addMemberHookChange adds a change in a member's view of a group, if webhooks want
// it.
func (s *State) addMemberHookChange(u *user, name command.UserID, c query.Change) {
	if s.hooksWant(c.Kind) {
		c.Group = u.group.id
		s.addHookChange(name, c)
	}
}

// addGroupHookChange adds the recall of group messages, or their deletion if nobody is
// named as the one who recalled them, if webhooks want it.
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

// addSeq adds a seq at the end of ascending ranges.
func addSeq(ranges []query.Range, seq uint64) []query.Range {
	if n := len(ranges); n > 0 && ranges[n-1].To+1 == seq {
		ranges[n-1].To = seq
		return ranges
	}
	return append(ranges, query.Range{From: seq, To: seq})
}
