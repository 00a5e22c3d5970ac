package loadtest

import (
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// defaultRetry is how long a refused send waits if the server does not say how
// long.
const defaultRetry = 100 * time.Millisecond

// pump sends the messages that are due, as far as the window allows. The caller
// holds mu, has a session, and flushes it.
func (c *Client) pump(now time.Duration) {
	if c.parked > 0 {
		c.retry(now)
	}
	for c.inFlight < c.config.Window && c.config.Next != nil && !c.halted {
		to, at, ok := c.config.Next(now)
		if !ok {
			return
		}
		v := c.byConv[to]
		if v == nil || v.out == nil {
			c.halted = true
			c.tally.violated(fmt.Errorf("%s: Next wants to send to %s, want a conversation that sends", c.config.User, to))
			return
		}
		at = at.Truncate(bodyTick) // as the receiver will read it
		o := c.outgoing()
		v.send(o, at)
		c.inFlight++
		c.tally.sending(at, now, v.receivers())
		if c.tally.silences != nil {
			c.tally.silences.sent(c.config.Number, at)
		}
		c.transmit(o, false)
	}
}

// outgoing returns a record for a send, used before if there is such.
func (c *Client) outgoing() *outgoing {
	if n := len(c.free); n > 0 {
		o := c.free[n-1]
		c.free = c.free[:n-1]
		return o
	}
	return new(outgoing)
}

// transmit queues the frame of a send.
func (c *Client) transmit(o *outgoing, retry bool) {
	s, v := c.session, o.view
	s.lastID++
	s.sends[s.lastID] = o
	c.body = appendBody(c.body[:0], v.out.id, o.counter, o.at, v.out.size)
	c.args = protocol.SendArgs{Conv: v.conv, CID: cidOf(o.counter), Body: c.body, Retry: retry}
	s.socket.queue(func(b []byte) []byte {
		return protocol.AppendRequest(b, s.socket.codec, s.lastID, protocol.OpSend, &c.args)
	})
}

// sendAgain repeats a send that has no answer or was refused temporarily. excuse
// says that it may come later than in its turn.
func (c *Client) sendAgain(o *outgoing, excuse bool) {
	if o.retryAt != 0 {
		o.retryAt = 0
		c.parked--
	}
	o.again = true
	if excuse {
		o.view.excuse(o)
	}
	c.transmit(o, true)
}

// retry repeats refused sends whose time has come.
func (c *Client) retry(now time.Duration) {
	for _, v := range c.views {
		for _, o := range v.flight {
			if o.retryAt != 0 && o.retryAt <= now {
				c.sendAgain(o, true)
			}
		}
	}
}

// answer handles the reply to a send.
func (c *Client) answer(o *outgoing, f *protocol.ServerFrame, now time.Duration) error {
	if f.Err != nil {
		c.refused(o, f.Err, now)
	} else {
		var ok protocol.SendOK
		if err := f.Decode(&ok); err != nil {
			c.tally.violated(o.view.errorf("send %d: reply: %w", o.counter, err))
			return err
		}
		if err := o.view.answered(o, &ok); err != nil {
			c.tally.violated(err)
		}
		c.tally.sendAnswered(o.at, now)
		c.heardOf(o.at, now, false)
	}
	if err := o.view.settle(c.settled); err != nil {
		c.tally.violated(err)
	}
	return nil
}

// heardOf notes the answer to a send, or that there will be none.
func (c *Client) heardOf(at, now time.Duration, givenUp bool) {
	if c.tally.silences != nil {
		c.tally.silences.answered(c.config.Number, at, now, givenUp)
	}
}

// settled frees the record of a send that nothing waits for any more.
func (c *Client) settled(o *outgoing) {
	c.inFlight--
	c.free = append(c.free, o)
}

// refused handles an error reply to a send. After a temporary one the client
// sends the message again. Any other means that the load itself is wrong: it
// sends nothing more.
func (c *Client) refused(o *outgoing, err *protocol.ReplyError, now time.Duration) {
	c.tally.refused(err.Code)
	if c.config.Refused != nil {
		c.config.Refused(err)
	}
	switch err.Code {
	case protocol.CodeUnavailable, protocol.CodeRateLimited, protocol.CodeInternal:
		pause := time.Duration(err.RetryAfterMS) * time.Millisecond
		if pause <= 0 {
			pause = defaultRetry
		}
		o.view.excuse(o)
		o.retryAt = now + pause
		c.parked++
		time.AfterFunc(pause, c.Pump)
	default:
		c.halted = true
		c.tally.violated(o.view.errorf("send %d was refused: %w", o.counter, err))
		o.view.giveUp(o)
		c.heardOf(o.at, now, true)
		c.tally.done(1 + int64(o.view.receivers()))
	}
}
