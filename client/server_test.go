package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A server is the other end of a client, played by hand: it takes connections
// in memory and knows nothing but frames. Maps instead of the protocol
// package's structs keep it an independent witness.
type server struct {
	t      testing.TB
	conns  chan net.Conn
	peers  chan *peer
	refuse atomic.Bool // new connections, as if no server were there
}

// inBubble runs a test once per codec, where time stands still while anything runs.
func inBubble(t *testing.T, test func(*testing.T, *server, Config)) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		t.Run(codec.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				test(t, s, Config{
					URL: "ws://belfry.test", Device: "phone", Codec: codec,
					HTTPClient: &http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}},
					Token:      func(context.Context, TokenReason) (string, error) { return "a token", nil },
				})
			})
		})
	}
}

func newServer(t testing.TB) *server {
	s := &server{t: t, conns: make(chan net.Conn), peers: make(chan *peer, 1024)}
	over := make(chan struct{})
	h := &http.Server{Handler: http.HandlerFunc(s.serve)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Serve(listener{s.conns, over})
	}()
	t.Cleanup(func() {
		close(over)
		h.Close()
		<-done
	})
	return s
}

type listener struct {
	conns chan net.Conn
	over  chan struct{}
}

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}
func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.UnixAddr{} }

func (s *server) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if s.refuse.Load() {
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	select {
	case s.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/ws" {
		s.t.Errorf("path = %s, want /v1/ws", r.URL.Path)
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{protocol.SubprotocolJSON, protocol.SubprotocolMsgpack},
	})
	if err != nil {
		s.t.Errorf("accept: %v", err)
		return
	}
	p := &peer{t: s.t, ws: ws, host: r.Host, binary: ws.Subprotocol() == protocol.SubprotocolMsgpack, frames: make(chan frame, 4096)}
	s.peers <- p
	p.read()
}

// A frame is one map of the wire.
type frame map[string]any

// peer is one connection of the client.
type peer struct {
	t      testing.TB
	ws     *websocket.Conn
	host   string // that the client asked for
	binary bool
	frames chan frame // what the client sent; closed with the connection
	closed error      // set before frames is closed
}

// next waits for a connection of the client.
func (s *server) next() *peer {
	s.t.Helper()
	select {
	case p := <-s.peers:
		return p
	case <-time.After(time.Hour):
		s.t.Fatal("the client did not connect within an hour")
		return nil
	}
}

// login takes a connection through its login and gives the login's args.
func (s *server) login() (*peer, frame) {
	s.t.Helper()
	p := s.next()
	f := p.want("login")
	p.ok(f, frame{
		"user": "alice", "session": 1, "serverTime": time.Now().UnixMilli(), "protocol": 1,
		"limits": frame{"maxBody": 12 << 10, "maxFrame": 64 << 10, "window": 256, "idleMs": 60000},
	})
	return p, args(f)
}

func (p *peer) read() {
	defer close(p.frames)
	for {
		_, data, err := p.ws.Read(context.Background())
		if err != nil {
			p.closed = err
			return
		}
		p.frames <- p.decode(data)
	}
}

func (p *peer) decode(data []byte) frame {
	var f frame
	var err error
	if p.binary {
		d := msgpack.NewDecoder(bytes.NewReader(data))
		d.UseLooseInterfaceDecoding(true)
		err = d.Decode(&f)
	} else {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		p.t.Errorf("the client sent %q: %v", data, err)
	}
	return f
}

// want waits for a frame and requires its op.
func (p *peer) want(op string) frame {
	p.t.Helper()
	select {
	case f, ok := <-p.frames:
		if !ok {
			p.t.Fatalf("connection ended with %v, want op %s", p.closed, op)
		}
		if f["op"] != op {
			p.t.Fatalf("frame = %v, want op %s", f, op)
		}
		return f
	case <-time.After(time.Hour):
		p.t.Fatalf("no frame within an hour, want op %s", op)
	}
	return nil
}

// quiet requires that the client sends nothing for now.
func (p *peer) quiet() {
	p.t.Helper()
	synctest.Wait()
	select {
	case f, ok := <-p.frames:
		p.t.Fatalf("frame = %v (%t), want none", f, ok)
	default:
	}
}

func (p *peer) write(f frame) {
	p.t.Helper()
	var data []byte
	var err error
	typ := websocket.MessageText
	if p.binary {
		typ = websocket.MessageBinary
		data, err = msgpack.Marshal(f)
	} else {
		data, err = json.Marshal(f)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.ws.Write(context.Background(), typ, data); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *peer) push(op string, args frame) { p.t.Helper(); p.write(frame{"op": op, "args": args}) }
func (p *peer) ok(f frame, ok frame)       { p.t.Helper(); p.write(frame{"id": f["id"], "ok": ok}) }

func (p *peer) refuse(f frame, code string, retryAfter time.Duration) {
	p.t.Helper()
	err := frame{"code": code, "message": "because"}
	if retryAfter > 0 {
		err["retryAfterMs"] = retryAfter.Milliseconds()
	}
	p.write(frame{"id": f["id"], "err": err})
}

// sent answers a send.
func (p *peer) sent(f frame, seq int) {
	p.t.Helper()
	p.ok(f, frame{"id": ulidOf(seq), "seq": seq, "time": time.Now().UnixMilli()})
}

// messages pushes messages of bob's, named by their seqs.
func (p *peer) messages(d int, cursor string, seqs ...int) {
	p.t.Helper()
	var list []any
	for _, seq := range seqs {
		list = append(list, message(seq))
	}
	f := frame{"d": d, "messages": list}
	if cursor != "" {
		f["cursor"] = cursor
	}
	p.push("onNewMessage", f)
}

func message(seq int) frame {
	return frame{
		"id": ulidOf(seq), "conv": "u:bob", "from": "bob", "seq": seq,
		"time": 1795400000000 + seq, "cid": fmt.Sprint("c", seq), "body": frame{"text": fmt.Sprint("m", seq)},
	}
}

// ulidOf is an id for the message of a seq.
func ulidOf(seq int) string { return fmt.Sprintf("01JD0000000000000000%06d", seq) }

func args(f frame) frame {
	if a, ok := f["args"].(map[string]any); ok {
		return a
	}
	return frame{}
}

// number reads an integer whichever way the codec decoded it.
func number(v any) int {
	switch v := reflect.ValueOf(v); {
	case v.CanInt():
		return int(v.Int())
	case v.CanUint():
		return int(v.Uint())
	case v.CanFloat():
		return int(v.Float())
	}
	return -1
}
