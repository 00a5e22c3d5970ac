package wstest

import "strings"

// Expect takes the next push of op and returns its args. It leaves pushes of
// other ops.
func (c *Client) Expect(op string) Obj {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	p, err := c.Conn.NextOf(ctx, func(p Push) bool { return p.Op == op })
	c.Must(err, "expecting "+op)
	return p.Args
}

// Next takes the next push, of any op.
func (c *Client) Next() Push {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	p, err := c.Conn.Next(ctx)
	c.Must(err, "expecting a push")
	return p
}

// Batch takes the next onNewMessage and returns its messages, in order.
func (c *Client) Batch() []Message {
	c.T.Helper()
	return c.OnNewMessage(c.Expect("onNewMessage"))
}

// OnNewMessage returns the messages in args of an onNewMessage that the test has
// taken, and notes its cursors.
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

// onSynced notes the cursors in args of an onSynced, which ends a login.
func (c *Client) onSynced(args Obj) {
	c.T.Helper()
	c.Cursor = Str(c.T, args, "cursor")
	c.groupCursors(args)
}

// groupCursors notes the cursors of groups in args that list conversations.
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

// Message takes the next message: the next one of the frame taken last, or the
// first of the next onNewMessage.
func (c *Client) Message() Message {
	c.T.Helper()
	if len(c.messages) == 0 {
		c.messages = c.Batch()
	}
	m := c.messages[0]
	c.messages = c.messages[1:]
	return m
}

// BetweenFrames reports whether Message has taken all messages of the last frame.
func (c *Client) BetweenFrames() bool { return len(c.messages) == 0 }

// AckAll acks every onNewMessage taken so far.
func (c *Client) AckAll() {
	c.T.Helper()
	c.Notice("ack", Obj{"d": c.LastD})
}

// Pushes takes everything up to onSynced, each push as it came.
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
// onNewMessage. The rest of its messages become the next push; with the last
// message the frame counts as taken.
func (c *Client) LiveMessage() any {
	c.T.Helper()
	p := c.Next()
	if p.Op != "onNewMessage" {
		c.T.Fatalf("%s: %s %v, want onNewMessage", c.Name(), p.Op, p.Args)
	}
	return c.FirstOf(p)
}

// FirstOf is LiveMessage for a push that the test has taken.
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

// Pending sends a ping and returns the pushes that arrived before its reply and that no
// call has taken yet.
func (c *Client) Pending() []Push {
	c.T.Helper()
	c.Request("ping", nil)
	return c.Conn.Pending()
}

// Idle requires that the test has taken all that the server pushes before it
// answers a ping. It does not see what comes later: to check that something is
// not pushed, a test first causes a later event whose push it awaits.
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
