package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A HookChange is a change that webhooks are told of when it is made.
type HookChange struct {
	User command.UserID // user in whose view the change is; "" = in the view of all members of Group
	query.Change
}

// A ChangeKinds is a set of kinds of changes, one bit each.
type ChangeKinds uint16

// Add adds a kind to the set.
func (k *ChangeKinds) Add(kind query.ChangeKind) { *k |= 1 << kind }

// Has reports whether a kind is in the set.
func (k ChangeKinds) Has(kind query.ChangeKind) bool { return k&(1<<kind) != 0 }

// hooksWant reports whether webhooks are told of changes of a kind. Replicas may differ
// in that, so the state must not depend on it.
func (s *State) hooksWant(kind query.ChangeKind) bool { return s.out.WantedChanges.Has(kind) }

// addHookChange adds a change to the outcome, for webhooks.
func (s *State) addHookChange(user command.UserID, c query.Change) {
	c.Time = s.now
	s.out.Changes = append(s.out.Changes, HookChange{User: user, Change: c})
}

// addOwnHookChange adds a change of conversation i in the user's own view to the
// outcome, if webhooks want its kind.
func (s *State) addOwnHookChange(u *user, i int, c query.Change) {
	if s.hooksWant(c.Kind) {
		c.Peer = command.UserID(s.peer(&u.convs.items[i]))
		s.addHookChange(u.name, c)
	}
}

// addRecallHookChange adds the recall of a message in one user's view to the outcome,
// if webhooks want recalls. by is the user who recalled it.
func (s *State) addRecallHookChange(u *user, i int, seq uint64, by command.UserID) {
	if s.hooksWant(query.ChangeRecall) {
		s.addOwnHookChange(u, i, query.Change{Kind: query.ChangeRecall, By: by, Ranges: []query.Range{{From: seq, To: seq}}})
	}
}

// addMemberHookChange adds a change in a member's view of a group to the outcome, if
// webhooks want its kind.
func (s *State) addMemberHookChange(u *user, name command.UserID, c query.Change) {
	if s.hooksWant(c.Kind) {
		c.Group = u.group.id
		s.addHookChange(name, c)
	}
}

// addGroupHookChange adds the recall of group messages to the outcome, if webhooks want
// it. If an administrator recalled them, it is a deletion.
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

// addSeq adds a seq to ascending ranges. It must be above all their seqs to keep them
// ascending.
func addSeq(ranges []query.Range, seq uint64) []query.Range {
	if n := len(ranges); n > 0 && ranges[n-1].To+1 == seq {
		ranges[n-1].To = seq
		return ranges
	}
	return append(ranges, query.Range{From: seq, To: seq})
}
