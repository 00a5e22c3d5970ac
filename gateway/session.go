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
	// maxRequests is the most pending requests of a session. While it has that many, the
	// session is not read. A user's shard keeps the answers of as many: see keptAnswers
	// there.
	maxRequests = 64
	// maxBacklog is how many bytes may wait to be written. While there are more, the
	// session is not read.
	maxBacklog = 64 << 10
)

// A session is one WebSocket of one device, and the device's Watcher at the store.
type session struct {
	// Set by begin, and constant from then on.
	gateway *Gateway
	address string
	conn    *ws.Conn
	codec   protocol.Codec
	opcode  byte
	began   time.Time
	timer   *time.Timer // wakes the pump when a deadline may have passed

	activeAt        atomic.Int64 // last sign of life, as time since began
	unfinishedSince atomic.Int64 // since when a frame or message is incomplete, as time since began; 0 if none is

	// Owned by the read loop.
	frameLimit   ratelimit.Frames
	sendLimit    *rate.Limiter // of all sessions of the user together; nil for no limit
	typingLimit  *rate.Limiter // of notices of typing; nil until the first
	subscribed   bool          // to presence
	clientCode   int           // code in the client's close frame, 0 for none
	clientClosed bool          // the client's close frame was received
	repeats      *repeats      // nil until the first changing request other than send
	handled      int           // messages that the present Drain has handled
	ponged       bool          // the present Drain has handled a pong
	completed    bool          // the present Drain has handled a message, or a control frame outside of messages
	identified   uint64        // id of the request being handled, if it has an identity for the shard

	// Set by the read loop at the login, and constant once loggedIn.
	user       command.UserID
	device     string
	platform   string
	autoRead   bool              // acks are read reports
	maxRecents int               // maximum of conversations in recents
	loginTime  int64             // the store's time at the login, ms
	loginID    command.SessionID // id at the login
	deviceHash command.DeviceHash

	// Set by the read loop at the login, and owned by the pump once loggedIn.
	sync            *loginSync // the rest of the login's sync, nil once it is pushed
	pinged          time.Duration
	roundWoken      time.Time // time of the first Wake for what this round pushes, zero for none
	pastMemberships pastMemberships

	number   atomic.Uint64 // see id
	gapped   atomic.Bool   // whether gaps has any
	pushedTo atomic.Uint64 // everything of the user up to this arrival number was pushed; set by the pump once loggedIn

	frames frameLog

	submits sync.WaitGroup // submitted commands without an outcome, and goroutines
	pumps   sync.WaitGroup
	reports sync.Mutex // held while read reports are submitted; to be locked before mu
	gapping sync.Mutex // held from when a gap is noted until its ping is queued; to be locked before mu

	mu              sync.Mutex
	capacity        sync.Cond // signalled when a request was answered, bytes were written, or the session ended
	loggedIn        bool
	ended           bool
	closing         closing            // why it ended
	stopped         bool               // no pump may start any more
	cancel          context.CancelFunc // cancels the request that the read loop waits for, nil for none
	pumping         bool
	dirty           bool      // the pump has to do another round
	wokenAt         time.Time // time of the first Wake since the pump last read, zero for none
	pending         []pendingRequest
	handling        bool    // the read loop handles a frame
	pendingClose    closing // the closing once no request is pending; zero if none was asked for
	refuseFrom      int64   // Unix ms, when pendingClose is set: new requests are refused from then on
	parted          bool    // pendingClose is about to end the session: nothing is taken any more
	window          window
	signals         []store.Signal
	syncSize        int64      // about how many bytes of memory the rest of the login's sync takes
	charged         int64      // bytes that the connection is charged for the session: see chargeHeld
	held            *heldSends // sends that wait for a decision; nil until the first
	gaps            gaps
	pendingReads    []readUpTo    // read reports that wait, one for each peer
	reportsInFlight int           // read reports without an outcome
	answers         []groupAnswer // to the last changes of groups, at most keptRequests, oldest first
	hasNews         bool          // the store may have something new, apart from groups
	groups          map[command.GroupID]*subscription
	liveGroups      int                               // number of subscriptions to live groups
	background      bool                              // nobody looks at the app, it says
	stalled         bool                              // an ack is late, and the store is told so
	ready           fifo[subscription, *subscription] // subscriptions for which the pump has something to do
	lateSyncs       []*loginSync                      // syncs of groups that were not available at the login
	cancelLate      context.CancelFunc                // ends the asking for those, nil if it has not begun
	away            bool                              // the store does not know the session, and it waits to log in again
	doubtful        bool                              // while away: it may have logged in again already
	issuedAt        int64                             // ms, of the token
	nextPump        *session                          // in the pumpers' queue; guarded by pumpers.mu

	tokenKey *auth.Key // key that verified the token, nil before the login; guarded by mu

	// Deadlines and times, as time since began; 0 for none. Guarded by mu.
	expiry       time.Duration // end of the token
	fullSince    time.Duration // since when the window is full, or was last acked while full
	unackedSince time.Duration // since when the device has had something to ack without acking
	retryAt      time.Duration // when to try the store again, after it was unavailable
	timerAt      time.Duration // when the timer calls onTimer
}

// begin sets up the session for an upgraded connection.
func (s *session) begin(c *ws.Conn, subprotocol string) {
	s.conn = c
	c.SetLimit(maxLoginFrame, false)
	s.codec, s.opcode = protocol.JSON, ws.OpText
	if strings.EqualFold(subprotocol, protocol.SubprotocolMsgpack) {
		s.codec, s.opcode = protocol.Msgpack, ws.OpBinary
	}
	c.Admission.Upgraded(s.displace)
	s.began = time.Now().Add(-1) // so that a time since it is never 0, which means none
	s.capacity.L = &s.mu
	s.timerAt = s.gateway.config.LoginTimeout
	s.timer = time.AfterFunc(s.timerAt, s.onTimer)
}

// serve runs the session until it has ended and is cleaned up. If read asks for it, serve
// goes on in a new goroutine, which has a small stack.
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
	why, user, number := s.closing, s.user, s.id()
	s.mu.Unlock()
	s.timer.Stop()
	s.pumps.Wait()
	s.logOut()
	s.gateway.unregister(s, user)
	s.closeConn(why)
	s.submits.Wait()

	s.gateway.metrics.closed(why)
	s.gateway.sick.ended(s, why)
	level := slog.LevelInfo
	if why.code == closeNormal || why.code == protocol.CloseGoingAway || number == 0 {
		level = slog.LevelDebug // there may be thousands at once, or as many as clients without a login make
	}
	s.gateway.log.Log(context.Background(), level, "session ended",
		"code", why.code, "reason", why.reason, "address", s.address,
		"user", user, "session", number, "lasted", time.Since(s.began))
}

// logOut submits the remaining read reports and then the logout. It waits for neither.
func (s *session) logOut() {
	if s.id() == 0 {
		return
	}
	b := s.gateway.backend
	b.Unwatch(s.user, s.id())
	s.detachAll()
	if s.subscribed {
		b.UnsubscribePresence(s)
	}
	s.reportReads(true)
	if s.closing != closedKicked && s.closing != closedRevoked && s.closing != closedByLogout {
		s.submits.Add(1)
		b.Submit(&command.Logout{User: s.user, Session: s.id(), LastSeen: s.lastActivity()}, func(command.Result, error) { s.submits.Done() })
	}
}

// closeConn writes what waits and a close frame, as far as CloseTimeout allows, and
// closes the socket.
func (s *session) closeConn(why closing) {
	timeout := s.gateway.config.CloseTimeout
	switch {
	case why == closedAbnormally:
	case s.clientClosed:
		s.conn.CloseHandshake(s.clientCode, "", true, timeout)
	case why == closedCrowded:
		s.conn.CloseHandshake(why.code, why.reason, true, timeout) // it does not wait for the client's answer: others need the descriptor
	default:
		s.conn.CloseHandshake(why.code, why.text(), false, timeout)
	}
	s.conn.Close()
}

// end ends the session, unless it has ended. It does not block: the read loop notices the
// end, and serve does the rest. After end only the close frame is queued.
func (s *session) end(why closing) { s.endWithFrame(why, nil) }

// displace ends the session in favour of other connections. If the reason is memory, it
// closes the socket without a close handshake.
func (s *session) displace(reason string) {
	if reason == admission.ForMemory {
		s.mu.Lock()
		user := s.user
		s.mu.Unlock()
		if user != "" {
			s.gateway.memoryLogins.Allow(string(user))
		}
		s.end(closedMemory)
		s.conn.Close()
		return
	}
	s.end(closedCrowded)
}

// endWithFrame is end, but queues a last frame before the close frame; nil for none.
func (s *session) endWithFrame(why closing, last func([]byte) []byte) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended, s.closing = true, why
	if last != nil {
		s.queueFrame(frameKicked, last)
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

// queueFrame queues a frame. The caller holds mu.
func (s *session) queueFrame(what frameOp, encode func([]byte) []byte) {
	s.frames.note(what, s.conn.QueueFrame(s.opcode, encode), s.age())
	s.gateway.metrics.framesOut.Inc()
}

// wakeLocked starts the pump or, if it runs, makes it do another round. The caller holds
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

// onTimer makes the pump check the deadlines. The timer calls it.
func (s *session) onTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timerAt = 0
	s.wakeLocked()
}

// id returns the session's number, 0 before the login. It changes when the session logs
// in again, see Gone.
func (s *session) id() command.SessionID { return command.SessionID(s.number.Load()) }

// UpTo implements store.Watcher.
func (s *session) UpTo() uint64 { return s.pushedTo.Load() }

// Wake notes that there is something new for the user. The store calls it.
func (s *session) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasNews = true
	if s.wokenAt.IsZero() {
		s.wokenAt = time.Now()
	}
	s.wakeLocked()
}

// Kick ends a session that the store has ended. The store calls it.
func (s *session) Kick(reason string) {
	if reason == "token" {
		// No onKicked is sent: the device may come back with a newer token.
		s.end(closedRevoked)
		return
	}
	s.endWithFrame(closedKicked, func(b []byte) []byte { return protocol.AppendKicked(b, s.codec, &protocol.Kicked{Reason: reason}) })
}

// age returns the time since the session began.
func (s *session) age() time.Duration { return time.Since(s.began) }

// noteActivity notes a sign of life of the peer.
func (s *session) noteActivity() { s.activeAt.Store(int64(s.age())) }
