package loadtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// idleBuffer is how much memory a quiet connection keeps for reading.
	idleBuffer = 1 << 10
	// maxRead is how much is read at a time; only a larger frame takes more.
	maxRead = 64 << 10
	// maxUnsent bounds what waits to be written. A server that takes nothing
	// for so long has failed.
	maxUnsent = 1 << 20
	// writeTimeout bounds one write, for the same reason.
	writeTimeout = 10 * time.Second
)

var errUnsent = fmt.Errorf("the server does not read: %d bytes wait for it", maxUnsent)

// A CloseError is a closing handshake that the server began.
type CloseError struct {
	Code   int // 1005 = none given
	Reason string
}

func (e *CloseError) Error() string {
	return fmt.Sprintf("closed by the server: %d %s", e.Code, e.Reason)
}

// A socket is one WebSocket of a client. Any goroutine may queue frames, which
// are written together at the next flush; one goroutine reads.
type socket struct {
	conn  net.Conn
	codec protocol.Codec

	in []byte // what was read and not yet taken; owned by the reader
	at int    // where in it the next frame begins

	mu      sync.Mutex
	out     []byte // frames that wait
	spare   []byte // the other buffer
	writing bool   // a goroutine writes, and will write what is queued meanwhile
	err     error  // why nothing can be written any more
}

func newSocket(conn net.Conn, codec protocol.Codec, early []byte) *socket {
	return &socket{conn: conn, codec: codec, in: append(make([]byte, 0, max(idleBuffer, len(early))), early...)}
}

// queue adds one data frame with the payload that encode appends.
func (s *socket) queue(encode func([]byte) []byte) {
	opcode := byte(opText)
	if s.codec.Binary() {
		opcode = opBinary
	}
	s.queueFrame(opcode, encode)
}

func (s *socket) queueFrame(opcode byte, encode func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return // the reader reports it
	}
	if len(s.out) > maxUnsent {
		s.fail(errUnsent)
		return
	}
	s.out = appendFrame(s.out, opcode, encode)
}

// fail ends the socket: the reader gets err. The caller holds mu.
func (s *socket) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.conn.Close()
}

// flush writes the queued frames. While one goroutine does so, others return at
// once and leave their frames to it.
func (s *socket) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.writing && len(s.out) > 0 && s.err == nil {
		out := s.out
		s.writing, s.out = true, s.spare[:0]
		s.mu.Unlock()
		s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := s.conn.Write(out)
		s.mu.Lock()
		s.writing, s.spare = false, out
		if cap(out) > maxRead {
			s.spare = nil
		}
		if err != nil {
			s.fail(err)
		}
	}
}

// fill reads more, and waits until there is something. Payloads that next
// returned before are void then.
func (s *socket) fill() error {
	s.in = s.in[:copy(s.in, s.in[s.at:])]
	s.at = 0
	if len(s.in) == 0 && cap(s.in) > maxRead {
		s.in = make([]byte, 0, maxRead)
	}
	if free := cap(s.in) - len(s.in); free == 0 {
		s.grow(2 * cap(s.in))
	}
	n, err := s.conn.Read(s.in[len(s.in):cap(s.in)])
	s.in = s.in[:len(s.in)+n]
	if n == cap(s.in) && n < maxRead {
		s.grow(2 * n) // a busy connection: read more at a time
	}
	if n > 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return err
}

func (s *socket) grow(size int) {
	in := make([]byte, len(s.in), size)
	copy(in, s.in)
	s.in = in
}

// next returns the next data frame of what fill has read, and does what control
// frames before it ask. ok is false when no whole frame is left.
func (s *socket) next() (payload []byte, ok bool, err error) {
	for {
		opcode, payload, n, need, err := splitFrame(s.in[s.at:])
		if err != nil {
			return nil, false, err
		}
		if n == 0 {
			if s.at == 0 && need > cap(s.in) {
				s.grow(need)
			}
			return nil, false, nil
		}
		s.at += n
		switch opcode {
		case opText, opBinary:
			if (opcode == opBinary) != s.codec.Binary() {
				return nil, false, fmt.Errorf("websocket message with opcode %d, which is not that of %s", opcode, s.codec.Name())
			}
			return payload, true, nil
		case opPing:
			s.queueFrame(opPong, func(b []byte) []byte { return append(b, payload...) })
		case opPong:
		case opClose:
			closed := &CloseError{Code: 1005}
			if len(payload) >= 2 {
				closed.Code, closed.Reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
			}
			return nil, false, closed
		default:
			return nil, false, fmt.Errorf("websocket frame with opcode %d, which is none", opcode)
		}
	}
}

// errClosed is what a reader gets after close or cut.
var errClosed = errors.New("closed by this side")

// close writes what was queued and a close frame, if it can, and closes the
// connection.
func (s *socket) close() {
	s.queueFrame(opClose, func(b []byte) []byte { return binary.BigEndian.AppendUint16(b, protocol.CloseNormal) })
	s.flush()
	s.cut()
}

// cut closes the connection without a close frame, as a dead link does.
func (s *socket) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(errClosed)
}
