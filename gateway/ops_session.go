package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// login handles login. It blocks the read loop until the store has answered, since no
// other request could be handled before.
func (s *session) login(r request) error {
	user, err := s.tryLogin(r)
	outcome := "ok"
	if err != nil {
		outcome = refusalOf(err).code
	}
	s.gateway.metrics.logins.WithLabelValues(outcome).Inc()
	if outcome == protocol.CodeRateLimited {
		s.gateway.sick.limited(user, r.Op) // refuse does not know of whom the login is
	}
	return s.endRefused(r, user, err)
}

// endRefused handles the error of a login or of a new token, which is of user; "" = that is
// not known. If the token was refused or the user is suspended, it refuses the request and
// ends the session. It returns any other error.
func (s *session) endRefused(r request, user command.UserID, err error) error {
	if err == nil {
		return nil
	}
	why := closedBadToken
	refused := refusalOf(err)
	switch refused.code {
	case protocol.CodeUnauthorized:
	case protocol.CodeForbidden:
		why = closedSuspended
	default:
		return err
	}
	s.gateway.sick.loginRefused(user, refused.message)
	if user != "" { // others are strangers, who write nothing into the log
		s.gateway.refusedLogins.Log(s.gateway.log, slog.LevelInfo, "a login is refused", "user", user, "reason", refused.message, "address", s.address)
	}
	s.refuse(r, err)
	s.end(why)
	return nil
}

// tryLogin logs in. user is whom the token is of, as far as its signature is valid.
func (s *session) tryLogin(r request) (user command.UserID, err error) {
	if s.hasLoggedIn() {
		return s.user, &refusal{code: protocol.CodeBadRequest, message: "op: this session is logged in already"}
	}
	var args protocol.LoginArgs
	if err := args.Decode(r.Args); err != nil {
		return "", err
	}
	id, err := s.verify(args.Token)
	if err != nil {
		return command.UserID(id.User), err
	}
	user = command.UserID(id.User)
	return user, s.loginAs(user, id, r, &args)
}

// loginAs logs in a user whom a token has proved.
func (s *session) loginAs(user command.UserID, id auth.Identity, r request, args *protocol.LoginArgs) error {
	g := s.gateway
	if wait, ok := g.memoryLogins.Ready(string(user)); !ok {
		return &refusal{protocol.CodeUnavailable, "op: a session of this user has just been closed for memory", wait}
	}
	if wait, ok := g.logins.Allow(string(user)); !ok {
		return &refusal{protocol.CodeRateLimited, "op: too many logins of this user", wait}
	}
	// Reads that the user's other sessions have not reported yet have to count for this
	// login.
	for _, other := range g.sessionsOf(user) {
		other.reportReads(true)
	}
	ctx, cancel := s.requestContext()
	defer cancel()
	sync, err := g.backend.Login(ctx, &command.Login{
		User: user, Device: args.Device, Platform: args.Platform, Policy: g.config.Policy,
		AutoRead: args.AutoRead, HasCursor: args.HasSince, Cursor: args.Since,
		IssuedAt: id.Issued,
	}, enum.RecentsModes.Value(args.Recents), s)
	if refused, ok := errors.AsType[*command.RefusedError](err); ok && refused.Code == command.CodeConflict {
		// Most likely nobody waits for the answer. Whoever does may try again: then theirs is
		// the latest.
		return &refusal{protocol.CodeUnavailable, "op: a later login, which would have ended this session, was faster", store.DefaultRetryAfter}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.user, s.autoRead = user, args.AutoRead
	s.device, s.platform, s.issuedAt = args.Device, args.Platform, id.Issued
	s.loginID, s.deviceHash = sync.Session, command.HashDevice(args.Device)
	s.number.Store(uint64(sync.Session))
	s.maxRecents, s.loginTime = sync.MaxRecents, g.backend.Now()
	s.pushedTo.Store(sync.Arrival)
	s.expireAt(id.Expires)
	s.tokenKey = id.Key
	s.mu.Unlock()
	s.sendLimit = g.sends.Bucket(string(user))
	g.register(s, user)
	g.sick.loggedIn(s)
	s.checkKey()
	s.sync = s.startSync(ctx, sync, args)
	s.answerLogin(r)
	return nil
}

// answerLogin replies to the login and wakes the pump, which pushes the sync.
func (s *session) answerLogin(r request) {
	g := s.gateway
	ok := protocol.LoginOK{
		User: string(s.user), Session: uint64(s.id()), ServerTime: g.backend.Now(), Protocol: protocol.Version,
		Limits: protocol.SessionLimits{
			MaxBody: g.config.MaxBody, MaxFrame: g.maxFrame,
			Window: g.config.Window, IdleMS: g.config.IdleTimeout.Milliseconds(),
		},
	}
	s.reply(r, &ok)
	s.conn.Admission.Authenticated()
	s.conn.SetLimit(s.gateway.maxFrame, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncSize = s.sync.size()
	s.chargeHeld()
	s.loggedIn = true // only now, so that no push comes before the reply
	s.wakeLocked()
}

// verify returns the identity that a token proves, or a refusal, and with that whom the token
// is of, as auth.Verifier.Verify does.
func (s *session) verify(token string) (auth.Identity, error) {
	id, err := s.gateway.auth.Load().Verify(token)
	if err != nil {
		s.gateway.log.Debug("token refused", "address", s.address, "user", id.User, "error", err)
		return id, refusedToken(err)
	}
	id.Issued = min(id.Issued, s.gateway.backend.Now()) // whatever the clock of its issuer says
	return id, nil
}

// expireAt sets when the token ends the session. The caller holds mu.
func (s *session) expireAt(t time.Time) {
	const aLongTime = 100 * 365 * 24 * time.Hour // keeps sums with it from overflowing
	s.expiry = s.age() + max(min(time.Until(t), aLongTime), 1)
}

// requestContext returns the context of a request that blocks the read loop. It ends after
// RequestTimeout, or with the session.
func (s *session) requestContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), s.gateway.config.RequestTimeout)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		cancel()
		return ctx, cancel
	}
	outer := s.cancel
	s.cancel = cancel
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.cancel = outer; s.ended && outer != nil {
			outer()
		}
	}
}

// refreshToken replaces the session's token with another one of the same user. If the new
// token is refused, the session ends, as at the login.
func (s *session) refreshToken(r request) error {
	var args protocol.RefreshTokenArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	id, err := s.verify(args.Token)
	if err == nil && id.User != string(s.user) {
		err = &refusal{code: protocol.CodeUnauthorized, message: "token: belongs to another user"}
	}
	if err != nil {
		return s.endRefused(r, s.user, err)
	}
	s.addPending(r)
	s.submits.Add(1)
	cmd := &command.RefreshToken{User: s.user, Session: s.id(), IssuedAt: id.Issued}
	s.gateway.backend.Submit(cmd, func(result command.Result, err error) {
		defer s.submits.Done()
		if err == nil {
			err = result.Err()
		}
		if err == nil {
			s.replaceToken(r, id)
		} else if err = s.endRefused(r, s.user, err); err != nil {
			s.refuse(r, err)
		}
		s.removePending(r)
	})
	return nil
}

// replaceToken makes the session expire with its new token, and replies.
func (s *session) replaceToken(r request, id auth.Identity) {
	s.mu.Lock()
	s.expireAt(id.Expires)
	s.tokenKey, s.issuedAt = id.Key, id.Issued
	s.wakeLocked() // the pump sets the timer
	s.mu.Unlock()
	s.reply(r, &protocol.RefreshOK{Exp: id.Expires.UnixMilli()})
	s.checkKey()
}

func (s *session) acknowledge(r request) error {
	var args protocol.AckArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	s.ack(args.D)
	s.reply(r, nil)
	return nil
}

func (s *session) setState(r request) error {
	var args protocol.SetStateArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	s.setBackground(args.Background)
	s.reply(r, nil)
	return nil
}

// ping replies after it has submitted the read reports of earlier acks. After the reply,
// the client knows that these count before any later login.
func (s *session) ping(r request) error {
	if err := new(protocol.NoArgs).Decode(r.Args); err != nil {
		return err
	}
	s.reportReads(true)
	s.reply(r, &protocol.PingOK{ServerTime: s.gateway.backend.Now()})
	return nil
}

func (s *session) logout(r request) error {
	if err := new(protocol.NoArgs).Decode(r.Args); err != nil {
		return err
	}
	s.reportReads(true)
	cmd := &command.Logout{User: s.user, Session: s.id(), LastSeen: s.gateway.backend.Now()}
	s.propose(r, cmd, func(command.Result) {
		s.reply(r, nil)
		s.end(closedByLogout)
	})
	return nil
}
