// Package wstest is a client for tests of the server: a plain WebSocket, both
// encodings and the frames of docs/protocol.md, written from that text alone. It
// uses nothing of package protocol or of the client that applications use, so
// that a mistake in those cannot hide in the tests.
//
// A Client is one device. It belongs to the goroutine of a test, which it ends
// on failure, and has a deadline on every wait:
//
//	bob := s.Login(t, "bob", "phone", wstest.Obj{"autoRead": false}) // s is a harness.Server
//	sync := bob.Sync()                       // all up to onSynced, which has to come
//	sync.Messages, sync.Offline, sync.Lost … // what came before it, and what it says
//	m := bob.Message()                       // the next message, wherever frames begin and end
//	bob.AckAll()                             // acks all frames that were taken
//	bob.Expect("onReadReport")               // the next push of that op; others stay
//	bob.Request("send", wstest.Obj{…})       // must succeed
//	bob.Refused("send", wstest.Obj{…}, "conflict") // must fail with that code
//	bob.Idle()                               // nothing more has been pushed
//
// Nothing is acked unless the test says so. A Conn is the connection below it,
// whose methods return errors and may run on any goroutine.
package wstest

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// A Client is one device of one user. Login opens a connection; the next Login,
// as after a restart of the server, opens a new one and forgets what was pushed on
// the old one.
type Client struct {
	T      testing.TB
	Server Server
	User   string
	Device string
	Codec  *Codec

	Conn *Conn
	// Session is the number of the present session.
	Session int64
	// Cursor is the newest cursor that the server gave in any session: the since of a
	// device that stores what it gets.
	Cursor string
	// GroupCursors holds the newest cursor of each group. The map is replaced, never
	// altered.
	GroupCursors Obj

	LastD    int64     // delivery number of the last onNewMessage taken
	messages []Message // of the frame that Message takes apart
}

// A Server is what a client needs of its server.
type Server interface {
	// URL is the address of the WebSocket.
	URL() string
	// Token makes a good login token.
	Token(user string) string
}

// NewClient returns a device of user that is not connected. A nil codec is JSON.
func NewClient(t testing.TB, s Server, user, device string, codec *Codec) *Client {
	return &Client{T: t, Server: s, User: user, Device: device, Codec: codec}
}

// Context returns a context for one wait: it ends after Patience, or with the test.
func (c *Client) Context() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(c.T.Context(), Patience, errors.New("not in time"))
}

// Name names the client in failures.
func (c *Client) Name() string { return c.User + "/" + c.Device }

// Must ends the test if err is not nil. what names the attempt in the failure.
func (c *Client) Must(err error, what string) {
	c.T.Helper()
	if err != nil {
		c.T.Fatalf("%s: %s: %v", c.Name(), what, err)
	}
}

// Connect opens a new connection and drops the old one. It does not log in.
func (c *Client) Connect(o DialOptions) {
	c.T.Helper()
	if c.Conn != nil {
		c.Conn.Drop()
	}
	if o.Codec == nil {
		o.Codec = c.Codec
	}
	ctx, cancel := c.Context()
	defer cancel()
	conn, err := Dial(ctx, c.Server.URL(), o)
	c.Must(err, "dial")
	c.Conn, c.LastD, c.messages = conn, 0, nil
	c.T.Cleanup(conn.Drop)
}

// Login connects and logs in, and returns the reply. args are added to token and
// device, and may replace them.
func (c *Client) Login(args Obj) Obj {
	c.T.Helper()
	c.Connect(DialOptions{})
	reply := c.Request("login", c.LoginArgs(args))
	if reply["user"] != c.User {
		c.T.Fatalf("%s: login: user = %v", c.Name(), reply["user"])
	}
	c.Session = Num(c.T, reply, "session")
	return reply
}

// Resume is Login from the cursor that the device holds.
func (c *Client) Resume(args Obj) Obj {
	c.T.Helper()
	with := Obj{"since": c.Cursor}
	for k, v := range args {
		with[k] = v
	}
	return c.Login(with)
}

// LoginArgs returns the args of a login.
func (c *Client) LoginArgs(args Obj) Obj {
	all := Obj{"token": c.Server.Token(c.User), "device": c.Device}
	for k, v := range args {
		all[k] = v
	}
	return all
}

// Try makes a request and returns its reply or its refusal.
func (c *Client) Try(op string, args Obj) (reply Obj, err *Error) {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	reply, e := c.Conn.Call(ctx, op, args)
	if e != nil && !errors.As(e, &err) {
		c.Must(e, op)
	}
	if err != nil && !namesFieldOf(op, args, err.Message) {
		c.T.Errorf("%s %v: refused with %q, which begins with no field of it", op, args, err.Message)
	}
	return reply, err
}

// Request makes a request that has to succeed.
func (c *Client) Request(op string, args Obj) Obj {
	c.T.Helper()
	reply, err := c.Try(op, args)
	if err != nil {
		c.Must(err, fmt.Sprintf("%s %v", op, args))
	}
	return reply
}

// Refused makes a request that has to be refused with code.
func (c *Client) Refused(op string, args Obj, code string) *Error {
	c.T.Helper()
	reply, err := c.Try(op, args)
	if err == nil {
		c.T.Fatalf("%s: %s %v = %v, want %s", c.Name(), op, args, reply, code)
	}
	if err.Code != code {
		c.T.Fatalf("%s: %s %v: %v, want %s", c.Name(), op, args, err, code)
	}
	return err
}

// Notice sends a frame without reply.
func (c *Client) Notice(op string, args Obj) {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	c.Must(c.Conn.Notice(ctx, op, args), op)
}

// SendRaw sends bytes as one frame of the codec's kind.
func (c *Client) SendRaw(frame []byte) {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	c.Must(c.Conn.sendRaw(ctx, frame), "write")
}

// Say sends the body {"text": text} to conv, with text as its cid, and returns the
// reply.
func (c *Client) Say(conv, text string) Obj {
	c.T.Helper()
	return c.Request("send", Obj{"conv": conv, "cid": text, "body": Obj{"text": text}})
}

// Answer sends a frame as it is, and returns the reply to the request id that the
// frame has.
func (c *Client) Answer(id int64, frame []byte) (Obj, *Error) {
	c.T.Helper()
	c.Conn.awaits(id)
	c.SendRaw(frame)
	ctx, cancel := c.Context()
	defer cancel()
	reply, err := c.Conn.Reply(ctx, id)
	refusal, ok := err.(*Error)
	if err != nil && !ok {
		c.Must(err, "reply")
	}
	return reply, refusal
}

// RequestAs is Request under an id of the test's choice.
func (c *Client) RequestAs(id int64, op string, args Obj) Obj {
	c.T.Helper()
	frame, err := c.Codec.Encode(Obj{"id": id, "op": op, "args": args})
	c.Must(err, "encode")
	reply, refusal := c.Answer(id, frame)
	if refusal != nil {
		c.T.Fatalf("%s: %s %v: %v", c.Name(), op, args, refusal)
	}
	return reply
}

// Sized is Request, and also returns the size of the reply's frame in bytes.
func (c *Client) Sized(op string, args Obj) (reply Obj, bytes int) {
	c.T.Helper()
	reply = c.Request(op, args)
	return reply, c.Conn.replySize()
}

// ExpectClose waits until the server closes the connection, with code.
func (c *Client) ExpectClose(code int) {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	got, err := c.Conn.Closed(ctx)
	c.Must(err, "expecting a close")
	if got != code {
		c.T.Fatalf("%s: close code = %d (%v), want %d", c.Name(), got, c.Conn.err, code)
	}
}

// Logout ends the session and waits until the server has closed it.
func (c *Client) Logout() {
	c.T.Helper()
	c.Request("logout", nil)
	c.ExpectClose(1000)
}

// DropWhenHandled cuts the connection without a close frame, once the server has handled
// all that was sent before.
func (c *Client) DropWhenHandled() {
	c.T.Helper()
	c.Request("ping", nil)
	c.Drop()
}

// Drop cuts the connection without a close frame, as a link that dies does.
func (c *Client) Drop() { c.Conn.Drop() }
