package gateway

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

const (
	// maxBehind is how many sessions are remembered whose ack is late; further ones are not
	// told of.
	maxBehind = 4096
	// keptClosed is how many closed connections are remembered for each code, and as many
	// of those without a login, so that a flood of one kind hides no other.
	keptClosed = 64
)

// sick is what an operator is told of sessions that do not do well. All of it is noted when
// it happens, which is not often, so that to look costs no walk over all sessions.
// Its mutex is taken last, also by holders of session.mu.
type sick struct {
	mu      sync.Mutex
	behind  map[*session]struct{}
	closed  map[closedKind]*[keptClosed]inspect.Closed
	closing map[closedKind]int // how many there were

	logins inspect.Often // by user and device
	limits inspect.Often // refused by rate limits, by user and op
	denied inspect.Often // refused logins, by user and reason
}

type closedKind struct {
	code     int
	loggedIn bool
}

// fellBehind notes a session whose ack has become late. The caller holds its mu.
func (k *sick) fellBehind(s *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.behind == nil {
		k.behind = make(map[*session]struct{})
	}
	if len(k.behind) < maxBehind {
		k.behind[s] = struct{}{}
	}
}

// caughtUp undoes fellBehind.
func (k *sick) caughtUp(s *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.behind, s)
}

func (k *sick) loggedIn(s *session) { k.logins.Add(string(s.user), s.device, time.Now()) }

// limited notes that a rate limit has refused a request.
func (k *sick) limited(user command.UserID, op string) {
	if !requestOps[op] {
		op = frameNames[frameUnknown] // a client makes up any number of others
	}
	k.limits.Add(string(user), op, time.Now())
}

// loginRefused notes that a login or a session's new token was refused. user is "" unless
// the token's signature is valid, so that nobody can put names there.
func (k *sick) loginRefused(user command.UserID, reason string) {
	k.denied.Add(string(user), reason, time.Now())
}

// refusedLogins lists those that are of a user, or all.
func (k *sick) refusedLogins(all bool, user string) (list []inspect.RefusedLogin) {
	for _, c := range k.denied.All(time.Now()) {
		if all || c.A == user {
			list = append(list, inspect.RefusedLogin{User: c.A, Reason: c.B, Refused: c.Count, Last: c.Last})
		}
	}
	return list
}

// ended notes that a session has ended and, if it was closed for being slow, silent or too
// fast, remembers it for a while.
func (k *sick) ended(s *session, why closing) {
	switch why.code {
	case protocol.CloseTimeout, protocol.CloseSlow, protocol.CloseTooMany:
	default:
		k.caughtUp(s)
		return
	}
	s.mu.Lock()
	unacked := s.window.bytes
	s.mu.Unlock()
	kind := closedKind{why.code, s.id() != 0}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.behind, s)
	if k.closed == nil {
		k.closed, k.closing = make(map[closedKind]*[keptClosed]inspect.Closed), make(map[closedKind]int)
	}
	if k.closed[kind] == nil {
		k.closed[kind] = new([keptClosed]inspect.Closed)
	}
	k.closed[kind][k.closing[kind]%keptClosed] = inspect.Closed{
		Time: time.Now().UnixMilli(), Code: why.code, Reason: why.reason, User: string(s.user), Session: uint64(s.id()),
		Device: s.device, Platform: s.platform, Address: s.address, Lasted: s.age().Milliseconds(), UnackedBytes: unacked,
	}
	k.closing[kind]++
}

// InspectSessions implements inspect.Sessions.
func (g *Gateway) InspectSessions(user string) []inspect.Session {
	sessions := g.sessionsOf(command.UserID(user))
	list := make([]inspect.Session, len(sessions))
	for i, s := range sessions {
		list[i] = s.inspect()
	}
	slices.SortFunc(list, func(a, b inspect.Session) int { return cmp.Compare(a.Session, b.Session) })
	return list
}

// InspectRefused implements inspect.Sessions.
func (g *Gateway) InspectRefused(user string) []inspect.RefusedLogin {
	return g.sick.refusedLogins(false, user)
}

// InspectFrames implements inspect.Sessions.
func (g *Gateway) InspectFrames(user string, session uint64) ([]inspect.Frame, bool) {
	for _, s := range g.sessionsOf(command.UserID(user)) {
		if uint64(s.id()) == session {
			return s.frames.list(s.began), true
		}
	}
	return nil, false
}

// InspectSick implements inspect.Sessions.
func (g *Gateway) InspectSick(limit int) (sick inspect.Sick) {
	k := &g.sick
	k.mu.Lock()
	behind := make([]*session, 0, len(k.behind))
	for s := range k.behind {
		behind = append(behind, s)
	}
	for kind, ring := range k.closed {
		sick.Closed = append(sick.Closed, ring[:min(k.closing[kind], keptClosed)]...)
	}
	k.mu.Unlock()
	for _, s := range behind {
		sick.Behind = append(sick.Behind, s.inspect())
	}
	slices.SortFunc(sick.Behind, func(a, b inspect.Session) int { return cmp.Compare(b.UnackedBytes, a.UnackedBytes) })
	sick.Behind = sick.Behind[:min(limit, len(sick.Behind))]
	slices.SortFunc(sick.Closed, func(a, b inspect.Closed) int { return cmp.Compare(b.Time, a.Time) })
	sick.Closed = sick.Closed[:min(limit, len(sick.Closed))]
	for _, c := range k.logins.Most(limit, time.Now()) {
		sick.Reconnecting = append(sick.Reconnecting, inspect.Reconnecting{User: c.A, Device: c.B, Logins: c.Count, Last: c.Last})
	}
	for _, c := range k.limits.Most(limit, time.Now()) {
		sick.Limited = append(sick.Limited, inspect.Limited{User: c.A, Op: c.B, Refused: c.Count, Last: c.Last})
	}
	sick.Refused = k.refusedLogins(true, "")
	sick.Refused = sick.Refused[:min(limit, len(sick.Refused))]
	return sick
}

// InspectForget implements inspect.Sessions.
func (g *Gateway) InspectForget(user string) {
	k := &g.sick
	k.logins.Forget(user)
	k.limits.Forget(user)
	k.denied.Forget(user)
	k.mu.Lock()
	defer k.mu.Unlock()
	for kind, ring := range k.closed {
		held := ring[:min(k.closing[kind], keptClosed)]
		left := slices.DeleteFunc(slices.Clone(held), func(c inspect.Closed) bool { return c.User == user })
		if len(left) == len(held) {
			continue
		}
		slices.SortFunc(left, func(a, b inspect.Closed) int { return cmp.Compare(a.Time, b.Time) })
		clear(held)
		k.closing[kind] = copy(held, left)
	}
}

// inspect tells how a session does that has logged in.
func (s *session) inspect() inspect.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.age()
	of := inspect.Session{
		User: string(s.user), Session: uint64(s.id()), Device: s.device, Platform: s.platform, Address: s.address, Since: s.loginTime,
		Encoding: "json", Background: s.background, AutoRead: s.autoRead, Stalled: s.stalled,
		UnackedFrames: len(s.window.frames), UnackedBytes: s.window.bytes,
		Buffered: s.conn.Buffered(), Silent: (now - time.Duration(s.activeAt.Load())).Milliseconds(), Groups: len(s.groups),
	}
	if s.codec.Binary() {
		of.Encoding = "msgpack"
	}
	if s.unackedSince != 0 {
		of.Unacked = (now - s.unackedSince).Milliseconds()
	}
	return of
}
