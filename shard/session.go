package shard

import (
	"cmp"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A session is the replicated part of a user's session. Whether its socket is still
// open is known only to the gateway that holds it.
type session struct {
	number   command.SessionID
	device   string
	platform string
	loginMS  int64    // ms, when the login was begun; several logins may have the same
	tokenMS  int64    // ms, when the session's token was issued; 0 = unknown
	answers  []answer // answers to the last requests that changed something, oldest first
}

// keptAnswers is how many answers are kept for each session: as many as it may have
// requests open. When a leader is lost, all that are unanswered are proposed again in
// their order; if only the later ones of them were known as repeats, the earlier ones
// would undo them.
const keptAnswers = 64

// An answer is the result that a repeat of a request gets.
type answer struct {
	request command.Request
	unread  int
}

// Sessions lists a user's sessions in order of login.
func (s *State) Sessions(name command.UserID) []query.SessionInfo {
	u := s.lookup(name)
	if u == nil {
		return nil
	}
	return u.sessionInfos()
}

func (u *user) sessionInfos() []query.SessionInfo {
	infos := make([]query.SessionInfo, len(u.sessions))
	for i, ss := range u.sessions {
		infos[i] = query.SessionInfo{Number: ss.number, Device: ss.device, Platform: ss.platform, LoginMS: ss.loginMS}
	}
	return infos
}

// LiveSession reports whether a session exists, and returns the newest arrival number of
// its user.
func (s *State) LiveSession(name command.UserID, number command.SessionID) (arrival uint64, live bool) {
	u := s.lookup(name)
	if u == nil {
		return 0, false
	}
	return u.arrival, u.session(number) != nil
}

// AllSessions yields every session of every user of the shard, in no order.
func (s *State) AllSessions(yield func(command.UserID, command.SessionID) bool) {
	for _, sl := range s.slots {
		if sl == nil || sl.frozen {
			continue
		}
		for number := range sl.users.all {
			u := s.userAt(number)
			for i := range u.sessions {
				if !yield(u.name, u.sessions[i].number) {
					return
				}
			}
		}
	}
}

func (s *State) applyLogin(c *command.Login, r *command.Result) {
	sl := s.slotFor(c.User)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	if c.User == "" || c.Device == "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "device: must not be empty"}
		return
	}
	if u := s.inSlot(sl, c.User); u != nil && u.refuseToken(c.IssuedAt, r) {
		return
	}
	if reason := s.superseded(sl, c); reason != "" {
		*r = command.Result{Code: command.CodeConflict, Detail: reason}
		return
	}
	u := s.userMut(sl, c.User, true)
	begun := s.begun(c)
	for i := 0; i < len(u.sessions); {
		ss := &u.sessions[i]
		switch {
		case ss.number == c.Instead && c.Instead != 0:
			begun = ss.loginMS // it goes on
			u.sessions = slices.Delete(u.sessions, i, i+1)
		case ss.device == c.Device:
			s.kick(u, i, "sameDevice", r)
		case c.Policy == command.PolicySingle, c.Policy == command.PolicyPlatform && ss.platform == c.Platform:
			s.kick(u, i, "policy", r)
		default:
			i++
		}
	}
	for limit := s.limits.MaxDevices; limit > 0 && len(u.sessions) >= limit; {
		s.kick(u, u.oldestSession(), "policy", r)
	}
	u.lastSession++
	r.Session = u.lastSession
	u.sessions = append(u.sessions, session{
		number: r.Session, device: c.Device, platform: c.Platform, loginMS: begun, tokenMS: c.IssuedAt,
	})
	u.lastSeen = s.now
	s.signal(u)

	if !c.HasCursor {
		return
	}
	since, ok := query.ParseCursor(s.epoch, c.User, c.Cursor)
	if !ok || since > u.arrival {
		r.Reset = true
		return
	}
	r.CursorArrival = since
	if c.AutoRead {
		s.markReadThrough(u, since, r.Session)
	}
}

// oldestSession returns the index of the session that was begun first; of those that were
// begun at once, of the one with the lowest number.
func (u *user) oldestSession() int {
	oldest := 0
	for i := range u.sessions {
		if u.sessions[i].loginMS < u.sessions[oldest].loginMS {
			oldest = i
		}
	}
	return oldest
}

// overtakenBy is by how much a session must have been begun after a login that comes
// later, ms, to have been the client's later choice. Logins that are made at the same time
// may come in either order, and the last to come has always ended the others.
const overtakenBy = 1000

// begun returns when a login was begun, in ms.
func (s *State) begun(c *command.Login) int64 {
	if c.Begun == 0 {
		return s.now
	}
	return min(c.Begun, s.now)
}

// superseded returns for which reason later logins have ended the session that a login
// makes or continues, or would have ended it, "" if they have not.
func (s *State) superseded(sl *slot, c *command.Login) (reason string) {
	u := s.inSlot(sl, c.User)
	if u == nil {
		return ""
	}
	later, begun := 0, s.begun(c)
	for i := range u.sessions {
		ss := &u.sessions[i]
		switch {
		case c.Instead != 0 && ss.number <= c.Instead, c.Instead == 0 && ss.loginMS <= begun+overtakenBy:
			continue
		case ss.device == c.Device:
			return "sameDevice"
		case c.Policy == command.PolicySingle, c.Policy == command.PolicyPlatform && ss.platform == c.Platform:
			reason = "policy"
		}
		later++
	}
	if limit := s.limits.MaxDevices; limit > 0 && later >= limit {
		return "policy"
	}
	return reason
}

// kick ends session i of a user for a reason, and lists it in r and in the outcome.
func (s *State) kick(u *user, i int, reason string, r *command.Result) {
	k := command.Kick{User: u.name, Session: u.sessions[i].number, Reason: reason}
	u.sessions = slices.Delete(u.sessions, i, i+1)
	r.Kicked = append(r.Kicked, k)
	s.out.Kicked = append(s.out.Kicked, k)
}

// markReadThrough moves the read cursors of all conversations over the messages that
// arrived up to an arrival number: the cursor of a device with AutoRead counts as an
// ack.
func (s *State) markReadThrough(u *user, since uint64, by command.SessionID) {
	for i := range u.convs.items {
		c := &u.convs.items[i]
		if c.log.Next()-1 <= c.read {
			continue
		}
		// Entries that left the log are older than those that it holds. If all that it
		// holds arrived later, only the runs of lost messages tell how far to move.
		seq := c.log.FirstAfterArrival(s.arena, since) - 1
		if seq < c.log.First() {
			seq = 0
			for _, run := range u.extraOf(c).lost.items(s.arena) {
				if run.arrival <= since {
					seq = run.to
				}
			}
			if c.log.Len() == 0 && c.lastArrival <= since {
				seq = c.log.Next() - 1
			}
		}
		// Imported messages were never pushed, so a cursor does not ack them.
		if rec := u.importOf(i); rec.row > 0 && seq <= rec.seq {
			continue
		}
		s.moveRead(u, i, seq, by)
	}
}

func (s *State) applyLogout(c *command.Logout, r *command.Result) {
	sl := s.slotFor(c.User)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	u := s.userMut(sl, c.User, false)
	if u == nil {
		return
	}
	i := slices.IndexFunc(u.sessions, func(ss session) bool { return ss.number == c.Session })
	if i < 0 {
		return
	}
	if c.Reason != "" {
		s.kick(u, i, c.Reason, r)
	} else {
		u.sessions = slices.Delete(u.sessions, i, i+1)
	}
	if len(u.sessions) == 0 {
		u.sessions = nil
	}
	u.lastSeen = max(u.lastSeen, min(c.LastSeen, s.now))
	s.signal(u)
}

// session returns the user's session with a number, or nil if there is none.
func (u *user) session(id command.SessionID) *session {
	i, ok := slices.BinarySearchFunc(u.sessions, id, func(ss session, id command.SessionID) int {
		return cmp.Compare(ss.number, id)
	})
	if !ok {
		return nil
	}
	return &u.sessions[i]
}

// repeatAnswer reports whether a session repeats an earlier request. If so, r has the
// answer to the first.
func (u *user) repeatAnswer(id command.SessionID, req command.Request, r *command.Result) bool {
	ss := u.session(id)
	if ss == nil || req == (command.Request{}) {
		return false
	}
	for _, a := range ss.answers {
		if a.request == req {
			*r = command.Result{Unread: a.unread}
			return true
		}
	}
	return false
}

// rememberAnswer keeps the answer to an accepted request for its repeats. It replaces
// the answer to an earlier request with the same id, because a client may use an id
// again once it has the answer.
func (s *State) rememberAnswer(u *user, id command.SessionID, req command.Request, r *command.Result) {
	ss := u.session(id)
	if ss == nil || req == (command.Request{}) {
		return
	}
	ss.answers = slices.DeleteFunc(ss.answers, func(a answer) bool { return a.request.ID == req.ID })
	if len(ss.answers) == keptAnswers {
		ss.answers = slices.Delete(ss.answers, 0, 1)
	}
	ss.answers = append(ss.answers, answer{request: req, unread: r.Unread})
}

// HasConversation reports whether the user's view of a conversation with peer has, or
// had, messages.
func (s *State) HasConversation(name, peer command.UserID) bool {
	u := s.lookup(name)
	if u == nil {
		return false
	}
	i := s.findConv(u, peer)
	return i >= 0 && u.convs.items[i].log.Next() > 1
}

// HasReceivedFrom reports whether peer has ever written to the user.
func (s *State) HasReceivedFrom(name, peer command.UserID) bool {
	return s.convFlag(name, peer, convReceived)
}

// convFlag reports whether a conversation exists and has a flag.
func (s *State) convFlag(name, peer command.UserID, flag uint8) bool {
	u := s.lookup(name)
	if u == nil {
		return false
	}
	i := s.findConv(u, peer)
	return i >= 0 && u.convs.items[i].flags&flag != 0
}

// BlockedBy reports whether peer has blocked the user, as far as letters have arrived.
func (s *State) BlockedBy(name, peer command.UserID) bool {
	return s.convFlag(name, peer, convBlockedBy)
}

// Blocks reports whether the user has blocked peer.
func (s *State) Blocks(name, peer command.UserID) bool { return s.convFlag(name, peer, convBlocked) }

// Blocked lists the users whom a user has blocked, in order of name.
func (s *State) Blocked(name command.UserID) []command.UserID {
	u := s.lookup(name)
	if u == nil {
		return nil
	}
	var names []command.UserID
	for i := range u.convs.items {
		if c := &u.convs.items[i]; c.flags&convBlocked != 0 {
			names = append(names, command.UserID(s.peer(c)))
		}
	}
	slices.Sort(names)
	return names
}

// noteLastSeen records a sign of life of a user's session. Session 0 is an
// administrator in the user's name, which is no sign of life.
func (u *user) noteLastSeen(session command.SessionID, now int64) {
	if session != 0 {
		u.lastSeen = now
	}
}

// Suspended reports whether an administrator has suspended the user.
func (s *State) Suspended(name command.UserID) bool {
	u := s.lookup(name)
	return u != nil && u.accountOrZero().suspended
}

// HasUser reports whether the shard keeps anything of a user.
func (s *State) HasUser(name command.UserID) bool { return s.lookup(name) != nil }

// Exists reports whether the user has logged in, and was not erased since.
func (s *State) Exists(name command.UserID) bool {
	u := s.lookup(name)
	return u != nil && u.exists()
}

// exists is State.Exists for a user.
func (u *user) exists() bool { return u.lastSession > u.accountOrZero().erased }

// LastSeen returns the user's last replicated sign of life, in ms; 0 = there was none.
// Logins, sends and read reports are signs of life, and also Logout.LastSeen.
func (s *State) LastSeen(name command.UserID) int64 {
	if u := s.lookup(name); u != nil {
		return u.lastSeen
	}
	return 0
}
