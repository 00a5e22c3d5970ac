package gateway

import (
	"iter"
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// readBytes is how much is read from the store at a time, about what a frame holds.
	readBytes = 48 << 10
	// cursorRoom is how many bytes of a frame are kept for its cursor.
	cursorRoom = 128
	// maxChanged is how many seqs one onRecall or onMessageDeleted names.
	maxChanged = 1000
)

// push queues what the store has for the device, as far as its window allows: first
// the sync of the login, then what came after it, from users and from groups in turn,
// and signals as they come. It returns how many messages it has queued. rest is true if
// it stopped because much has to be flushed first.
func (s *session) push(p *pumpState) (pushed int, rest bool) {
	for more := true; more && s.windowHasRoom(); {
		n := 0
		switch {
		case s.sync != nil || s.nextLate():
			n, more = s.pushSync(p)
		case s.takeNews():
			n, more = s.pushNews(p)
			if more {
				s.setNews()
			}
			m, groups := s.pushGroups(p)
			n, more = n+m, more || groups
		default:
			n, more = s.pushGroups(p)
		}
		if pushed += n; more && s.conn.Buffered() >= flushBytes {
			return pushed, true
		}
	}
	return pushed + s.pushSignals(p), false
}

// takeNews returns and clears hasNews.
func (s *session) takeNews() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.hasNews
	s.hasNews = false
	return fresh
}

func (s *session) setNews() { s.mu.Lock(); defer s.mu.Unlock(); s.hasNews = true }

// pushNews pushes what came after s.pushedTo, as far as the window has room.
func (s *session) pushNews(p *pumpState) (pushed int, more bool) {
	messages, bytes := s.windowRoom()
	if err := s.gateway.backend.Since(s.user, s.id, s.pushedTo, &p.batch, messages, bytes); err != nil {
		s.setNews()
		s.unavailable(err)
		return 0, false
	}
	cursorOf := func(arrival uint64, _ bool) (string, uint64) {
		return query.Cursor(p.batch.Epoch, s.user, arrival), arrival
	}
	for i := 0; i < len(p.batch.Items); {
		if !s.windowHasRoom() || s.conn.Buffered() >= flushBytes {
			return pushed, true
		}
		n, messages := s.pushItem(p, i, cursorOf)
		i, pushed = i+n, pushed+messages
		s.pushedTo = arrival(&p.batch, i-1)
	}
	s.pushedTo = p.batch.Through
	return pushed, p.batch.More
}

// windowRoom returns how much to read from the store for the room in the window.
func (s *session) windowRoom() (messages, bytes int) {
	c := &s.gateway.config
	s.mu.Lock()
	defer s.mu.Unlock()
	messages = min(protocol.MaxMessages, c.Window-len(s.window.frames))
	bytes = min(readBytes, c.WindowBytes-s.window.bytes)
	return max(messages, 1), max(bytes, 1)
}

// arrival returns the arrival number of item i.
func arrival(b *query.Updates, i int) uint64 {
	if c := b.Items[i].Change; c >= 0 {
		return b.Changes[c].Arrival
	}
	return b.Messages[b.Items[i].Message].Arrival
}

// pushItem pushes item i of the batch and, if it is a message, the messages that follow
// it, as many as one frame holds. cursorOf returns the cursor of a frame that ends with
// a message of some arrival number, last being whether that ends the batch, and the
// arrival number up to which the device then has everything, 0 if that is not known.
func (s *session) pushItem(p *pumpState, i int, cursorOf func(arrival uint64, last bool) (cursor string, upTo uint64)) (items, messages int) {
	b := &p.batch
	if c := b.Items[i].Change; c >= 0 {
		switch c := &b.Changes[c]; c.Kind {
		case query.ChangeGroupJoined:
			s.groupJoined(c.Group)
		case query.ChangeGroupLeft:
			s.groupLeft(c.Group)
		default:
			s.pushChange(c)
		}
		return 1, 0
	}
	s.mu.Lock()
	w := protocol.BeginNewMessage(p.frame[:0], s.codec, s.window.nextDelivery())
	s.mu.Unlock()
	end := i
	for ; end < len(b.Items) && b.Items[end].Message >= 0; end++ {
		m := wire.Message(&b.Messages[b.Items[end].Message])
		if !w.Add(&m, cursorRoom) {
			break
		}
	}
	cursor, upTo := cursorOf(arrival(b, end-1), end == len(b.Items))
	p.frame = w.End(cursor, nil, 0)

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range b.Items[i:end] {
		if m := &b.Messages[item.Message]; s.autoRead && m.From != s.user {
			s.window.addMark(m.Peer, m.Seq)
		}
	}
	s.queueMessages(p.frame, end-i, upTo)
	return end - i, end - i
}

// queueMessages queues an onNewMessage and adds it to the window. With it the device has
// everything of the user up to the arrival number upTo, 0 if that is not known. The
// caller holds mu, but has built the frame without it: to wake the session takes mu.
func (s *session) queueMessages(frame []byte, messages int, upTo uint64) {
	if s.ended {
		return
	}
	s.window.push(len(frame), upTo)
	s.startAckTimer()
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

// pushChange pushes a change, in as many frames as its ranges need.
func (s *session) pushChange(c *query.Change) {
	for part := range changeParts(c) {
		s.queue(func(b []byte) []byte { return wire.AppendChange(b, s.codec, &part) })
	}
}

// changeParts yields a change in parts of at most maxChanged seqs.
func changeParts(c *query.Change) iter.Seq[query.Change] {
	return func(yield func(query.Change) bool) {
		for rest := c.Ranges; ; {
			part := *c
			part.Ranges, rest = cutRanges(rest, maxChanged)
			if !yield(part) || len(rest) == 0 {
				return
			}
		}
	}
}

// cutRanges splits ranges into the first ones, of at most so many seqs in all, and the
// rest.
func cutRanges(ranges []query.Range, most uint64) (head, rest []query.Range) {
	for i, r := range ranges {
		if n := r.To - r.From + 1; n <= most {
			most -= n
			continue
		}
		head = slices.Clone(ranges[:i])
		rest = slices.Clone(ranges[i:])
		if most > 0 {
			head = append(head, query.Range{From: r.From, To: r.From + most - 1})
			rest[0].From = r.From + most
		}
		return head, rest
	}
	return ranges, nil
}
