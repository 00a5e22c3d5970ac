package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// errTooLarge reports a frame beyond protocol.MaxFrame.
var errTooLarge = errors.New("gateway: frame too large")

// read handles frames until the connection or the session ends, and says why.
func (s *session) read() closing {
	for s.waitForRoom() {
		typ, r, err := s.ws.Reader(context.Background())
		if err != nil {
			return readFailure(err)
		}
		buf := buffers.Get().(*[]byte)
		*buf, err = readFrame((*buf)[:0], r)
		if err == nil {
			s.alive()
			s.handle(typ, *buf)
		}
		putBuffer(buf)
		if errors.Is(err, errTooLarge) {
			return closedTooLarge
		}
		if err != nil {
			return readFailure(err)
		}
	}
	return closedAbnormally // the session has ended and knows why
}

// waitForRoom waits until the session may take another request. It reports
// false when the session has ended.
func (s *session) waitForRoom() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended && (len(s.requests) >= maxRequests || s.conn.buffered() > maxBacklog) {
		s.room.Wait()
	}
	return !s.ended
}

// readFrame appends a frame to b.
func readFrame(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, cap(b)+1)
		}
		n, err := r.Read(b[len(b):min(cap(b), protocol.MaxFrame+1)])
		b = b[:len(b)+n]
		switch {
		case len(b) > protocol.MaxFrame:
			return b, errTooLarge
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

// readFailure sorts what ends reading.
func readFailure(err error) closing {
	if websocket.CloseStatus(err) != -1 {
		return closedByClient
	}
	if _, ok := errors.AsType[net.Error](err); ok ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, errEnded) {
		return closedAbnormally
	}
	return closedBroken
}

// A request is a request or, with id 0, a notice that is being handled. Its
// args lie in the frame and are gone when its handler returns.
type request struct {
	protocol.Request
	came time.Time
}

// handle does what one frame asks.
func (s *session) handle(typ websocket.MessageType, frame []byte) {
	m := s.gateway.metrics
	m.framesIn.Inc()
	m.bytesIn.Add(float64(len(frame)))
	verdict, wait := s.limit.take()
	if verdict == frameExcess {
		s.end(closedFrames)
		return
	}
	if (typ == websocket.MessageBinary) != s.codec.Binary() {
		s.end(closedWrongType)
		return
	}
	req, err := protocol.DecodeRequest(s.codec, frame)
	if err != nil {
		s.gateway.log.Debug("malformed frame", "address", s.address, "error", err)
		s.end(closedMalformed)
		return
	}
	r := request{Request: req, came: time.Now()}
	if verdict == frameRefused {
		if r.ID == 0 {
			s.end(closedFrames) // nothing may be dropped in silence
			return
		}
		s.refuse(r, &refusal{protocol.CodeRateLimited, "too many frames", wait})
		return
	}
	s.dispatch(r)
}

// onPing is called by the WebSocket library, from within reads. It reports
// whether to answer.
func (s *session) onPing(context.Context, []byte) bool {
	s.alive()
	if verdict, _ := s.limit.take(); verdict != frameFits {
		s.end(closedFrames)
		return false
	}
	return s.conn.buffered() <= controlBacklog
}

// onPong is called by the WebSocket library, from within reads.
func (s *session) onPong(context.Context, []byte) { s.alive() }
