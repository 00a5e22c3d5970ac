//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// crowdDrifters is how many of the users who are away look in now and then: with
// a device that reports nothing as read, acks some of what it gets, and leaves in
// every way there is. message.queued has to tell of every message that none of
// their sessions has acked in the foreground.
const crowdDrifters = 3

// drift lets a user look in, again and again, until nothing new is to begin. If
// never is set, the user acks nothing in the foreground, so that message.queued
// has to tell of all; what the others leave unacked, their next session may ack.
func (c *crowd) drift(ctx context.Context, user string, never bool, rng *rand.Rand) error {
	for ctx.Err() == nil && !c.stopped() {
		err := c.lookIn(ctx, user, never, rng)
		if isViolation(err) || refusedAs(err, protocol.CodeBadRequest, protocol.CodeForbidden, protocol.CodeUnauthorized, protocol.CodeInternal) {
			return fmt.Errorf("%s: %w", user, err)
		}
		rest(ctx, rng, 2*time.Second)
	}
	return nil
}

// lookIn holds one session: for a while it acks what it gets, then perhaps in the
// background, or no more, and then it leaves.
func (c *crowd) lookIn(ctx context.Context, user string, never bool, rng *rand.Rand) error {
	const (
		acks = iota
		inBackground
		mute
	)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	w, err := dialWire(ctx, c.t.proxy.url(), c.codec)
	if err != nil {
		return err
	}
	token, err := c.t.server.token(user)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards state, and is held during an ack
	state := acks
	if never {
		state = mute
	}
	become := func(next int) { mu.Lock(); defer mu.Unlock(); state = next }
	take := func(f *protocol.ServerFrame) error {
		if f.Op != protocol.OpOnNewMessage {
			return nil
		}
		var p protocol.NewMessage
		if err := f.Decode(&p); err != nil {
			return violation{err}
		}
		mu.Lock()
		defer mu.Unlock()
		if state == mute {
			return nil
		}
		if state == acks {
			c.acks(user, p.Messages)
		}
		return w.ack(ctx, p.D)
	}
	var served sync.WaitGroup
	served.Go(func() { end(w.serve(ctx, take)) })
	defer served.Wait()
	login := protocol.LoginArgs{Token: token, Device: "drifter", Recents: protocol.RecentsOff, GroupBacklog: backlog}
	if err := w.call(ctx, protocol.OpLogin, &login, new(protocol.LoginOK)); err != nil {
		end(err)
		return err
	}
	rest(ctx, rng, time.Second)
	switch rng.IntN(4) {
	case 0: // until the server knows, an ack would still be one in the foreground
		become(mute)
		err = w.call(ctx, protocol.OpSetState, &protocol.SetStateArgs{Background: true}, nil)
		if err == nil {
			become(inBackground)
		}
	case 1:
		become(mute)
	}
	rest(ctx, rng, 4*time.Second)
	if err == nil && rng.IntN(3) == 0 {
		err = w.call(ctx, protocol.OpLogout, new(protocol.NoArgs), nil)
	}
	end(err)
	return err
}

// acks notes the messages that a user is about to ack in the foreground.
func (c *crowd) acks(user string, messages []protocol.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range messages {
		c.acked[hook{user, messages[i].Conv.String(), messages[i].Seq}] = true
	}
}
