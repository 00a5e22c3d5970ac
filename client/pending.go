package client

import (
	"cmp"
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

// maxLeftAlone bounds the stale messages in the outbox on disk. Of more the oldest are
// dropped when a client starts, and OnSent is told of each, with ErrUnknown.
const maxLeftAlone = 1000

// Sent is the outcome of a message in the outbox on disk.
type Sent struct {
	Conv   string
	Result SendResult // with CID in any case
	Err    error      // nil = stored; *Error = refused for good; ErrCanceled; ErrUnknown = dropped, see Outgoing.Stale
}

// Pending lists the messages in the outbox on disk, in the order in which they were queued:
// those without an answer, of this process and of earlier ones.
func (c *Client) Pending() []*Outgoing {
	if c.disk == nil {
		return nil
	}
	list := slices.Clone(c.stale())
	kept := append(c.out.keptCalls(), c.disk.canceled()...)
	slices.SortFunc(kept, func(a, b *call) int { return cmp.Compare(a.entry, b.entry) })
	for _, call := range kept {
		list = append(list, call.outgoing)
	}
	return list
}

// canceled lists the calls that were taken back and are on disk still.
func (d *disk) canceled() (list []*call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, call := range d.calls {
		if errors.Is(call.err, ErrCanceled) {
			list = append(list, call)
		}
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
	if n := len(c.leftAlone) - maxLeftAlone; n > 0 && c.giveUp(c.leftAlone[:n]) {
		c.leftAlone = slices.Clone(c.leftAlone[n:])
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

// giveUp drops stale messages from the outbox, and reports whether the disk took that.
func (c *Client) giveUp(list []*Outgoing) bool {
	err := c.disk.Update(func(t *store.Tx) {
		for _, p := range list {
			t.DropOutgoing(p.call.entry)
		}
	})
	if err != nil {
		c.cfg.Log.Error("messages not taken out of the outbox", "err", err)
		return false
	}
	c.cfg.Log.Warn("old messages of unknown outcome dropped from the outbox", "messages", len(list))
	for _, p := range list {
		if c.cfg.OnSent != nil {
			told := Sent{Conv: p.Conv(), Result: SendResult{CID: p.CID()}, Err: ErrUnknown}
			c.in.put(event{kind: eventSent, run: func() { c.cfg.OnSent(told) }})
		}
	}
	return true
}

// save puts a message that has its place in the outbox onto the disk.
func (c *Client) save(call *call) error {
	a := call.send
	o := &store.Outgoing{
		N: call.entry, Conv: a.Conv, CID: a.CID, Body: a.Body, TTL: a.TTL, Mentions: a.Mentions, Queued: call.queued.UnixMilli(),
	}
	err := c.disk.Update(func(t *store.Tx) { t.AddOutgoing(o) })
	if err == nil {
		c.disk.wakeSettler()
	}
	c.out.saved(call, err)
	return err
}

// settle takes over a kept call that has ended.
func (c *Client) settle(call *call) {
	if call.login == 0 {
		call.login = c.disk.login.Load() // not later: a reset of the next session must drop the message
	}
	c.disk.mu.Lock()
	c.disk.calls = append(c.disk.calls, call)
	c.disk.mu.Unlock()
	c.disk.wakeSettler()
}

func (d *disk) wakeSettler() {
	select {
	case d.settled <- struct{}{}:
	default:
	}
}

// settleAll moves messages that have an answer from the outbox to their place in the
// conversation, until the client ends. While that cannot be written they wait, and it is
// tried again: no more of them can gather than were in the outbox, for nothing gets there
// meanwhile.
func (c *Client) settleAll() {
	defer close(c.settledAll)
	pauses := backoff{least: time.Second, most: 30 * time.Second}
	var again <-chan time.Time
	for {
		select {
		case <-c.disk.settled:
		case <-again:
		case <-c.ended:
			c.settleLast()
			return
		}
		again = nil
		if c.settleSome() == nil {
			pauses.reset()
		} else {
			again = time.After(time.Second + pauses.next())
		}
	}
}

// settleSome settles all calls that have ended up to now, and tells so. On an error it has
// settled none.
func (c *Client) settleSome() error {
	d := c.disk
	d.settling.Lock()
	defer d.settling.Unlock()
	d.mu.Lock()
	calls := d.calls
	d.calls = nil
	d.mu.Unlock()
	if len(calls) == 0 {
		return nil
	}
	user := c.User()
	err := d.Update(func(t *store.Tx) {
		for _, call := range calls {
			t.DropOutgoing(call.entry)
			r := call.outgoing.result
			if call.err != nil || r.Seq == 0 || !d.stores(call.send.Conv) || call.login < d.resetIn(call.send.Conv) {
				continue
			}
			a := call.send
			read := readState{unread: -1} // no more marked as unread
			if a.Conv.Group {
				read.seq = r.Seq // the sender has read what is before it
			}
			d.noteRead(a.Conv, call.login, read)
			t.Sent(&Message{
				ID: r.ID, Conv: a.Conv, From: user, Seq: r.Seq, Time: r.Time, CID: []byte(a.CID),
				Body: a.Body, TTL: a.TTL, Mentions: a.Mentions,
			}, user, call.login)
		}
	})
	if err != nil {
		c.cfg.Log.Error("sent messages not moved in the store", "err", err)
		d.mu.Lock()
		d.calls = append(calls, d.calls...)
		d.mu.Unlock()
		return err
	}
	for _, call := range calls {
		close(call.done)
		if c.cfg.OnSent != nil {
			told := Sent{Conv: call.send.Conv.String(), Result: call.outgoing.result, Err: call.err}
			c.in.put(event{kind: eventSent, run: func() { c.cfg.OnSent(told) }})
		}
	}
	return nil
}

// settleLast is settleSome at the client's end. What cannot be written then is left to a
// later client: the server recognizes what it has stored.
func (c *Client) settleLast() {
	if c.settleSome() == nil {
		return
	}
	d := c.disk
	d.settling.Lock()
	defer d.settling.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, call := range d.calls {
		c.out.leave(call)
	}
	d.calls = nil
}

// Conv is the conversation that the message goes to.
func (p *Outgoing) Conv() string { return p.call.send.Conv.String() }

// Body is the message's body, as Message.Body is.
func (p *Outgoing) Body() []byte { return p.call.send.Body }

// Queued is when the message was queued, by this machine's clock.
func (p *Outgoing) Queued() time.Time { return p.call.queued }

// Stale reports whether an earlier process may have sent the message, so long ago that the
// server could not tell a repeat any more. It is not sent again: look for it in the
// conversation, then Cancel it and, if it is not there, send it as a new one. A client keeps
// the newest 1,000 of them.
func (p *Outgoing) Stale() bool { return p.stale }

// Cancel takes a message back that has no answer yet; it is not written again. It reports
// whether it was never written, so that nobody gets it. If not, it may have been stored.
// Without a store, too, the error of Wait is then ErrCanceled.
//
// It reports false as well if the message could not be taken out of the outbox on disk.
// The client tries that again, and so does a further Cancel. Until then Pending lists the
// message, and if the process ends, the next one sends it.
func (p *Outgoing) Cancel() (unsent bool) {
	if p.stale {
		p.c.cancelStale(p)
		return false
	}
	unsent = p.out.cancel(p.call)
	if p.call.kept && p.c.settleSome() != nil {
		return false
	}
	<-p.call.done
	return unsent && errors.Is(p.call.err, ErrCanceled)
}

func (c *Client) cancelStale(p *Outgoing) {
	if err := c.disk.Update(func(t *store.Tx) { t.DropOutgoing(p.call.entry) }); err != nil {
		c.cfg.Log.Error("message not taken out of the outbox", "err", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(c.leftAlone), func(o *Outgoing) bool { return o == p })
	if len(left) < len(c.leftAlone) {
		c.leftAlone = left
		p.call.err = ErrCanceled
		close(p.call.done)
	}
}

// Wait waits for the answer as Send does. If ctx ends first, a message that was not
// written yet is taken back, and one that was is not repeated; but one that is in the
// outbox on disk stays there, and the error is ErrQueued with that of ctx. What is in the
// outbox on disk is waited for until the store has the outcome, too.
func (p *Outgoing) Wait(ctx context.Context) (SendResult, error) {
	err := p.out.wait(ctx, p.call)
	if errors.Is(err, ErrQueued) {
		return SendResult{CID: p.CID()}, err
	}
	return p.result, err
}
