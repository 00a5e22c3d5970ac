package link

import (
	"bufio"
	"errors"
	"sync"
	"time"
)

const (
	// keepAlive is how often each side of a control connection says something.
	keepAlive = 100 * time.Millisecond
	// gatherFor is how long heartbeats and their answers wait for others to go with them.
	gatherFor = 10 * time.Millisecond
	// maxBeats bounds the heartbeats of a session that wait to be sent or answered here,
	// and those of the peer that wait for their group. Beyond, they fail at once.
	maxBeats = 8192
)

var (
	errClosed   = errors.New("link: closed")
	errReplaced = errors.New("link: replaced by a newer control connection")
	errLost     = errors.New("link: the node is not connected")
	errBusy     = errors.New("link: too many heartbeats wait")
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
	flush     bool // beats and acks go out without waiting for more
	beats     []*beatCall
	acks      []beatAck
	calls     map[uint64]*beatCall // heartbeats without an answer
	lastCall  uint64
	owed      int   // heartbeats of the peer that a group has not answered yet
	echo      alive // the peer's last one: when it left there, when it arrived here
}

// A beatCall is a heartbeat that this node sends.
type beatCall struct {
	beat   beat
	answer chan beatAck // one place
}

func newSession(p *peer, c *conn, dialed bool) *session {
	return &session{
		peer: p, conn: c, dialed: dialed, clock: new(clock), statusDue: true,
		done: make(chan struct{}), wake: make(chan struct{}, 1), calls: make(map[uint64]*beatCall),
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
	s.beats, s.acks, s.calls = nil, nil, nil
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
	case frameBeats:
		f := fields{b: body}
		for f.more() {
			b := f.beat()
			if f.err == nil {
				s.hand(b)
			}
		}
		return f.err
	case frameBeatAcks:
		f := fields{b: body}
		for f.more() {
			a := f.beatAck()
			if f.err != nil {
				break
			}
			s.mu.Lock()
			c := s.calls[a.call]
			delete(s.calls, a.call)
			s.mu.Unlock()
			if c != nil {
				c.answer <- a
			}
		}
		return f.err
	}
	return nil
}

// hand gives a heartbeat to its group, whose own handler answers it.
func (s *session) hand(b beat) {
	s.mu.Lock()
	s.owed++
	s.mu.Unlock()
	t := s.peer.link.group(b.group)
	switch {
	case t == nil || string(t.local) != b.replica:
		s.ack(beatAck{call: b.call, failed: "there is no replica " + b.replica + " of group " + b.group + " here"})
	case !t.offer(heardBeat{beat: b, session: s}):
		s.ack(beatAck{call: b.call, failed: errBusy.Error()})
	}
}

// ack queues the answer to a heartbeat. Those of one frame go together, those of slow
// groups later.
func (s *session) ack(a beatAck) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owed--
	if s.closed {
		return
	}
	s.acks = append(s.acks, a)
	s.flush = s.flush || s.owed == 0
	if s.flush || len(s.acks) == 1 {
		poke(s.wake)
	}
}

// heartbeat sends b and waits for the answer, until stop is closed, the session ends or
// timeout has passed.
func (s *session) heartbeat(b beat, timeout time.Duration, stop <-chan struct{}) (beatAck, error) {
	c := &beatCall{answer: make(chan beatAck, 1)}
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return beatAck{}, errLost
	case len(s.calls) >= maxBeats:
		s.mu.Unlock()
		return beatAck{}, errBusy
	}
	s.lastCall++
	b.call = s.lastCall
	c.beat = b
	s.calls[b.call] = c
	s.beats = append(s.beats, c)
	if len(s.beats) == 1 {
		poke(s.wake)
	}
	s.mu.Unlock()
	late := time.NewTimer(timeout)
	defer late.Stop()
	var err error
	select {
	case a := <-c.answer:
		return a, nil
	case <-s.done:
		return beatAck{}, errLost
	case <-stop:
		err = errStopped
	case <-late.C:
		err = errTimeout
	}
	s.mu.Lock()
	delete(s.calls, b.call)
	s.mu.Unlock()
	return beatAck{}, err
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
// meanwhile is one status, one frame of keep-alive, and the heartbeats of groups that
// wait for their answer.
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
		waiting := len(s.beats) > 0 || len(s.acks) > 0
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

// appendGathered takes the heartbeats that are still waited for, and the answers. s.mu
// is held.
func (s *session) appendGathered(out []byte) []byte {
	var beats []beat
	for _, c := range s.beats {
		if s.calls[c.beat.call] == c {
			beats = append(beats, c.beat)
		}
	}
	out = appendItems(out, frameBeats, beats, appendBeat)
	out = appendItems(out, frameBeatAcks, s.acks, appendBeatAck)
	clear(s.beats)
	s.beats, s.acks, s.flush = s.beats[:0], s.acks[:0], false
	return out
}
