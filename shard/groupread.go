package shard

// Group tells what is known of a group, and of who asks as a member of it;
// false: there is none.
func (s *State) Group(id GroupID, asker UserID) (GroupInfo, bool) { return GroupInfo{}, false }

// Members lists members in order of name, from the first one above after.
func (s *State) Members(id GroupID, after UserID, limit int) (members []Member, more bool) {
	return nil, false
}

// Member tells what is known of one member; false: he is none.
func (s *State) Member(id GroupID, user UserID) (Member, bool) { return Member{}, false }

// JoinRequests lists those that wait for an answer, oldest first.
func (s *State) JoinRequests(id GroupID) []JoinRequest { return nil }

// GroupsOf lists the groups whose member a user is, by id.
func (s *State) GroupsOf(user UserID) []GroupRef { return nil }

// SyncGroups tells a user who logs in how he finds groups of his, all of this
// shard, with at most backlog messages of each to push. Groups whose member he
// is not are left out.
func (s *State) SyncGroups(user UserID, asks []GroupAsk, backlog int, now int64) []GroupView {
	return nil
}

// JoinedAt gives the point in a group's order at which a member joined: what
// comes after it, his joining included, is his to be told.
func (s *State) JoinedAt(id GroupID, user UserID) (arrival uint64, ok bool) { return 0, false }

// GroupArrival is the present point in a group's order, 0 if there is no group.
func (s *State) GroupArrival(id GroupID) uint64 { return 0 }

// GroupCursor is the text of a point in a group's order.
func (s *State) GroupCursor(id GroupID, arrival uint64) string { return "" }

// GroupSince reads what came after a point in a group's order: messages that can
// be shown, recalls, and events. It is the same for all members. Limits are as
// for Since.
func (s *State) GroupSince(id GroupID, after uint64, b *Batch, maxMessages, maxBytes int, now int64) {
}

// GroupMessages reads messages of a group by seq, for a member; those that
// cannot be shown to him are left out.
func (s *State) GroupMessages(user UserID, id GroupID, seqs []uint64, b *Batch, now int64) {}

// MemberChanges reads what a member's other sessions have changed in his own
// view of a group after a point in its order: reads, deletions.
func (s *State) MemberChanges(id GroupID, user UserID, session SessionID, after uint64) []Change {
	return nil
}

// GroupUnread lists the seqs that make up a member's unread, ascending.
func (s *State) GroupUnread(id GroupID, user UserID, now int64) []uint64 { return nil }

// Groups yields the ids of the groups of this shard, in no order.
func (s *State) Groups(yield func(GroupID) bool) {}
