package loadtest

import (
	"bytes"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// remembered is how many of a view's newest messages a client that may reconnect
// knows by id: a message that is pushed again must be the same. At most what one
// session left unacked is pushed again.
const remembered = 1 << 10

// A view is one user's side of a conversation, as far as it is known from replies
// and pushes. It verifies both against each other and against the streams of the
// two users. Its client's mu guards it.
type view struct {
	user    string
	conv    protocol.Conv
	out, in *Stream // out is what user sends; either may be nil
	cluster bool    // the server may repeat a send itself, when a leader changes
	recent  []known // by seq modulo its length; nil = nothing is remembered
	group   *member // of a group; nil = one-to-one

	held     seqSet
	flight   []*outgoing // sends in counter order, from the first that has no answer
	unplaced int         // those in flight whose seq is not known
	lastOwn  uint64      // highest seq of own sends that have left the flight
	lastIn   uint64      // highest seq of an incoming message
	lastTime int64       // its time, ms
	conceded uint64      // missing seqs that were reported, or are to be fetched
	body     []byte      // memory for parseBody
}

// A known is a message whose id is remembered.
type known struct {
	seq uint64
	id  protocol.ID
}

// An outgoing message is an own send that waits for its answer.
type outgoing struct {
	view     *view
	counter  uint64
	at       time.Duration // intended time
	seq      uint64        // 0 = not known
	id       protocol.ID
	answered bool
	again    bool          // it was sent more than once
	excused  bool          // the same, and its place in the order is not that of its first attempt
	retryAt  time.Duration // when to send it again; 0 = it is on its way
}

func newView(user string, conv protocol.Conv, out, in *Stream, remember bool) *view {
	v := &view{user: user, conv: conv, out: out, in: in}
	if remember {
		v.recent = make([]known, remembered)
	}
	return v
}

// errorf returns a violation that names user and conversation.
func (v *view) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", v.user, v.conv, fmt.Errorf(format, args...))
}

// send notes o as the next own message.
func (v *view) send(o *outgoing, at time.Duration) {
	*o = outgoing{view: v, counter: v.out.take(), at: at}
	v.flight = append(v.flight, o)
	v.unplaced++
}

// excuse notes that o is to be sent again, and may be stored behind later ones.
func (v *view) excuse(o *outgoing) {
	o.again, o.excused = true, true
	v.out.excuse(o.counter)
}

// giveUp ends o, which the server has refused for good.
func (v *view) giveUp(o *outgoing) {
	v.out.giveUp()
	o.answered = true
	if o.seq == 0 {
		v.unplaced--
	}
}

// answered handles the reply to an own send.
func (v *view) answered(o *outgoing, ok *protocol.SendOK) error {
	o.answered = true
	if ok.Duplicate && !o.again && !v.cluster {
		return v.errorf("send %d is said to be a repeat, but was sent once", o.counter)
	}
	if v.group != nil {
		return v.answeredGroup(o, ok)
	}
	return v.place(o, ok.Seq, ok.ID)
}

// place notes where an own send is stored. Its reply says so, or a push to a
// later session than the one on which it was sent.
func (v *view) place(o *outgoing, seq uint64, id protocol.ID) error {
	if o.seq != 0 {
		if o.seq != seq || o.id != id {
			return v.errorf("send %d is stored as seq %d, id %s, but was said to be seq %d, id %s", o.counter, seq, id, o.seq, o.id)
		}
		return nil
	}
	o.seq, o.id = seq, id
	v.unplaced--
	fresh, err := v.held.add(seq)
	if err != nil {
		return v.errorf("send %d: %w", o.counter, err)
	}
	if !fresh {
		return v.errorf("send %d is stored as seq %d, which another message has", o.counter, seq)
	}
	v.remember(seq, id)
	return nil
}

// settle takes the sends that are answered off the front of the flight, checks
// their order and hands them to free.
func (v *view) settle(free func(*outgoing)) (err error) {
	n := 0
	for ; n < len(v.flight) && v.flight[n].answered; n++ {
		o := v.flight[n]
		if o.seq != 0 && !o.excused {
			if o.seq <= v.lastOwn && err == nil {
				err = v.errorf("send %d is stored as seq %d, one before it as %d; want the order sent", o.counter, o.seq, v.lastOwn)
			}
			v.lastOwn = max(v.lastOwn, o.seq)
		}
		free(o)
	}
	rest := copy(v.flight, v.flight[n:])
	clear(v.flight[rest:])
	v.flight = v.flight[:rest]
	return err
}

// An origin is how a message came.
type origin struct {
	sync    bool // before onSynced
	resume  bool // the client was connected before: what it had may come again
	fetched bool // from history: later messages may be there already
}

// receive handles a message that was pushed. fresh reports whether the view did
// not have it; at is its intended time. After a violation the message still
// counts as far as it can, so that one fault is reported once.
func (v *view) receive(m *protocol.Message, o origin) (fresh bool, at time.Duration, err error) {
	if v.group != nil {
		return v.receiveGroup(m, o)
	}
	switch {
	case m.Ephemeral || m.Seq == 0:
		return false, 0, v.errorf("an ephemeral message came from %s, nobody sent one", m.From)
	case m.From == v.user:
		return false, 0, v.receiveOwn(m, o)
	case m.From != v.conv.ID:
		return false, 0, v.errorf("seq %d is from %q, want %q", m.Seq, m.From, v.conv.ID)
	case v.in == nil:
		return false, 0, v.errorf("seq %d came, but %s sends nothing", m.Seq, m.From)
	}
	counter, at, err := v.parse(m, v.in)
	if err != nil {
		return false, 0, err
	}
	fresh, err = v.held.add(m.Seq)
	if err != nil {
		return false, 0, v.errorf("message %d of %s: %w", counter, v.conv.ID, err)
	}
	if !fresh {
		if !o.resume || !o.sync {
			return false, 0, v.errorf("seq %d came twice, the second time as message %d of %s, id %s", m.Seq, counter, v.conv.ID, m.ID)
		}
		return false, 0, v.repeated(m)
	}
	v.remember(m.Seq, m.ID)
	if err := v.in.deliver(counter); err != nil {
		return true, at, v.errorf("seq %d: %w", m.Seq, err)
	}
	return true, at, v.inOrder(m, o)
}

// inOrder checks that a fresh incoming message comes in order.
func (v *view) inOrder(m *protocol.Message, o origin) error {
	lastIn, lastTime := v.lastIn, v.lastTime
	v.lastIn, v.lastTime = max(lastIn, m.Seq), max(lastTime, m.Time)
	switch missing := v.held.missingBelow(m.Seq); {
	case m.Seq < lastIn:
		return v.errorf("seq %d came after seq %d", m.Seq, lastIn)
	case v.group != nil && o.sync && o.resume:
		// The sync pushes the newest; what is before them is to be fetched.
	case missing > uint64(v.unplaced)+v.conceded:
		v.conceded = missing - uint64(v.unplaced)
		return v.errorf("seq %d came while %d below are missing, the first of them %v, and %d sends have no answer", m.Seq, missing, v.held.missing(3), v.unplaced)
	case m.Time < lastTime:
		return v.errorf("seq %d has time %d, one before it %d", m.Seq, m.Time, lastTime)
	}
	return nil
}

// receiveOwn handles an own message that was pushed. A session is not pushed what
// was sent on it, so only messages sent on an earlier one can come.
func (v *view) receiveOwn(m *protocol.Message, o origin) error {
	if v.out == nil || !o.resume {
		return v.errorf("seq %d is an own message, which its own session should not be told of", m.Seq)
	}
	counter, _, err := v.parse(m, v.out)
	if err != nil {
		return err
	}
	for _, sent := range v.flight {
		if sent.counter == counter {
			return v.place(sent, m.Seq, m.ID)
		}
	}
	if fresh, err := v.held.add(m.Seq); err != nil {
		return v.errorf("own message %d: %w", counter, err)
	} else if fresh {
		return v.errorf("own message %d came as seq %d, but was answered with another", counter, m.Seq)
	}
	return v.repeated(m)
}

// parse checks the body and the cid of a message, and returns its counter and
// intended time.
func (v *view) parse(m *protocol.Message, s *Stream) (counter uint64, at time.Duration, err error) {
	if v.body == nil {
		v.body = make([]byte, 0, s.size)
	}
	counter, at, err = parseBody(m.Body, s.id, s.size, v.body)
	if err != nil {
		return 0, 0, v.errorf("seq %d, id %s: %w", m.Seq, m.ID, err)
	}
	var cid [cidSize]byte
	if want := appendCID(cid[:0], counter); !bytes.Equal(m.CID, want) {
		return 0, 0, v.errorf("seq %d, message %d has cid %q, want %q", m.Seq, counter, m.CID, want)
	}
	return counter, at, nil
}

func (v *view) remember(seq uint64, id protocol.ID) {
	if v.recent != nil {
		v.recent[seq%remembered] = known{seq, id}
	}
}

// repeated returns an error if a message that came again has another id than
// before.
func (v *view) repeated(m *protocol.Message) error {
	if v.recent == nil {
		return nil
	}
	if k := v.recent[m.Seq%remembered]; k.seq == m.Seq && k.id != m.ID {
		return v.errorf("seq %d came again with id %s, it had %s", m.Seq, m.ID, k.id)
	}
	return nil
}

// settled returns an error if anything is missing once nothing is under way any
// more.
func (v *view) settled() error {
	if n := len(v.flight); n > 0 {
		return v.errorf("%d sends have no answer, the first of them %d", n, v.flight[0].counter)
	}
	if top := v.held.highest(); top != v.held.floor {
		return v.errorf("the view goes to seq %d, but seqs are missing, the first of them %v", top, v.held.missing(3))
	}
	if v.group != nil {
		return v.settledGroup()
	}
	return nil
}
