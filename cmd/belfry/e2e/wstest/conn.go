package wstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/coder/websocket"
)

// maxPushes bounds the pushes that a Conn holds until the test takes them.
const maxPushes = 100_000

// An Error is an err reply of the server.
type Error struct {
	Code         string
	Message      string
	RetryAfterMS int64
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// A Push is a frame that the server sent by itself.
type Push struct {
	Op   string
	Args Obj
}

// A Conn is one WebSocket that speaks frames. Its methods may run on any goroutine.
type Conn struct {
	codec *Codec
	WS    *websocket.Conn

	mu      sync.Mutex
	changed chan struct{} // closed and renewed whenever something below changes
	lastID  int64
	waiting map[int64]bool // requests without a reply yet
	replies map[int64]Obj
	pushes  []Push // not taken yet, in the order they came
	err     error  // the error with which reading ended
	size    int    // bytes of the newest reply

	started sync.Once
	done    chan struct{} // closed when the read loop has ended
}

// DialOptions vary a connection; the zero value is JSON and reads at once.
type DialOptions struct {
	Codec *Codec
	// Deaf leaves the socket unread until the connection is closed.
	Deaf bool
}

// Dial opens a WebSocket and checks that the server took the subprotocol.
func Dial(ctx context.Context, url string, o DialOptions) (*Conn, error) {
	if o.Codec == nil {
		o.Codec = JSON
	}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		Subprotocols: []string{o.Codec.Subprotocol},
	})
	if err != nil {
		return nil, err
	}
	if got := ws.Subprotocol(); got != o.Codec.Subprotocol {
		ws.CloseNow()
		return nil, fmt.Errorf("subprotocol %q, want %q", got, o.Codec.Subprotocol)
	}
	ws.SetReadLimit(1 << 20) // the contract says 64 KiB or one message; a test may look at more
	c := &Conn{
		codec:   o.Codec,
		WS:      ws,
		changed: make(chan struct{}),
		waiting: map[int64]bool{},
		replies: map[int64]Obj{},
		done:    make(chan struct{}),
	}
	if !o.Deaf {
		c.read()
	}
	return c, nil
}

// read starts to read the socket of a deaf connection.
func (c *Conn) read() {
	c.started.Do(func() {
		go func() {
			defer close(c.done)
			for {
				frame, size, err := c.readFrame()
				if !c.handleFrame(frame, size, err) {
					c.WS.CloseNow()
					return
				}
			}
		}()
	})
}

func (c *Conn) readFrame() (frame Obj, size int, err error) {
	kind, b, err := c.WS.Read(context.Background())
	if err != nil {
		return nil, 0, err
	}
	if kind != c.codec.Frame {
		return nil, 0, fmt.Errorf("a %v frame in %v", kind, c.codec)
	}
	frame, err = c.codec.Decode(b)
	if err != nil {
		return nil, 0, fmt.Errorf("frame %q: %w", b, err)
	}
	return frame, len(b), nil
}

// handleFrame sorts one frame into replies or pushes, or notes the error that ended the
// connection. It reports whether to read on. A frame that the contract does not
// allow ends the connection, too.
func (c *Conn) handleFrame(frame Obj, size int, err error) bool {
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

func (c *Conn) file(frame Obj, size int) error {
	if op, ok := frame["op"].(string); ok {
		if one, _ := frame["args"].(Obj)["messages"].([]any); size > 64<<10 && len(one) != 1 {
			return fmt.Errorf("a push of %d bytes: %v", size, frame)
		}
		args, _ := frame["args"].(Obj)
		if len(c.pushes) == maxPushes {
			return errors.New("too many pushes that the test did not take")
		}
		c.pushes = append(c.pushes, Push{op, args})
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

// wait blocks until is returns true, or returns an error once the connection or ctx
// has ended. It calls is with c.mu held.
func (c *Conn) wait(ctx context.Context, is func() bool) error {
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
func (c *Conn) sendRaw(ctx context.Context, frame []byte) error {
	return c.WS.Write(ctx, c.codec.Frame, frame)
}

func (c *Conn) send(ctx context.Context, frame Obj) error {
	b, err := c.codec.Encode(frame)
	if err != nil {
		return err
	}
	return c.sendRaw(ctx, b)
}

// Start sends a request and returns its id, for Reply.
func (c *Conn) Start(ctx context.Context, op string, args Obj) (int64, error) {
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	c.waiting[id] = true
	c.mu.Unlock()
	frame := Obj{"id": id, "op": op}
	if args != nil {
		frame["args"] = args
	}
	return id, c.send(ctx, frame)
}

// Reply waits for the reply to request id and returns it. An err reply is an
// *Error.
func (c *Conn) Reply(ctx context.Context, id int64) (Obj, error) {
	var frame Obj
	err := c.wait(ctx, func() bool {
		var ok bool
		frame, ok = c.replies[id]
		delete(c.replies, id)
		return ok
	})
	if err != nil {
		return nil, fmt.Errorf("reply to request %d: %w", id, err)
	}
	if e, ok := frame["err"].(Obj); ok {
		we := &Error{}
		we.Code, _ = e["code"].(string)
		we.Message, _ = e["message"].(string)
		we.RetryAfterMS, _ = e["retryAfterMs"].(int64)
		return nil, we
	}
	ok, _ := frame["ok"].(Obj)
	if ok == nil {
		return nil, fmt.Errorf("reply %v has neither ok nor err", frame)
	}
	return ok, nil
}

// Call is Start and Reply.
func (c *Conn) Call(ctx context.Context, op string, args Obj) (Obj, error) {
	id, err := c.Start(ctx, op, args)
	if err != nil {
		return nil, err
	}
	return c.Reply(ctx, id)
}

// Notice sends a frame that has no reply.
func (c *Conn) Notice(ctx context.Context, op string, args Obj) error {
	return c.send(ctx, Obj{"op": op, "args": args})
}

// Next takes the oldest push.
func (c *Conn) Next(ctx context.Context) (Push, error) {
	return c.NextOf(ctx, func(Push) bool { return true })
}

// NextOf takes the oldest push that match accepts and leaves the others.
func (c *Conn) NextOf(ctx context.Context, match func(Push) bool) (p Push, err error) {
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

// Closed waits until the server has ended the connection and returns the code of
// its close frame, -1 if there was none.
func (c *Conn) Closed(ctx context.Context) (int, error) {
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

// Drop cuts the connection without a close frame, as a link that dies does.
func (c *Conn) Drop() {
	c.WS.CloseNow()
	c.read() // a deaf connection too has to notice
	<-c.done
}

// Pending takes all pushes that have come.
func (c *Conn) Pending() []Push {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.pushes
	c.pushes = nil
	return all
}

// putBack makes p the oldest push again.
func (c *Conn) putBack(p Push) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushes = slices.Insert(c.pushes, 0, p)
}

// awaits records that a reply to id may come, for a request that Start has not
// sent.
func (c *Conn) awaits(id int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[id] = true
}

// replySize returns the number of bytes of the newest reply.
func (c *Conn) replySize() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// CloseReason returns the reason in the close frame, once Closed has returned.
func (c *Conn) CloseReason() string {
	e, _ := errors.AsType[websocket.CloseError](c.err)
	return e.Reason
}

// Accepted returns those of requests, which maps names to ids, that were answered with
// ok.
func (c *Conn) Accepted(requests map[string]int64) map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	accepted := make(map[string]int64)
	for name, id := range requests {
		if _, ok := c.replies[id]["ok"].(Obj); ok {
			accepted[name] = id
		}
	}
	return accepted
}
