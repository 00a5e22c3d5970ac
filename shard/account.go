package shard

import (
	"unsafe"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An account is what an administrator has set for a user. A change replaces the account
// as a whole, because a snapshot may share the old one.
type account struct {
	historyTTL int64             // ms; applies if it is longer than Limits.HistoryTTL
	suspended  bool              // the user cannot log in
	tokensFrom int64             // ms; tokens issued before this time are refused
	erased     command.SessionID // number of the last session before the user was erased; 0 = never erased
}

var zeroAccount account // never written

// accountOrZero returns what an administrator has set for a user. The caller must not
// change it.
func (u *user) accountOrZero() *account {
	if u.account == nil {
		return &zeroAccount
	}
	return u.account
}

// setAccount replaces what an administrator has set for a user.
func (s *State) setAccount(u *user, a account) {
	const size = int(unsafe.Sizeof(a))
	if u.account != nil {
		s.tableBytes -= size
	}
	u.account = nil
	if a != (account{}) {
		s.tableBytes += size
		u.account = &a
		s.longestTTL = max(s.longestTTL, a.historyTTL)
	}
}

func (s *State) applySetUser(c *command.SetUser, r *command.Result) {
	sl := s.slotFor(c.User)
	switch {
	case sl == nil:
		r.Code = command.CodeMoved
		return
	case c.User == "":
		*r = command.Result{Code: command.CodeBadRequest, Detail: "user: must not be empty"}
		return
	case c.HistoryTTL != nil && (*c.HistoryTTL < 0 || *c.HistoryTTL > command.MaxHistoryTTL):
		*r = command.Result{Code: command.CodeBadRequest, Detail: "historyTtl: must be within 0 and 87600h"}
		return
	case c.TokensFrom != nil && *c.TokensFrom < 0:
		*r = command.Result{Code: command.CodeBadRequest, Detail: "tokensFrom: must not be negative"}
		return
	}
	u := s.userMut(sl, c.User, true)
	a := *u.accountOrZero()
	if c.Suspended != nil {
		a.suspended = *c.Suspended
	}
	if c.TokensFrom != nil {
		a.tokensFrom = *c.TokensFrom
	}
	if c.HistoryTTL == nil {
		s.setAccount(u, a)
	} else {
		a.historyTTL = c.HistoryTTL.Milliseconds()
		s.purgeDue(u) // before the time changes, or expired messages would come back
		s.forgetTooOldDedup(u)
		s.setAccount(u, a)
		s.recountAllQueues(u)
		s.purgeDue(u)
	}
	s.endSessions(u, r, func(ss *session) string {
		switch u.checkToken(ss.tokenMS) {
		case command.CodeForbidden:
			return "admin"
		case command.CodeUnauthorized:
			return "token"
		}
		return ""
	})
}

// endSessions ends, on behalf of an administrator, those sessions of a user for which
// reasonFor returns a reason. It lists them in r.
func (s *State) endSessions(u *user, r *command.Result, why func(*session) string) {
	before := len(u.sessions)
	for i := 0; i < len(u.sessions); {
		if reason := why(&u.sessions[i]); reason != "" {
			s.kick(u, i, reason, r)
		} else {
			i++
		}
	}
	if len(u.sessions) == before {
		return
	}
	if len(u.sessions) == 0 {
		u.sessions = nil
	}
	u.lastSeen = s.now
	s.signal(u)
}

// checkToken returns OK if the user may have a session with a token issued at issuedAt
// (ms), and otherwise the code of the refusal.
func (u *user) checkToken(issuedAt int64) command.Code {
	switch a := u.accountOrZero(); {
	case a.suspended:
		return command.CodeForbidden
	case issuedAt/1000 < a.tokensFrom/1000: // tokens have whole seconds
		return command.CodeUnauthorized
	}
	return command.OK
}

// refuseToken reports whether the user may not have a session with a token issued at
// issuedAt (ms). If so, it puts the refusal into r.
func (u *user) refuseToken(issuedAt int64, r *command.Result) bool {
	switch code := u.checkToken(issuedAt); code {
	case command.CodeForbidden:
		*r = command.Result{Code: code, Detail: "token: this user is suspended"}
	case command.CodeUnauthorized:
		*r = command.Result{Code: code, Detail: "token: was issued too long ago"}
	default:
		return false
	}
	return true
}

func (s *State) applyRefreshToken(c *command.RefreshToken, r *command.Result) {
	sl := s.slotFor(c.User)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	if u := s.inSlot(sl, c.User); u == nil || u.session(c.Session) == nil {
		*r = command.Result{Code: command.CodeNotFound, Detail: "session: is over"}
		return
	} else if u.refuseToken(c.IssuedAt, r) {
		return
	}
	u := s.userMut(sl, c.User, false)
	u.session(c.Session).tokenMS = c.IssuedAt
}

func (s *State) applySetRead(c *command.SetRead, r *command.Result) {
	u, i, known := s.conversationFor(c.User, 0, command.Request{}, c.Peer, r)
	if !known {
		return
	}
	cv := &u.convs.items[i]
	seq := min(c.Seq, cv.log.Next()-1)
	switch {
	case c.Peer == c.User:
	case seq > cv.read:
		s.moveRead(u, i, seq, 0)
	case seq < cv.read:
		cv.read, cv.readBy = seq, 0
		cv.readArrival = s.stamp(u, i)
		if cv.coldIndex != 0 {
			s.coldMut(u, cv).queueHead = 0
		}
		s.recountAgedQueue(u, cv)
		u.due = 0 // a message queued again may expire before all others
		s.enforceLimits(u)
		s.addOwnHookChange(u, i, query.Change{Kind: query.ChangeRead, Seq: seq})
	}
	r.Seq, r.Unread = cv.read, s.unread(u, cv, s.now)
}
