package loadtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	defaultWindow = 16
	// MaxWindow bounds the sends of one client that wait for their answers.
	MaxWindow = maxHoles
	// connectTimeout bounds one attempt to connect and log in.
	connectTimeout = 30 * time.Second
	// Before the n-th attempt to connect again a client waits for a random time,
	// up to min(maxBackoff, minBackoff×2ⁿ).
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// A ClientConfig describes a client and what it sends. Server, User and Tally are
// needed; everything else is usable when zero.
type ClientConfig struct {
	Server *Server
	Tally  *Tally
	User   string
	Device string // "" = "load"
	// Number is that of the client in its run. It decides from which address of
	// this machine the client connects.
	Number int
	// Window bounds the sends that wait for their answers; 0 = 16, at most
	// MaxWindow.
	Window int
	// Next returns the next message to send: its conversation, which Converse or
	// join has opened, and its intended time. ok is false if nothing is due by
	// now. Next is called while the window has room, when something has come in
	// or Pump is called; the client is locked then, so Next must not call it. Nil
	// sends nothing.
	Next func(now time.Duration) (to protocol.Conv, at time.Duration, ok bool)
	// Resume lets the client connect more than once. It then remembers more, and
	// takes neither a lost connection nor a rightly repeated push for a
	// violation.
	Resume bool
	// Ordered is that of PairsConfig.
	Ordered bool
	// MaxSilence is that of PairsConfig. Stay heeds it.
	MaxSilence time.Duration
	// Recents is that of the login request; "" = protocol.RecentsOn.
	Recents string
	// ManualRead keeps acks from being read reports.
	ManualRead bool
	// AckEvery is how many pushed frames are acked together; 0 = as many as were
	// read at a time. Members of groups, who are pushed a lot, need fewer acks.
	AckEvery int
	// Refused, if set, is called with each error reply to a send, while the
	// client is locked.
	Refused func(*protocol.ReplyError)
}

// A Client is one device of one user. It sends the messages that its config
// returns, verifies what it receives, and reports violations to its Tally. It
// outlives its connections: Connect after a loss logs in with the client's cursor
// and sends again what has no answer.
type Client struct {
	config ClientConfig
	tally  *Tally

	mu        sync.Mutex
	views     []*view
	groups    []*view // of views
	byConv    map[protocol.Conv]*view
	onlyGroup *view    // a group, when the client takes part in nothing else
	session   *session // logged in; nil when there is none
	readers   sync.WaitGroup
	attempts  int // to connect
	begun     int // sessions begun, also those whose login failed
	logins    int
	closed    bool
	halted    bool // a send was refused for good: nothing more is sent

	cursor    string // where this device stands
	hasCursor bool

	inFlight int         // sends without a final answer, in all views
	parked   int         // of those, refused ones that wait to be sent again
	free     []*outgoing // to be used again
	args     protocol.SendArgs
	body     []byte // of args

	incoming         int           // messages of others, each once
	caughtUpMessages int64         // of those, the ones that came with a sync of a later session
	awaited          int           // how many of those Await waits for
	arrived          chan struct{} // closed when incoming reaches wanted
	arrivedAt        time.Duration // when the newest came
}

// NewClient makes a client that is not connected.
func NewClient(config ClientConfig) (*Client, error) {
	switch {
	case config.Server == nil:
		return nil, errors.New("loadtest: ClientConfig.Server: want a server")
	case config.Tally == nil:
		return nil, errors.New("loadtest: ClientConfig.Tally: want a tally")
	case !protocol.ValidUser(config.User):
		return nil, fmt.Errorf("loadtest: ClientConfig.User %q: want %s", config.User, protocol.UserForm)
	case config.Window < 0 || config.Window > MaxWindow:
		return nil, fmt.Errorf("loadtest: ClientConfig.Window %d: want 0 to %d", config.Window, MaxWindow)
	}
	if err := config.Server.check(); err != nil {
		return nil, err
	}
	if config.Window == 0 {
		config.Window = defaultWindow
	}
	if config.Device == "" {
		config.Device = "load"
	}
	if config.Recents == "" {
		config.Recents = protocol.RecentsOn
	}
	return &Client{config: config, tally: config.Tally, byConv: map[protocol.Conv]*view{}}, nil
}

// User returns the client's user.
func (c *Client) User() string { return c.config.User }

// Converse opens the conversation with peer: out is the stream that this user
// sends, in the one that the peer sends; nil means that one is silent. Each peer
// is opened once, before anything is sent; a message from anybody else is a
// violation.
func (c *Client) Converse(peer string, out, in *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := newView(c.config.User, protocol.UserConv(peer), out, in, c.config.Resume)
	v.cluster = len(c.config.Server.URLs) > 1 || c.config.Ordered // one address may become a cluster
	c.open(v)
}

// join opens a group, all of whose senders have to be known. The client verifies
// what it gets there, and sends if it is one of the senders.
func (c *Client) join(g *group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := newGroupView(c.config.User, g)
	c.open(v)
	c.groups = append(c.groups, v)
	if c.onlyGroup = v; len(c.views) > 1 {
		c.onlyGroup = nil
	}
}

func (c *Client) open(v *view) {
	c.views = append(c.views, v)
	c.byConv[v.conv] = v
}

// Connect opens a session and returns once the login is answered. Synced waits
// for what the login pushes.
func (c *Client) Connect(ctx context.Context) error {
	patience := connectTimeout
	if c.config.MaxSilence > 0 {
		patience = min(patience, c.config.MaxSilence)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no login within %v", patience))
	defer cancel()
	if err := c.connect(ctx); err != nil {
		return fmt.Errorf("%s: connect: %w", c.config.User, err)
	}
	return nil
}

func (c *Client) connect(ctx context.Context) error {
	token, err := c.config.Server.Token(c.config.User)
	if err != nil {
		return err
	}
	c.mu.Lock()
	attempt := c.attempts
	c.attempts++
	c.mu.Unlock()
	socket, err := dial(ctx, c.config.Server, c.config.Number, attempt)
	if err != nil {
		return err
	}
	s, err := c.begin(socket, c.config.Server.at(c.config.Number, attempt))
	if err != nil {
		socket.cut()
		return err
	}
	var ok protocol.LoginOK
	login := protocol.LoginArgs{
		Token: token, Device: c.config.Device, AutoRead: !c.config.ManualRead, Recents: c.config.Recents,
		HasSince: s.hasSince, Since: s.since, Groups: s.groups, GroupBacklog: protocol.MaxGroupBacklog,
	}
	if err := c.call(ctx, s, protocol.OpLogin, &login, &ok); err != nil {
		socket.cut()
		<-s.ended
		return err
	}
	c.enter(s, &ok)
	return nil
}

// begin makes a session on socket, to a server's URL, and starts its reader; the
// caller has to log in.
func (c *Client) begin(socket *socket, url string) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errClosed
	case c.session != nil:
		return nil, errors.New("there is a session already")
	case c.logins > 0 && !c.config.Resume:
		return nil, errors.New("a second session needs ClientConfig.Resume")
	}
	s := &session{
		socket: socket, url: url,
		since: c.cursor, hasSince: c.hasCursor,
		origin: origin{sync: true, resume: c.begun > 0},
		synced: make(chan struct{}), ended: make(chan struct{}),
		sends: make(map[uint64]*outgoing), calls: make(map[uint64]*call),
	}
	for _, v := range c.groups {
		if cursor := string(v.group.cursor); cursor != "" && len(s.groups) < protocol.MaxLoginGroups {
			s.groups = append(s.groups, protocol.GroupCursor{Group: v.group.id, Cursor: cursor})
		}
	}
	c.begun++
	c.readers.Go(func() { c.serve(s) })
	return s, nil
}

// enter makes s, whose login is answered, the session to send on. What has no
// answer yet is sent first.
func (c *Client) enter(s *session, ok *protocol.LoginOK) {
	c.mu.Lock()
	if ok.User != c.config.User {
		c.tally.violated(fmt.Errorf("%s: logged in as %q", c.config.User, ok.User))
	}
	if c.logins++; c.logins > 1 {
		c.tally.reconnects.Add(1)
	}
	s.window = ok.Limits.Window
	if !s.over {
		c.session = s
		for _, v := range c.views {
			for _, o := range v.flight {
				if !o.answered {
					c.sendAgain(o, !c.config.Ordered)
				}
			}
		}
		s.heard = c.tally.Now()
		c.pump(s.heard)
	}
	c.mu.Unlock()
	s.socket.flush()
}

// Pump sends the messages that Next returns, as far as the window allows.
func (c *Client) Pump() {
	c.mu.Lock()
	s := c.session
	if s != nil {
		c.pump(c.tally.Now())
	}
	c.mu.Unlock()
	if s != nil {
		s.socket.flush()
	}
}

// Stay connects the client again whenever it has lost its connection, until ctx
// ends. It returns nil if there is a connection then, otherwise why there is
// none.
func (c *Client) Stay(ctx context.Context) (lost error) {
	for attempt := 0; ; {
		c.mu.Lock()
		s := c.session
		c.mu.Unlock()
		if s != nil {
			attempt = 0
			if !c.stayIn(ctx, s) {
				return nil
			}
		}
		err := c.Connect(ctx)
		if err == nil {
			continue
		}
		if lost == nil || ctx.Err() == nil {
			lost = err
		}
		if backOff(ctx, attempt) != nil {
			return lost
		}
		attempt++
	}
}

// stayIn waits until a session has ended, by itself or because nothing came for
// MaxSilence; it returns false if ctx ends before.
func (c *Client) stayIn(ctx context.Context, s *session) bool {
	var look <-chan time.Time
	if c.config.MaxSilence > 0 {
		ticker := time.NewTicker(max(c.config.MaxSilence/8, time.Millisecond))
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		select {
		case <-s.ended:
			return true
		case <-ctx.Done():
			return false
		case <-look:
			c.mu.Lock()
			silent := c.inFlight > c.parked && c.tally.Now()-s.heard > c.config.MaxSilence
			c.mu.Unlock()
			if silent {
				s.socket.cut()
			}
		}
	}
}

// URL returns the address of the server's node that the client has a session
// with; "" if it has none.
func (c *Client) URL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return ""
	}
	return c.session.url
}

// Synced waits until the present session has got all that its login pushes, and
// returns when that was.
func (c *Client) Synced(ctx context.Context) (at time.Duration, err error) {
	s, err := c.present()
	if err != nil {
		return 0, err
	}
	select {
	case <-s.synced:
		return s.syncedAt, nil
	case <-s.ended:
		return 0, s.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// Await waits until that many messages of others have come, in all sessions
// together, and returns when the last came.
func (c *Client) Await(ctx context.Context, messages int) (at time.Duration, err error) {
	c.mu.Lock()
	if c.incoming >= messages {
		defer c.mu.Unlock()
		return c.arrivedAt, nil
	}
	arrived := make(chan struct{})
	c.awaited, c.arrived = messages, arrived
	c.mu.Unlock()
	select {
	case <-arrived:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.arrivedAt, nil
}

// Ping asks the server for a sign of life and waits for it.
func (c *Client) Ping(ctx context.Context) error {
	s, err := c.present()
	if err != nil {
		return err
	}
	return c.call(ctx, s, protocol.OpPing, nil, new(protocol.PingOK))
}

// Audit checks, once nothing is under way, that the client misses nothing and
// that the server's views end where its own do. It reports what is wrong to the
// Tally; an error means that the server could not be asked. There has to be a
// session.
func (c *Client) Audit(ctx context.Context) error {
	s, err := c.present()
	if err != nil {
		return err
	}
	c.mu.Lock()
	views := c.views
	c.mu.Unlock()
	for _, v := range views {
		if v.group != nil && v.group.live {
			c.mu.Lock()
			if err := v.settled(); err != nil {
				c.tally.violated(err)
			}
			c.mu.Unlock()
			continue // there is no history
		}
		var page protocol.PageOK
		args := protocol.GetMessageArgs{Conv: v.conv, Limit: 1}
		if err := c.call(ctx, s, protocol.OpGetMessage, &args, &page); err != nil {
			return fmt.Errorf("%s: getMessage: %w", c.config.User, err)
		}
		c.mu.Lock()
		if err := v.settled(); err != nil {
			c.tally.violated(err)
		} else if page.To != v.held.floor {
			c.tally.violated(v.errorf("the server's view goes to seq %d, the client's to %d", page.To, v.held.floor))
		}
		c.mu.Unlock()
	}
	return nil
}

// present returns the session that is logged in, or an error if there is none.
func (c *Client) present() (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil, fmt.Errorf("%s: not connected", c.config.User)
	}
	return c.session, nil
}

// Home ends a connection to another address than the one that the client began with,
// and has the next one go there.
func (c *Client) Home() {
	c.mu.Lock()
	away := c.session != nil && c.session.url != c.config.Server.at(c.config.Number, 0)
	if away {
		c.attempts = 0
	}
	c.mu.Unlock()
	if away {
		c.Cut()
	}
}

// Cut ends the connection without a closing handshake, as a dead link does.
func (c *Client) Cut() {
	if s, err := c.present(); err == nil {
		s.socket.cut()
		s.release()
		<-s.ended
	}
}

// Close ends the client for good and waits for its goroutines.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	s := c.session
	c.mu.Unlock()
	if s != nil {
		s.socket.close()
		s.release()
	}
	c.readers.Wait()
}

// reportMissing reports to the Tally what is missing in each view, above all sends
// without an answer.
func (c *Client) reportMissing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.views {
		if err := v.settled(); err != nil {
			c.tally.violated(err)
		}
	}
}
