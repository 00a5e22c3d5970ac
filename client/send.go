package client

import (
	"context"
	"crypto/rand"
	"time"
	"unicode/utf8"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// SendOptions are the parts of a message beside its body.
type SendOptions struct {
	// CID is the sender's own id of the message, 1-64 bytes; empty makes one. Two
	// sends to a conversation with the same CID are one message.
	CID string
	// Retry means that an earlier run of the program may have sent this CID. The
	// client's own repeats do not need it.
	Retry bool
	// TTL is the time after which the server drops the message: whole seconds up
	// to 168h; 0 = no ttl.
	TTL time.Duration
	// OnlineOnly sends the message to devices that are connected now, at most
	// once, and stores it nowhere. Without a connection the error is ErrOffline.
	OnlineOnly bool
	Mentions   []string // users, at most 100
}

// A SendResult is the server's answer to a send.
type SendResult struct {
	CID       string // set even with an error, to send the same again
	ID        protocol.ID
	Seq       uint64 // in the sender's view; 0 for OnlineOnly
	Time      int64  // Unix milliseconds
	Duplicate bool   // an earlier send had stored it
}

// Send sends a message and waits until the server has it on stable storage.
// conv is "u:" and a user or "g:" and a group; body is what a Message's
// BodyValue returns: nil, bool, integers, float64, string, []byte, []any,
// map[string]any.
//
// Errors: *protocol.FieldError and ErrQueueFull before anything is sent, *Error
// when the server refuses, ErrClosed, or the error of ctx; the last two together
// with ErrUnknown if the message may have been stored. With a store they come together with
// ErrQueued instead: the message is on disk and goes out.
func (c *Client) Send(ctx context.Context, conv string, body any, o SendOptions) (SendResult, error) {
	if err := ctx.Err(); err != nil {
		return SendResult{CID: o.CID}, err
	}
	out, err := c.Queue(conv, body, o)
	if err != nil {
		return SendResult{CID: o.CID}, err
	}
	return out.Wait(ctx)
}

// Queue gives a message its place among the sends to its conversation, and
// returns without waiting for the answer; Outgoing.Wait returns that. With a store the
// message is on disk when Queue returns: it goes out even if this process ends. If it
// cannot be written there, the error is a *StoreError and nothing is sent.
func (c *Client) Queue(conv string, body any, o SendOptions) (*Outgoing, error) {
	args, err := sendArgs(conv, body, o)
	if err != nil {
		return nil, err
	}
	p := c.outgoing(args)
	p.call.tied, p.call.queued = o.OnlineOnly, time.Now()
	p.call.kept = !o.OnlineOnly && c.disk.stores(args.Conv)
	if err := c.out.submit(p.call); err != nil {
		return nil, err
	}
	if p.call.kept {
		if err := c.save(p.call); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// outgoing returns a message that is not submitted yet.
func (c *Client) outgoing(args *protocol.SendArgs) *Outgoing {
	p := &Outgoing{c: c, out: c.out, result: SendResult{CID: args.CID}}
	p.call = &call{
		op: protocol.OpSend, args: args, send: args, outgoing: p,
		sent: func(ok protocol.SendOK) {
			p.result = SendResult{args.CID, ok.ID, ok.Seq, ok.Time, ok.Duplicate}
			c.had.add(ok.ID) // a later login may push it, as a message of another session
		},
	}
	return p
}

// An Outgoing is a message that waits for the server to store it.
type Outgoing struct {
	c      *Client
	out    *outbox
	call   *call
	result SendResult // final when the call is done
	stale  bool
}

// CID is the sender's id of the message.
func (p *Outgoing) CID() string { return p.call.send.CID }

func sendArgs(conv string, body any, o SendOptions) (*protocol.SendArgs, error) {
	a := &protocol.SendArgs{CID: o.CID, Retry: o.Retry, Mentions: o.Mentions}
	var err error
	if a.Conv, err = protocol.ParseConv(conv); err != nil {
		return nil, err
	}
	if a.CID == "" {
		a.CID = rand.Text()
	}
	switch seconds := o.TTL / time.Second; {
	case len(a.CID) > protocol.MaxCIDLen || !utf8.ValidString(a.CID):
		return nil, wrong("CID", "must be UTF-8 of at most %d bytes", protocol.MaxCIDLen)
	case o.OnlineOnly && o.TTL != 0:
		return nil, wrong("TTL", "must be 0 with OnlineOnly")
	case o.TTL%time.Second != 0, seconds < 0, seconds > protocol.MaxTTL:
		return nil, wrong("TTL", "must be whole seconds, 0-%d", protocol.MaxTTL)
	case o.TTL != 0 || o.OnlineOnly:
		a.HasTTL, a.TTL = true, uint32(seconds)
	}
	if len(o.Mentions) > protocol.MaxMentions || !validUsers(o.Mentions) {
		return nil, wrong("Mentions", "must be at most %d; each %s", protocol.MaxMentions, protocol.UserRule)
	}
	if a.Body, err = protocol.EncodeBody(body); err != nil {
		return nil, err
	}
	return a, nil
}
