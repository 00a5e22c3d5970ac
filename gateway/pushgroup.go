package gateway

import (
	"math"
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An progress is how far the pump came with a subscription.
type progress uint8

const (
	caughtUp  progress = iota // there is nothing more for now
	full                      // the frame or the window is
	storeDown                 // the store is unavailable
)

// pushGroups pushes one frame of what groups have for the device, and what lies
// between: events, recalls. Those that have waited longest come first; one that
// has more than a frame takes goes back behind the others. It returns how many
// messages it has queued, and whether there may be more.
func (s *session) pushGroups(p *pumpState) (pushed int, more bool) {
	for sub := s.nextReady(); sub != nil; sub = s.nextReady() {
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

// pushGroup pushes what a group has, until it is through or the frame is full.
func (s *session) pushGroup(p *pumpState, sub *subscription) (pushed int, end progress) {
	if !sub.positioned {
		if end := s.positionNew(p, sub); end != caughtUp || sub.closed.Load() {
			return 0, end
		}
	}
	for {
		c, st, at, signal := sub.feed.next(sub)
		n := 0
		switch {
		case sub.changed.Load():
			sub.changed.Store(false) // what changes from here on sets it again
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

// positionNew gives a fresh subscription its place: of a member, when he joined, so
// that he is told of that, too.
func (s *session) positionNew(p *pumpState, sub *subscription) progress {
	b, group := s.gateway.backend, sub.feed.group
	if sub.live {
		sub.signalsFrom = sub.joinedAt
		sub.feed.setPosition(sub, sub.joinedAt, true)
		return caughtUp
	}
	at, member, err := b.JoinedAt(group, s.user)
	switch {
	case err != nil:
		s.unavailable(err)
		return storeDown
	case !member:
		return s.positionPast(sub)
	default:
		sub.signalsFrom, sub.minSeq = at+1, endOfOrder
		if err := s.loadMinSeq(sub); err != nil {
			return storeDown
		}
		sub.feed.setPosition(sub, at, true)
	}
	return caughtUp
}

// positionPast gives a subscription the place where a stay began that came to its
// end before the user's shard heard of its beginning. The event at its end ends
// the subscription. A stay that was over when the session logged in, or of whose
// end it was told, is nothing to it.
func (s *session) positionPast(sub *subscription) progress {
	past, known, err := s.gateway.backend.PastMembership(sub.feed.group, s.user)
	lastEnd := s.pastMemberships.endOf(sub.feed.group)
	switch {
	case err != nil:
		s.unavailable(err)
		return storeDown
	case !known || past.EndedMS < s.loginTime || past.To <= lastEnd:
		s.detach(sub)
	default:
		sub.signalsFrom, sub.minSeq = max(past.From, lastEnd)+1, past.VisibleFrom
		sub.feed.setPosition(sub, sub.signalsFrom-1, true)
	}
	return caughtUp
}

// loadMinSeq finds out from which seq on the user may read. Of who is no member any
// more it leaves what was heard before.
func (s *session) loadMinSeq(sub *subscription) error {
	m, member, err := s.gateway.backend.Member(sub.feed.group, s.user)
	switch {
	case err != nil:
		s.unavailable(err)
	case member:
		sub.minSeq = m.VisibleFrom
	}
	return err
}

// pushStored goes on from the store, where the cache does not reach back, as far as
// a point in the order. read tells whether all that the store has up to there was
// pushed.
func (s *session) pushStored(p *pumpState, sub *subscription, upTo uint64) (pushed int, read bool, end progress) {
	messages, bytes := protocol.MaxMessages, readBytes
	if p.group.open {
		messages, bytes = p.group.room(sub)
	}
	err := s.gateway.backend.GroupSince(sub.feed.group, sub.pushedTo, &p.batch, max(messages, 1), max(bytes, 1))
	if err != nil {
		s.unavailable(err)
		return 0, false, storeDown
	}
	s.gateway.metrics.feedMisses.Inc()
	var in [codecs]bool
	in[s.codec] = true
	p.chunk.fill(&p.batch, in)
	read = !p.batch.More
	read = read || p.chunk.to >= upTo
	pushed, end = s.pushChunk(p, sub, &p.chunk, sub.feed.nextSignalAt(sub.nextSignal), upTo)
	return pushed, read && end == caughtUp, end
}

// pushChunk pushes what a chunk has behind the place of sub, as far as a point in
// the order, and in between the messages that nobody stores, where they belong. signal is the place of the next
// one of those: all that came before what the chunk has are in the feed by now.
func (s *session) pushChunk(p *pumpState, sub *subscription, c *chunk, signal, upTo uint64) (pushed int, end progress) {
	if c.missedTo > sub.pushedTo {
		if sub.live {
			return s.pushAssumedRemoval(p, sub), caughtUp
		}
		if at, member, err := s.gateway.backend.JoinedAt(sub.feed.group, s.user); err != nil {
			s.unavailable(err)
			return 0, storeDown
		} else if !member {
			s.pastMemberships.add(sub.feed.group, c.to)
			s.detach(sub) // nobody knows any more since when
			return 0, caughtUp
		} else if at > sub.pushedTo {
			if err := s.loadMinSeq(sub); err != nil {
				return 0, storeDown
			}
			sub.rejoin(at)
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
		f.addCursor(sub)
		s.markGroup(sub, sub.pushedTo, c.items[j-1].arrival)
		sub.moveTo(c.items[j-1].arrival, "")
		i = j
	}
	if upTo < c.to {
		sub.moveTo(max(sub.pushedTo, upTo), "")
	} else if sub.pushedTo < c.to {
		sub.moveTo(c.to, c.cursor)
	} else if sub.pushedTo == c.to && sub.cursor == "" {
		sub.cursor = c.cursor
	}
	return pushed, caughtUp
}

// pushStandalone pushes an item that is no message: a recall, or an event.
func (s *session) pushStandalone(p *pumpState, sub *subscription, c *chunk, i int) (pushed int, end progress) {
	it := &c.items[i]
	told, ends := it.arrival, false
	if e := it.event; e != nil {
		b := s.gateway.backend
		switch {
		case e.EndsMembershipOf(s.user) && sub.live:
			ends = true
		case e.EndsMembershipOf(s.user) || e.Kind == query.EventRemoved && len(e.Users) == 0: // too many to be named
			at, member, err := b.JoinedAt(sub.feed.group, s.user)
			if err != nil {
				s.unavailable(err)
				return 0, storeDown
			}
			// He may have come back since: what lies between is not his.
			if ends = !member; !ends {
				if err := s.loadMinSeq(sub); err != nil {
					return 0, storeDown
				}
				told, sub.signalsFrom = max(told, at), at+1
			}
		case e.Kind == query.EventJoinRequested || e.Kind == query.EventBanned:
			info, _, err := b.Group(sub.feed.group, s.user)
			if err != nil {
				s.unavailable(err)
				return 0, storeDown
			}
			if info.Role < command.RoleAdmin {
				sub.moveTo(told, "")
				return 0, caughtUp
			}
		}
	}
	pushed = s.closeFrame(p)
	if e := it.event; e != nil && (e.Kind == query.EventJoined || e.Kind == query.EventCreated) && e.Arrival == sub.signalsFrom && !sub.live {
		// The user joined by this: from here on each of his devices has a cursor.
		cursor := s.gateway.backend.GroupCursor(e.Group, e.Arrival)
		s.queue(func(b []byte) []byte { return wire.AppendGroupEvent(b, s.codec, e, cursor) })
	} else if r := it.recall; r != nil && r.Ranges[0].From < sub.minSeq {
		clipped := *r
		if clipped.Ranges = query.ClipRanges(r.Ranges, sub.minSeq); len(clipped.Ranges) > 0 {
			s.queue(func(b []byte) []byte { return wire.AppendChange(b, s.codec, &clipped) })
		}
	} else {
		s.queue(func(b []byte) []byte { return append(b, c.span(s.codec, i, i+1)...) })
	}
	if told > it.arrival || i+1 == len(c.items) || c.items[i+1].arrival > it.arrival {
		sub.moveTo(told, "") // no other part follows
	}
	if ends {
		if !sub.live {
			s.pastMemberships.add(sub.feed.group, it.arrival)
		}
		s.detach(sub)
	}
	return pushed, caughtUp
}

// pushMemberChanges pushes what the user's other sessions changed in his view of the
// group, each change behind the messages that came before it.
func (s *session) pushMemberChanges(p *pumpState, sub *subscription) (pushed int, end progress) {
	changes, err := s.gateway.backend.MemberChanges(sub.feed.group, s.user, s.number, sub.changesTo)
	if err != nil {
		s.unavailable(err)
		return 0, storeDown
	}
	for i := range changes {
		at := changes[i].Arrival
		for read := false; sub.pushedTo < at && !read; {
			n := 0
			n, read, end = s.pushStored(p, sub, at)
			pushed += n
			if end != caughtUp || sub.closed.Load() {
				return pushed, end
			}
		}
		pushed += s.closeFrame(p)
		s.pushChange(&changes[i])
		sub.changesTo = at
	}
	return pushed, caughtUp
}

// pushRemaining pushes what the user may still read, after his shard said that he is
// no member any more. As a rule the event that ends the subscription is among it.
func (s *session) pushRemaining(p *pumpState, sub *subscription) (pushed int, end progress) {
	_, member, err := s.gateway.backend.JoinedAt(sub.feed.group, s.user)
	if err != nil {
		s.unavailable(err)
		return 0, storeDown
	}
	for read := false; !read; {
		n := 0
		n, read, end = s.pushStored(p, sub, math.MaxUint64)
		pushed += n
		if end != caughtUp || sub.closed.Load() {
			return pushed, end
		}
	}
	sub.leaving = false
	if !member {
		s.pastMemberships.add(sub.feed.group, sub.pushedTo)
		s.detach(sub)
	}
	return pushed, caughtUp
}

// pushAssumedRemoval ends a subscription to a group that stores nothing whose session has
// missed what may have ended it: nobody else knows.
func (s *session) pushAssumedRemoval(p *pumpState, sub *subscription) (pushed int) {
	pushed = s.closeFrame(p)
	e := &query.GroupEvent{
		Kind: query.EventRemoved, Group: sub.feed.group, Users: []command.UserID{s.user}, Time: s.gateway.backend.Now(),
	}
	s.queue(func(b []byte) []byte { return wire.AppendGroupEvent(b, s.codec, e, "") })
	s.detach(sub)
	return pushed
}

// pushGroupSignals pushes messages that nobody stores, of those that came before a
// place in the group's order as many as a frame holds.
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
		if e.arrival < sub.signalsFrom || e.session == s.number && e.session != 0 && e.from == s.user {
			sub.nextSignal++
			continue
		}
		if sub.lostSignals > 0 {
			pushed += s.closeFrame(p) // the number is about the messages of one group
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

// groupJoined is what the pump does when the user's shard says that he is a member
// of a group now.
func (s *session) groupJoined(group command.GroupID) {
	if sub := s.subscription(group); sub != nil && sub.live {
		s.detach(sub) // that group was dismissed, and another has its name
	}
	if sub, fresh, ok := s.attach(group, false, 0); ok && fresh {
		s.putBack(sub)
	}
}

// pastMemberships are the ends of a user's stays in groups that his session was told
// of, the newest ones.
type pastMemberships []pastMembership

type pastMembership struct {
	group   command.GroupID
	arrival uint64
}

// maxPastMemberships bounds them. Whose end is forgotten is told of it once more, if his
// shard is so late.
const maxPastMemberships = 64

// endOf is the arrival number of the end that the session was told of, 0 for none.
func (e pastMemberships) endOf(group command.GroupID) uint64 {
	for i := range e {
		if e[i].group == group {
			return e[i].arrival
		}
	}
	return 0
}

func (e *pastMemberships) add(group command.GroupID, arrival uint64) {
	*e = slices.DeleteFunc(*e, func(s pastMembership) bool { return s.group == group })
	if len(*e) == maxPastMemberships {
		*e = slices.Delete(*e, 0, 1)
	}
	*e = append(*e, pastMembership{group, arrival})
}

// groupLeft is what the pump does when the user's shard says that he no longer is.
func (s *session) groupLeft(group command.GroupID) {
	sub, fresh, ok := s.attach(group, false, 0)
	switch {
	case !ok || sub.live:
		return
	case fresh: // he was told, or his stay was over before his shard heard of it
		s.putBack(sub)
		return
	}
	sub.leaving = true
	if sub.feed.unpark(sub) {
		s.putBack(sub)
	}
}
