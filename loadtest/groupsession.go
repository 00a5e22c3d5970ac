package loadtest

import (
	"context"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// unackedPerFrame bounds the bytes that a client leaves unacked: so many for each
// frame of the server's window. The client is not told the window's bytes, which
// are usually four times this.
const unackedPerFrame = 1 << 10

// ackDue reports whether it is time for an ack. The server must never wait for
// the ack of a client that acks in large steps.
func (c *Client) ackDue(s *session) bool {
	every := uint64(min(c.config.AckEvery, s.window/2))
	return s.origin.sync || s.lastD-s.acked >= every || s.unackedBytes >= s.window*unackedPerFrame
}

// knownFrame handles a frame that holds only messages of the client's one group
// that others have checked. It returns false, and has done nothing, if the frame
// is anything else.
func (c *Client) knownFrame(s *session, payload []byte, now time.Duration) bool {
	v := c.onlyGroup
	messages, ok := v.tryReceiveVerified(payload, s.lastD+1)
	if !ok {
		return false
	}
	s.lastD++
	g, n := v.group, len(messages)
	g.frames.Add(1)
	g.framed.Add(int64(n))
	c.tally.groupDelivered(messages, now)
	if s.origin.sync && s.origin.resume {
		c.caughtUpMessages += int64(n)
	}
	c.countIncoming(n, now)
	return true
}

// groupFrame handles what an onNewMessage says of groups beside their messages:
// cursors and skipped messages.
func (c *Client) groupFrame(p *protocol.NewMessage) {
	for _, cursor := range p.GroupCursors {
		if v := c.byConv[protocol.GroupConv(cursor.Group)]; v != nil {
			v.group.cursor = []byte(cursor.Cursor)
		}
	}
	if len(p.Messages) == 0 || !p.Messages[0].Conv.Group {
		return
	}
	v := c.byConv[p.Messages[0].Conv]
	if v == nil {
		return // reported with the message
	}
	v.group.frames.Add(1)
	v.group.framed.Add(int64(len(p.Messages)))
	v.group.checked.Add(int64(len(p.Messages)))
	if p.Skipped > 0 {
		v.group.toldSkipped += int64(p.Skipped)
		c.tally.deliveriesSkipped(int64(p.Skipped))
	}
}

// groupsSynced handles what onSynced says of groups. After a reconnect, seqs that
// are missing below a group's newest message are no violation: they have to be
// fetched.
func (c *Client) groupsSynced(s *session, entries []protocol.Conversation) {
	for i := range entries {
		v := c.byConv[entries[i].Conv]
		if v == nil || v.group == nil {
			continue
		}
		v.group.top = max(v.group.top, entries[i].LastSeq)
		if entries[i].Cursor != "" {
			v.group.cursor = []byte(entries[i].Cursor)
		}
		if s.origin.resume {
			v.conceded = v.held.missingBelow(v.group.top + 1)
		}
	}
}

// catchUp fetches the messages of the client's groups that the sync has left out.
func (c *Client) catchUp(ctx context.Context) error {
	s, err := c.present()
	if err != nil {
		return err
	}
	for _, v := range c.groups {
		for {
			c.mu.Lock()
			from, to := v.held.hole(v.group.top)
			if from == 0 {
				v.conceded = 0
			}
			c.mu.Unlock()
			if from == 0 {
				break
			}
			if err := c.fetch(ctx, s, v, from, to); err != nil {
				return fmt.Errorf("%s: %w", c.config.User, err)
			}
		}
	}
	return nil
}

// fetch fetches one page of history, from a run of seqs that the client does not
// have.
func (c *Client) fetch(ctx context.Context, s *session, v *view, from, to uint64) error {
	var page protocol.PageOK
	args := protocol.GetMessageArgs{Conv: v.conv, From: from, To: to, Limit: protocol.MaxMessages}
	err := c.callAndTake(ctx, s, protocol.OpGetMessage, &args, &page, func(now time.Duration) {
		o := s.origin
		o.fetched = true
		for i := range page.Messages {
			c.message(s, &page.Messages[i], o, now)
		}
		v.group.fetched.Add(int64(len(page.Messages)))
		for _, g := range page.Gaps {
			c.tally.violated(v.errorf("seqs %d to %d are missing in history: %s", g.From, g.To, g.Reason))
		}
		if v.held.floor < from && len(page.Gaps) == 0 {
			c.tally.violated(v.errorf("seq %d is missing in history, in a page that covers %d to %d", from, page.From, page.To))
		}
	})
	if err != nil {
		return fmt.Errorf("getMessage: %w", err)
	}
	return nil
}
