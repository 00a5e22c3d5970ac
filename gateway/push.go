package gateway

import (
	"iter"
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// readBytes is how many bytes are read from the store at a time: about as many as a
	// frame holds.
	readBytes = 48 << 10
	// cursorRoom is how many bytes of a frame are reserved for its cursor.
	cursorRoom = 128
	// maxChanged is the most seqs in one onRecall or onMessageDeleted.
	maxChanged = 1000
)

// push queues frames with what the store has for the device, as far as its window
// allows: first the sync of the login, then what came after it, for the user and in
// groups by turns, and signals as they come. It returns how many messages it has queued.
// rest reports that it stopped with more to push, because what it has queued has to be
// written first.
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

// pushNews pushes what came for the user after s.pushedTo, as far as the window has
// room. more reports whether there is more.
func (s *session) pushNews(p *pumpState) (pushed int, more bool) {
	messages, bytes := s.windowRoom()
	if err := s.gateway.reads.Since(s.user, s.id(), s.pushedTo.Load(), &p.batch, messages, bytes); err != nil {
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
		s.pushedTo.Store(arrival(&p.batch, i-1))
	}
	s.pushedTo.Store(p.batch.Through)
	return pushed, p.batch.More
}

// windowRoom returns how many messages and bytes to read from the store, so that they
// fit the window.
func (s *session) windowRoom() (messages, bytes int) {
	c := &s.gateway.config
	s.mu.Lock()
	defer s.mu.Unlock()
	messages = min(protocol.MaxMessages, c.Window-len(s.window.frames))
	bytes = min(readBytes, c.WindowBytes-s.window.bytes)
	return max(messages, 1), max(bytes, 1)
}

// arrival returns the arrival number of item i of b.
func arrival(b *query.Updates, i int) uint64 {
	if c := b.Items[i].Change; c >= 0 {
		return b.Changes[c].Arrival
	}
	return b.Messages[b.Items[i].Message].Arrival
}

// pushItem pushes item i of the batch. If that is a message, it pushes the messages that
// follow it in the same frame, as many as fit. It returns how many items and messages it
// has pushed. cursorOf returns the cursor for a frame that ends with the message of an
// arrival number, and the arrival number up to which the device then has everything, 0
// if that is not known; last says that the message ends the batch.
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

// queueMessages queues an onNewMessage and adds it to the window. With this frame the
// device has everything of the user up to the arrival number upTo, 0 if that is not
// known. The caller holds mu, but must encode the frame without mu.
func (s *session) queueMessages(frame []byte, messages int, upTo uint64) {
	if s.ended {
		return
	}
	s.window.push(len(frame), upTo)
	s.startStallTimer()
	s.queueFrame(frameMessages, func(b []byte) []byte { return append(b, frame...) })
	s.gateway.metrics.messagesOut.Add(float64(messages))
}

// queue queues a push that needs no ack.
func (s *session) queue(what frameOp, encode func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.queueFrame(what, encode)
	}
}

// pushChange pushes a change in one or more frames, each with at most maxChanged seqs.
func (s *session) pushChange(c *query.Change) {
	for part := range changeParts(c) {
		s.queue(frameChange(part.Kind), func(b []byte) []byte { return wire.AppendChange(b, s.codec, &part) })
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

// cutRanges splits ranges into a head of at most most seqs and the rest.
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
