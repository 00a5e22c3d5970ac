package main

// A wsConn is one plain WebSocket that speaks frames. Its methods return errors
// and may run on any goroutine; wsClient (wsclient_test.go) is the same for the
// goroutine of a test, which it ends on failure.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/coder/websocket"
)

// maxPushes bounds what a wsConn holds that nobody has asked for.
const maxPushes = 100_000

// A wireError is an err reply.
type wireError struct {
	Code         string
	Message      string
	RetryAfterMS int64
}

func (e *wireError) Error() string { return e.Code + ": " + e.Message }

// A push is a frame that the server sent by itself.
type push struct {
	Op   string
	Args obj
}

type wsConn struct {
	codec *codec
	ws    *websocket.Conn

	mu      sync.Mutex
	changed chan struct{} // closed and renewed whenever something below changes
	lastID  int64
	waiting map[int64]bool // requests without a reply yet
	replies map[int64]obj
	pushes  []push // not taken yet, in the order they came
	err     error  // why reading ended
	size    int    // bytes of the newest reply

	started sync.Once
	done    chan struct{} // closed when the read loop has ended
}

// dialOptions vary a connection; the zero value is JSON and reads at once.
type dialOptions struct {
	codec  *codec
	header http.Header
	// deaf leaves the socket unread until read is called.
	deaf bool
}

// dialWS opens a WebSocket and checks that the server took the subprotocol.
func dialWS(ctx context.Context, url string, o dialOptions) (*wsConn, error) {
	if o.codec == nil {
		o.codec = codecJSON
	}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPHeader:   o.header,
		Subprotocols: []string{o.codec.subprotocol},
	})
	if err != nil {
		return nil, err
	}
	if got := ws.Subprotocol(); got != o.codec.subprotocol {
		ws.CloseNow()
		return nil, fmt.Errorf("subprotocol %q, want %q", got, o.codec.subprotocol)
	}
	ws.SetReadLimit(1 << 20) // the contract says 64 KiB or one message; a test may look at more
	c := &wsConn{
		codec:   o.codec,
		ws:      ws,
		changed: make(chan struct{}),
		waiting: map[int64]bool{},
		replies: map[int64]obj{},
		done:    make(chan struct{}),
	}
	if !o.deaf {
		c.read()
	}
	return c, nil
}

// read starts to read the socket of a deaf connection.
func (c *wsConn) read() {
	c.started.Do(func() {
		go func() {
			defer close(c.done)
			for {
				frame, size, err := c.readFrame()
				if !c.take(frame, size, err) {
					c.ws.CloseNow()
					return
				}
			}
		}()
	})
}

func (c *wsConn) readFrame() (frame obj, size int, err error) {
	kind, b, err := c.ws.Read(context.Background())
	if err != nil {
		return nil, 0, err
	}
	if kind != c.codec.frame {
		return nil, 0, fmt.Errorf("a %v frame in %v", kind, c.codec)
	}
	frame, err = c.codec.decode(b)
	if err != nil {
		return nil, 0, fmt.Errorf("frame %q: %w", b, err)
	}
	return frame, len(b), nil
}

// take files one frame, or the error that ends the connection, and reports
// whether to go on. Whatever the contract does not know ends it too.
func (c *wsConn) take(frame obj, size int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = c.file(frame, size)
	}
	if err != nil && c.err == nil {
		c.err = err
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return err == nil
}

func (c *wsConn) file(frame obj, size int) error {
	if op, ok := frame["op"].(string); ok {
		if one, _ := frame["args"].(obj)["messages"].([]any); size > 64<<10 && len(one) != 1 {
			return fmt.Errorf("a push of %d bytes: %v", size, frame)
		}
		args, _ := frame["args"].(obj)
		if len(c.pushes) == maxPushes {
			return errors.New("too many pushes that the test did not take")
		}
		c.pushes = append(c.pushes, push{op, args})
		return nil
	}
	id, ok := frame["id"].(int64)
	if !ok {
		return fmt.Errorf("frame %v is neither push nor reply", frame)
	}
	if !c.waiting[id] {
		return fmt.Errorf("a reply to request %d, which waits for none: %v", id, frame)
	}
	delete(c.waiting, id)
	c.replies[id], c.size = frame, size
	return nil
}

// wait blocks until is is true, the connection has ended or ctx has. It calls
// is with c.mu held.
func (c *wsConn) wait(ctx context.Context, is func() bool) error {
	for {
		c.mu.Lock()
		ok, err, changed := is(), c.err, c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sendRaw writes one WebSocket message as it is.
func (c *wsConn) sendRaw(ctx context.Context, frame []byte) error {
	return c.ws.Write(ctx, c.codec.frame, frame)
}

func (c *wsConn) send(ctx context.Context, frame obj) error {
	b, err := c.codec.encode(frame)
	if err != nil {
		return err
	}
	return c.sendRaw(ctx, b)
}

// start sends a request and gives its id, for reply.
func (c *wsConn) start(ctx context.Context, op string, args obj) (int64, error) {
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	c.waiting[id] = true
	c.mu.Unlock()
	frame := obj{"id": id, "op": op}
	if args != nil {
		frame["args"] = args
	}
	return id, c.send(ctx, frame)
}

// reply waits for the answer to request id. An err reply is a *wireError.
func (c *wsConn) reply(ctx context.Context, id int64) (obj, error) {
	var frame obj
	err := c.wait(ctx, func() bool {
		var ok bool
		frame, ok = c.replies[id]
		delete(c.replies, id)
		return ok
	})
	if err != nil {
		return nil, fmt.Errorf("reply to request %d: %w", id, err)
	}
	if e, ok := frame["err"].(obj); ok {
		we := &wireError{}
		we.Code, _ = e["code"].(string)
		we.Message, _ = e["message"].(string)
		we.RetryAfterMS, _ = e["retryAfterMs"].(int64)
		return nil, we
	}
	ok, _ := frame["ok"].(obj)
	if ok == nil {
		return nil, fmt.Errorf("reply %v has neither ok nor err", frame)
	}
	return ok, nil
}

// call is start and reply.
func (c *wsConn) call(ctx context.Context, op string, args obj) (obj, error) {
	id, err := c.start(ctx, op, args)
	if err != nil {
		return nil, err
	}
	return c.reply(ctx, id)
}

// notice sends a frame that has no reply.
func (c *wsConn) notice(ctx context.Context, op string, args obj) error {
	return c.send(ctx, obj{"op": op, "args": args})
}

// next takes the oldest push.
func (c *wsConn) next(ctx context.Context) (push, error) {
	return c.nextOf(ctx, func(push) bool { return true })
}

// nextOf takes the oldest push that match accepts and leaves the others.
func (c *wsConn) nextOf(ctx context.Context, match func(push) bool) (p push, err error) {
	err = c.wait(ctx, func() bool {
		for i := range c.pushes {
			if match(c.pushes[i]) {
				p = c.pushes[i]
				c.pushes = append(c.pushes[:i:i], c.pushes[i+1:]...)
				return true
			}
		}
		return false
	})
	return p, err
}

// closed waits until the server has ended the connection and gives the code of
// its close frame, -1 when there was none.
func (c *wsConn) closed(ctx context.Context) (int, error) {
	c.read()
	select {
	case <-c.done:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(websocket.CloseStatus(c.err)), nil
}

// drop cuts the connection without a close frame, as a dying link does.
func (c *wsConn) drop() {
	c.ws.CloseNow()
	c.read() // a deaf connection too has to notice
	<-c.done
}
