package main

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

// A wsMessage is a message object of the wire.
type wsMessage struct {
	ID, Conv, From, CID string
	Seq, Time, TTL      int64
	Ephemeral           bool
	Body                any
}

// parseMessages reads the message objects of v, a list as onNewMessage and
// getMessage have it, and refuses one that misses a field.
func parseMessages(v any) ([]wsMessage, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("messages = %v, want a list", v)
	}
	var messages []wsMessage
	for _, e := range list {
		m, err := parseMessage(e)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func parseMessage(v any) (m wsMessage, err error) {
	o, _ := v.(obj)
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

// A wsClient is one device of one user. A login opens a connection; logging
// in again, as after a restart of the server, makes a new one and forgets what
// was pushed on the old.
type wsClient struct {
	t      testing.TB
	server *server
	User   string
	Device string
	codec  *codec

	conn *wsConn
	// Session is the number of the present session.
	Session int64
	// Cursor is the newest that the server gave, over all sessions: the since of
	// a device that stores what it gets.
	Cursor string
	// GroupCursors is the same per group; it is replaced, never altered.
	GroupCursors obj

	lastD    int64       // delivery number of the last onNewMessage taken
	messages []wsMessage // of frames that message has begun to take apart
}

// device names a device without connecting it. codec nil is JSON.
func (s *server) device(t testing.TB, user, name string, codec *codec) *wsClient {
	return &wsClient{t: t, server: s, User: user, Device: name, codec: codec}
}

// login connects a device by JSON and logs it in; args are those of the login
// beyond token and device.
func (s *server) login(t testing.TB, user, device string, args obj) *wsClient {
	t.Helper()
	c := s.device(t, user, device, nil)
	c.login(args)
	return c
}

func (c *wsClient) ctx() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(c.t.Context(), patience, errors.New("not in time"))
}

func (c *wsClient) name() string { return c.User + "/" + c.Device }

// must ends the test on an error; what says what was tried.
func (c *wsClient) must(err error, what string) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %s: %v", c.name(), what, err)
	}
}

// connect opens a new connection, drops the old one, and does not log in.
func (c *wsClient) connect(o dialOptions) {
	c.t.Helper()
	if c.conn != nil {
		c.conn.drop()
	}
	if o.codec == nil {
		o.codec = c.codec
	}
	ctx, cancel := c.ctx()
	defer cancel()
	conn, err := dialWS(ctx, c.server.url(), o)
	c.must(err, "dial")
	c.conn, c.lastD, c.messages = conn, 0, nil
	c.t.Cleanup(conn.drop)
}

// login connects and logs in; args may override token and device. It gives the
// reply.
func (c *wsClient) login(args obj) obj {
	c.t.Helper()
	c.connect(dialOptions{})
	reply := c.request("login", c.loginArgs(args))
	if reply["user"] != c.User {
		c.t.Fatalf("%s: login: user = %v", c.name(), reply["user"])
	}
	c.Session = num(c.t, reply, "session")
	return reply
}

// resume is login with the cursor that the device holds.
func (c *wsClient) resume(args obj) obj {
	c.t.Helper()
	with := obj{"since": c.Cursor}
	for k, v := range args {
		with[k] = v
	}
	return c.login(with)
}

func (c *wsClient) loginArgs(args obj) obj {
	all := obj{"token": c.server.token(c.User), "device": c.Device}
	for k, v := range args {
		all[k] = v
	}
	return all
}

// try makes a request and gives its outcome; err is nil, or the err reply.
func (c *wsClient) try(op string, args obj) (reply obj, err *wireError) {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	reply, e := c.conn.call(ctx, op, args)
	if e != nil && !errors.As(e, &err) {
		c.must(e, op)
	}
	if err != nil && !namesFieldOf(op, args, err.Message) {
		c.t.Errorf("%s %v: refused with %q, which begins with no field of it", op, args, err.Message)
	}
	return reply, err
}

// argsOf has the fields of each op, as docs/protocol.md lists them.
var argsOf = sync.OnceValue(func() map[string]string {
	b, err := os.ReadFile("../../docs/protocol.md")
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
func namesFieldOf(op string, sent obj, message string) bool {
	field, _, ok := strings.Cut(message, ": ")
	args, known := argsOf()[op]
	_, given := sent[field]
	return ok && (given || field == "op" || field == "id" || !known || field == "args" || strings.Contains(args, "`"+field+"`") || strings.Contains(args, "`"+field+"?`")) ||
		slices.Contains(reasonsOfHooks, message)
}

// request makes a request that has to succeed.
func (c *wsClient) request(op string, args obj) obj {
	c.t.Helper()
	reply, err := c.try(op, args)
	if err != nil {
		c.must(err, fmt.Sprintf("%s %v", op, args))
	}
	return reply
}

// refused makes a request that has to be refused with code.
func (c *wsClient) refused(op string, args obj, code string) *wireError {
	c.t.Helper()
	reply, err := c.try(op, args)
	if err == nil {
		c.t.Fatalf("%s: %s %v = %v, want %s", c.name(), op, args, reply, code)
	}
	if err.Code != code {
		c.t.Fatalf("%s: %s %v: %v, want %s", c.name(), op, args, err, code)
	}
	return err
}

// notice sends a frame without reply.
func (c *wsClient) notice(op string, args obj) {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	c.must(c.conn.notice(ctx, op, args), op)
}

// sendRaw sends bytes as one frame of the codec's kind.
func (c *wsClient) sendRaw(frame []byte) {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	c.must(c.conn.sendRaw(ctx, frame), "write")
}

// say sends body {"text": text} with cid = text to conv and gives the reply.
func (c *wsClient) say(conv, text string) obj {
	c.t.Helper()
	return c.request("send", obj{"conv": conv, "cid": text, "body": obj{"text": text}})
}

// expect takes the next push of op and leaves others. Its args are the result.
func (c *wsClient) expect(op string) obj {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	p, err := c.conn.nextOf(ctx, func(p push) bool { return p.Op == op })
	c.must(err, "expecting "+op)
	return p.Args
}

// next takes the next push, whatever it is.
func (c *wsClient) next() push {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	p, err := c.conn.next(ctx)
	c.must(err, "expecting a push")
	return p
}

// batch takes the next onNewMessage: its messages, in order. It checks that
// delivery numbers have no hole.
func (c *wsClient) batch() []wsMessage {
	c.t.Helper()
	return c.onNewMessage(c.expect("onNewMessage"))
}

func (c *wsClient) onNewMessage(args obj) []wsMessage {
	c.t.Helper()
	messages, err := parseMessages(args["messages"])
	c.must(err, "onNewMessage")
	if d := num(c.t, args, "d"); d != c.lastD+1 {
		c.t.Fatalf("%s: onNewMessage: d = %d after %d", c.name(), d, c.lastD)
	}
	if n := len(messages); n < 1 || n > 100 {
		c.t.Fatalf("%s: onNewMessage with %d messages", c.name(), n)
	}
	c.lastD++
	if cursor, ok := args["cursor"].(string); ok {
		c.Cursor = cursor
	}
	if cursors, ok := args["groupCursors"].(obj); ok {
		c.GroupCursors = with(c.GroupCursors, cursors)
	}
	return messages
}

// onSynced notes the cursors that a login ends with.
func (c *wsClient) onSynced(args obj) {
	c.t.Helper()
	c.Cursor = str(c.t, args, "cursor")
	c.groupCursors(args)
}

// groupCursors notes the cursors in lists of conversations.
func (c *wsClient) groupCursors(args obj) {
	c.t.Helper()
	for _, key := range []string{"conversations", "groups"} {
		list, _ := args[key].([]any)
		for _, e := range list {
			group, isGroup := strings.CutPrefix(str(c.t, e.(obj), "conv"), "g:")
			if cursor, ok := e.(obj)["cursor"].(string); ok && isGroup {
				c.GroupCursors = with(c.GroupCursors, obj{group: cursor})
			}
		}
	}
}

// message takes the next message, wherever frames begin and end.
func (c *wsClient) message() wsMessage {
	c.t.Helper()
	if len(c.messages) == 0 {
		c.messages = c.batch()
	}
	m := c.messages[0]
	c.messages = c.messages[1:]
	return m
}

// ackAll acks every onNewMessage taken so far.
func (c *wsClient) ackAll() {
	c.t.Helper()
	c.notice("ack", obj{"d": c.lastD})
}

// A synced is what a login gave: onSynced, and all pushes before it.
type synced struct {
	Args     obj // of onSynced
	Messages []wsMessage
	Changes  []push // pushes other than onNewMessage, in order

	Offline, UnreadTotal int64
	Reset                bool
	Lost                 []any // [{conv, from, to, count}]
	Conversations        []obj // nil when absent
}

// sync takes everything up to onSynced.
func (c *wsClient) sync() *synced {
	c.t.Helper()
	y := &synced{}
	for {
		p := c.next()
		switch p.Op {
		case "onNewMessage":
			y.Messages = append(y.Messages, c.onNewMessage(p.Args)...)
		case "onSynced":
			y.Args = p.Args
			y.Offline = num(c.t, p.Args, "offline")
			y.UnreadTotal = num(c.t, p.Args, "unreadTotal")
			y.Reset, _ = p.Args["reset"].(bool)
			y.Lost, _ = p.Args["lost"].([]any)
			list, _ := p.Args["conversations"].([]any)
			if list != nil {
				y.Conversations = []obj{}
			}
			for _, e := range list {
				y.Conversations = append(y.Conversations, e.(obj))
			}
			c.onSynced(p.Args)
			return y
		default:
			y.Changes = append(y.Changes, p)
		}
	}
}

// idle requires that nothing has been pushed that the test has not taken. It
// makes a round trip first; what the server has not sent by then it cannot
// see, so a test puts an event behind what must not come.
func (c *wsClient) idle() {
	c.t.Helper()
	c.request("ping", nil)
	if n := len(c.messages); n > 0 {
		c.t.Fatalf("%s: %d messages left: %v", c.name(), n, c.messages)
	}
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	if len(c.conn.pushes) > 0 {
		c.t.Fatalf("%s: unexpected push: %v", c.name(), c.conn.pushes)
	}
}

// history gives one page of conv; args are those of getMessage beyond conv.
func (c *wsClient) history(conv string, args obj) (messages []wsMessage, page obj) {
	c.t.Helper()
	with := obj{"conv": conv}
	for k, v := range args {
		with[k] = v
	}
	page = c.request("getMessage", with)
	messages, err := parseMessages(page["messages"])
	c.must(err, "getMessage")
	return messages, page
}

// allHistory pages through conv from the beginning.
func (c *wsClient) allHistory(conv string) (messages []wsMessage) {
	c.t.Helper()
	after := int64(0)
	for {
		page, reply := c.history(conv, obj{"after": after, "limit": 100})
		messages = append(messages, page...)
		to := num(c.t, reply, "to")
		if reply["more"] != true {
			return messages
		}
		if to <= after {
			c.t.Fatalf("%s: getMessage after %d covers up to %d and says more", c.name(), after, to)
		}
		after = to
	}
}

// expectClose waits until the server closes the connection, with code.
func (c *wsClient) expectClose(code int) {
	c.t.Helper()
	ctx, cancel := c.ctx()
	defer cancel()
	got, err := c.conn.closed(ctx)
	c.must(err, "expecting a close")
	if got != code {
		c.t.Fatalf("%s: close code = %d (%v), want %d", c.name(), got, c.conn.err, code)
	}
}

// drop cuts the connection without a word, as a dying link does.
func (c *wsClient) drop() { c.conn.drop() }

// num reads an integer of o and ends the test when it is none.
func num(t testing.TB, o obj, key string) int64 {
	t.Helper()
	n, ok := o[key].(int64)
	if !ok {
		t.Fatalf("%s = %v (%T) in %v, want an integer", key, o[key], o[key], o)
	}
	return n
}

// str reads a text of o and ends the test when it is none.
func str(t testing.TB, o obj, key string) string {
	t.Helper()
	s, ok := o[key].(string)
	if !ok {
		t.Fatalf("%s = %v (%T) in %v, want a text", key, o[key], o[key], o)
	}
	return s
}
