package gateway

import (
	"math"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A progress says why the pump stopped pushing from a subscription.
type progress uint8

const (
	caughtUp  progress = iota // there is nothing more now
	full                      // the frame or the window is full
	storeDown                 // the store is unavailable
)

// pushGroups pushes one frame of messages of groups, and the events and recalls among
// them. The groups that have waited for longest come first; a group that has more than
// fits goes to the end of the queue. It returns how many messages it has queued; more
// reports whether there may be more.
func (s *session) pushGroups(p *pumpState) (pushed int, more bool) {
	for sub := s.popReady(); sub != nil; sub = s.popReady() {
		n, end := s.pushGroup(p, sub)
		pushed += n
		if end == caughtUp {
			continue
		}
		if !sub.closed.Load() {
			s.putBack(sub)
		}
		more = end == full
		break
	}
	return pushed + s.closeFrame(p), more
}

// pushGroup pushes what there is in a group, until the frame is full or the subscription
// parks.
func (s *session) pushGroup(p *pumpState, sub *subscription) (pushed int, end progress) {
	if !sub.positioned {
		if end := s.positionNew(sub); end != caughtUp || sub.closed.Load() {
			return 0, end
		}
	}
	for {
		c, st, at, signal := sub.feed.next(sub)
		n := 0
		switch {
		case sub.changed.Load():
			sub.changed.Store(false) // a change from here on sets it again
			if n, end = s.pushMemberChanges(p, sub); end != caughtUp {
				sub.changed.Store(true)
			}
		case st == cached:
			n, end = s.pushChunk(p, sub, c, signal, math.MaxUint64)
		case st == behind:
			n, _, end = s.pushStored(p, sub, math.MaxUint64)
		case sub.leaving:
			n, end = s.pushRemaining(p, sub)
		default:
			if n, end = s.pushGroupSignals(p, sub, at+1); end == caughtUp && sub.feed.park(sub) {
				return pushed + n, caughtUp
			}
		}
		pushed += n
		if end != caughtUp || sub.closed.Load() {
			return pushed, end
		}
	}
}

// pushStored reads what is not cached any more from the store, and pushes it, up to a
// point in the order. read reports whether everything up to that point was pushed.
func (s *session) pushStored(p *pumpState, sub *subscription, upTo uint64) (pushed int, read bool, end progress) {
	messages, bytes := protocol.MaxMessages, readBytes
	if p.group.open {
		messages, bytes = p.group.room(sub)
	}
	err := s.gateway.reads.GroupSince(sub.feed.group, sub.pushedTo, &p.batch, max(messages, 1), max(bytes, 1))
	if err != nil {
		s.unavailable(err)
		return 0, false, storeDown
	}
	s.gateway.metrics.feedMisses.Inc()
	var in [codecs]bool
	in[s.codec] = true
	p.chunk.fill(&p.batch, in)
	read = !p.batch.More
	read = read || p.chunk.through >= upTo
	pushed, end = s.pushChunk(p, sub, &p.chunk, sub.feed.nextSignalAt(sub.nextSignal), upTo)
	return pushed, read && end == caughtUp, end
}

// pushChunk pushes what a chunk has after the position of sub, up to a point in the
// order, and the signals in between. signal is the point of the next signal. The feed
// already has all signals that come before the end of the chunk.
func (s *session) pushChunk(p *pumpState, sub *subscription, c *chunk, signal, upTo uint64) (pushed int, end progress) {
	if c.missedThrough > sub.pushedTo {
		if sub.live {
			return s.pushAssumedRemoval(p, sub), caughtUp
		}
		if m, err := s.membership(sub); err != nil {
			return 0, storeDown
		} else if !m.IsMember {
			s.pastMemberships.add(sub.feed.group, c.through)
			s.detach(sub) // at which point the membership ended is not known any more
			return 0, caughtUp
		} else if m.JoinedAt > sub.pushedTo {
			sub.minSeq = m.Member.VisibleFrom
			sub.rejoin(m.JoinedAt)
		}
	}
	for i := c.firstAfter(sub.pushedTo); i < len(c.items) && c.items[i].arrival <= upTo; {
		it := &c.items[i]
		if signal < it.arrival {
			n, end := s.pushGroupSignals(p, sub, it.arrival)
			pushed += n
			if end != caughtUp {
				return pushed, end
			}
			signal = sub.feed.nextSignalAt(sub.nextSignal)
			continue
		}
		if !it.message {
			n, end := s.pushStandalone(p, sub, c, i)
			pushed += n
			if end != caughtUp || sub.closed.Load() {
				return pushed, end
			}
			i = max(i+1, c.firstAfter(sub.pushedTo))
			continue
		}
		if it.sentBy(s) {
			sub.moveTo(it.arrival, "")
			i++
			continue
		}
		if !s.openFrame(p) {
			return pushed, full
		}
		f := &p.group
		messages, bytes := f.room(sub)
		j, start := i, int(it.ends[s.codec])-len(c.span(s.codec, i, i+1))
		for j < len(c.items) && j-i < messages {
			it := &c.items[j]
			if !it.message || it.sentBy(s) || signal < it.arrival || it.arrival > upTo || int(it.ends[s.codec])-start > bytes && f.writer.Len()+j-i > 0 {
				break
			}
			j++
		}
		if j == i {
			return pushed, full
		}
		f.writer.AddEncoded(c.span(s.codec, i, j), j-i)
		f.addCursor(sub, c.epoch)
		s.markGroup(sub, sub.pushedTo, c.items[j-1].arrival)
		sub.moveTo(c.items[j-1].arrival, "")
		i = j
	}
	if upTo < c.through {
		sub.moveTo(max(sub.pushedTo, upTo), "")
	} else if sub.pushedTo < c.through {
		sub.moveTo(c.through, c.cursor)
	} else if sub.pushedTo == c.through && sub.cursor == "" {
		sub.cursor = c.cursor
	}
	return pushed, caughtUp
}

// pushGroupSignals pushes the signals that come before a point in the group's order, as
// many as fit the frame.
func (s *session) pushGroupSignals(p *pumpState, sub *subscription, before uint64) (pushed int, end progress) {
	defer func() {
		clear(p.signals)
		p.signals = p.signals[:0]
	}()
	var lost uint64
	p.signals, lost = sub.feed.signalsAfter(sub.nextSignal, before, protocol.MaxMessages, p.signals)
	if lost > 0 {
		sub.lostSignals += lost
		sub.nextSignal += lost
		s.gateway.metrics.skipped.Add(float64(lost))
	}
	for _, e := range p.signals {
		if e.arrival < sub.signalsFrom || e.session == s.id() && e.session != 0 && e.from == s.user {
			sub.nextSignal++
			continue
		}
		if sub.lostSignals > 0 {
			pushed += s.closeFrame(p) // a frame gives the number of lost signals for one group alone
		}
		if !s.openFrame(p) {
			return pushed, full
		}
		f, bytes := &p.group, e.bytes[s.codec]
		messages, room := f.room(sub)
		if messages == 0 || len(bytes) > room && f.writer.Len() > 0 {
			return pushed, full
		}
		f.writer.AddEncoded(bytes, 1)
		f.skipped += sub.lostSignals
		sub.lostSignals = 0
		sub.nextSignal++
	}
	if p.group.open && p.group.skipped > 0 {
		pushed += s.closeFrame(p)
	}
	return pushed, caughtUp
}
