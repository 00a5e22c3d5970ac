package wstest

// A device as the scenarios see it: a plain WebSocket, log-ins, requests, and
// what the server pushed, with a deadline on every wait.
//
//	bob := s.login(t, "bob", "phone", obj{"autoRead": false})
//	sync := bob.sync()                       // all up to onSynced, which has to come
//	sync.Messages, sync.Offline, sync.Lost … // what came before it, and what it says
//	m := bob.message()                       // the next message, alone or out of a frame
//	bob.ackAll()                             // acks all frames that were taken
//	bob.expect("onReadReport")               // the next push of that op; others stay
//	bob.request("send", obj{…})              // must succeed
//	bob.refused("send", obj{…}, "conflict")  // must fail with that code
//	bob.idle()                               // nothing more has been pushed
//
// Nothing is acked unless the test says so.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Message is a message object of the wire.
type Message struct {
	ID, Conv, From, CID string
	Seq, Time, TTL      int64
	Ephemeral           bool
	Body                any
}

// ParseMessages reads the message objects of v, a list as onNewMessage and
// getMessage have it, and refuses one that misses a field.
func ParseMessages(v any) ([]Message, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("messages = %v, want a list", v)
	}
	var messages []Message
	for _, e := range list {
		m, err := parseMessage(e)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func parseMessage(v any) (m Message, err error) {
	o, _ := v.(Obj)
	m.ID, _ = o["id"].(string)
	m.Conv, _ = o["conv"].(string)
	m.From, _ = o["from"].(string)
	m.CID, _ = o["cid"].(string)
	m.Seq, _ = o["seq"].(int64)
	m.Time, _ = o["time"].(int64)
	m.TTL, _ = o["ttl"].(int64)
	m.Ephemeral, _ = o["ephemeral"].(bool)
	body, hasBody := o["body"]
	m.Body = body
	if m.ID == "" || m.Conv == "" || m.From == "" || m.Time == 0 || !hasBody || (m.Seq == 0) != m.Ephemeral {
		return m, fmt.Errorf("message %v misses a field", v)
	}
	return m, nil
}

// A Client is one device of one user. A login opens a connection; logging
// in again, as after a restart of the server, makes a new one and forgets what
// was pushed on the old.
type Client struct {
	T      testing.TB
	Server Server
	User   string
	Device string
	Codec  *Codec

	Conn *Conn
	// Session is the number of the present session.
	Session int64
	// Cursor is the newest that the server gave, over all sessions: the since of
	// a device that stores what it gets.
	Cursor string
	// GroupCursors is the same per group; it is replaced, never altered.
	GroupCursors Obj

	LastD    int64     // delivery number of the last onNewMessage taken
	messages []Message // of frames that message has begun to take apart
}

// A Server is what a client has to know of its server.
type Server interface {
	URL() string // of the WebSocket
	Token(user string) string
}

// NewClient names a device of user without connecting it. codec nil is JSON.
func NewClient(t testing.TB, s Server, user, device string, codec *Codec) *Client {
	return &Client{T: t, Server: s, User: user, Device: device, Codec: codec}
}

func (c *Client) Context() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(c.T.Context(), Patience, errors.New("not in time"))
}

func (c *Client) Name() string { return c.User + "/" + c.Device }

// Must ends the test on an error; what says what was tried.
func (c *Client) Must(err error, what string) {
	c.T.Helper()
	if err != nil {
		c.T.Fatalf("%s: %s: %v", c.Name(), what, err)
	}
}

// Connect opens a new connection, drops the old one, and does not log in.
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

// Login connects and logs in; args may override token and device. It gives the
// reply.
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

// Resume is login with the cursor that the device holds.
func (c *Client) Resume(args Obj) Obj {
	c.T.Helper()
	with := Obj{"since": c.Cursor}
	for k, v := range args {
		with[k] = v
	}
	return c.Login(with)
}

func (c *Client) LoginArgs(args Obj) Obj {
	all := Obj{"token": c.Server.Token(c.User), "device": c.Device}
	for k, v := range args {
		all[k] = v
	}
	return all
}

// Try makes a request and gives its outcome; err is nil, or the err reply.
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

// argsOf has the fields of each op, as docs/protocol.md lists them.
var argsOf = sync.OnceValue(func() map[string]string {
	b, err := os.ReadFile(InRepo("docs", "protocol.md"))
	if err != nil {
		panic(err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if cells := strings.Split(line, " | "); len(cells) == 3 && strings.HasPrefix(line, "| `") {
			for _, op := range backticked.FindAllString(cells[0], -1) {
				fields[strings.Trim(op, "`")] = cells[1]
			}
		}
	}
	return fields
})

var backticked = regexp.MustCompile("`[a-zA-Z]+`")

// reasonsOfHooks are what tests have message.beforeSend say: the sender is told that alone.
var reasonsOfHooks = []string{"mind your words", "no"}

// namesFieldOf tells whether a refusal begins with a field of its op, or is about
// the op or id.
func namesFieldOf(op string, sent Obj, message string) bool {
	field, _, ok := strings.Cut(message, ": ")
	args, known := argsOf()[op]
	_, given := sent[field]
	return ok && (given || field == "op" || field == "id" || !known || field == "args" || strings.Contains(args, "`"+field+"`") || strings.Contains(args, "`"+field+"?`")) ||
		slices.Contains(reasonsOfHooks, message)
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

// Say sends body {"text": text} with cid = text to conv and gives the reply.
func (c *Client) Say(conv, text string) Obj {
	c.T.Helper()
	return c.Request("send", Obj{"conv": conv, "cid": text, "body": Obj{"text": text}})
}

// Expect takes the next push of op and leaves others. Its args are the result.
func (c *Client) Expect(op string) Obj {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	p, err := c.Conn.NextOf(ctx, func(p Push) bool { return p.Op == op })
	c.Must(err, "expecting "+op)
	return p.Args
}

// Next takes the next push, whatever it is.
func (c *Client) Next() Push {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	p, err := c.Conn.Next(ctx)
	c.Must(err, "expecting a push")
	return p
}

// Batch takes the next onNewMessage: its messages, in order. It checks that
// delivery numbers have no hole.
func (c *Client) Batch() []Message {
	c.T.Helper()
	return c.OnNewMessage(c.Expect("onNewMessage"))
}

func (c *Client) OnNewMessage(args Obj) []Message {
	c.T.Helper()
	messages, err := ParseMessages(args["messages"])
	c.Must(err, "onNewMessage")
	if d := Num(c.T, args, "d"); d != c.LastD+1 {
		c.T.Fatalf("%s: onNewMessage: d = %d after %d", c.Name(), d, c.LastD)
	}
	if n := len(messages); n < 1 || n > 100 {
		c.T.Fatalf("%s: onNewMessage with %d messages", c.Name(), n)
	}
	c.LastD++
	if cursor, ok := args["cursor"].(string); ok {
		c.Cursor = cursor
	}
	if cursors, ok := args["groupCursors"].(Obj); ok {
		c.GroupCursors = Merged(c.GroupCursors, cursors)
	}
	return messages
}

// onSynced notes the cursors that a login ends with.
func (c *Client) onSynced(args Obj) {
	c.T.Helper()
	c.Cursor = Str(c.T, args, "cursor")
	c.groupCursors(args)
}

// groupCursors notes the cursors in lists of conversations.
func (c *Client) groupCursors(args Obj) {
	c.T.Helper()
	for _, key := range []string{"conversations", "groups"} {
		list, _ := args[key].([]any)
		for _, e := range list {
			group, isGroup := strings.CutPrefix(Str(c.T, e.(Obj), "conv"), "g:")
			if cursor, ok := e.(Obj)["cursor"].(string); ok && isGroup {
				c.GroupCursors = Merged(c.GroupCursors, Obj{group: cursor})
			}
		}
	}
}

// Message takes the next message, wherever frames begin and end.
func (c *Client) Message() Message {
	c.T.Helper()
	if len(c.messages) == 0 {
		c.messages = c.Batch()
	}
	m := c.messages[0]
	c.messages = c.messages[1:]
	return m
}

// BetweenFrames reports whether message has taken all of the frame it began last.
func (c *Client) BetweenFrames() bool { return len(c.messages) == 0 }

// AckAll acks every onNewMessage taken so far.
func (c *Client) AckAll() {
	c.T.Helper()
	c.Notice("ack", Obj{"d": c.LastD})
}

// A synced is what a login gave: onSynced, and all pushes before it.
type synced struct {
	Args     Obj // of onSynced
	Messages []Message
	Changes  []Push // pushes other than onNewMessage, in order

	Offline, UnreadTotal int64
	Reset                bool
	Lost                 []any // [{conv, from, to, count}]
	Conversations        []Obj // nil when absent
}

// Sync takes everything up to onSynced.
func (c *Client) Sync() *synced {
	c.T.Helper()
	y := &synced{}
	for {
		p := c.Next()
		switch p.Op {
		case "onNewMessage":
			y.Messages = append(y.Messages, c.OnNewMessage(p.Args)...)
		case "onSynced":
			y.Args = p.Args
			y.Offline = Num(c.T, p.Args, "offline")
			y.UnreadTotal = Num(c.T, p.Args, "unreadTotal")
			y.Reset, _ = p.Args["reset"].(bool)
			y.Lost, _ = p.Args["lost"].([]any)
			list, _ := p.Args["conversations"].([]any)
			if list != nil {
				y.Conversations = []Obj{}
			}
			for _, e := range list {
				y.Conversations = append(y.Conversations, e.(Obj))
			}
			c.onSynced(p.Args)
			return y
		default:
			y.Changes = append(y.Changes, p)
		}
	}
}

// Idle requires that nothing has been pushed that the test has not taken. It
// makes a round trip first; what the server has not sent by then it cannot
// see, so a test puts an event behind what must not come.
func (c *Client) Idle() {
	c.T.Helper()
	c.Request("ping", nil)
	if n := len(c.messages); n > 0 {
		c.T.Fatalf("%s: %d messages left: %v", c.Name(), n, c.messages)
	}
	if left := c.Conn.Pending(); len(left) > 0 {
		c.T.Fatalf("%s: unexpected push: %v", c.Name(), left)
	}
}

// History gives one page of conv; args are those of getMessage beyond conv.
func (c *Client) History(conv string, args Obj) (messages []Message, page Obj) {
	c.T.Helper()
	with := Obj{"conv": conv}
	for k, v := range args {
		with[k] = v
	}
	page = c.Request("getMessage", with)
	messages, err := ParseMessages(page["messages"])
	c.Must(err, "getMessage")
	return messages, page
}

// AllHistory pages through conv from the beginning.
func (c *Client) AllHistory(conv string) (messages []Message) {
	c.T.Helper()
	after := int64(0)
	for {
		page, reply := c.History(conv, Obj{"after": after, "limit": 100})
		messages = append(messages, page...)
		to := Num(c.T, reply, "to")
		if reply["more"] != true {
			return messages
		}
		if to <= after {
			c.T.Fatalf("%s: getMessage after %d covers up to %d and says more", c.Name(), after, to)
		}
		after = to
	}
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

// Drop cuts the connection without a word, as a dying link does.
func (c *Client) Drop() { c.Conn.Drop() }

// Num reads an integer of o and ends the test when it is none.
func Num(t testing.TB, o Obj, key string) int64 {
	t.Helper()
	n, ok := o[key].(int64)
	if !ok {
		t.Fatalf("%s = %v (%T) in %v, want an integer", key, o[key], o[key], o)
	}
	return n
}

// Str reads a text of o and ends the test when it is none.
func Str(t testing.TB, o Obj, key string) string {
	t.Helper()
	s, ok := o[key].(string)
	if !ok {
		t.Fatalf("%s = %v (%T) in %v, want a text", key, o[key], o[key], o)
	}
	return s
}

// Logout ends the session and waits until the server has closed it.
func (c *Client) Logout() {
	c.T.Helper()
	c.Request("logout", nil)
	c.ExpectClose(1000)
}

// LostLink acks nothing more and cuts the connection once the server has
// handled all that was sent before.
func (c *Client) LostLink() {
	c.T.Helper()
	c.Request("ping", nil)
	c.Drop()
}

// Pushes takes everything up to onSynced, each as it came. It holds the frames
// to what is true of every sync: d counts from 1, a device that gave no good
// cursor gets one on the last onNewMessage only, and nothing comes behind
// onSynced but live frames.
func (c *Client) Pushes() []Push {
	c.T.Helper()
	var all []Push
	for {
		p := c.Next()
		if p.Op == "onNewMessage" {
			c.OnNewMessage(p.Args)
		}
		all = append(all, p)
		switch p.Op {
		case "onConversations":
			c.groupCursors(p.Args)
		case "onSynced":
			c.onSynced(p.Args)
			return all
		}
	}
}

// LiveMessage takes one message off the next push, which has to be an
// onNewMessage. What else a frame holds it puts back; only with its last message
// the frame counts as taken.
func (c *Client) LiveMessage() any {
	c.T.Helper()
	p := c.Next()
	if p.Op != "onNewMessage" {
		c.T.Fatalf("%s: %s %v, want onNewMessage", c.Name(), p.Op, p.Args)
	}
	return c.FirstOf(p)
}

func (c *Client) FirstOf(p Push) any {
	c.T.Helper()
	cursor, groupCursors := c.Cursor, c.GroupCursors
	c.OnNewMessage(p.Args)
	messages := p.Args["messages"].([]any)
	if len(messages) > 1 {
		rest := Push{Op: p.Op, Args: Merged(p.Args, Obj{"messages": messages[1:]})}
		c.Conn.putBack(rest)
		c.LastD--
		c.Cursor, c.GroupCursors = cursor, groupCursors
	}
	return messages[0]
}

// Answer sends a frame as it is and gives the reply to request id.
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

// RequestAs is request under an id of the test's choice.
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

// Sized asks for something and tells how long the frame of the reply was.
func (c *Client) Sized(op string, args Obj) (reply Obj, bytes int) {
	c.T.Helper()
	reply = c.Request(op, args)
	return reply, c.Conn.replySize()
}

// Pending takes all that has been pushed, by a round trip later.
func (c *Client) Pending() []Push {
	c.T.Helper()
	c.Request("ping", nil)
	return c.Conn.Pending()
}
