package gateway

import (
	"errors"
	"time"
	"unicode/utf8"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
	"github.com/belfry-im/belfry/gateway/ws"
)

// read handles frames until the connection or the session ends, and returns why. fresh
// asks the caller to go on in a new goroutine instead: to handle a request grows the
// stack to several times of what waiting needs, and a goroutine never gives it back.
func (s *session) read() (why closing, fresh bool) {
	for {
		loggedIn := s.hasLoggedIn()
		s.handled, s.ponged, s.completed = 0, false, false
		if err := s.conn.Drain(s.handleFrame); err != nil {
			return s.readFailure(err), false
		}
		switch {
		case s.clientClosed:
			return closedByClient, false
		case s.hasEnded():
			return closedAbnormally, false // end has set why
		case !loggedIn && s.hasLoggedIn():
			return closing{}, true // many send nothing after their login
		case s.ponged && s.handled == 0:
			return closing{}, true // the client has been idle for a while
		}
		s.noteUnfinished()
		if err := s.conn.Receive(); err != nil {
			return s.readFailure(err), false
		}
	}
}

// noteUnfinished starts FrameTimeout when a frame or a message is incomplete, and stops
// it when there is none.
func (s *session) noteUnfinished() {
	since := int64(0)
	if s.conn.Unfinished() {
		if s.unfinishedSince.Load() != 0 && !s.completed {
			return
		}
		since = int64(s.age())
	} else if s.unfinishedSince.Load() == 0 {
		return
	}
	s.unfinishedSince.Store(since)
	if since == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armTimer(time.Duration(since)+s.gateway.config.FrameTimeout, time.Duration(since))
}

// handleFrame handles a message or a control frame. It reports whether to handle more.
func (s *session) handleFrame(opcode byte, payload []byte) (goOn bool) {
	s.completed = s.completed || opcode != ws.OpContinuation && !s.conn.InMessage()
	switch opcode {
	case ws.OpText, ws.OpBinary:
		s.completed = true
		s.handled++
		s.noteActivity()
		s.handleRequest(opcode, payload)
		return s.waitForCapacity()
	case ws.OpPing:
		s.answerPing(payload)
	case ws.OpPong:
		s.noteActivity()
		s.ponged = true
		s.countFrame()
	case ws.OpContinuation:
		s.countFrame()
	case ws.OpClose:
		code, err := ws.CloseCode(payload)
		if err != nil {
			s.end(s.readFailure(err))
			return false
		}
		s.clientClosed, s.clientCode = true, code
		return false
	}
	return !s.hasEnded()
}

// waitForCapacity waits until the session may have another request. It reports false if
// the session has ended.
func (s *session) waitForCapacity() bool {
	s.mu.Lock()
	s.handling = false
	if s.pendingClose.code != 0 && !s.ended {
		s.mu.Unlock()
		s.closeIfIdle()
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	for !s.ended && (len(s.pending) >= maxRequests || s.conn.Buffered() > maxBacklog) {
		s.capacity.Wait()
	}
	return !s.ended
}

func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// readFailure returns the closing for an error of reading.
func (s *session) readFailure(err error) closing {
	switch {
	case errors.Is(err, ws.ErrTooLarge):
		return closedTooLarge(s.conn.Limit())
	case errors.Is(err, ws.ErrBadText):
		return closedBadText
	case errors.Is(err, ws.ErrBrokenFrame):
		return closedBroken
	case errors.Is(err, ws.ErrFragment):
		return closedFragment
	}
	return closedAbnormally
}

// A request is a request or, with id 0, a notice. Its args lie in the frame and are
// valid until its handler returns.
type request struct {
	protocol.Request
	receivedAt time.Time
	size       int // bytes of the frame
}

// handleRequest handles the frame of a request or a notice.
func (s *session) handleRequest(opcode byte, frame []byte) {
	m := s.gateway.metrics
	m.framesIn.Inc()
	m.bytesIn.Add(float64(len(frame)))
	limited, wait := s.frameLimit.Allow()
	if limited == ratelimit.Exceeded {
		s.end(closedFrames)
		return
	}
	if opcode == ws.OpText && !utf8.Valid(frame) {
		s.end(closedBadText)
		return
	}
	if (opcode == ws.OpBinary) != s.codec.Binary() {
		s.end(closedWrongType)
		return
	}
	req, err := protocol.DecodeRequest(s.codec, frame)
	if err != nil {
		s.gateway.log.Debug("malformed frame", "address", s.address, "error", err)
		s.end(closedMalformed)
		return
	}
	r := request{Request: req, receivedAt: time.Now(), size: len(frame)}
	if limited == ratelimit.Refused {
		if r.ID == 0 {
			s.end(closedFrames) // it cannot be refused: a notice has no reply
			return
		}
		s.refuse(r, &refusal{protocol.CodeRateLimited, "op: too many frames", wait})
		return
	}
	s.dispatch(r)
}

// countFrame counts a frame that has no reply. If it is over the limit it ends the
// session, since it cannot be refused, and reports false.
func (s *session) countFrame() bool {
	limited, _ := s.frameLimit.Allow()
	if limited != ratelimit.Allowed {
		s.end(closedFrames)
	}
	return limited == ratelimit.Allowed
}

// answerPing queues a pong.
func (s *session) answerPing(payload []byte) {
	s.noteActivity()
	if !s.countFrame() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.conn.AnswerPing(payload)
	s.wakeLocked()
}
