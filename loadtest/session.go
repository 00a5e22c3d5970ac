package loadtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A session is one connection of a client. The client's mu guards every field
// that does not say otherwise.
type session struct {
	socket   *socket
	url      string // of the server's node
	since    string // the cursor of its login
	hasSince bool
	groups   []protocol.GroupCursor // cursors of groups in its login
	synced   chan struct{}          // closed with the end of the sync
	ended    chan struct{}          // closed when the reader has returned
	syncedAt time.Duration          // set before synced is closed
	err      error                  // why it ended; set before ended is closed
	stalled  atomic.Pointer[stall]

	origin       origin
	over         bool
	lastID       uint64               // of a request
	sends        map[uint64]*outgoing // sends by request
	calls        map[uint64]*call     // other requests
	lastD        uint64               // newest delivery number
	acked        uint64
	unackedBytes int           // bytes of frames read and not acked
	heard        time.Duration // when something came last; counts from the login's reply
	window       int           // frames that the server lets be unacked; 0 = the login has no reply yet
	syncPushes   int           // incoming one-to-one messages of the sync
	parts        protocol.SyncedPart
}

// A call is a request whose caller waits.
type call struct {
	answer protocol.OK
	take   func(now time.Duration) // if set, is called before done is closed: after that, what ok has of the frame is void
	err    error
	done   chan struct{} // closed when ok or err is set
}

// serve reads until the session ends, and fails the calls that still wait.
func (c *Client) serve(s *session) {
	err := c.read(s)
	s.socket.cut()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.err, s.over = err, true
	entered := c.session == s
	if entered {
		c.session = nil
	}
	for _, call := range s.calls {
		call.err = err
		close(call.done)
	}
	if entered && !c.closed {
		c.tally.losses.add(failureKind(err))
		if !c.config.Resume {
			c.tally.violated(fmt.Errorf("%s: connection lost: %w", c.config.User, err))
		}
	}
	close(s.ended)
}

func (c *Client) read(s *session) error {
	for {
		err := c.take(s, c.tally.Now())
		s.socket.flush()
		if err == nil {
			err = s.socket.fill()
		}
		if stalled := s.stalled.Load(); stalled != nil {
			return s.drain(stalled)
		}
		if err != nil {
			return err
		}
	}
}

// take handles all frames that were read, at now, and queues the acks and sends
// that follow from them.
func (c *Client) take(s *session, now time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.heard = now
	for {
		payload, ok, err := s.socket.next()
		if err == nil && ok {
			err = c.frame(s, payload, now)
		}
		if err != nil {
			return err
		}
		if !ok {
			break
		}
	}
	if s.acked < s.lastD && c.ackDue(s) {
		s.acked, s.unackedBytes = s.lastD, 0
		s.socket.queue(func(b []byte) []byte {
			return protocol.AppendRequest(b, s.socket.codec, 0, protocol.OpAck, &protocol.AckArgs{D: s.acked})
		})
	}
	if c.session == s {
		c.pump(now)
	}
	return nil
}

// frame handles one frame. An error ends the session; what is merely wrong is
// noted as a violation.
func (c *Client) frame(s *session, payload []byte, now time.Duration) error {
	s.unackedBytes += len(payload)
	if c.onlyGroup != nil && c.knownFrame(s, payload, now) {
		return nil
	}
	f, err := protocol.DecodeServerFrame(s.socket.codec, payload)
	if err != nil {
		c.tally.violated(fmt.Errorf("%s: %w", c.config.User, err))
		return err
	}
	if f.ID != 0 {
		return c.reply(s, &f, now)
	}
	switch f.Op {
	case protocol.OpOnNewMessage:
		err = c.messages(s, &f, now)
	case protocol.OpOnConversations:
		var part protocol.SyncedPart
		if err = f.Decode(&part); err == nil {
			s.parts.Add(&part)
		}
	case protocol.OpOnSynced:
		err = c.onSynced(s, &f, now)
	case protocol.OpOnKicked:
		// Every other session and login of the client is an earlier one, which it has
		// given up: none may end this one.
		c.tally.violated(fmt.Errorf("%s: kicked", c.config.User))
	}
	return err
}

func (c *Client) reply(s *session, f *protocol.ServerFrame, now time.Duration) error {
	if o := s.sends[f.ID]; o != nil {
		delete(s.sends, f.ID)
		return c.answer(o, f, now)
	}
	waiting := s.calls[f.ID]
	if waiting == nil {
		c.tally.violated(fmt.Errorf("%s: reply to request %d, which is not open; the last was %d", c.config.User, f.ID, s.lastID))
		return nil
	}
	delete(s.calls, f.ID)
	if f.Err != nil {
		waiting.err = f.Err
	} else {
		waiting.err = f.Decode(waiting.answer)
	}
	if waiting.err == nil && waiting.take != nil {
		waiting.take(now)
	}
	close(waiting.done)
	return nil
}

// messages handles an onNewMessage.
func (c *Client) messages(s *session, f *protocol.ServerFrame, now time.Duration) error {
	var p protocol.NewMessage
	if err := f.Decode(&p); err != nil {
		c.tally.violated(fmt.Errorf("%s: onNewMessage: %w", c.config.User, err))
		return err
	}
	if p.D != s.lastD+1 {
		c.tally.violated(fmt.Errorf("%s: onNewMessage has d %d, want %d", c.config.User, p.D, s.lastD+1))
	}
	s.lastD = p.D
	c.groupFrame(&p)
	for i := range p.Messages {
		c.message(s, &p.Messages[i], s.origin, now)
	}
	if p.Cursor != "" {
		c.cursor, c.hasCursor = p.Cursor, true
	}
	return nil
}

func (c *Client) message(s *session, m *protocol.Message, o origin, now time.Duration) {
	v := c.byConv[m.Conv]
	if v == nil {
		c.tally.violated(fmt.Errorf("%s: message in %s, where nobody writes", c.config.User, m.Conv))
		return
	}
	fresh, at, err := v.receive(m, o)
	if err != nil {
		c.tally.violated(err)
	}
	if !fresh {
		if err == nil {
			c.tally.repeated.Add(1)
		}
		return
	}
	c.tally.sendDelivered(at, now)
	if o.sync {
		if v.group == nil {
			s.syncPushes++
		}
		if o.resume {
			c.caughtUpMessages++
		}
	}
	c.countIncoming(1, now)
}

// countIncoming counts n messages of others, for Await.
func (c *Client) countIncoming(n int, now time.Duration) {
	c.incoming += n
	c.arrivedAt = now
	if c.arrived != nil && c.incoming >= c.awaited {
		close(c.arrived)
		c.arrived = nil
	}
}

// onSynced handles the end of the sync.
func (c *Client) onSynced(s *session, f *protocol.ServerFrame, now time.Duration) error {
	var p protocol.Synced
	if err := f.Decode(&p); err != nil {
		c.tally.violated(fmt.Errorf("%s: onSynced: %w", c.config.User, err))
		return err
	}
	s.parts.Complete(&p)
	if !s.origin.sync {
		err := fmt.Errorf("%s: onSynced came twice in a session", c.config.User)
		c.tally.violated(err)
		return err
	}
	for _, l := range p.Lost {
		c.tally.violated(fmt.Errorf("%s: %s: onSynced says that limits took seqs %d to %d from the offline queue, %d messages; the run needs a larger --offline-max-messages or --offline-max-bytes, for a group --group-bytes",
			c.config.User, l.Conv, l.From, l.To, l.Count))
	}
	if p.Reset && s.hasSince {
		c.tally.violated(fmt.Errorf("%s: onSynced says that cursor %q counted as absent", c.config.User, s.since))
	}
	if !s.origin.resume && p.Offline != s.syncPushes {
		c.tally.violated(fmt.Errorf("%s: onSynced says that %d offline messages were pushed, %d were", c.config.User, p.Offline, s.syncPushes))
	}
	if p.Cursor != "" {
		c.cursor, c.hasCursor = p.Cursor, true
	}
	c.groupsSynced(s, p.Conversations)
	c.groupsSynced(s, p.Groups)
	s.origin.sync = false
	s.syncedAt = now
	close(s.synced)
	return nil
}

// call makes a request, waits for the reply and decodes it into ok.
func (c *Client) call(ctx context.Context, s *session, op string, args protocol.Args, ok protocol.OK) error {
	return c.callAndTake(ctx, s, op, args, ok, nil)
}

// callAndTake is call with a function that is called where the reply is read,
// with the client locked: it reads ok.
func (c *Client) callAndTake(ctx context.Context, s *session, op string, args protocol.Args, ok protocol.OK, take func(now time.Duration)) error {
	waiting := &call{answer: ok, take: take, done: make(chan struct{})}
	c.mu.Lock()
	if s.over {
		c.mu.Unlock()
		return s.err
	}
	s.lastID++
	id := s.lastID
	s.calls[id] = waiting
	s.socket.queue(func(b []byte) []byte { return protocol.AppendRequest(b, s.socket.codec, id, op, args) })
	c.mu.Unlock()
	s.socket.flush()
	select {
	case <-waiting.done:
		return waiting.err
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s: no reply", op), context.Cause(ctx))
	}
}
