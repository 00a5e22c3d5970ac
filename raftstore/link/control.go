package link

import (
	"bufio"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/versions"
)

const (
	// keepAlive is how often each side of a control connection says something.
	keepAlive = 100 * time.Millisecond
	// suspectFor is how long a session may be silent whose peer dials as if it had none.
	suspectFor = 3 * keepAlive
	// gatherFor is how long heartbeats and their replies wait for others to go with them.
	gatherFor = 10 * time.Millisecond
	// maxAsks bounds the questions of a session that have no reply yet. Beyond, they fail
	// at once.
	maxAsks = 8192
)

var (
	errClosed   = errors.New("link: closed")
	errReplaced = errors.New("link: replaced by a newer control connection")
	errLost     = errors.New("link: the node is not connected")
	errBusy     = errors.New("link: too many questions wait")
	errTimeout  = errors.New("link: no answer in time")
)

// A session is a control connection. Two goroutines serve it: read hands on what
// arrives and never waits for anybody else; write sends what is due.
type session struct {
	peer   *peer
	conn   *conn
	dialed bool // by this node
	clock  *clock
	done   chan struct{}
	wake   chan struct{} // write looks again; one place

	mu        sync.Mutex
	closed    bool
	statusDue bool
	flush     bool // asks and replies go out without waiting for more
	asks      []*askCall
	replies   []reply
	calls     map[uint64]*askCall // without a reply
	lastCall  uint64
	owed      int   // questions of the peer that have no reply yet
	echo      alive // the peer's last one: when it left there, when it arrived here
}

// An askCall is a question of this node.
type askCall struct {
	ask   ask
	reply chan reply // one place
}

func newSession(p *peer, c *conn, dialed bool) *session {
	return &session{
		peer: p, conn: c, dialed: dialed, clock: new(clock), statusDue: true,
		done: make(chan struct{}), wake: make(chan struct{}, 1), calls: make(map[uint64]*askCall),
	}
}

// end closes the session; calls that wait fail.
func (s *session) end(err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.asks, s.replies, s.calls = nil, nil, nil
	close(s.done)
	s.mu.Unlock()
	s.conn.Close()
	s.peer.detach(s, err)
}

func (s *session) now() int64 { return s.peer.link.config.Now().UnixNano() }

func (s *session) read() {
	r := bufio.NewReaderSize(s.conn, 16<<10)
	var buf []byte
	for {
		s.conn.SetReadDeadline(time.Now().Add(s.peer.link.config.Silence))
		frameType, body, b, err := readFrame(r, buf)
		if err == nil {
			err = s.take(frameType, body)
		}
		if err != nil {
			s.end(err)
			return
		}
		if buf = b; cap(buf) > fillFrame {
			buf = nil // one large status is not kept for ever
		}
	}
}

// suspect ends the session unless the peer says something on it soon.
func (s *session) suspect() { s.conn.SetReadDeadline(time.Now().Add(suspectFor)) }

// take handles one frame. It returns before the next one is read, so it does not wait.
func (s *session) take(frameType byte, body []byte) error {
	switch frameType {
	case frameAlive:
		a, err := parseAlive(body)
		if err != nil {
			return err
		}
		now := s.now()
		s.mu.Lock()
		s.echo = alive{echo: a.sent, received: now}
		s.mu.Unlock()
		if a.echo != 0 {
			s.clock.take(a.echo, a.received, a.sent, now, s.peer.link.config.Silence)
		}
		return nil
	case frameStatus:
		if len(body) > MaxStatus {
			return errFrame
		}
		s.peer.heardStatus(s, body)
		return nil
	case frameAsks:
		f := fields{b: body}
		for f.more() {
			item := f.next()
			a := item.ask()
			if item.err != nil {
				return item.err
			}
			s.hand(a)
		}
		return f.err
	case frameReplies:
		f := fields{b: body}
		for f.more() {
			item := f.next()
			r := item.reply()
			if item.err != nil {
				return item.err
			}
			s.mu.Lock()
			c := s.calls[r.call]
			delete(s.calls, r.call)
			s.mu.Unlock()
			if c != nil {
				c.reply <- r
			}
		}
		return f.err
	}
	if err := versions.Unknown("frame", frameType); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return nil
}

// hand gives a question to its group, whose replica itself answers it.
func (s *session) hand(a ask) {
	s.mu.Lock()
	s.owed++
	s.mu.Unlock()
	if a.kind >= askKinds {
		s.answer(reply{call: a.call, failed: fmt.Sprintf("a question of kind %d is not known: the node that is asked is older", a.kind)}, true)
		return
	}
	t := s.peer.link.group(a.group)
	switch {
	case t == nil || string(t.local) != a.replica:
		s.answer(reply{call: a.call, failed: "there is no replica " + a.replica + " of group " + a.group + " here"}, true)
	case !t.take(s, a):
		s.answer(reply{call: a.call, failed: errBusy.Error()}, true)
	}
}

// answer queues the reply to a question of the peer. Those to the heartbeats of one
// frame go together, those of slow groups later; at once is without waiting for others.
func (s *session) answer(r reply, atOnce bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed--
	if s.closed {
		return
	}
	s.replies = append(s.replies, r)
	s.flush = s.flush || atOnce || s.owed == 0
	if s.flush || len(s.replies) == 1 {
		poke(s.wake)
	}
}

// ask sends a and waits for the reply, until stop is closed, the session ends or timeout
// has passed. A heartbeat waits for others to go with it.
func (s *session) ask(a ask, timeout time.Duration, stop <-chan struct{}) (reply, error) {
	c := &askCall{reply: make(chan reply, 1)}
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return reply{}, errLost
	case len(s.calls) >= maxAsks:
		s.mu.Unlock()
		return reply{}, errBusy
	}
	s.lastCall++
	a.call = s.lastCall
	c.ask = a
	s.calls[a.call] = c
	s.asks = append(s.asks, c)
	s.flush = s.flush || a.kind != askBeat
	if s.flush || len(s.asks) == 1 {
		poke(s.wake)
	}
	s.mu.Unlock()
	late := time.NewTimer(timeout)
	defer late.Stop()
	var err error
	select {
	case r := <-c.reply:
		if r.failed != "" {
			return r, errors.New(r.failed)
		}
		return r, nil
	case <-s.done:
		return reply{}, errLost
	case <-stop:
		err = errStopped
	case <-late.C:
		err = errTimeout
	}
	s.mu.Lock()
	delete(s.calls, a.call)
	s.mu.Unlock()
	return reply{}, err
}

// tellStatus sends the newest status. If it has not been sent since the last call,
// that call's is skipped.
func (s *session) tellStatus() {
	s.mu.Lock()
	s.statusDue = true
	s.mu.Unlock()
	poke(s.wake)
}

// write sends what is due. A peer that does not read ends the session: what waits
// meanwhile is one status, one frame of keep-alive, and the questions of replicas that
// wait for their reply.
func (s *session) write() {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	gather := time.NewTimer(0)
	<-gather.C
	gathering := false
	var out []byte
	due, all := true, false // the first keep-alive goes at once
	for {
		out = out[:0]
		if due {
			s.mu.Lock()
			e := s.echo
			s.mu.Unlock()
			out = appendAlive(out, alive{sent: s.now(), echo: e.echo, received: e.received})
		}
		s.mu.Lock()
		statusDue := s.statusDue
		s.statusDue = false
		all = all || s.flush
		waiting := len(s.asks) > 0 || len(s.replies) > 0
		if all {
			out = s.appendGathered(out)
			waiting = false
		}
		s.mu.Unlock()
		if statusDue {
			if status, ok := s.peer.link.currentStatus(); ok {
				out = appendStatus(out, status)
			}
		}
		if waiting && !gathering {
			gather.Reset(gatherFor)
			gathering = true
		}
		if len(out) > 0 {
			s.conn.SetWriteDeadline(time.Now().Add(s.peer.link.config.Silence))
			if _, err := s.conn.Write(out); err != nil {
				s.end(err)
				return
			}
			if cap(out) > maxFrame {
				out = nil
			}
		}
		due, all = false, false
		select {
		case <-s.done:
			return
		case <-tick.C:
			due = true
		case <-s.wake:
		case <-gather.C:
			gathering, all = false, true
		}
	}
}

// appendGathered takes the questions that are still waited for, and the replies. s.mu
// is held.
func (s *session) appendGathered(out []byte) []byte {
	var asks []ask
	for _, c := range s.asks {
		if s.calls[c.ask.call] == c {
			asks = append(asks, c.ask)
		}
	}
	out = appendItems(out, frameAsks, asks, appendAsk)
	out = appendItems(out, frameReplies, s.replies, appendReply)
	clear(s.asks)
	s.asks, s.replies, s.flush = s.asks[:0], s.replies[:0], false
	return out
}
