package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
)

type obj = map[string]any

// An edge is a gateway over a testStore with an HTTP server in front, all in
// memory, so that it runs in a bubble.
type edge struct {
	t        testing.TB
	store    *testStore
	gateway  *Gateway
	listener *pipeListener
}

func newEdge(t testing.TB, change func(*Config)) *edge {
	t.Helper()
	e := &edge{t: t, store: newTestStore(t), listener: newPipeListener()}
	c := Config{Backend: e.store, Auth: auth.Config{Secrets: [][]byte{testSecret}}}
	if change != nil {
		change(&c)
	}
	e.store.front = c.Backend
	var err error
	if e.gateway, err = New(c); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: e.gateway.Handler()}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(e.gateway.Listener(e.listener, nil)) })
	t.Cleanup(func() {
		if err := e.gateway.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		server.Close()
		serving.Wait()
	})
	return e
}

// A pipeListener connects by net.Pipe.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.close.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// A client speaks belfry.v1 with maps. A goroutine reads its socket all the
// time, unless pause has stopped it. The methods run on the test's goroutine and
// end the test when they fail.
type client struct {
	t      testing.TB
	ws     *websocket.Conn
	codec  protocol.Codec
	id     uint64
	frames chan received
	pushes []obj // received while something else was expected

	largest atomic.Int64 // bytes of a frame that came
}

// A received is a frame that came, or how the connection ended.
type received struct {
	frame obj
	err   error
}

// patience bounds every wait; in a bubble it takes no time.
const patience = 10 * time.Minute

func (e *edge) dial(codec protocol.Codec) *client {
	e.t.Helper()
	return e.dialWith(codec, dialOptions{})
}

// open makes a WebSocket.
func (e *edge) open(url string, options *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	options.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: e.listener.dial, DisableKeepAlives: true}}
	return websocket.Dial(ctx, url, options)
}

type dialOptions struct {
	silent  bool // nobody reads: replies are lost, and writes of the server block
	noPongs bool
	onPing  func(payload []byte) // called before it is answered; nil for nothing
}

func (e *edge) dialWith(codec protocol.Codec, options dialOptions) *client {
	e.t.Helper()
	ws, _, err := e.open("ws://belfry.test/v1/ws", &websocket.DialOptions{
		Subprotocols: []string{codec.Subprotocol()},
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			if options.onPing != nil {
				options.onPing(payload)
			}
			return !options.noPongs
		},
	})
	if err != nil {
		e.t.Fatalf("dial: %v", err)
	}
	ws.SetReadLimit(1 << 20)
	c := &client{t: e.t, ws: ws, codec: codec, frames: make(chan received, 1<<16)}
	var reading sync.WaitGroup
	if !options.silent {
		reading.Go(c.readAll)
	}
	e.t.Cleanup(func() { ws.CloseNow(); reading.Wait() })
	return c
}

func (c *client) readAll() {
	for {
		_, b, err := c.ws.Read(context.Background())
		if err != nil {
			c.frames <- received{err: err}
			return
		}
		c.largest.Store(max(c.largest.Load(), int64(len(b))))
		frame, err := c.decode(b)
		c.frames <- received{frame, err}
	}
}

// login dials and logs in, and reads up to onSynced, which it gives.
func (e *edge) login(user, device string, args obj) (*client, obj) {
	e.t.Helper()
	c := e.dial(protocol.JSON)
	c.login(user, device, args)
	return c, c.push("onSynced")
}

func (c *client) login(user, device string, args obj) obj {
	c.t.Helper()
	all := obj{"token": testToken(user), "device": device}
	for k, v := range args {
		all[k] = v
	}
	return c.call("login", all)
}

func (c *client) encode(frame obj) (websocket.MessageType, []byte) {
	if c.codec == protocol.JSON {
		b, err := json.Marshal(frame)
		if err != nil {
			c.t.Fatal(err)
		}
		return websocket.MessageText, b
	}
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.UseCompactInts(true)
	if err := enc.Encode(frame); err != nil {
		c.t.Fatal(err)
	}
	return websocket.MessageBinary, b.Bytes()
}

// write sends bytes as one WebSocket message.
func (c *client) write(typ websocket.MessageType, b []byte) {
	c.t.Helper()
	if err := c.tryWrite(typ, b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) tryWrite(typ websocket.MessageType, b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.ws.Write(ctx, typ, b)
}

func (c *client) frame(frame obj) {
	c.t.Helper()
	typ, b := c.encode(frame)
	c.write(typ, b)
}

// notice sends a frame without id.
func (c *client) notice(op string, args obj) {
	c.t.Helper()
	c.frame(obj{"op": op, "args": args})
}

// request sends a request and gives its id.
func (c *client) request(op string, args obj) uint64 {
	c.t.Helper()
	c.id++
	c.frame(obj{"id": c.id, "op": op, "args": args})
	return c.id
}

func (c *client) decode(b []byte) (frame obj, err error) {
	if c.codec == protocol.JSON {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		err = d.Decode(&frame)
	} else {
		err = msgpack.Unmarshal(b, &frame)
	}
	if err != nil {
		return nil, fmt.Errorf("the server's frame %q: %w", b, err)
	}
	return frame, nil
}

func (c *client) read() (obj, error) {
	select {
	case r := <-c.frames:
		return r.frame, r.err
	case <-time.After(patience):
		return nil, context.DeadlineExceeded
	}
}

// next reads one frame.
func (c *client) next() obj {
	c.t.Helper()
	frame, err := c.read()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return frame
}

// reply reads up to the reply to id, keeping pushes for later.
func (c *client) reply(id uint64) obj {
	c.t.Helper()
	for {
		frame := c.next()
		if frame["id"] == nil {
			c.pushes = append(c.pushes, frame)
			continue
		}
		if got := number(c.t, frame, "id"); got != int64(id) {
			c.t.Fatalf("reply to %d, want %d: %v", got, id, frame)
		}
		return frame
	}
}

// call makes a request that must succeed.
func (c *client) call(op string, args obj) obj {
	c.t.Helper()
	frame := c.reply(c.request(op, args))
	ok, is := frame["ok"].(obj)
	if !is {
		c.t.Fatalf("%s %v = %v, want ok", op, args, frame)
	}
	return ok
}

// refused makes a request that must fail with code.
func (c *client) refused(op string, args obj, code string) obj {
	c.t.Helper()
	frame := c.reply(c.request(op, args))
	e, _ := frame["err"].(obj)
	if e["code"] != code {
		c.t.Fatalf("%s %v = %v, want %s", op, args, frame, code)
	}
	if e["message"] == "" || e["message"] == nil {
		c.t.Fatalf("%s %v: %s without a message", op, args, code)
	}
	return e
}

// push gives the args of the next push, which must be op.
func (c *client) push(op string) obj {
	c.t.Helper()
	var frame obj
	if len(c.pushes) > 0 {
		frame, c.pushes = c.pushes[0], c.pushes[1:]
	} else {
		frame = c.next()
	}
	if frame["op"] != op {
		c.t.Fatalf("got %v, want a push %s", frame, op)
	}
	args, _ := frame["args"].(obj)
	return args
}

// quiet requires that nothing has been pushed. In a bubble, call synctest.Wait
// before it.
func (c *client) quiet() {
	c.t.Helper()
	c.call("ping", nil)
	if len(c.pushes) > 0 {
		c.t.Fatalf("pushed %v, want nothing", c.pushes)
	}
}

// closed reads until the server has closed and gives the close code, -1 when
// there was none.
func (c *client) closed() int {
	c.t.Helper()
	for {
		_, err := c.read()
		if err == nil {
			continue
		}
		if errors.Is(err, context.DeadlineExceeded) {
			c.t.Fatal("the server did not close the connection")
		}
		return int(websocket.CloseStatus(err))
	}
}

// goodbye reads up to the close frame.
func (c *client) goodbye() (code int, reason string) {
	c.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			var closed websocket.CloseError
			errors.As(err, &closed)
			return int(closed.Code), closed.Reason
		}
	}
}

func (c *client) wantClosed(code int) {
	c.t.Helper()
	if got := c.closed(); got != code {
		c.t.Fatalf("closed with %d, want %d", got, code)
	}
}

// say sends text to a conversation.
func (c *client) say(conv, text string) obj {
	c.t.Helper()
	return c.call("send", obj{"conv": conv, "cid": text, "body": obj{"text": text}})
}

func number(t testing.TB, o obj, key string) int64 {
	t.Helper()
	if v, ok := o[key].(json.Number); ok {
		if n, err := v.Int64(); err == nil {
			return n
		}
	}
	switch v := reflect.ValueOf(o[key]); {
	case v.CanInt():
		return v.Int()
	case v.CanUint():
		return int64(v.Uint())
	}
	t.Fatalf("%s = %#v in %v, want an integer", key, o[key], o)
	return 0
}

// closes is how many connections are counted as closed so.
func (e *edge) closes(code, reason string) float64 {
	return e.metric("belfry_gateway_closes_total", code, reason)
}

// metric gives the value of a gauge or counter with these label values, 0 when
// there is none.
func (e *edge) metric(name string, labels ...string) float64 {
	e.t.Helper()
	families, err := e.gateway.registry.Gather()
	if err != nil {
		e.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if slices.Equal(values, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// get asks a handler.
func get(h http.Handler, target string, header http.Header) *http.Response {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for k, v := range header {
		r.Header[k] = v
	}
	if host := header.Get("Host"); host != "" {
		r.Host = host
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	io.Copy(io.Discard, r.Body)
	return w.Result()
}
