package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// maxRepeatAge is how old a message in the outbox may become that an earlier process may
// have sent. The server knows repeats for as long as history lasts, 7 days by default;
// past that a repeat could be stored a second time, so it is not made: see
// Outgoing.Stale.
const maxRepeatAge = 6 * 24 * time.Hour

// Sent is the outcome of a message in the outbox on disk.
type Sent struct {
	Conv   string
	Result SendResult // with CID in any case
	Err    error      // nil = stored; *Error = refused for good; ErrCanceled
}

// Pending lists the messages in the outbox on disk, in the order in which they were queued:
// those without an answer, of this process and of earlier ones.
func (c *Client) Pending() []*Outgoing {
	if c.disk == nil {
		return nil
	}
	list := slices.Clone(c.stale())
	for _, call := range c.out.keptCalls() {
		list = append(list, call.outgoing)
	}
	return list
}

// stale lists what restore has left alone and nobody has canceled.
func (c *Client) stale() []*Outgoing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leftAlone
}

// restoreOutbox gives what earlier processes have left in the outbox its place before all
// that this one sends.
func (c *Client) restoreOutbox() error {
	var list []store.Outgoing
	if err := c.disk.View(func(t *store.Tx) { list = t.Outgoing() }); err != nil {
		return err
	}
	written := c.disk.Marks()[store.MarkWritten]
	for _, o := range list {
		c.out.last = max(c.out.last, o.N)
	}
	if written > c.out.last {
		c.out.last = written // numbers are not used again, or a new message would count as written
	}
	for _, o := range list {
		p := c.outgoing(&protocol.SendArgs{
			Conv: o.Conv, CID: o.CID, Body: o.Body, HasTTL: o.TTL > 0, TTL: o.TTL, Mentions: o.Mentions,
		})
		p.call.kept, p.call.restored, p.call.entry = true, true, o.N
		p.call.queued = time.UnixMilli(o.Queued)
		if o.N <= written {
			p.call.written = p.call.queued
			if time.Since(p.call.queued) > maxRepeatAge {
				p.stale = true
				p.call.done = make(chan struct{})
				c.leftAlone = append(c.leftAlone, p)
				continue
			}
		}
		if err := c.out.submit(p.call); err != nil {
			return err
		}
	}
	c.out.settled = c.settle
	c.out.wrote = func(entry uint64) {
		if entry > written {
			written = entry // guarded by the outbox, which calls this
			c.mark(store.MarkWritten, written)
		}
	}
	return nil
}

// save puts a message that has its place in the outbox onto the disk.
func (c *Client) save(call *call) error {
	a := call.send
	o := &store.Outgoing{
		N: call.entry, Conv: a.Conv, CID: a.CID, Body: a.Body, TTL: a.TTL, Mentions: a.Mentions, Queued: call.queued.UnixMilli(),
	}
	err := c.disk.Update(func(t *store.Tx) { t.AddOutgoing(o) })
	c.out.saved(call, err)
	return err
}

// settle takes over a kept call that has ended.
func (c *Client) settle(call *call) {
	d := c.disk
	d.mu.Lock()
	d.calls = append(d.calls, call)
	d.mu.Unlock()
	select {
	case d.settled <- struct{}{}:
	default:
	}
}

// settleAll moves messages that have an answer from the outbox to their place in the
// conversation, until the client ends.
func (c *Client) settleAll() {
	defer close(c.settledAll)
	for ended := false; !ended; {
		select {
		case <-c.disk.settled:
		case <-c.ended:
			ended = true
		}
		c.settleSome()
	}
}

func (c *Client) settleSome() {
	d := c.disk
	d.mu.Lock()
	calls := d.calls
	d.calls = nil
	d.mu.Unlock()
	if len(calls) == 0 {
		return
	}
	user := c.User()
	err := d.Update(func(t *store.Tx) {
		for _, call := range calls {
			t.DropOutgoing(call.entry)
			r := call.outgoing.result
			if call.err != nil || r.Seq == 0 || !d.stores(call.send.Conv) {
				continue
			}
			a := call.send
			t.Sent(&Message{
				ID: r.ID, Conv: a.Conv, From: user, Seq: r.Seq, Time: r.Time, CID: []byte(a.CID),
				Body: a.Body, TTL: a.TTL, Mentions: a.Mentions,
			}, user, d.login.Load())
		}
	})
	if err != nil {
		// They stay in the outbox, and the server recognizes the repeats.
		c.cfg.Log.Error("sent messages not moved in the store", "err", err)
	}
	for _, call := range calls {
		close(call.done)
		if c.cfg.OnSent != nil {
			told := Sent{Conv: call.send.Conv.String(), Result: call.outgoing.result, Err: call.err}
			c.in.put(event{kind: eventSent, run: func() { c.cfg.OnSent(told) }})
		}
	}
}

// Conv is the conversation that the message goes to.
func (p *Outgoing) Conv() string { return p.call.send.Conv.String() }

// Body is the message's body, as Message.Body is.
func (p *Outgoing) Body() []byte { return p.call.send.Body }

// Queued is when the message was queued, by this machine's clock.
func (p *Outgoing) Queued() time.Time { return p.call.queued }

// Stale reports whether an earlier process may have sent the message, so long ago that the
// server could not tell a repeat any more. It is not sent again: look for it in the
// conversation, then Cancel it and, if it is not there, send it as a new one.
func (p *Outgoing) Stale() bool { return p.stale }

// Cancel takes a message back that has no answer yet; it is not written again. It reports
// whether it was never written, so that nobody gets it. If not, it may have been stored.
// Without a store, too, the error of Wait is then ErrCanceled.
func (p *Outgoing) Cancel() (unsent bool) {
	if p.stale {
		p.c.cancelStale(p)
		return false
	}
	unsent = p.out.cancel(p.call)
	if p.call.kept {
		<-p.call.done
	}
	return unsent && errors.Is(p.call.err, ErrCanceled)
}

func (c *Client) cancelStale(p *Outgoing) {
	c.mu.Lock()
	before := len(c.leftAlone)
	c.leftAlone = slices.DeleteFunc(slices.Clone(c.leftAlone), func(o *Outgoing) bool { return o == p })
	found := len(c.leftAlone) < before
	c.mu.Unlock()
	if !found {
		return
	}
	p.call.err = ErrCanceled
	if err := c.disk.Update(func(t *store.Tx) { t.DropOutgoing(p.call.entry) }); err != nil {
		c.cfg.Log.Error("message not taken out of the outbox", "err", err)
	}
	close(p.call.done)
}

// Wait waits for the answer as Send does. If ctx ends first, a message that was not
// written yet is taken back, and one that was is not repeated; but one that is in the
// outbox on disk stays there, and the error is ErrQueued with that of ctx.
func (p *Outgoing) Wait(ctx context.Context) (SendResult, error) {
	err := p.out.wait(ctx, p.call)
	if errors.Is(err, ErrQueued) {
		return SendResult{CID: p.CID()}, err
	}
	return p.result, err
}
