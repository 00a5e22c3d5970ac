// Package gateway is the edge of a node: WebSocket sessions that speak
// belfry.v1 (package protocol), and the listener for operations. It knows no
// Raft and no disk; all it asks of the store is a Backend.
//
// A session is one WebSocket. One goroutine reads it, for as long as it lives. A second
// one, the pump, runs only while there is something to write: replies, messages of the
// store, pings. Messages are buffered only in the store: it wakes the session, and the
// pump reads on from the session's cursor in the user's arrival order, as far as the
// device's window of unacked frames allows. An idle session therefore costs one goroutine
// and no buffer, a slow one a bounded amount of memory, and neither delays another
// session.
//
// Messages of a group are read and encoded once, by its feed, for the sessions of
// all members; see feed.
//
// A message's way through the gateway: session.read, dispatch, send,
// Backend.Submit; the store calls Wake; session.pump reads it with
// Backend.Since, or feed.read with Backend.GroupSince, and flushes it.
//
// Lock order: functions that the store calls (methods of watchers, done of Submit) may
// run under the store's locks, and lock Gateway.mu, session.mu, feed.mu and pumpers.mu.
// The store must therefore not be called with one of these locks held.
package gateway

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belfry-im/belfry/gateway/admission"
	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/turns"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A Gateway holds the sessions of one node.
type Gateway struct {
	config   Config
	backend  Backend
	reads    store.Reader // of backend, for pumpers
	auth     atomic.Pointer[auth.Verifier]
	reauth   sync.Mutex // held while auth is replaced
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *metrics
	maxFrame int // most bytes of a frame from a client

	limits
	admission *admission.Controller
	upgrade   ws.Options
	turns     *turns.Turns // for costly requests
	pumpers   pumpers
	returns   returns
	feeds     feeds
	sick      sick

	refusedLogins, refusedOrigins rareLog

	mu           sync.Mutex
	shuttingDown bool // new connections are refused
	sessions     map[*session]struct{}
	byUser       map[command.UserID][]*session // those that have logged in
	running      sync.WaitGroup                // connections that Shutdown waits for: see addConnection
}

// New returns a gateway. Its error says what is wrong with the config.
func New(c Config) (*Gateway, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	verifier, err := auth.NewVerifier(c.Auth)
	if err != nil {
		return nil, err
	}
	g := &Gateway{
		config:    c,
		backend:   c.Backend,
		log:       c.Log,
		registry:  c.Registry,
		maxFrame:  protocol.FrameLimit(c.MaxBody),
		limits:    newLimits(&c),
		admission: admission.New(c.Admission, c.Proxies, c.Log, c.Registry),
		turns:     turns.New(runtime.GOMAXPROCS(0), 1),
		sessions:  make(map[*session]struct{}),
		byUser:    make(map[command.UserID][]*session),
	}
	g.reads = g.backend.ReaderAt(&g.pumpers)
	g.feeds.all, g.feeds.max = make(map[command.GroupID]*feed), maxCached
	g.upgrade = ws.Options{
		Subprotocols: []string{protocol.SubprotocolJSON, protocol.SubprotocolMsgpack}, Origins: c.AllowedOrigins, Admission: g.admission,
	}
	g.auth.Store(verifier)
	if c.Inspect != nil {
		c.Inspect.SetSessions(g)
	}
	g.metrics = newMetrics(c.Registry, g.queuedBytes, func() float64 { return float64(g.feeds.cached.Load()) })
	return g, nil
}

// Handler returns the handler for clients, which serves GET /v1/ws and what
// Config.Console does.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/ws", g.accept)
	if g.config.Console != nil {
		mux.Handle("/", g.config.Console)
	}
	served := g.checkHost(ExactPaths(mux, http.NotFoundHandler()))
	// A connection is here for its upgrade, so each answer closes it: one that is idle
	// would take a place among those that have not logged in. A server
	// with keep-alives off would do the same, but drop the Connection header that has to
	// go with an Upgrade header (RFC 9110, 7.8).
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		served.ServeHTTP(w, r)
	})
}

// Listener returns a listener for the server of Handler. It accepts from l and admits
// each connection. With secure not nil the connections speak TLS.
func (g *Gateway) Listener(l net.Listener, secure *tls.Config) net.Listener {
	return g.admission.Listener(l, secure)
}

// allSessions returns all sessions, logged in or not.
func (g *Gateway) allSessions() []*session {
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
	for _, s := range g.allSessions() {
		n += s.conn.Buffered()
	}
	return float64(n)
}

func (g *Gateway) draining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shuttingDown
}

// addConnection adds a connection, before its upgrade, to those that Shutdown waits for;
// connectionDone removes it. It reports false if the gateway is shutting down.
func (g *Gateway) addConnection() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shuttingDown {
		return false
	}
	g.running.Add(1)
	return true
}

func (g *Gateway) connectionDone() { g.running.Done() }

// run adds a session and starts it. If the gateway has begun to shut down, it ends the
// session at once.
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

// register adds a session that has logged in to its user's sessions.
func (g *Gateway) register(s *session, user command.UserID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byUser[user] = append(g.byUser[user], s)
	g.metrics.sessions.Inc()
}

// sessionsOf returns the sessions of a user that have logged in.
func (g *Gateway) sessionsOf(user command.UserID) []*session {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*session(nil), g.byUser[user]...)
}

// unregister removes a session, also from its user's sessions if it has logged in.
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
