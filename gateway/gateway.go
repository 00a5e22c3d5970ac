// Package gateway is the edge of a node: WebSocket sessions that speak
// belfry.v1 (package protocol), and the listener for operations. It knows no
// Raft and no disk; all it asks of the store is a Backend.
//
// A session is one WebSocket. One goroutine reads it, for as long as it lives.
// A second one, the pump, runs only while there is something to write: replies,
// messages of the store, pings. The store is the only buffer for messages: it
// wakes the session, and the pump reads on from the session's place in the
// arrival order as far as the device's window of unacked frames allows. So an
// idle session costs one goroutine and no buffer, a slow one a bounded amount
// of memory, and neither can delay anybody else.
//
// What comes in a group is read once, by its feed, which encodes it for all
// sessions of members; see feed.
//
// Lock order: what the store calls (a watcher's methods, done of Submit) may
// run under the store's locks and takes Gateway.mu, session.mu, feed.mu and that
// of the pumpers; therefore nothing calls the store with one of them held.
package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/belfry-im/belfry/gateway/admin"
	"github.com/belfry-im/belfry/gateway/admission"
	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/hooks"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
	"github.com/belfry-im/belfry/gateway/turns"
	"github.com/belfry-im/belfry/shard/command"
)

// A Backlog is an amount of messages.
type Backlog struct {
	Messages int
	Bytes    int // as stored
}

// A Config says how a gateway behaves. Backend and Auth are required; a zero
// field elsewhere is its default. Where a limit may be off, a negative value
// switches it off.
type Config struct {
	Backend Backend
	Auth    auth.Config
	// AdminTokens open the operations listener. When nil, a dev server's is open
	// and any other's is shut.
	AdminTokens *admin.Tokens
	// Administration serves the operations listener beside health, metrics and
	// profiles, and asks for tokens itself; nil: nothing does.
	Administration http.Handler

	// Dev restricts both listeners to requests that name this machine as their
	// host, against pages that rebind their name to it.
	Dev bool
	// AllowedOrigins are the browser origins served beside the server's own
	// host: "app.example.com" or "https://*.example.com".
	AllowedOrigins []string
	// KnownUsersOnly refuses sends to accounts that never logged in.
	KnownUsersOnly bool
	Policy         command.Policy // which sessions a login ends

	MaxBody     int // bytes of a message body as stored; default 12 KiB
	Window      int // unacked frames of a session; default 256
	WindowBytes int // unacked bytes of a session; default 1 MiB
	// LoginBacklog bounds what a login pushes of groups; default 1,000 messages
	// and 1 MiB. The rest is for getMessage.
	LoginBacklog Backlog

	LoginTimeout   time.Duration // from the upgrade to the login; default 10 s
	IdleTimeout    time.Duration // without a sign of life; default 60 s
	AckTimeout     time.Duration // with a full window; default 30 s
	StallTimeout   time.Duration // without an ack of what was pushed, until the app counts as away; default 10 s
	WriteTimeout   time.Duration // of one write; default 10 s
	CloseTimeout   time.Duration // for the close frame and its answer; default 1 s
	FrameTimeout   time.Duration // for the rest of a frame, and of a message, that has begun; default 30 s
	RequestTimeout time.Duration // of a request that waits for the store; default 10 s
	DrainSpread    time.Duration // over which Shutdown closes many sessions; default 5 s, negative = at once

	MaxGroups      int // that a user may be in; default 1000, negative = off
	MaxOwnedGroups int // that a user may own; default 100, negative = off

	FrameRate        int // frames per second and connection; default 2000, negative = off
	FrameBurst       int // default 5000
	LoginRate        int // logins per second and user; default 20, negative = off
	LoginBurst       int // default 100
	SendRate         int // sends per second and user, in all his sessions; default 200, negative = off
	SendBurst        int // default 2000
	GroupChangeRate  int // changes of groups per second and user; default 20, negative = off
	GroupChangeBurst int // default 1000

	Admission admission.Config // of connections; zero: no limits
	Proxies   admission.Proxies

	Hooks *hooks.Hooks // nil: there is no receiver of webhooks

	Log      *slog.Logger         // nil discards
	Registry *prometheus.Registry // holds the gateway's metrics and serves /metrics; nil makes one
}

func (c *Config) fill() error {
	if c.Backend == nil {
		return errors.New("gateway: Backend is not set")
	}
	for _, f := range []struct {
		name         string
		value        *int
		defaultValue int
		mayBeOff     bool
	}{
		{"MaxBody", &c.MaxBody, protocol.DefaultMaxBody, false},
		{"Window", &c.Window, 256, false},
		{"WindowBytes", &c.WindowBytes, 1 << 20, false},
		{"MaxGroups", &c.MaxGroups, 1000, true},
		{"MaxOwnedGroups", &c.MaxOwnedGroups, 100, true},
		{"LoginBacklog.Messages", &c.LoginBacklog.Messages, 1000, false},
		{"LoginBacklog.Bytes", &c.LoginBacklog.Bytes, 1 << 20, false},
		{"FrameRate", &c.FrameRate, 2000, true},
		{"FrameBurst", &c.FrameBurst, 5000, false},
		{"LoginRate", &c.LoginRate, 20, true},
		{"LoginBurst", &c.LoginBurst, 100, false},
		{"SendRate", &c.SendRate, 200, true},
		{"SendBurst", &c.SendBurst, 2000, false},
		{"GroupChangeRate", &c.GroupChangeRate, 20, true},
		{"GroupChangeBurst", &c.GroupChangeBurst, 1000, false},
	} {
		if *f.value == 0 {
			*f.value = f.defaultValue
		}
		if *f.value < 0 && !f.mayBeOff {
			return fmt.Errorf("gateway: %s is %d, want > 0", f.name, *f.value)
		}
	}
	for _, f := range []struct {
		name         string
		value        *time.Duration
		defaultValue time.Duration
	}{
		{"LoginTimeout", &c.LoginTimeout, 10 * time.Second},
		{"IdleTimeout", &c.IdleTimeout, 60 * time.Second},
		{"AckTimeout", &c.AckTimeout, 30 * time.Second},
		{"StallTimeout", &c.StallTimeout, 10 * time.Second},
		{"WriteTimeout", &c.WriteTimeout, 10 * time.Second},
		{"CloseTimeout", &c.CloseTimeout, time.Second},
		{"FrameTimeout", &c.FrameTimeout, 30 * time.Second},
		{"RequestTimeout", &c.RequestTimeout, 10 * time.Second},
	} {
		if *f.value == 0 {
			*f.value = f.defaultValue
		}
		if *f.value < 0 {
			return fmt.Errorf("gateway: %s is %v, want > 0", f.name, *f.value)
		}
	}
	if c.DrainSpread == 0 {
		c.DrainSpread = 5 * time.Second
	}
	if c.MaxBody > protocol.LargestBody {
		return fmt.Errorf("gateway: MaxBody is %d, want at most %d", c.MaxBody, protocol.LargestBody)
	}
	for _, o := range c.AllowedOrigins {
		if err := auth.CheckOrigin(o); err != nil {
			return fmt.Errorf("gateway: AllowedOrigins: %w", err)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.AdminTokens == nil && c.Dev {
		c.AdminTokens = admin.OpenTokens()
	}
	return nil
}

// A Gateway holds the sessions of one node.
type Gateway struct {
	config   Config
	backend  Backend
	auth     atomic.Pointer[auth.Verifier]
	reauth   sync.Mutex // held while auth is replaced
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *metrics
	maxFrame int // bytes of a frame from a client

	logins         *ratelimit.Keyed // by user
	groupCreations *ratelimit.Keyed // of groups, by user
	reservations   joinReservations // of users to groups
	sends          *ratelimit.Keyed // by user
	presences      *ratelimit.Keyed // users whose presence is asked for, by who asks
	unknownUsers   *ratelimit.Keyed // users named who do not exist, by who names them
	scans          *ratelimit.Keyed // requests that cost the store as much as a login, by user
	histories      *ratelimit.Keyed // pages of history, by user
	changes        *ratelimit.Keyed // of groups that their members are told of, by user
	newUsers       *ratelimit.Keyed // users of whom nothing is kept yet, by who adds them
	admission      *admission.Controller
	turns          *turns.Turns     // of requests that are costly
	evicted        *ratelimit.Keyed // logins of users whose sessions were closed for memory
	pumpers        pumpers
	feeds          feeds

	mu           sync.Mutex
	shuttingDown bool // draining: no new connections
	sessions     map[*session]struct{}
	byUser       map[command.UserID][]*session // logged in
	running      sync.WaitGroup                // places of connections: see reserve
}

// New returns a gateway, or what is wrong with its config.
func New(c Config) (*Gateway, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	verifier, err := auth.NewVerifier(c.Auth)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		config:         c,
		backend:        c.Backend,
		log:            c.Log,
		registry:       c.Registry,
		maxFrame:       protocol.FrameLimit(c.MaxBody),
		logins:         ratelimit.NewKeyed(rate.Limit(c.LoginRate), c.LoginBurst),
		groupCreations: ratelimit.NewKeyed(rate.Limit(float64(creationsPerOwned*c.MaxOwnedGroups)/time.Hour.Seconds()), creationsPerOwned*c.MaxOwnedGroups),
		sends:          ratelimit.NewKeyed(rate.Limit(c.SendRate), c.SendBurst),
		presences:      ratelimit.NewKeyed(rate.Limit(presenceRate*c.LoginRate), presenceBurst*c.LoginBurst),
		unknownUsers:   ratelimit.NewKeyed(unknownUserRate, unknownUserBurst),
		scans:          ratelimit.NewKeyed(rate.Limit(scanRate*c.LoginRate), scanBurst*c.LoginBurst),
		histories:      ratelimit.NewKeyed(rate.Limit(historyRate*c.LoginRate), historyBurst*c.LoginBurst),
		changes:        ratelimit.NewKeyed(rate.Limit(c.GroupChangeRate), c.GroupChangeBurst),
		newUsers:       ratelimit.NewKeyed(rate.Limit(float64(newUserRate*c.GroupChangeRate)/time.Hour.Seconds()), newUserBurst*c.GroupChangeBurst),
		admission:      admission.New(c.Admission, c.Proxies, c.Log, c.Registry),
		turns:          turns.New(runtime.GOMAXPROCS(0), 1),
		evicted:        ratelimit.NewKeyed(rate.Every(evictedPause), 1),
		sessions:       make(map[*session]struct{}),
		byUser:         make(map[command.UserID][]*session),
	}
	g.feeds.all, g.feeds.max = make(map[command.GroupID]*feed), maxCached
	g.auth.Store(verifier)
	g.metrics = newMetrics(c.Registry, g.queuedBytes, func() float64 { return float64(g.feeds.cached.Load()) })
	return g, nil
}

// Handler serves clients: GET /v1/ws.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/ws", g.accept)
	served := g.checkHost(ExactPaths(mux, http.NotFoundHandler()))
	// There is nothing to ask for but an upgrade, so no connection is kept. A
	// server without keep-alives would do that too, and drop the Connection that
	// goes with an Upgrade (RFC 9110, 7.8).
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		served.ServeHTTP(w, r)
	})
}

// Listener returns a listener that admits the connections of l as they are accepted,
// to serve Handler on. secure, unless nil, is for TLS.
func (g *Gateway) Listener(l net.Listener, secure *tls.Config) net.Listener {
	return g.admission.Listener(l, secure)
}

// list gives all sessions, logged in or not.
func (g *Gateway) list() []*session {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]*session, 0, len(g.sessions))
	for s := range g.sessions {
		list = append(list, s)
	}
	return list
}

func (g *Gateway) queuedBytes() float64 {
	n := 0
	for _, s := range g.list() {
		n += s.conn.Buffered()
	}
	return float64(n)
}

func (g *Gateway) draining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shuttingDown
}

// reserve takes a place for a connection, before it is upgraded: the end of its
// session, or a refusal, gives it back. It reports false when the gateway is going away.
func (g *Gateway) reserve() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shuttingDown {
		return false
	}
	g.running.Add(1)
	return true
}

func (g *Gateway) release() { g.running.Done() }

// run starts a session. If the gateway is going away by now, the session only
// says so to its client.
func (g *Gateway) run(s *session) {
	g.mu.Lock()
	g.sessions[s] = struct{}{}
	shuttingDown := g.shuttingDown
	g.mu.Unlock()
	g.metrics.connections.Inc()
	if shuttingDown {
		s.end(closedByDrain)
	}
	go s.serve()
}

// register makes a logged-in session known to later logins of its user.
func (g *Gateway) register(s *session, user command.UserID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byUser[user] = append(g.byUser[user], s)
	g.metrics.sessions.Inc()
}

// sessionsOf gives the logged-in sessions of a user.
func (g *Gateway) sessionsOf(user command.UserID) []*session {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*session(nil), g.byUser[user]...)
}

// unregister undoes run and register.
func (g *Gateway) unregister(s *session, user command.UserID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, s)
	g.metrics.connections.Dec()
	sessions := g.byUser[user]
	for i := range sessions {
		if sessions[i] != s {
			continue
		}
		g.metrics.sessions.Dec()
		sessions[i] = sessions[len(sessions)-1]
		sessions[len(sessions)-1] = nil
		if sessions = sessions[:len(sessions)-1]; len(sessions) == 0 {
			delete(g.byUser, user)
		} else {
			g.byUser[user] = sessions
		}
		break
	}
}
