package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard"
)

const (
	// readBytes is how much the pump reads from the store at a time, about what
	// a frame holds.
	readBytes = 48 << 10
	// cursorRoom is kept in a frame for its cursor.
	cursorRoom = 128
	// maxChanged is how many seqs one onRecall or onMessageDeleted names.
	maxChanged = 1000
	// maxLost is how many runs of lost messages onSynced tells apart.
	maxLost = 256
)

// push tells the device what the store has for it, as far as its window allows:
// first the sync of the login, then what came after it, and signals as they
// come. It returns how many messages it has queued since it last flushed.
func (s *session) push(p *pumpState) (pushed int) {
	for s.hasRoom() {
		n, more := 0, false
		if s.sync != nil {
			n, more = s.pushSync(p)
		} else {
			n, more = s.pushNews(p)
		}
		pushed += n
		if !more {
			break
		}
		if s.conn.buffered() >= flushBytes {
			s.flush(pushed)
			pushed = 0
		}
	}
	return pushed + s.pushSignals(p)
}

// pushSync pushes the next part of the sync. more tells whether there is more
// to push, of the sync or after it.
func (s *session) pushSync(p *pumpState) (pushed int, more bool) {
	// A part of a sync cannot be read again, so that what is read has to fit the
	// window: every message may need a frame of its own.
	messages, bytes := s.windowRoom()
	if err := s.gateway.backend.NextSync(s.user, s.sync, &p.batch, messages, bytes); err != nil {
		s.unavailable(err)
		return 0, false
	}
	// A device without a cursor holds nothing up to a cursor until the sync is
	// through: the order of its parts is not that of arrival.
	cursor := func(arrival uint64, _ bool) string { return s.gateway.backend.Cursor(s.user, arrival) }
	if s.sync.Since == 0 {
		cursor = func(_ uint64, last bool) string {
			if last && !p.batch.More {
				return s.sync.Cursor
			}
			return ""
		}
	}
	for i := 0; i < len(p.batch.Items); {
		n, messages := s.pushItem(p, i, cursor)
		i, pushed = i+n, pushed+messages
	}
	if !p.batch.More {
		s.pushSynced()
	}
	return pushed, true
}

// pushNews pushes what came after s.told. What the window has no room for is
// left in the store.
func (s *session) pushNews(p *pumpState) (pushed int, more bool) {
	messages, bytes := s.windowRoom()
	if err := s.gateway.backend.Since(s.user, s.number, s.told, &p.batch, messages, bytes); err != nil {
		s.unavailable(err)
		return 0, false
	}
	cursor := func(arrival uint64, _ bool) string { return s.gateway.backend.Cursor(s.user, arrival) }
	for i := 0; i < len(p.batch.Items); {
		if !s.hasRoom() {
			return pushed, true
		}
		n, messages := s.pushItem(p, i, cursor)
		i, pushed = i+n, pushed+messages
		s.told = arrival(&p.batch, i-1)
	}
	s.told = p.batch.Next
	return pushed, p.batch.More
}

// windowRoom tells how much may be read from the store for the window's room.
func (s *session) windowRoom() (messages, bytes int) {
	c := &s.gateway.config
	s.mu.Lock()
	defer s.mu.Unlock()
	messages = min(protocol.MaxMessages, c.Window-len(s.window.frames))
	bytes = min(readBytes, c.WindowBytes-s.window.bytes)
	return max(messages, 1), max(bytes, 1)
}

// arrival is the place of item i in the arrival order.
func arrival(b *shard.Batch, i int) uint64 {
	if c := b.Items[i].Change; c >= 0 {
		return b.Changes[c].Arrival
	}
	return b.Messages[b.Items[i].Message].Arrival
}

// pushItem pushes item i of the batch and, if it is a message, its neighbours
// that are too, as far as one frame holds them. cursor gives the cursor of a
// frame that ends with a message of some arrival number, and may be the last.
func (s *session) pushItem(p *pumpState, i int, cursor func(arrival uint64, last bool) string) (items, messages int) {
	b := &p.batch
	if c := b.Items[i].Change; c >= 0 {
		s.pushChange(&b.Changes[c])
		return 1, 0
	}
	s.mu.Lock()
	w := protocol.BeginNewMessage(p.frame[:0], s.codec, s.window.opened())
	s.mu.Unlock()
	end := i
	for ; end < len(b.Items) && b.Items[end].Message >= 0; end++ {
		m := wireMessage(&b.Messages[b.Items[end].Message])
		if !w.Add(&m, cursorRoom) {
			break
		}
	}
	p.frame = w.End(cursor(arrival(b, end-1), end == len(b.Items)), nil, 0)

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range b.Items[i:end] {
		if m := &b.Messages[item.Message]; s.auto && m.From != s.user {
			s.window.mark(m.Peer, m.Seq)
		}
	}
	s.queueMessages(p.frame, end-i)
	return end - i, end - i
}

// queueMessages queues an onNewMessage, which takes its place in the window. The
// caller holds mu. The frame was put together without it, since whoever wakes
// the session waits for mu.
func (s *session) queueMessages(frame []byte, messages int) {
	if s.ended {
		return
	}
	s.window.push(len(frame))
	s.queueFrame(func(b []byte) []byte { return append(b, frame...) })
	s.gateway.metrics.messagesOut.Add(float64(messages))
}

// queue queues a push that needs no ack.
func (s *session) queue(encode func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.queueFrame(encode)
	}
}

// pushSynced ends the sync.
func (s *session) pushSynced() {
	sync := s.sync
	s.sync = nil
	lost := mergeLost(sync.Lost)
	p := &protocol.Synced{
		Offline: sync.Offline, Lost: make([]protocol.Lost, len(lost)), Cursor: sync.Cursor, Reset: sync.Reset,
		UnreadTotal: sync.UnreadTotal, Conversations: wireConversations(sync.Conversations),
	}
	for i, l := range lost {
		p.Lost[i] = protocol.Lost{Conv: protocol.UserConv(string(l.Peer)), From: l.From, To: l.To, Count: l.Count}
	}
	s.queue(func(b []byte) []byte { return protocol.AppendSynced(b, s.codec, p) })
}

// pushChange tells of a change to what the device holds, in as many frames as
// its ranges need.
func (s *session) pushChange(c *shard.Change) {
	rest := c.Ranges
	for {
		part := *c
		part.Ranges, rest = cutRanges(rest, maxChanged)
		s.pushPart(&part)
		if len(rest) == 0 {
			return
		}
	}
}

// cutRanges splits off ranges that hold at most so many seqs in all.
func cutRanges(ranges []shard.Range, most uint64) (head, rest []shard.Range) {
	for i, r := range ranges {
		if n := r.To - r.From + 1; n <= most {
			most -= n
			continue
		}
		head = slices.Clone(ranges[:i])
		rest = slices.Clone(ranges[i:])
		if most > 0 {
			head = append(head, shard.Range{From: r.From, To: r.From + most - 1})
			rest[0].From = r.From + most
		}
		return head, rest
	}
	return ranges, nil
}

// mergeLost makes one run of those of each conversation when there are so many
// that onSynced would not fit a frame. The count of a run that spans others is
// still that of the lost messages.
func mergeLost(lost []shard.Lost) []shard.Lost {
	if len(lost) <= maxLost {
		return lost
	}
	merged := lost[:0:0]
	for _, l := range lost {
		if n := len(merged); n > 0 && merged[n-1].Peer == l.Peer {
			merged[n-1].To = l.To
			merged[n-1].Count += l.Count
			continue
		}
		merged = append(merged, l)
	}
	return merged
}

func (s *session) pushPart(c *shard.Change) {
	conv := protocol.UserConv(string(c.Peer))
	s.queue(func(b []byte) []byte {
		switch c.Kind {
		case shard.ChangeRead:
			return protocol.AppendReadReport(b, s.codec, &protocol.ReadReport{Conv: conv, Seq: c.Seq})
		case shard.ChangeReceipt:
			return protocol.AppendReadReceipt(b, s.codec, &protocol.ReadReceipt{Conv: conv, Seq: c.Seq, Time: c.Time})
		case shard.ChangeRecall:
			recall := &protocol.Recall{Conv: conv, By: string(c.By)}
			for _, r := range c.Ranges {
				recall.Ranges = append(recall.Ranges, protocol.Range(r))
			}
			return protocol.AppendRecall(b, s.codec, recall)
		case shard.ChangeMessagesDeleted:
			deleted := &protocol.MessageDeleted{Conv: conv}
			for _, r := range c.Ranges {
				for seq := r.From; seq <= r.To; seq++ {
					deleted.Seqs = append(deleted.Seqs, seq)
				}
			}
			return protocol.AppendMessageDeleted(b, s.codec, deleted)
		case shard.ChangeConversationDeleted:
			return protocol.AppendConversationDeleted(b, s.codec, &protocol.ConversationDeleted{Conv: conv, Messages: c.Messages})
		}
		panic("gateway: change of an unknown kind") // the shard's list and this one have parted
	})
}
