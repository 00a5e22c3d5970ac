package gateway

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/belfry-im/belfry/gateway/admission"
	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// maxRequests bounds the pending requests of a session. While it is reached, the
	// session is not read.
	maxRequests = 64
	// maxBacklog is how many bytes may wait to be written. While there are more, the
	// session is not read.
	maxBacklog = 64 << 10
)

// A session is one WebSocket of one device, and its Watcher for the store.
type session struct {
	// Static once begin has returned.
	gateway *Gateway
	address string
	conn    *ws.Conn
	codec   protocol.Codec
	opcode  byte
	began   time.Time
	timer   *time.Timer // wakes the pump when a deadline may have passed

	activeAt        atomic.Int64 // last sign of life, as time since began
	unfinishedSince atomic.Int64 // since when a frame or message is incomplete, likewise; 0 for none

	// Owned by the read loop.
	frameLimit   ratelimit.Frames
	sendLimit    *rate.Limiter // of the user, shared with their other sessions; nil for no limit
	typingLimit  *rate.Limiter // of notices of typing; nil until the first
	subscribed   bool          // to presence
	clientCode   int           // code of the client's close frame, 0 for none
	clientClosed bool          // the client's close frame was received
	repeats      *repeats      // nil until the first request that changes something and is no send
	handled      int           // requests and notices that this Drain has handled
	ponged       bool          // it has handled a pong
	completed    bool          // it has handled a message, or a control frame between messages
	identified   uint64        // id of the request being handled, if the shard knows it by its identity

	// Set by the read loop at login, static once loggedIn.
	user       command.UserID
	id         command.SessionID
	autoRead   bool  // acks are read reports
	maxRecents int   // the most conversations in recents
	loginTime  int64 // the store's time at the login, ms

	// Set by the read loop at login, owned by the pump once loggedIn.
	sync            *loginSync // what is left of the login's sync, nil once it is pushed
	pushedTo        uint64     // everything up to this arrival number was pushed
	pinged          time.Duration
	roundWoken      time.Time // time of the first Wake of what the pump is pushing, zero for none
	pastMemberships pastMemberships

	submits sync.WaitGroup // commands that have no outcome yet
	pumps   sync.WaitGroup
	reports sync.Mutex // held while read reports are submitted; locked before mu

	mu              sync.Mutex
	capacity        sync.Cond // of mu: a request was answered, bytes were written, or the session has ended
	loggedIn        bool
	ended           bool
	closing         closing            // why it ended
	stopped         bool               // no pump may be started any more
	cancel          context.CancelFunc // cancels the request that the read loop waits for, nil for none
	pumping         bool
	dirty           bool      // there may be something for the pump to do
	wokenAt         time.Time // first Wake since the pump read, zero for none
	pending         []pendingRequest
	handling        bool    // the read loop handles a frame
	pendingClose    closing // how to close the session once all requests are answered; zero: not yet
	window          window
	signals         []store.Signal
	syncSize        int64         // about how many bytes the rest of the login's sync takes
	charged         int64         // bytes that are charged for what the session holds: see chargeHeld
	held            *heldSends    // sends that wait for a decision; nil until the first
	pendingReads    []readUpTo    // acked and not reported yet, each peer once
	reportsInFlight int           // read reports in flight
	answers         []groupAnswer // to the last changes of groups, at most keptRequests, oldest first
	hasNews         bool          // the store may have something new beside that of groups
	groups          map[command.GroupID]*subscription
	liveGroups      int                               // live groups that it is in
	background      bool                              // the app says that nobody looks at it
	stalled         bool                              // the store knows that the app does not ack
	ready           fifo[subscription, *subscription] // subscriptions that have something for the pump
	lateSyncs       []*loginSync                      // of groups whose shards were not available at the login
	cancelLate      context.CancelFunc                // ends asking for those, nil for none
	nextPump        *session                          // in the pumpers' queue; guarded by pumpers.mu

	tokenKey *auth.Key // that signed the token, nil before the login; guarded by mu

	// Deadlines, as time since began; 0 is none. Guarded by mu.
	expiry       time.Duration // of the token
	fullSince    time.Duration // the window is full since then, or since the last ack
	unackedSince time.Duration // the device has had something to ack since then, or since its last ack
	retryAt      time.Duration // when to try the store again, which was unavailable
	timerAt      time.Duration // when the timer calls onTimer
}

// begin makes a session of an upgraded connection.
func (s *session) begin(c *ws.Conn, subprotocol string) {
	s.conn = c
	c.SetLimit(maxLoginFrame, false)
	s.codec, s.opcode = protocol.JSON, ws.OpText
	if strings.EqualFold(subprotocol, protocol.SubprotocolMsgpack) {
		s.codec, s.opcode = protocol.Msgpack, ws.OpBinary
	}
	c.Admission.Upgraded(s.evict)
	s.began = time.Now().Add(-1) // so that no time since it is 0, which means none
	s.capacity.L = &s.mu
	s.timerAt = s.gateway.config.LoginTimeout
	s.timer = time.AfterFunc(s.timerAt, s.onTimer)
}

// serve runs the session until it ends and is cleaned up. Whenever read asks for it, it
// goes on in a new goroutine, with a small stack.
func (s *session) serve() {
	why, fresh := s.read()
	if fresh {
		go s.serve()
		return
	}
	s.end(why)
	s.cleanUp()
}

func (s *session) cleanUp() {
	defer s.gateway.connectionDone()
	s.mu.Lock()
	s.stopped = true
	why, user, number := s.closing, s.user, s.id
	s.mu.Unlock()
	s.timer.Stop()
	s.pumps.Wait()
	s.logOut()
	s.gateway.unregister(s, user)
	s.closeConn(why)
	s.submits.Wait()

	s.gateway.metrics.closed(why)
	level := slog.LevelInfo
	if why.code == closeNormal || why.code == protocol.CloseGoingAway || number == 0 {
		level = slog.LevelDebug // of these there may be thousands at a time, or as many as somebody without a login likes
	}
	s.gateway.log.Log(context.Background(), level, "session ended",
		"code", why.code, "reason", why.reason, "address", s.address,
		"user", user, "session", number, "lasted", time.Since(s.began))
}

// logOut submits the last read reports and then the logout. It does not wait for either.
func (s *session) logOut() {
	if s.id == 0 {
		return
	}
	b := s.gateway.backend
	b.Unwatch(s.user, s.id)
	s.detachAll()
	if s.subscribed {
		b.UnsubscribePresence(s)
	}
	s.reportReads(true)
	if s.closing != closedKicked && s.closing != closedRevoked && s.closing != closedByLogout {
		s.submits.Add(1)
		b.Submit(&command.Logout{User: s.user, Session: s.id, LastSeen: s.lastActivity()}, func(command.Result, error) { s.submits.Done() })
	}
}

// closeConn sends what waits and a close frame, as far as CloseTimeout allows, and closes
// the socket.
func (s *session) closeConn(why closing) {
	timeout := s.gateway.config.CloseTimeout
	switch {
	case why == closedAbnormally:
	case s.clientClosed:
		s.conn.CloseHandshake(s.clientCode, "", true, timeout)
	case why == closedCrowded:
		s.conn.CloseHandshake(why.code, why.reason, true, timeout) // others wait for its descriptor
	default:
		s.conn.CloseHandshake(why.code, why.text(), false, timeout)
	}
	s.conn.Close()
}

// end ends the session, unless it has ended. It does not block: the read loop notices
// and serve does the rest. From then on nothing is queued but the close frame.
func (s *session) end(why closing) { s.endWithFrame(why, nil) }

// evict ends the session for the sake of other connections. For memory it does not
// wait for the peer.
func (s *session) evict(reason string) {
	if reason == admission.ForMemory {
		s.mu.Lock()
		user := s.user
		s.mu.Unlock()
		if user != "" {
			s.gateway.evicted.Allow(string(user))
		}
		s.end(closedMemory)
		s.conn.Close()
		return
	}
	s.end(closedCrowded)
}

// endWithFrame is end, with a last frame before the close frame; nil is none.
func (s *session) endWithFrame(why closing, last func([]byte) []byte) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended, s.closing = true, why
	if last != nil {
		s.queueFrame(last)
	}
	s.capacity.Broadcast()
	cancels := [...]context.CancelFunc{s.cancel, s.cancelLate}
	s.mu.Unlock()
	for _, cancel := range cancels {
		if cancel != nil {
			cancel()
		}
	}
	s.conn.End(s.gateway.config.CloseTimeout)
}

// queueFrame queues a reply or a push that has no delivery number. The caller
// holds mu.
func (s *session) queueFrame(encode func([]byte) []byte) {
	s.conn.QueueFrame(s.opcode, encode)
	s.gateway.metrics.framesOut.Inc()
}

// wakeLocked starts the pump, or has the running one do another round. The caller holds
// mu.
func (s *session) wakeLocked() {
	s.dirty = true
	if s.pumping || s.stopped || s.ended {
		return
	}
	s.pumping = true
	s.pumps.Add(1)
	s.gateway.pumpers.start(s)
}

// onTimer has the pump check the deadlines. The timer calls it.
func (s *session) onTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timerAt = 0
	s.wakeLocked()
}

// Wake is called by the store when there is something new to read.
func (s *session) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasNews = true
	if s.wokenAt.IsZero() {
		s.wokenAt = time.Now()
	}
	s.wakeLocked()
}

// Kick is called by the store when it has ended the session.
func (s *session) Kick(reason string) {
	if reason == "token" {
		// Without onKicked: the device may come back, with a newer token.
		s.end(closedRevoked)
		return
	}
	s.endWithFrame(closedKicked, func(b []byte) []byte { return protocol.AppendKicked(b, s.codec, &protocol.Kicked{Reason: reason}) })
}

// age returns the time since the session began.
func (s *session) age() time.Duration { return time.Since(s.began) }

// noteActivity notes a sign of life of the peer.
func (s *session) noteActivity() { s.activeAt.Store(int64(s.age())) }
