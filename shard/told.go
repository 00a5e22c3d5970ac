package shard

// A HookChange is a Change that hooks are told of, at the time it was made.
type HookChange struct {
	User UserID // in whose view it is; "": in that of all members of Group
	Change
}

// ChangeKinds is a set of kinds of changes.
type ChangeKinds uint16

// Add puts a kind into the set.
func (k *ChangeKinds) Add(kind ChangeKind) { *k |= 1 << kind }

// Has tells whether a kind is in the set.
func (k ChangeKinds) Has(kind ChangeKind) bool { return k&(1<<kind) != 0 }

// wants tells whether hooks are told of changes of a kind. State must not depend
// on it: replicas differ in that.
func (s *State) wants(kind ChangeKind) bool { return s.out.Wanted.Has(kind) }

// tell has hooks told of a change that they want to know.
func (s *State) tell(user UserID, c Change) {
	c.Time = s.now
	s.out.Changes = append(s.out.Changes, HookChange{User: user, Change: c})
}

// tellOwn tells of a change in a user's own view of a conversation, if hooks want
// to know.
func (s *State) tellOwn(u *user, i int, c Change) {
	if s.wants(c.Kind) {
		c.Peer = UserID(s.peer(&u.convs.items[i]))
		s.tell(u.name, c)
	}
}

// tellRecall tells of a message that was recalled, in one of its two views.
func (s *State) tellRecall(u *user, i int, seq uint64, by UserID) {
	if s.wants(ChangeRecall) {
		s.tellOwn(u, i, Change{Kind: ChangeRecall, By: by, Ranges: []Range{{From: seq, To: seq}}})
	}
}

// tellMember does the same for a member's view of a group.
func (s *State) tellMember(u *user, name UserID, c Change) {
	if s.wants(c.Kind) {
		c.Group = u.team.id
		s.tell(name, c)
	}
}

// tellGroup tells of messages of a group that were taken away from all: recalled,
// or deleted by an administrator, who is nobody.
func (s *State) tellGroup(u *user, rc teamRecall) {
	kind := ChangeRecall
	if rc.by == "" {
		kind = ChangeMessagesDeleted
	}
	if s.wants(kind) {
		s.tell("", Change{
			Kind: kind, Group: u.team.id, By: rc.by, Sender: rc.sender, Ranges: []Range{{From: rc.from, To: rc.to}},
		})
	}
}

// addSeq extends ranges by a seq.
func addSeq(ranges []Range, seq uint64) []Range {
	if n := len(ranges); n > 0 && ranges[n-1].To+1 == seq {
		ranges[n-1].To = seq
		return ranges
	}
	return append(ranges, Range{From: seq, To: seq})
}
