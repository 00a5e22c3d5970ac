package gateway

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// nowhere is a socket that takes everything and gives nothing.
type nowhere struct{ net.Conn }

func (nowhere) Read([]byte) (int, error)         { return 0, io.EOF }
func (nowhere) Write(p []byte) (int, error)      { return len(p), nil }
func (nowhere) Close() error                     { return nil }
func (nowhere) SetDeadline(time.Time) error      { return nil }
func (nowhere) SetReadDeadline(time.Time) error  { return nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }

func newBareGateway(t testing.TB, b Backend) *Gateway {
	t.Helper()
	g, err := New(Config{Backend: b, Auth: auth.Config{Secrets: [][]byte{testSecret}}, FrameRate: -1})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// bareSession is bob's session without goroutines: the test does what its read
// loop and its pump would.
func bareSession(g *Gateway, codec protocol.Codec) *session {
	s := &session{gateway: g, codec: codec, opcode: opText, began: time.Now(), auto: true}
	if codec.Binary() {
		s.opcode = opBinary
	}
	s.conn = newConn(nowhere{}, g.admission.enter("", false, func(string) {}), nil)
	s.conn.in.limit, s.conn.in.whole = g.maxFrame, false
	s.room.L = &s.mu
	s.timer = time.NewTimer(time.Hour)
	s.armed = time.Hour
	s.pumping = true
	s.user, s.number, s.loggedIn = "bob", 1, true
	return s
}
