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
	// maxRequests bounds the requests of a session that are not answered yet.
	// While it is reached the session is not read.
	maxRequests = 64
	// maxBacklog is how many bytes may wait to be written, not counting the
	// reply that crosses it, before the session is not read any more.
	maxBacklog = 64 << 10
)

// A session is one WebSocket of one device, and the store's Watcher of it.
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
	unfinishedSince atomic.Int64 // when the frame or message that is not whole yet was seen first, likewise; 0 for none

	// Owned by the read loop.
	limit        ratelimit.Frames
	sends        *rate.Limiter // of the user, shared with his other sessions; nil for no limit
	typingLimit  *rate.Limiter // notices of typing; nil until the first
	subscribed   bool          // to presence
	clientCode   int           // close code of the client's close frame, 0 for none
	clientClosed bool          // the client's close frame has come
	repeats      *repeats      // nil until the first change that is no send
	handled      int           // requests and notices of what is being drained
	ponged       bool          // there was a pong in it
	completed    bool          // a message or a control frame outside one ended in it
	identified   uint64        // id of the request being handled, once the shard is to know it

	// Set by the read loop at login, static once loggedIn.
	user       command.UserID
	number     command.SessionID
	auto       bool  // an ack is a read report
	maxRecents int   // most conversations of recents
	loginTime  int64 // store's time at the login, ms

	// Set by the read loop at login, owned by the pump once loggedIn.
	sync            *loginSync // what is left of the login's sync, nil once it is pushed
	pushedTo        uint64     // arrival number up to which the device was told
	pinged          time.Duration
	roundWoken      time.Time // first Wake of what the pump is pushing
	pastMemberships pastMemberships

	submits sync.WaitGroup // commands without an outcome yet
	pumps   sync.WaitGroup
	reports sync.Mutex // held while read reports are taken and submitted; comes before mu

	mu           sync.Mutex
	capacity     sync.Cond // of mu: a request was answered, bytes were written, or the end came
	loggedIn     bool
	ended        bool
	closing      closing            // once ended
	stopped      bool               // no pump may start any more
	cancel       context.CancelFunc // of the request that the read loop waits for, nil for none
	pumping      bool
	dirty        bool      // there may be something for the pump to do
	woken        time.Time // first Wake that the pump has not looked into
	pending      []pendingRequest
	handling     bool    // the read loop handles a frame
	pendingClose closing // why the session is to go as soon as all is answered
	window       window
	signals      []store.Signal
	syncSize     int64         // bytes that what is left of the login's sync takes, about
	charged      int64         // what the place is charged with for what the session holds: see chargeHeld
	held         *held         // sends that wait for a decision; nil until the first
	reads        []readUpTo    // what was acked and is to be reported, each peer once
	reporting    int           // read reports in flight
	answers      []groupAnswer // to the last changes on groups, at most keptRequests, oldest first
	hasNews      bool          // the store may have news beside those of groups
	groups       map[command.GroupID]*subscription
	live         int                               // of groups that store nothing
	background   bool                              // nobody looks at the device
	stalled      bool                              // the store was told that its app does not answer
	ready        fifo[subscription, *subscription] // those that have something for the pump
	late         []*loginSync                      // of groups that the login could not ask about
	cancelLate   context.CancelFunc                // ends asking for them, nil for none
	nextPump     *session                          // in the pumpers' line; guarded by that

	key *auth.Key // that signed the token, nil before the login; guarded by mu

	// Deadlines, as time since began; 0 is none. Guarded by mu.
	expiry       time.Duration // of the token
	fullSince    time.Duration // the window is full since then, or since the last ack
	unackedSince time.Duration // the device owes an ack since then, or since the last one
	retryAt      time.Duration // the store was unavailable to the pump
	armed        time.Duration // when the timer calls alarm
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
	s.began = time.Now().Add(-1) // so that no time since is 0, which means none
	s.capacity.L = &s.mu
	s.armed = s.gateway.config.LoginTimeout
	s.timer = time.AfterFunc(s.armed, s.alarm)
}

// serve runs the session until it ends, and leaves nothing behind. It goes on in
// a goroutine of its own whenever read says that its stack has outgrown what
// waiting needs.
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
	defer s.gateway.release()
	s.mu.Lock()
	s.stopped = true
	why, user, number := s.closing, s.user, s.number
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
		level = slog.LevelDebug // ends of this kind come by the thousand, and those of strangers as they like
	}
	s.gateway.log.Log(context.Background(), level, "session ended",
		"code", why.code, "reason", why.reason, "address", s.address,
		"user", user, "session", number, "lasted", time.Since(s.began))
}

// logOut tells the store that the session is over: its last read reports come
// before its logout. Nobody waits for either here.
func (s *session) logOut() {
	if s.number == 0 {
		return
	}
	b := s.gateway.backend
	b.Unwatch(s.user, s.number)
	s.detachAll()
	if s.subscribed {
		b.UnsubscribePresence(s)
	}
	s.reportReads(true)
	if s.closing != closedKicked && s.closing != closedRevoked && s.closing != closedByLogout {
		s.submits.Add(1)
		b.Submit(&command.Logout{User: s.user, Session: s.number, LastSeen: s.lastActivity()}, func(command.Result, error) { s.submits.Done() })
	}
}

// closeConn sends what waits and a close frame, as far as the socket takes them in
// time, and closes it.
func (s *session) closeConn(why closing) {
	timeout := s.gateway.config.CloseTimeout
	switch {
	case why == closedAbnormally:
	case s.clientClosed:
		s.conn.CloseHandshake(s.clientCode, "", true, timeout)
	case why == closedCrowded:
		s.conn.CloseHandshake(why.code, why.reason, true, timeout) // others wait for its place
	default:
		s.conn.CloseHandshake(why.code, why.text(), false, timeout)
	}
	s.conn.Close()
}

// end ends the session unless something else has. It never blocks: the read
// loop notices and serve does the rest. After it, nothing more is written but
// what waits already and the close frame.
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

// endWithFrame is end with a last frame.
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

// wakeLocked has the pump look again, now or when it is through. The caller
// holds mu.
func (s *session) wakeLocked() {
	s.dirty = true
	if s.pumping || s.stopped || s.ended {
		return
	}
	s.pumping = true
	s.pumps.Add(1)
	s.gateway.pumpers.start(s)
}

// alarm has the pump look after the deadlines.
func (s *session) alarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = 0
	s.wakeLocked()
}

// Wake is called by the store when there is something to read.
func (s *session) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasNews = true
	if s.woken.IsZero() {
		s.woken = time.Now()
	}
	s.wakeLocked()
}

// Kick is called by the store when it ended the session itself.
func (s *session) Kick(reason string) {
	if reason == "token" {
		// Not onKicked: the device may come back, with a newer one.
		s.end(closedRevoked)
		return
	}
	s.endWithFrame(closedKicked, func(b []byte) []byte { return protocol.AppendKicked(b, s.codec, &protocol.Kicked{Reason: reason}) })
}

// since is the time since the session began.
func (s *session) since() time.Duration { return time.Since(s.began) }

// noteActivity notes a sign of life.
func (s *session) noteActivity() { s.activeAt.Store(int64(s.since())) }
