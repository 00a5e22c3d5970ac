package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// keepToken keeps the session's token fresh, until ctx ends or it cannot tell when the
// token expires.
func (s *session) keepToken(ctx context.Context, token string) {
	retry := backoff{least: time.Second, most: 30 * time.Second}
	for {
		exp := tokenExpiry(token)
		if exp.IsZero() {
			return // no expiry to go by: the server ends the session in time
		}
		pause := refreshIn(exp, time.Now().Add(s.ahead))
		for {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			fresh, err := s.c.refresh(ctx)
			if err == nil {
				token = fresh
				retry.reset()
				break
			}
			s.c.cfg.Log.Warn("token not refreshed", "err", err)
			pause = time.Second + retry.next()
		}
	}
}

// restore sends again what the server keeps for one session only: the background
// state, live groups and watched users. It leaves out what the server refuses for good,
// and tries anything else until ctx ends.
func (s *session) restore(ctx context.Context) {
	c := s.c
	c.mu.Lock()
	watched := slices.Sorted(maps.Keys(c.watched))
	live := slices.Sorted(maps.Keys(c.live))
	c.mu.Unlock()
	s.again(ctx, func() bool { return c.background }, func() *call {
		return &call{op: protocol.OpSetState, args: &protocol.SetStateArgs{Background: true}}
	})
	for _, group := range live {
		joined := func() bool { _, ok := c.live[group]; return ok }
		err := s.again(ctx, joined, func() *call {
			return &call{op: protocol.OpJoinGroup, args: &protocol.GroupArgs{Group: group}}
		})
		if err != nil {
			c.forgetLive(group)
		}
	}
	for users := range slices.Chunk(watched, protocol.MaxUsers) {
		var ok protocol.PresenceOK
		s.again(ctx, func() bool { return true }, func() *call {
			return &call{op: protocol.OpSubscribePresence, ok: &ok, args: &protocol.PresenceArgs{Users: users}}
		})
		s.reportPresence(ok.Presence)
	}
}

// again makes a request that restores something until it is answered, and returns the answer
// if that is a refusal for good. It does nothing once the application wants it no more:
// wanted is called with Client.mu held, under which the call takes its place, so that a
// later request of the application to the contrary comes behind it.
func (s *session) again(ctx context.Context, wanted func() bool, request func() *call) *Error {
	pauses := backoff{least: time.Second, most: 30 * time.Second}
	for ctx.Err() == nil {
		again := request()
		again.tied = true
		s.c.mu.Lock()
		if !wanted() {
			s.c.mu.Unlock()
			return nil
		}
		err := s.c.out.submit(again)
		s.c.mu.Unlock()
		if err == nil {
			err = s.c.out.wait(ctx, again)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			s.c.cfg.Log.Warn("session not restored", "op", again.op, "err", err)
		}
		if refusal, ok := errors.AsType[*Error](err); ok && !refusal.open() {
			return refusal
		}
		select {
		case <-time.After(time.Second + pauses.next()):
		case <-ctx.Done():
		}
	}
	return nil
}

// reportPresence calls OnPresence with the state of watched users: changes may have been
// missed between the sessions.
func (s *session) reportPresence(presence []UserPresence) {
	handler := s.c.cfg.OnPresence
	if handler == nil {
		return
	}
	for _, p := range presence {
		now := Presence{User: p.User, Status: protocol.StatusOffline, Time: p.LastSeen}
		if p.Online {
			now.Status = protocol.StatusOnline
		}
		s.c.in.put(event{kind: eventSignal, run: func() { handler(now) }})
	}
}
