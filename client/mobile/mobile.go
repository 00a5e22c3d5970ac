// Package mobile is package client in the types that gomobile can bind, for wrappers in
// Kotlin and Swift:
//
//	gomobile bind -target android github.com/belfry-im/belfry/client/mobile
//
// Lists and messages cross the border as JSON, bodies included, in the protocol's names;
// numbers beyond 2^53 in bodies need a parser that keeps them, and binary in a body that is
// received is base64 text. Calls block: a wrapper
// makes them from a background thread (a coroutine on Dispatchers.IO, a Task). Handlers
// are called one at a time, from a thread of Go's. A call that waits for the server ends
// after the milliseconds it is given, 0 = never.
//
// What a wrapper calls: Open once per user, with a file in the application's private
// folder; Client.Conversations and Client.Messages to draw, again whenever Handler says
// that something has come; Client.Send; Client.SetBackground when the application leaves the
// screen; Client.Close.
package mobile

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// A TokenSource gets tokens from the application's own server.
type TokenSource interface {
	// Token returns a token. It is told why: "login", "expiring", or "refused" if the
	// server takes the last one no more; the same one again then ends the client. It may
	// block for some seconds. After an error it is called again later, unless the error's
	// text is Refused.
	Token(reason string) (string, error)
}

// Refused is the text of the error of a TokenSource that ends the client: the user is
// signed out.
const Refused = "unauthorized"

// A Handler is told what comes. What is told is in the store already.
type Handler interface {
	// OnMessages gets a JSON list of messages that this device never had.
	OnMessages(messages string)
	// OnInterrupted gets such a list whose OnMessages had begun when an earlier process ended.
	OnInterrupted(messages string)
	// OnSent tells the outcome of a message in the outbox: seq is its place in the
	// conversation, or 0 with an error code, as in the protocol or "canceled".
	OnSent(conv, cid string, seq int64, code string)
	// OnChanged says that something else has changed in a conversation: receipts, recalls,
	// deletions, settings. Empty means that any may have.
	OnChanged(conv string)
	// OnState is told "connecting", "online", "waiting" and "closed".
	OnState(state string)
}

// A Config describes a client. All but Device is needed.
type Config struct {
	URL  string
	Path string // of the store's file; empty = in memory
	// Service names the server, for the store to be used with no other; empty = the host
	// in URL.
	Service string
	Device  string // empty = one that the store makes up
	// ManualRead makes ReadReport the only thing that marks messages as read.
	ManualRead bool
}

// A Client is one device of one user.
type Client struct{ c *client.Client }

// Open opens the store and starts a client, which connects by itself.
func Open(config *Config, tokens TokenSource, handler Handler) (*Client, error) {
	if config == nil || tokens == nil || handler == nil {
		return nil, errors.New("client: config, tokens and handler must be given")
	}
	cfg := client.Config{
		URL: config.URL, Service: config.Service, Device: config.Device, Platform: "phone", Codec: protocol.Msgpack,
		Store: client.Memory(), ManualRead: config.ManualRead,
		Token: func(_ context.Context, why client.TokenReason) (string, error) {
			token, err := tokens.Token(string(why))
			if err != nil && err.Error() == Refused {
				err = client.ErrUnauthorized
			}
			return token, err
		},
		OnMessages:            func(list []client.Message) { handler.OnMessages(messagesJSON(list)) },
		OnInterrupted:         func(list []client.Message) { handler.OnInterrupted(messagesJSON(list)) },
		OnSent:                func(s client.Sent) { handler.OnSent(s.Conv, s.Result.CID, int64(s.Result.Seq), code(s.Err)) },
		OnSynced:              func(client.Synced) { handler.OnChanged("") },
		OnReadReport:          func(e client.ReadReport) { handler.OnChanged(e.Conv.String()) },
		OnReadReceipt:         func(e client.ReadReceipt) { handler.OnChanged(e.Conv.String()) },
		OnRecall:              func(e client.Recall) { handler.OnChanged(e.Conv.String()) },
		OnMessagesDeleted:     func(e client.MessagesDeleted) { handler.OnChanged(e.Conv.String()) },
		OnConversationDeleted: func(e client.ConversationDeleted) { handler.OnChanged(e.Conv.String()) },
		OnConversationChanged: func(e client.ConversationChanged) { handler.OnChanged(e.Conv.String()) },
		OnGroupEvent:          func(e client.GroupEvent) { handler.OnChanged("g:" + e.Group) },
		OnState:               func(s client.State) { handler.OnState(s.String()) },
	}
	if config.Path != "" {
		cfg.Store = func() (store.DB, error) { return store.OpenFile(config.Path) }
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	return &Client{c}, nil
}

// code returns the code of an error for a wrapper.
func code(err error) string {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return refused.Code
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, client.ErrCanceled):
		return "canceled"
	}
	return err.Error()
}

func within(ms int64) (context.Context, context.CancelFunc) {
	if ms <= 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), time.Duration(ms)*time.Millisecond)
}

// State returns what OnState was told last, and User whose client it is; empty before the
// first login of a new store.
func (c *Client) State() string { return c.c.State().String() }
func (c *Client) User() string  { return c.c.User() }

// MaxBody is how many bytes the server allows for a body, as msgpack; 0 before the first login.
func (c *Client) MaxBody() int { return c.c.Limits().MaxBody }

// LastError returns why the client has ended or has no connection; empty if it has one.
func (c *Client) LastError() string {
	if err := c.c.Err(); err != nil {
		return err.Error()
	}
	return ""
}

// Send puts a message into the outbox, from where it goes out in order, and returns its
// cid. body is JSON.
func (c *Client) Send(conv, body string) (string, error) {
	out, err := c.c.Queue(conv, json.RawMessage(body), client.SendOptions{})
	if err != nil {
		return "", err
	}
	return out.CID(), nil
}

// Cancel takes a message out of the outbox, and reports whether it was there and never
// written: if not, it may have been stored.
func (c *Client) Cancel(cid string) bool {
	for _, p := range c.c.Pending() {
		if p.CID() == cid {
			return p.Cancel()
		}
	}
	return false
}

// Pending returns the outbox: a JSON list of {cid, conv, body, queued, stale?}.
func (c *Client) Pending() (string, error) {
	type pending struct {
		CID    string          `json:"cid"`
		Conv   string          `json:"conv"`
		Body   json.RawMessage `json:"body"`
		Queued int64           `json:"queued"`
		Stale  bool            `json:"stale,omitempty"`
	}
	list := []pending{}
	for _, p := range c.c.Pending() {
		list = append(list, pending{p.CID(), p.Conv(), bodyJSON(p.Body()), p.Queued().UnixMilli(), p.Stale()})
	}
	return encode(list)
}

// Conversations returns {conversations, more, unread, unreadUnmuted} from the store, of which
// it leaves out skip conversations and has at most limit.
func (c *Client) Conversations(skip, limit int) (string, error) {
	page, err := c.c.Conversations(skip, limit)
	if err != nil {
		return "", err
	}
	type entry struct {
		Conv         string   `json:"conv"`
		LastSeq      uint64   `json:"lastSeq"`
		Time         int64    `json:"time"`
		ReadSeq      uint64   `json:"readSeq"`
		Unread       int      `json:"unread"`
		PeerReadSeq  uint64   `json:"peerReadSeq"`
		Muted        bool     `json:"muted"`
		Pinned       bool     `json:"pinned"`
		MarkedUnread bool     `json:"markedUnread"`
		Last         *message `json:"last"`
	}
	list := []entry{}
	for _, e := range page.List {
		to := entry{e.Conv.String(), e.LastSeq, e.Time, e.ReadSeq, e.Unread, e.PeerReadSeq, e.Muted, e.Pinned, e.Marked, nil}
		if e.Last != nil {
			to.Last = messageOf(e.Last)
		}
		list = append(list, to)
	}
	return encode(map[string]any{"conversations": list, "more": page.More, "unread": page.Unread, "unreadUnmuted": page.UnreadUnmuted})
}

// Messages returns {messages, from, to, gaps, more}: up to limit messages before a seq, 0 =
// the newest. What the store lacks is fetched.
func (c *Client) Messages(conv string, before int64, limit int, timeoutMS int64) (string, error) {
	ctx, cancel := within(timeoutMS)
	defer cancel()
	return page(c.c.Messages(ctx, conv, client.Query{Before: seq(before), Limit: limit}))
}

// LocalMessages is Messages from the store alone. Gaps say what it lacks.
func (c *Client) LocalMessages(conv string, before int64, limit int) (string, error) {
	return page(c.c.LocalMessages(conv, client.Query{Before: seq(before), Limit: limit}))
}

// Search returns a JSON list of messages in the store; of all conversations if conv is empty.
func (c *Client) Search(text, conv string, words bool, limit int) (string, error) {
	found, err := c.c.SearchLocal(client.Search{Text: text, Conv: conv, Words: words, Limit: limit})
	if err != nil {
		return "", err
	}
	return messagesJSON(found), nil
}

// ReadReport marks a conversation as read up to a seq.
func (c *Client) ReadReport(conv string, upTo, timeoutMS int64) error {
	ctx, cancel := within(timeoutMS)
	defer cancel()
	_, err := c.c.ReadReport(ctx, conv, seq(upTo))
	return err
}

// Recall takes back a message for everybody.
func (c *Client) Recall(conv string, of, timeoutMS int64) error {
	ctx, cancel := within(timeoutMS)
	defer cancel()
	return c.c.Recall(ctx, conv, seq(of))
}

// DeleteMessage removes a message from the store, unless here on the user's other devices
// and the server, too.
func (c *Client) DeleteMessage(conv string, of int64, here bool, timeoutMS int64) error {
	if here {
		return c.c.DeleteLocalMessages(conv, seq(of))
	}
	ctx, cancel := within(timeoutMS)
	defer cancel()
	return c.c.DeleteMessages(ctx, conv, seq(of))
}

// DeleteConversation takes a conversation off the list, with messages also what it has;
// unless here on the user's other devices and the server, too.
func (c *Client) DeleteConversation(conv string, messages, here bool, timeoutMS int64) error {
	if here {
		return c.c.DeleteLocalConversation(conv, messages)
	}
	ctx, cancel := within(timeoutMS)
	defer cancel()
	return c.c.DeleteConversation(ctx, conv, messages)
}

// SetBackground tells the server whether somebody looks at this device.
func (c *Client) SetBackground(background bool, timeoutMS int64) error {
	ctx, cancel := within(timeoutMS)
	defer cancel()
	return c.c.SetBackground(ctx, background)
}

// Close ends the client. The file is free when it returns, so it must not be called by a
// handler.
func (c *Client) Close() {
	c.c.Close()
	<-c.c.Done()
}

// seq makes a negative number, which no wrapper should pass, one that no message has.
func seq(n int64) uint64 { return uint64(max(n, 0)) }
