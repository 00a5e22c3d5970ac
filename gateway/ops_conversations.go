package gateway

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func (s *session) getRecents(r request) error {
	if err := s.decode(r, new(protocol.NoArgs), (*session).allowScan); err != nil {
		return err
	}
	ctx, cancel := s.requestContext()
	defer cancel()
	list, err := r.reads.Recents(ctx, s.user, protocol.MaxPage)
	if err != nil {
		return err
	}
	views, err := s.groupViews(ctx, r.reads)
	if err != nil {
		return err
	}
	var b query.Updates
	return s.replyConversations(r, func(w *protocol.ConversationsWriter) (more bool, after string, err error) {
		for _, recent := range mergeRecents(list.Conversations, views, max(s.maxRecents, len(list.Conversations))) {
			fits := true
			if v := recent.group; v == nil {
				fits = addConversation(w, &list, recent.user)
			} else if fits, err = s.addGroup(w, r.reads, v, &b); err != nil {
				return false, "", err
			}
			if !fits {
				return true, "", nil
			}
		}
		return list.More, "", nil
	})
}

// A listCursor is the place from which getConversations lists: first one-to-one
// conversations, in the order of their places, then groups by id.
type listCursor struct {
	groups bool
	behind uint64          // place of the last one-to-one conversation listed
	group  command.GroupID // the last group listed
}

// The text of a cursor is "u" with a place in base 36, or "g" with the id of a group.
const (
	userCursor  = "u"
	groupCursor = "g"
)

func (p listCursor) String() string {
	if p.groups {
		return groupCursor + string(p.group)
	}
	return userCursor + strconv.FormatUint(p.behind, 36)
}

func parseListCursor(text string) (p listCursor, err error) {
	switch rest, isGroup := strings.CutPrefix(text, groupCursor); {
	case text == "":
		return p, nil
	case isGroup:
		return listCursor{groups: true, group: command.GroupID(rest)}, nil
	case strings.HasPrefix(text, userCursor):
		if p.behind, err = strconv.ParseUint(text[1:], 36, 64); err == nil && p.behind != 0 {
			return p, nil
		}
	}
	return p, &refusal{code: protocol.CodeBadRequest, message: "after: must be a value that getConversations has returned"}
}

// getConversations replies with a page of the user's conversations.
func (s *session) getConversations(r request) error {
	var args protocol.GetConversationsArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	cursor, err := parseListCursor(args.After)
	if err != nil {
		return err
	}
	if err := s.allowScan(); err != nil {
		return err
	}
	return s.replyConversations(r, func(w *protocol.ConversationsWriter) (more bool, after string, err error) {
		more, err = s.listUsers(w, r.reads, &cursor, args.Limit)
		if !more && err == nil {
			more, err = s.listGroups(w, r.reads, &cursor, args.Limit-w.Len())
		}
		if more {
			after = cursor.String()
		}
		return more, after, err
	})
}

// listUsers adds one-to-one conversations to w, and moves the cursor behind the last one.
// more reports whether there are more of them.
func (s *session) listUsers(w *protocol.ConversationsWriter, reads store.Reader, cursor *listCursor, limit int) (more bool, err error) {
	if cursor.groups {
		return false, nil
	}
	list, err := reads.Conversations(s.user, cursor.behind, limit, protocol.MaxPage)
	if err != nil {
		return false, err
	}
	for i := range list.Conversations {
		if !addConversation(w, &list, i) {
			return true, nil
		}
		cursor.behind = list.Conversations[i].Place
	}
	if !list.More {
		*cursor = listCursor{groups: true}
	}
	return list.More, nil
}

// listGroups adds groups to w, and moves the cursor behind the last one. more reports
// whether there are more of them; a limit of 0 only asks for that.
func (s *session) listGroups(w *protocol.ConversationsWriter, reads store.Reader, cursor *listCursor, limit int) (more bool, err error) {
	ctx, cancel := s.requestContext()
	defer cancel()
	refs, err := reads.GroupsOf(ctx, s.user)
	if err != nil {
		return false, err
	}
	first, found := slices.BinarySearchFunc(refs, cursor.group, func(r query.GroupRef, g command.GroupID) int { return cmp.Compare(r.Group, g) })
	if found {
		first++
	}
	refs = refs[first:]
	asks := groupAsks(refs[:min(limit, len(refs))], nil)
	if len(asks) == 0 {
		return len(refs) > 0, nil
	}
	views, left := reads.SyncGroups(ctx, s.user, asks, 0, 0)
	if len(left) > 0 {
		return false, store.ErrUnavailable
	}
	slices.SortFunc(views, func(a, b query.GroupSyncItem) int { return cmp.Compare(a.Group, b.Group) })
	var b query.Updates
	for i := range views {
		fits, err := s.addGroup(w, reads, &views[i], &b)
		if err != nil || !fits {
			return true, err
		}
		cursor.group = views[i].Group
	}
	cursor.group = asks[len(asks)-1].Group
	return len(refs) > len(asks), nil
}

// replyConversations replies with the conversations that fill adds.
func (s *session) replyConversations(r request, fill func(*protocol.ConversationsWriter) (more bool, after string, err error)) error {
	buf := ws.GetBuffer()
	defer ws.PutBuffer(buf)
	w := protocol.BeginConversations((*buf)[:0], s.codec, r.ID)
	more, after, err := fill(&w)
	*buf = w.End(more, after)
	if err == nil {
		s.replyWith(r, func(b []byte) []byte { return append(b, *buf...) })
	}
	return err
}

// addConversation adds entry i of list, with its last message. It reports whether there
// was room.
func addConversation(w *protocol.ConversationsWriter, list *query.ConversationList, i int) bool {
	entry := wire.Conversation(&list.Conversations[i])
	if entry.LastSeq != 0 {
		entry.Last = new(wire.Message(&list.Last[i]))
	}
	return w.Add(&entry)
}

// addGroup adds a group, with its last message. fits reports whether there was room.
func (s *session) addGroup(w *protocol.ConversationsWriter, reads store.Reader, v *query.GroupSyncItem, b *query.Updates) (fits bool, err error) {
	entry := wire.GroupConversation(v)
	if v.LastSeq != 0 {
		if err := reads.GroupMessages(s.user, v.Group, []uint64{v.LastSeq}, b); err != nil {
			return false, err
		}
		if len(b.Messages) > 0 { // otherwise it was deleted meanwhile
			entry.Last = new(wire.Message(&b.Messages[0]))
		}
	}
	return w.Add(&entry), nil
}
