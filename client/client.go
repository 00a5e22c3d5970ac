package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// stableAfter is how long a connection has to last for the pauses between
// attempts to be short again. If a server accepts logins and then fails, they
// keep growing.
const stableAfter = 5 * time.Second

// refusedPause is the least pause behind a refused token. Tokens name times in seconds: one
// that is made anew within the same second may be the refused one, letter by letter.
const refusedPause = time.Second

// handlerTime is how long Dial waits for handlers of the client that it has closed.
const handlerTime = time.Second

// A Client is one device of one user. Its methods may be called from any
// goroutine, handlers included.
type Client struct {
	cfg Config // with defaults
	out *outbox
	in  *inbox
	had *held
	// disk is nil without a store. settledAll is closed when it is told all answers.
	disk       *disk
	settledAll chan struct{}

	stop   context.Context // ends when Close is called
	end    context.CancelFunc
	online chan struct{} // closed at the first login
	ended  chan struct{} // closed when nothing of the network is left
	done   chan struct{} // closed when the last handler has returned, too

	urls    []string // all of the server's, from the one that was taken first
	attempt int      // to connect, from 0; used by run alone

	toldState *State // last passed to OnState; used by the dispatching goroutine alone

	mu      sync.Mutex
	state   State
	session *session // nil while not logged in
	user    string   // empty before the first login
	limits  Limits   // of the last login
	err     error    // why the client ended; before that, why the last attempt failed
	// lastToken is the last one that the server has taken or refused, and refusal is nil or why
	// it does not take it, or no more.
	lastToken string
	refusal   *Error

	leftAlone []*Outgoing // messages in the outbox on disk that are not sent: see Outgoing.Stale
	// What a login does not carry, so that restore sends it in every session.
	background bool
	watched    map[string]struct{}
	live       map[string]struct{} // groups
}

// New starts a client. It connects by itself; requests wait for that. Close
// must be called in the end. The only errors are *FieldError and, if the store cannot be
// opened, *StoreError.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg:     cfg,
		out:     newOutbox(cfg.QueueMessages, cfg.QueueBytes),
		in:      newInbox(),
		had:     newHeld(cfg.Resume),
		online:  make(chan struct{}),
		ended:   make(chan struct{}),
		done:    make(chan struct{}),
		watched: make(map[string]struct{}),
		live:    make(map[string]struct{}),
	}
	c.urls = append([]string{cfg.URL}, cfg.MoreURLs...)
	first := rand.IntN(len(c.urls))
	c.urls = slices.Concat(c.urls[first:], c.urls[:first])
	if cfg.Store != nil {
		if c.disk, err = openDisk(&c.cfg); err != nil {
			return nil, err
		}
		c.user = c.disk.User()
		c.settledAll = make(chan struct{})
		if err := errors.Join(c.restoreOutbox(), c.disk.readDeliveries()); err != nil {
			c.disk.Close()
			return nil, err
		}
	}
	c.stop, c.end = context.WithCancel(context.Background())
	if c.disk != nil {
		go c.settleAll()
	}
	go c.run()
	go c.dispatch()
	return c, nil
}

// Dial calls New and waits until the client has logged in. If ctx ends before
// that, or the login is refused for good, it closes the client and returns why. The file of
// its store is then free, unless a handler goes on running for more than a second: one
// may wait for what Dial returns.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.online:
		return c, nil
	case <-c.ended:
		err = c.Err()
	case <-ctx.Done():
		err = ctx.Err()
		if last := c.Err(); last != nil {
			err = fmt.Errorf("%w (last attempt: %w)", err, last)
		}
		c.Close()
	}
	select {
	case <-c.Done():
	case <-time.After(handlerTime):
	}
	return nil, err
}

// Close logs out and ends the client. Requests that wait for an answer get
// ErrClosed; messages whose handler has not returned are pushed again at the
// device's next login. Once Close has returned, no handler starts, except OnState
// with StateClosed. Close does not wait for a handler that runs, so that a
// handler may call it. See Done.
func (c *Client) Close() error {
	c.end()
	<-c.ended
	return nil
}

// Done is closed when the client has ended and its last handler has returned. The file of
// its store is then free.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the client ended: ErrClosed, a *KickedError, or the refusal of
// its login, in which errors.Is finds ErrUnauthorized if there was no other token.
// Before the end it returns why the last attempt to connect failed, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// State returns what the client is doing now.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// User returns the user whose token the server has accepted; before the first login the
// one whose data are in the store, or empty.
func (c *Client) User() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.user
}

// Limits returns what the server has said at the last login that it allows: above all
// MaxBody, past which a send is refused with "too_large". Zero before the first login.
func (c *Client) Limits() Limits {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limits
}

// Cursor returns where the device stands: it covers all frames whose handlers
// have returned. Given as Config.Resume, it lets a later client go on from there.
// With a store it is the store's; a later client takes it from there by itself.
func (c *Client) Cursor() Cursor {
	at, err := c.cursor()
	if err != nil {
		c.cfg.Log.Error("store not read", "err", err)
	}
	return at
}

func (c *Client) cursor() (at Cursor, err error) {
	if c.disk == nil {
		return c.had.cursor(), nil
	}
	err = c.disk.View(func(t *store.Tx) { at.Since, at.Groups = t.Cursor(protocol.MaxLoginGroups) })
	return at, err
}

// device returns the name of this device.
func (c *Client) device() string {
	if c.disk == nil {
		return c.cfg.Device
	}
	return c.disk.Device()
}

// run holds one session after the other until the client ends.
func (c *Client) run() {
	pauses := backoff{least: c.cfg.MinBackoff, most: c.cfg.MaxBackoff}
	for {
		c.enter(StateConnecting, nil)
		lasted, err := c.serve()
		if c.stop.Err() != nil {
			err = ErrClosed
		}
		if errors.Is(err, ErrClosed) || final(err) {
			c.finish(err)
			return
		}
		if lasted >= stableAfter {
			pauses.reset()
		}
		pause := pauses.next()
		if refusal, ok := errors.AsType[*Error](err); ok {
			pause = max(pause, spread(refusal.RetryAfter))
		}
		if closed, ok := errors.AsType[websocket.CloseError](err); ok {
			pause = max(pause, protocol.RetryAfter(closed.Reason)) // the server has spread these
		}
		if c.refused() {
			pause = max(pause, spread(refusedPause))
		}
		c.cfg.Log.Info("no connection", "err", err, "pause", pause)
		c.enter(StateWaiting, err)
		select {
		case <-time.After(pause):
		case <-c.stop.Done():
		}
	}
}

// final reports whether connecting again would be of no use: the server kicked
// the session, or refused the login for a reason that neither time nor another token
// mends, or there is no other token.
func final(err error) bool {
	_, kicked := errors.AsType[*KickedError](err)
	_, noToken := errors.AsType[*noTokenError](err)
	if kicked || noToken || errors.Is(err, ErrStoreForeign) {
		return true
	}
	refusal, ok := errors.AsType[*Error](err)
	return ok && !refusal.open() && refusal.Code != protocol.CodeUnauthorized // with another token it may pass
}

// finish ends all calls with cause and queues the last events, OnKicked and
// OnState.
func (c *Client) finish(cause error) {
	c.out.close(cause)
	c.mu.Lock()
	c.state, c.err = StateClosed, cause
	c.mu.Unlock()
	if kick, ok := errors.AsType[*KickedError](cause); ok && c.cfg.OnKicked != nil {
		c.in.put(event{kind: eventFinal, run: func() { c.cfg.OnKicked(kick.Reason) }})
	}
	if c.cfg.OnState != nil {
		c.in.put(event{kind: eventFinal, run: func() { c.tell(StateClosed) }})
	}
	c.in.close()
	c.end()
	close(c.ended)
}

// enter changes the state and queues a call of OnState. err, unless nil, is what
// ended the last attempt or session.
func (c *Client) enter(state State, err error) {
	c.mu.Lock()
	c.state = state
	if err != nil {
		c.err = err
	}
	c.mu.Unlock()
	if c.cfg.OnState != nil {
		c.in.put(event{kind: eventState, run: func() { c.tell(state) }})
	}
}

// tell calls OnState, unless it was called with the same state last: those in
// between may have been left out.
func (c *Client) tell(state State) {
	if c.toldState == nil || *c.toldState != state {
		c.toldState = &state
		c.cfg.OnState(state)
	}
}

// setSession makes s, which has logged in, the client's session, and lets requests
// be written.
func (c *Client) setSession(s *session) {
	c.mu.Lock()
	c.session, c.user, c.limits, c.err = s, s.user, s.limits, nil
	c.mu.Unlock()
	c.enter(StateOnline, nil)
	c.out.connected()
	select {
	case <-c.online:
	default:
		close(c.online)
	}
}

// isCurrent reports whether a session is the client's: what came in an earlier one says
// nothing of what is newest.
func (c *Client) isCurrent(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session == s
}

// clearSession ends what was bound to the session that is over. The next one is pushed
// again what no handler has seen.
func (c *Client) clearSession() {
	c.mu.Lock()
	c.session = nil
	c.mu.Unlock()
	if c.disk != nil {
		c.disk.forgetTails()
	}
	c.in.dropFrames()
	c.out.disconnected()
}

// dispatch calls the handlers, one event after the other. It is the client's last
// goroutine to end.
func (c *Client) dispatch() {
	defer close(c.done)
	if c.disk != nil {
		c.dispatchStored()
		<-c.ended
		<-c.settledAll
		if err := c.disk.Close(); err != nil {
			c.cfg.Log.Error("store not closed", "err", err)
		}
		return
	}
	for {
		e, ok := c.in.take()
		if !ok {
			<-c.ended
			return
		}
		e.run()
		c.acknowledgeRest()
	}
}
