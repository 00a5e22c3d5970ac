package gateway

import (
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/query"
)

// A groupFrame is an onNewMessage that is being built, with messages of one or more
// groups.
type groupFrame struct {
	open        bool
	d           uint64 // its delivery number
	writer      protocol.NewMessageWriter
	subs        []*subscription // those whose cursors it will hold
	epochs      []uint64        // the epochs of these cursors
	cursorBytes int             // the most bytes that these cursors take
	skipped     uint64          // signals that were lost before its messages
	cursors     []protocol.GroupCursor
}

// cursorEntry is the most bytes that the cursor of one group takes in a frame.
const cursorEntry = cursorRoom + protocol.MaxGroupLen

// openFrame opens the frame, unless it is open. It reports false if the window has no
// room for one.
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

// closeFrame queues the frame, if it is open, and returns how many messages it has.
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

// addCursor notes that the frame will hold the cursor of sub. epoch is that of the
// messages read.
func (f *groupFrame) addCursor(sub *subscription, epoch uint64) {
	if sub.cursorFrame != f.d {
		sub.cursorFrame = f.d
		f.subs, f.epochs = append(f.subs, sub), append(f.epochs, epoch)
		f.cursorBytes += cursorEntry
	}
}

// markGroup notes in the window that the frame holds everything in a group's order after
// from, up to to. It does so only if the store will ask for acks of the group.
func (s *session) markGroup(sub *subscription, from, to uint64) {
	if !s.gateway.config.Hooks.WantsQueued() || sub.live {
		return
	}
	if sub.markedTo != 0 {
		from = min(from, sub.markedTo) // nothing in between needs an ack
	}
	sub.markedTo = to
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.addGroupMark(sub, store.Span{From: from, To: to})
}

// room returns how many messages of sub, and how many bytes of them, still fit into the
// frame. The first message of a frame may have any size.
func (f *groupFrame) room(sub *subscription) (messages, bytes int) {
	tail := f.cursorBytes
	if sub.cursorFrame != f.d {
		tail += cursorEntry
	}
	return f.writer.Room(tail)
}
