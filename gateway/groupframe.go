package gateway

import (
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/query"
)

// A groupFrame is an onNewMessage with messages of one or more groups that is being
// built. It is part of a pumpState.
type groupFrame struct {
	open        bool
	d           uint64 // its delivery number
	writer      protocol.NewMessageWriter
	subs        []*subscription // whose cursors it will hold
	epochs      []uint64        // of these cursors
	cursorBytes int             // bytes that those take at most
	skipped     uint64          // signals that were lost before its messages
	cursors     []protocol.GroupCursor
}

// cursorEntry is how many bytes a group's cursor takes at most.
const cursorEntry = cursorRoom + protocol.MaxGroupLen

// openFrame opens a frame unless one is open. It reports false if the window has no room
// for it.
func (s *session) openFrame(p *pumpState) bool {
	f := &p.group
	if f.open {
		return true
	}
	if !s.windowHasRoom() {
		return false
	}
	s.mu.Lock()
	d := s.window.nextDelivery()
	s.mu.Unlock()
	f.open, f.d, f.cursorBytes, f.skipped = true, d, 0, 0
	f.writer = protocol.BeginNewMessage(p.frame[:0], s.codec, d)
	return true
}

// closeFrame queues the open frame, if there is one, and returns how many messages it
// has.
func (s *session) closeFrame(p *pumpState) (messages int) {
	f := &p.group
	if !f.open {
		return 0
	}
	f.open = false
	messages = f.writer.Len()
	for i, sub := range f.subs {
		if sub.cursor == "" {
			sub.cursor = query.Cursor(f.epochs[i], sub.feed.group.Key(), sub.pushedTo)
		}
		f.cursors = append(f.cursors, protocol.GroupCursor{Group: string(sub.feed.group), Cursor: sub.cursor})
	}
	if messages > 0 {
		p.frame = f.writer.End("", f.cursors, int(f.skipped))
		s.mu.Lock()
		s.queueMessages(p.frame, messages, 0)
		s.mu.Unlock()
		s.gateway.metrics.deliveries.Add(float64(messages))
	}
	clear(f.subs)
	clear(f.cursors)
	f.subs, f.epochs, f.cursors = f.subs[:0], f.epochs[:0], f.cursors[:0]
	return messages
}

// addCursor adds the cursor of sub to the open frame. epoch is that of what was read of
// the group.
func (f *groupFrame) addCursor(sub *subscription, epoch uint64) {
	if sub.cursorFrame != f.d {
		sub.cursorFrame = f.d
		f.subs, f.epochs = append(f.subs, sub), append(f.epochs, epoch)
		f.cursorBytes += cursorEntry
	}
}

// markGroup notes that the open frame holds what the group has between two points of its
// order, if the store will ask whether that is acked.
func (s *session) markGroup(sub *subscription, from, to uint64) {
	if !s.gateway.config.Hooks.WantsQueued() || sub.live {
		return
	}
	if sub.markedTo != 0 {
		from = min(from, sub.markedTo) // what lies in between needs no ack
	}
	sub.markedTo = to
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.addGroupMark(sub, store.Span{From: from, To: to})
}

// room returns how many messages of sub, and how many bytes of them, the frame has room
// for. Its first message may have any size.
func (f *groupFrame) room(sub *subscription) (messages, bytes int) {
	tail := f.cursorBytes
	if sub.cursorFrame != f.d {
		tail += cursorEntry
	}
	return f.writer.Room(tail)
}
