package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// upkeep restores what a new session has to be told again, then keeps its token
// fresh, until ctx ends or it cannot tell when the token expires.
func (s *session) upkeep(ctx context.Context, token string) {
	if err := s.restore(ctx); err != nil && ctx.Err() == nil {
		s.c.cfg.Log.Warn("session not restored", "err", err)
	}
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
// state, live groups and watched users.
func (s *session) restore(ctx context.Context) error {
	s.c.mu.Lock()
	background := s.c.background
	watched := slices.Sorted(maps.Keys(s.c.watched))
	live := slices.Sorted(maps.Keys(s.c.live))
	s.c.mu.Unlock()
	if background {
		err := s.c.out.do(ctx, &call{
			op: protocol.OpSetState, tied: true, args: &protocol.SetStateArgs{Background: true},
		})
		if err != nil {
			return err
		}
	}
	for _, group := range live {
		err := s.c.out.do(ctx, &call{op: protocol.OpJoinGroup, tied: true, args: &protocol.GroupArgs{Group: group}})
		if refusal, ok := errors.AsType[*Error](err); ok && !refusal.temporary() {
			s.c.cfg.Log.Warn("live group not joined again", "group", group, "err", err)
			s.c.forgetLive(group)
		} else if err != nil {
			return err
		}
	}
	for users := range slices.Chunk(watched, protocol.MaxUsers) {
		presence, err := s.c.presence(ctx, protocol.OpSubscribePresence, users, true)
		if err != nil {
			return err
		}
		s.reportPresence(presence)
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
