package shard

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// errMoved refuses a query whose slot is frozen or not in this shard.
var errMoved = &command.RefusedError{Code: command.CodeMoved}

// Answer fills in the answer to a query as of now (ms), which must not be before Now.
// An error is a *command.RefusedError: CodeMoved if the query's slot is frozen or not
// in this shard, otherwise a code that the query's type documents.
func (s *State) Answer(q query.Query, now int64) error {
	if slot := q.Slot(); slot >= 0 && !s.Owns(uint16(slot)) {
		return errMoved
	}
	switch q := q.(type) {
	case *query.UpdatesAfter:
		s.readUpdatesAfter(q, now)
		q.Updates.Epoch = s.epoch
	case *query.SyncMessages:
		s.syncMessages(q, now)
		q.Updates.Epoch = s.epoch
	case *query.GroupUpdatesAfter:
		s.GroupUpdatesAfter(q.Group, q.After, q.Updates, q.MaxMessages, q.MaxBytes, now)
		q.Updates.Epoch = s.epoch
	case *query.GroupMessages:
		s.GroupMessages(q.User, q.Group, q.Seqs, q.Updates, now)
		q.Updates.Epoch = s.epoch
	case *query.MemberChanges:
		q.Changes = s.MemberChanges(q.Group, q.User, q.Session, q.After)
	case *query.History:
		return s.historyFor(q, now)

	case *query.Contact:
		s.contact(q, now)
	case *query.Contacts:
		q.ReceivedFrom, q.BlockedBy = make([]bool, len(q.Peers)), make([]bool, len(q.Peers))
		for i, peer := range q.Peers {
			q.ReceivedFrom[i], q.BlockedBy[i] = s.HasReceivedFrom(q.User, peer), s.BlockedBy(q.User, peer)
		}
	case *query.Eligibility:
		q.Known, q.Exists = s.HasUser(q.User), s.Exists(q.User)
		q.Blocks, q.SentToAsker = s.Blocks(q.User, q.Asker), s.HasSentTo(q.User, q.Asker)
		q.Counts = s.GroupCounts(q.User)
	case *query.Sharing:
		s.sharing(q)
	case *query.User:
		q.Info, q.Known = s.User(q.User, now)
	case *query.Sessions:
		q.Sessions = s.Sessions(q.User)
	case *query.Blocked:
		q.Users = s.Blocked(q.User)
	case *query.GroupsOf:
		q.Groups = s.GroupsOf(q.User)
	case *query.Unread:
		q.Counts = s.Unread(q.User, now)
	case *query.UnreadTotal:
		q.Sum = s.UnreadTotal(q.User, now)
	case *query.GroupsUnread:
		q.Sum = query.UnreadSum{}
		for _, group := range q.Groups {
			q.Sum.Add(s.MemberUnread(group, q.User, now))
		}
	case *query.UnreadSeqs:
		if q.Group != "" {
			q.Seqs = s.GroupUnread(q.Group, q.User, now)
		} else {
			q.Seqs = s.UnreadSeqs(q.User, q.Peer, now)
		}
	case *query.Recents:
		q.List = s.Recents(q.User, q.MaxBytes, now)
	case *query.Conversations:
		q.List = s.Conversations(q.User, q.AfterPlace, q.Limit, q.MaxBytes, now)
	case *query.AllConversations:
		q.Conversations, q.Next = s.ConversationsOf(q.User, q.From, q.Limit, now)
	case *query.QueuedMessage:
		s.queuedMessage(q, now)
	case *query.ImportState:
		q.Now = now
		if q.Group != "" {
			q.Status, q.Code = s.ImportGroupStatus(q.Group, q.Stream, now)
		} else {
			q.Status, q.Code = s.ImportStatus(q.User, q.Peer, q.Stream, now), command.OK
		}
	case *query.Sent:
		s.sent(q, now)
	case *query.SeqOf:
		q.Seq = s.SeqOf(q.User, q.Peer, q.ID)

	case *query.Group:
		q.Info, q.Exists = s.Group(q.Group, q.Asker)
	case *query.Membership:
		q.JoinedAt, q.IsMember = s.MemberSince(q.Group, q.User)
		q.Member, _ = s.Member(q.Group, q.User)
		q.Past, q.WasMember = s.LastMembership(q.Group, q.User)
	case *query.Members:
		q.Members, q.More = s.Members(q.Group, q.After, q.Limit)
	case *query.Bans:
		q.Bans, q.More = s.Bans(q.Group, q.After, q.Limit)
	case *query.JoinRequests:
		q.Requests = s.JoinRequests(q.Group)
	case *query.SyncGroups:
		q.Sync = s.SyncGroups(q.User, q.Asks, q.Backlog, q.Most, now)
	case *query.MaySpeak:
		return s.maySpeak(q, now)

	case *query.Users:
		q.Users = lowest(s.AppendUsers(nil, q.First, q.Last, q.After, q.Before), q.Limit,
			func(a, b query.UserEntry) int { return cmp.Compare(a.User, b.User) })
	case *query.Groups:
		q.Groups = lowest(s.AppendGroups(nil, q.First, q.Last, q.After, q.Before), q.Limit,
			func(a, b query.GroupInfo) int { return cmp.Compare(a.ID, b.ID) })
	case *query.Count:
		q.Counts = s.Count(q.First, q.Last)
	case *query.GroupsHolding:
		q.Groups = s.AppendGroupsHolding(nil, q.First, q.Last, q.User, now)
		slices.Sort(q.Groups)
	case *query.TraceMessage:
		s.traceMessage(q, now)
	case *query.FindMessage:
		s.findMessage(q)
	case *query.CountSender:
		s.countSender(q, now)
	default:
		panic(&InvariantError{Reason: fmt.Sprintf("query %T has no answer", q)})
	}
	return nil
}

// lowest sorts a list and returns its first limit elements.
func lowest[T any](all []T, limit int, order func(a, b T) int) []T {
	slices.SortFunc(all, order)
	return slices.Clip(all[:min(len(all), limit)])
}

// historyFor reads a page of history, and refuses that of a group to users who are not
// members.
func (s *State) historyFor(q *query.History, now int64) error {
	if q.Group != "" {
		switch info, exists := s.Group(q.Group, q.User); {
		case !exists:
			return noGroup(q.Group)
		case info.Role == command.RoleNone && !q.Admin:
			return noMember(q.Group)
		}
	}
	s.History(q.HistoryQuery, q.Page, now)
	return nil
}

func noGroup(group command.GroupID) error {
	return &command.RefusedError{Code: command.CodeNotFound, Detail: "conv: there is no group " + string(group)}
}

func noMember(group command.GroupID) error {
	return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: only for members of " + string(group)}
}

// maySpeak answers a MaySpeak query, or returns why the user may not send.
func (s *State) maySpeak(q *query.MaySpeak, now int64) error {
	q.Now, q.Arrival, q.Members = now, s.GroupArrival(q.Group), nil
	info, exists := s.Group(q.Group, q.User)
	switch {
	case !exists:
		return noGroup(q.Group)
	case q.Admin:
	case info.Settings.StoresMessages && info.Role == command.RoleNone:
		return noMember(q.Group)
	case info.BannedUntil > now: // a banned user's session may not know of the ban yet
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: you are not a member of this group"}
	case info.Settings.MutedAll && info.Role < command.RoleAdmin:
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: all but the owner and admins are muted in this group (mutedAll)"}
	case info.MutedUntil > now:
		return &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: you are muted in this group"}
	}
	if info.Settings.StoresMessages && info.Members <= q.Listeners {
		members, _ := s.Members(q.Group, "", q.Listeners)
		for i := range members {
			q.Members = append(q.Members, members[i].User)
		}
	}
	return nil
}

func (s *State) contact(q *query.Contact, now int64) {
	*q = query.Contact{User: q.User, Peer: q.Peer, Now: now}
	u := s.lookup(q.User)
	if u == nil {
		return
	}
	q.Known, q.Exists, q.Suspended, q.LastSeen = true, u.exists(), u.accountOrZero().suspended, u.lastSeen
	if q.Peer == "" {
		return
	}
	if i := s.findConv(u, q.Peer); i >= 0 {
		c := &u.convs.items[i]
		q.HasConversation = c.log.Next() > 1
		q.ReceivedFrom, q.SentTo = c.flags&convReceived != 0, c.flags&convSent != 0
		q.Blocks, q.BlockedBy = c.flags&convBlocked != 0, c.flags&convBlockedBy != 0
	}
}

func (s *State) queuedMessage(q *query.QueuedMessage, now int64) {
	var up query.Updates
	q.Message = query.Message{}
	if q.Group != "" {
		q.Info, q.Queued = s.MemberQueuedMessage(q.Group, q.User, q.Seq, &up, now)
	} else {
		q.Info, q.Queued = s.QueuedMessage(q.User, q.Peer, q.Seq, &up, now)
	}
	if q.Queued {
		q.Message = up.Messages[0]
	}
}
