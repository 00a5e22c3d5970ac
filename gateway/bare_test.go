package gateway

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ws"
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

// newConn is a connection on a socket that does without a listener.
func newConn(g *Gateway, socket net.Conn) *ws.Conn {
	return ws.NewConn(socket, g.admission.Admit(socket, "", false), nil)
}

// bareSession is bob's session without goroutines: the test does what its read
// loop and its pump would.
func bareSession(g *Gateway, codec protocol.Codec) *session {
	s := &session{gateway: g, codec: codec, opcode: ws.OpText, began: time.Now(), autoRead: true}
	if codec.Binary() {
		s.opcode = ws.OpBinary
	}
	s.conn = newConn(g, nowhere{})
	s.conn.SetLimit(g.maxFrame, true)
	s.capacity.L = &s.mu
	s.timer = time.NewTimer(time.Hour)
	s.timerAt = time.Hour
	s.pumping = true
	s.user, s.loggedIn = "bob", true
	s.number.Store(1)
	return s
}
