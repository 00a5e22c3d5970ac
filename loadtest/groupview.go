package loadtest

import (
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A member is the part of a view that only views of groups have.
type member struct {
	*group
	self   *groupSender // nil = the user sends nothing
	cursor []byte
	top    uint64 // seq of the newest message that onSynced told of

	// Of a live group, which has no seqs: the newest counter of each sender, the
	// messages that never came and how many the server has said it skipped.
	counters          []uint64
	lost, toldSkipped int64

	scratch []*groupMessage
}

// newGroupView makes the view of a member.
func newGroupView(user string, g *group) *view {
	m := &member{group: g, self: g.senders[user], counters: make([]uint64, len(g.senders))}
	v := &view{user: user, conv: protocol.GroupConv(g.id), group: m}
	if m.self != nil {
		v.out = m.self.stream
	}
	return v
}

// receivers returns how many sessions get what is sent in the view.
func (v *view) receivers() int {
	if v.group != nil {
		return v.group.receivers
	}
	return 1
}

// answeredGroup handles the reply to an own send in a group.
func (v *view) answeredGroup(o *outgoing, ok *protocol.SendOK) error {
	if v.group.live {
		v.unplaced--
		if ok.Seq != 0 {
			return v.errorf("send %d is said to be stored as seq %d, in a live group", o.counter, ok.Seq)
		}
		return nil
	}
	if err := v.place(o, ok.Seq, ok.ID); err != nil {
		return err
	}
	if err := v.group.answered(v.group.self, o, ok); err != nil {
		return v.errorf("seq %d: %w", ok.Seq, err)
	}
	return nil
}

// receiveGroup is receive for the view of a group.
func (v *view) receiveGroup(m *protocol.Message, o origin) (fresh bool, at time.Duration, err error) {
	g := v.group
	s := g.senders[m.From]
	switch {
	case s == nil:
		return false, 0, v.errorf("seq %d is from %q, who sends nothing", m.Seq, m.From)
	case g.live != m.Ephemeral || g.live != (m.Seq == 0):
		return false, 0, v.errorf("a message has seq %d, ephemeral: %v; in a live group: %v", m.Seq, m.Ephemeral, g.live)
	case s == g.self:
		return false, 0, v.receiveOwn(m, o)
	}
	counter, at, err := v.parse(m, s.stream)
	if err != nil {
		return false, 0, err
	}
	if g.live {
		return v.receiveLive(m, s, counter, at)
	}
	fresh, err = v.held.add(m.Seq)
	if err != nil {
		return false, 0, v.errorf("message %d of %s: %w", counter, m.From, err)
	}
	if err := g.received(s, counter, at, m); err != nil {
		return fresh, at, v.errorf("seq %d: %w", m.Seq, err)
	}
	if !fresh {
		if !o.resume || !o.sync {
			return false, 0, v.errorf("seq %d came twice, the second time as message %d of %s, id %s", m.Seq, counter, m.From, m.ID)
		}
		return false, 0, nil
	}
	if s.ends(counter) {
		s.reached(counter)
	}
	if o.fetched {
		return true, at, nil
	}
	return true, at, v.inOrder(m, o)
}

// receiveLive handles a message of a live group, which has no seq.
func (v *view) receiveLive(m *protocol.Message, s *groupSender, counter uint64, at time.Duration) (fresh bool, _ time.Duration, err error) {
	g := v.group
	last := g.counters[s.index]
	switch {
	case counter > s.stream.count():
		return false, 0, v.errorf("message %d of %s came, but only %d were sent", counter, m.From, s.stream.count())
	case counter <= last:
		return false, 0, v.errorf("message %d of %s came after %d", counter, m.From, last)
	}
	g.counters[s.index] = counter
	for passed := last + 1; passed <= counter; passed++ {
		if s.ends(passed) {
			s.reached(passed)
		}
	}
	if missing := int64(counter - last - 1); missing > 0 {
		if g.lost += missing; g.lost > g.toldSkipped {
			err = v.errorf("message %d of %s came after %d, and %d were said to be skipped in all, not %d", counter, m.From, last, g.toldSkipped, g.lost)
			g.lost = g.toldSkipped // reported
		}
	}
	if wrong := g.received(s, counter, at, m); wrong != nil && err == nil {
		err = v.errorf("message %d: %w", counter, wrong)
	}
	return true, at, err
}

// tryReceiveVerified handles the frame with delivery number d if it holds only messages
// that others have checked. It returns false, and has done nothing, if the frame
// is anything else. The messages are valid until the next call.
func (v *view) tryReceiveVerified(payload []byte, d uint64) (messages []*groupMessage, ok bool) {
	g := v.group
	number := v.held.floor
	switch {
	case g.self != nil || len(v.held.words) > 0:
		return nil, false
	case g.live && len(g.counters) > 1:
		return nil, false
	case g.live:
		number = g.counters[0]
	}
	f, ok := g.match(payload, number, g.scratch[:0])
	if !ok || f.d != d {
		return nil, false
	}
	g.scratch = f.messages
	last := f.messages[len(f.messages)-1]
	if g.live {
		g.counters[0] = last.number
	} else {
		v.held.extend(len(f.messages))
		v.lastIn, v.lastTime = last.number, last.time
	}
	for _, m := range f.messages {
		if m.ends {
			m.sender.reached(m.counter)
		}
	}
	if f.cursor != nil {
		g.cursor = append(g.cursor[:0], f.cursor...)
	}
	return f.messages, true
}

// settledGroup returns an error if anything is missing at the end of a group's
// view.
func (v *view) settledGroup() error {
	g := v.group
	if !g.live {
		if newest := g.newest.Load(); v.held.floor != newest {
			return v.errorf("the view goes to seq %d, but seq %d was answered", v.held.floor, newest)
		}
		return nil
	}
	for _, s := range g.senders {
		if s == g.self {
			continue
		}
		s.stream.mu.Lock()
		want := s.stream.sent - s.stream.refused
		s.stream.mu.Unlock()
		if got := g.counters[s.index]; got != want {
			return v.errorf("messages of %s came up to %d, want %d", s.stream.from, got, want)
		}
	}
	if g.lost != g.toldSkipped {
		return v.errorf("%d messages never came, but %d were said to be skipped", g.lost, g.toldSkipped)
	}
	return nil
}
