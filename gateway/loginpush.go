package gateway

import (
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// maxLost is how many runs of lost messages onSynced may list. If there are more, they
// are merged.
const maxLost = 256

// A loginSync is the part of a login's sync that is still to be pushed. It is pushed in
// this order: the offline queue, unread messages of groups, the last messages of
// recents, changes in groups, and onSynced.
type loginSync struct {
	direct       *query.Sync        // the part of one-to-one conversations, nil once it is pushed
	backlog      []groupPart        // unread messages, the group with the newest message first
	lastMessages []groupPart        // last messages of recents, the oldest first
	groupEvents  []query.GroupEvent // the last change of each group itself
	changes      []query.Change
	joined       map[command.GroupID]uint64 // groups that a device with a cursor does not know, with the points at which the user joined; 0 = not known yet
	uncounted    map[command.GroupID]bool   // groups that count no unread; nil for none
	end          *protocol.Synced           // nil for a sync of groups that came late
	// late are groups that were not available at the login. Their subscriptions go on
	// once the sync is pushed: their positions lie behind it.
	late []query.GroupSyncItem
}

// size returns about how many bytes of memory the sync takes.
func (y *loginSync) size() int64 {
	n := len(y.backlog) + len(y.lastMessages) + len(y.changes) + len(y.groupEvents) + len(y.joined) + len(y.uncounted)
	if y.direct != nil {
		n += len(y.direct.Conversations) + len(y.direct.Lost) + y.direct.QueueLen()/8 // the ids in the queue are small
	}
	if y.end != nil {
		n += len(y.end.Conversations) + len(y.end.Groups)
	}
	return int64(n) * syncedCost
}

// A groupPart is a list of messages of one group that are to be pushed.
type groupPart struct {
	sub    *subscription
	seqs   []uint64 // ascending
	size   int      // about how many bytes a message takes
	cursor string   // cursor to push with the last message, "" for none
	first  uint64   // arrival number of the first message pushed, 0 if none was
	epoch  uint64   // epoch for cursors, from the last read
}

// pushSync pushes the next part of the sync. more reports whether there may be more, of
// the sync or after it.
func (s *session) pushSync(p *pumpState) (pushed int, more bool) {
	y := s.sync
	switch {
	case y.direct != nil && (len(y.backlog) == 0 || y.direct.CursorArrival > 0 || y.direct.QueueLen() > 0):
		pushed, more = s.pushDirect(p)
	case len(y.backlog) > 0:
		pushed, more = s.pushParts(p, &y.backlog)
	case len(y.lastMessages) > 0:
		pushed, more = s.pushParts(p, &y.lastMessages)
	}
	if y.direct == nil && len(y.backlog) == 0 && len(y.lastMessages) == 0 {
		s.finishSync(p)
		more = true
	}
	return pushed, more
}

// finishSync pushes what needs no room in the window: events, changes and onSynced.
// After the last part the sync ends.
func (s *session) finishSync(p *pumpState) {
	y := s.sync
	for len(y.groupEvents) > 0 {
		if s.conn.Buffered() >= flushBytes {
			return
		}
		e := y.groupEvents[0]
		s.queue(frameGroupEvent, func(b []byte) []byte { return wire.AppendGroupEvent(b, s.codec, &e, "", y.uncounted[e.Group]) })
		y.groupEvents = y.groupEvents[1:]
	}
	for len(y.changes) > 0 {
		if s.conn.Buffered() >= flushBytes {
			return
		}
		s.pushChange(&y.changes[0])
		y.changes = y.changes[1:]
	}
	if y.end != nil {
		var last bool
		p.frame, last = protocol.AppendSyncedPart(p.frame[:0], s.codec, y.end)
		what := frameConversations
		if last {
			what = frameSynced
		}
		s.queue(what, func(b []byte) []byte { return append(b, p.frame...) })
		if !last {
			return
		}
	}
	s.sync = nil
	s.mu.Lock()
	s.syncSize = 0
	s.mu.Unlock()
	s.setNews()
	s.resumeGroups(y.late)
}

// pushDirect pushes the next part of one-to-one conversations.
func (s *session) pushDirect(p *pumpState) (pushed int, more bool) {
	y := s.sync
	// A part can be read only once, so all of it has to fit the window, even if each
	// message needs a separate frame.
	messages, bytes := s.windowRoom()
	if queue := y.direct.QueueLen(); queue > 0 && len(y.backlog) > 0 {
		messages = min(messages, queue)
	}
	if err := s.gateway.reads.NextSync(s.user, y.direct, &p.batch, messages, bytes); err != nil {
		s.unavailable(err)
		return 0, false
	}
	// Without a cursor from the device the sync is not in the order of arrival, and only
	// its last frame may have a cursor.
	cursorOf := func(arrival uint64, _ bool) (string, uint64) {
		return query.Cursor(p.batch.Epoch, s.user, arrival), arrival
	}
	if y.direct.CursorArrival == 0 {
		cursorOf = func(_ uint64, last bool) (string, uint64) {
			if last && !p.batch.More {
				return y.direct.Cursor, y.direct.Arrival
			}
			return "", 0
		}
	}
	for i := 0; i < len(p.batch.Items); {
		if c := p.batch.Items[i].Change; c >= 0 && s.pushMembership(&p.batch.Changes[c]) {
			i++
			continue
		}
		n, messages := s.pushItem(p, i, cursorOf)
		i, pushed = i+n, pushed+messages
	}
	if !p.batch.More {
		y.direct = nil
	}
	return pushed, true
}

// pushMembership tells a device with a cursor that its user has joined or left a group
// since. It reports whether c is a change of that kind. The event does not say who did
// it, since the user's shard does not know.
func (s *session) pushMembership(c *query.Change) bool {
	if c.Kind != query.ChangeGroupJoined && c.Kind != query.ChangeGroupLeft {
		return false
	}
	cursor := ""
	if c.Kind == query.ChangeGroupJoined {
		at, unknown := s.sync.joined[c.Group]
		if !unknown {
			return true // the device knows the group: the user may have become its owner
		}
		if at != 0 {
			cursor = s.gateway.backend.Cursor(c.Group.Key(), at)
		}
	}
	e := &query.GroupEvent{Kind: c.Event, Group: c.Group, Users: []command.UserID{s.user}, Time: c.Time}
	s.queue(frameGroupEvent, func(b []byte) []byte { return wire.AppendGroupEvent(b, s.codec, e, cursor, s.sync.uncounted[e.Group]) })
	return true
}

// pushParts pushes one frame of the messages in parts. more is false if the store is
// unavailable.
func (s *session) pushParts(p *pumpState, parts *[]groupPart) (pushed int, more bool) {
	for len(*parts) > 0 {
		end := s.pushPart(p, &(*parts)[0])
		switch {
		case end == storeDown:
			return s.closeFrame(p), false
		case end == full:
			return s.closeFrame(p), true
		}
		(*parts)[0] = groupPart{}
		*parts = (*parts)[1:]
	}
	return s.closeFrame(p), true
}

func (s *session) pushPart(p *pumpState, part *groupPart) progress {
	for len(part.seqs) > 0 && !part.sub.closed.Load() {
		if !s.openFrame(p) {
			return full
		}
		f := &p.group
		messages, bytes := f.room(part.sub)
		n := min(len(part.seqs), messages, 1+max(bytes, 0)/max(part.size, 1))
		if n == 0 {
			return full
		}
		if err := s.gateway.reads.GroupMessages(s.user, part.sub.feed.group, part.seqs[:n], &p.batch); err != nil {
			s.unavailable(err)
			return storeDown
		}
		part.epoch = p.batch.Epoch
		for i := range p.batch.Messages {
			m := &p.batch.Messages[i]
			message := wire.Message(m)
			if !f.writer.Add(&message, f.cursorBytes+cursorEntry) {
				for part.seqs[0] < m.Seq {
					part.seqs = part.seqs[1:]
				}
				return full
			}
			if part.first == 0 {
				part.first = m.Arrival
			}
		}
		part.seqs = part.seqs[n:]
	}
	if part.first != 0 && !part.sub.closed.Load() {
		s.markGroup(part.sub, part.first-1, part.sub.pushedTo)
	}
	if part.cursor != "" && p.group.open && p.group.writer.Len() > 0 {
		p.group.addCursor(part.sub, part.epoch)
	}
	return caughtUp
}

// mergeLost merges the runs of each conversation into one if there are more than maxLost
// in all, so that onSynced fits a frame. The count of a merged run still counts only
// lost messages.
func mergeLost(lost []query.Lost) []query.Lost {
	if len(lost) <= maxLost {
		return lost
	}
	merged := lost[:0:0]
	for _, l := range lost {
		if n := len(merged); n > 0 && merged[n-1].Peer == l.Peer && merged[n-1].Group == l.Group {
			merged[n-1].To = l.To
			merged[n-1].Count += l.Count
			continue
		}
		merged = append(merged, l)
	}
	return merged
}
