package gateway

import (
	"errors"
	"time"
	"unicode/utf8"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/raftstore/store"
)

// read handles frames until the connection or the session ends, and returns the reason.
// If fresh is true, the caller must go on in a new goroutine: the stack that handling a
// request has grown is several times as large as waiting needs, and stays with its
// goroutine.
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
			return closedAbnormally, false // s.closing has the reason
		case !loggedIn && s.hasLoggedIn():
			return closing{}, true // many clients send nothing after their login
		case s.ponged && s.handled == 0:
			return closing{}, true // the client has been idle for a while
		}
		s.noteUnfinished()
		if err := s.conn.Receive(); err != nil {
			return s.readFailure(err), false
		}
	}
}

// noteUnfinished starts FrameTimeout if a frame or message is incomplete, and stops it
// if none is.
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

// handleFrame handles a message or a control frame. It reports whether the read loop
// may handle more.
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
		s.closeKnownGaps(payload)
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

// waitForCapacity waits until the session may handle another request: not too many are
// pending, and not too much waits to be written. It reports false if the session has
// ended.
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

// readFailure returns the closing for an error of the read loop.
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

// A request is a request or, if its id is 0, a notice. Its args lie in the frame, and
// are valid until its handler returns.
type request struct {
	protocol.Request
	receivedAt time.Time
	size       int          // bytes of the frame
	reads      store.Reader // what its handler reads with; that of a costly one leaves its turn meanwhile
}

// handleRequest decodes and dispatches the frame of a request or notice.
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
	r := request{Request: req, receivedAt: time.Now(), size: len(frame), reads: s.gateway.backend}
	if limited == ratelimit.Refused {
		if r.ID == 0 {
			s.end(closedFrames) // a notice has no reply that could refuse it
			return
		}
		s.refuse(r, &refusal{protocol.CodeRateLimited, "op: too many frames", wait})
		return
	}
	s.dispatch(r)
}

// countFrame counts a frame that has no reply against the frame limit. Over the limit
// it ends the session, and reports false.
func (s *session) countFrame() bool {
	limited, _ := s.frameLimit.Allow()
	if limited != ratelimit.Allowed {
		s.end(closedFrames)
	}
	return limited == ratelimit.Allowed
}

// answerPing queues a pong, and wakes the pump.
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
