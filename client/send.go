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
// with ErrUnknown if the message may have been stored.
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
// returns without waiting for the answer; Outgoing.Wait returns that.
func (c *Client) Queue(conv string, body any, o SendOptions) (*Outgoing, error) {
	args, err := sendArgs(conv, body, o)
	if err != nil {
		return nil, err
	}
	p := &Outgoing{out: c.out, result: SendResult{CID: args.CID}}
	p.call = &call{
		op: protocol.OpSend, args: args, send: args, tied: o.OnlineOnly,
		sent: func(ok protocol.SendOK) {
			p.result = SendResult{args.CID, ok.ID, ok.Seq, ok.Time, ok.Duplicate}
			c.had.add(ok.ID) // a later login may push it, as a message of another session
		},
	}
	if err := c.out.submit(p.call); err != nil {
		return nil, err
	}
	return p, nil
}

// An Outgoing is a message that waits for the server to store it.
type Outgoing struct {
	out    *outbox
	call   *call
	result SendResult // final when the call is done
}

// CID is the sender's id of the message.
func (p *Outgoing) CID() string { return p.call.send.CID }

// Wait waits for the answer as Send does. If ctx ends first, a message that was
// not written yet is taken back, and one that was is not repeated.
func (p *Outgoing) Wait(ctx context.Context) (SendResult, error) {
	err := p.out.wait(ctx, p.call)
	return p.result, err
}

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
