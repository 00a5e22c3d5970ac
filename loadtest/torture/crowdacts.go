//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// write sends to all groups, and to users who are away, one message at a time,
// and does what members do with messages. loud means that the user is muted now
// and then.
func (c *crowd) write(ctx context.Context, user string, loud bool, rng *rand.Rand) error {
	desk := c.actor(user, "desk")
	defer desk.close()
	for n := 1; !c.stopped() && ctx.Err() == nil; n++ {
		rest(ctx, rng, 120*time.Millisecond)
		i := rng.IntN(len(c.groups) + 1)
		if i == len(c.groups) {
			if err := c.sendDirect(ctx, desk, c.away[rng.IntN(len(c.away))], n, rng); err != nil {
				return err
			}
			continue
		}
		g := c.groups[i]
		s, err := c.send(ctx, desk, g, n, loud, rng)
		if err != nil {
			return err
		}
		switch dice := rng.IntN(20); {
		case g.remade:
		case dice == 0:
			err = c.recall(ctx, desk, g, s.seq)
		case dice == 1:
			err = c.hide(ctx, desk, g, rng)
		case dice < 5:
			err = c.report(ctx, desk, g, rng)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compose returns a message with a random body, to be sent.
func compose(user string, n int, rng *rand.Rand) (*sent, error) {
	blob := make([]byte, rng.IntN(200))
	for i := range blob {
		blob[i] = byte(rng.Uint32())
	}
	body, err := protocol.EncodeBody(map[string]any{"n": n, "text": "grüße ✓", "blob": blob, "list": []any{true, nil, -1.5}})
	return &sent{from: user, cid: fmt.Sprintf("%s-%d", user, n), body: body}, err
}

// send sends a message to a group and notes that it was stored, or rightly
// refused.
func (c *crowd) send(ctx context.Context, desk *actor, g *crowdGroup, n int, loud bool, rng *rand.Rand) (*sent, error) {
	s, err := compose(desk.user, n, rng)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	s.begun = c.tick()
	g.sends = append(g.sends, s)
	g.byCID[s.cid] = s
	c.mu.Unlock()
	var ok protocol.SendOK
	_, err = desk.do(ctx, protocol.OpSend, &protocol.SendArgs{Conv: protocol.GroupConv(g.id), CID: s.cid, Body: s.body, Retry: true}, &ok)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.answered = c.tick()
	muted, mayBeMuted := false, false
	for _, m := range g.mutes[desk.user] {
		muted = muted || m.sure != 0 && s.begun > m.sure && (m.ending == 0 || s.answered < m.ending)
		mayBeMuted = mayBeMuted || m.may(s)
	}
	switch {
	case err == nil && muted:
		return nil, violated("%s: %s was muted and sent %s", g.id, desk.user, s.cid)
	case err == nil:
		c.sent++
		g.reads[desk.user] = max(g.reads[desk.user], ok.Seq)
		return s, g.place(s, ok.Seq, ok.ID, ok.Time)
	case refusedAs(err, protocol.CodeForbidden) && (loud && mayBeMuted || g.remade && !g.stayed(desk.user, s)),
		refusedAs(err, protocol.CodeNotFound) && g.remade && !g.stayed(desk.user, s):
		if s.seq != 0 {
			return nil, violated("%s: %v was refused, %v, but others got it", g.id, s, err)
		}
		s.refused = true
		return s, nil
	}
	return nil, fmt.Errorf("%s: send %s: %w", g.id, s.cid, err)
}

// stayed reports whether a user was a member all the time that s was under way.
func (g *crowdGroup) stayed(user string, s *sent) bool {
	return slices.ContainsFunc(g.members[user], func(m *membership) bool {
		return m.sure != 0 && s.begun > m.sure && (m.ending == 0 || s.answered < m.ending)
	})
}

func (c *crowd) sendDirect(ctx context.Context, desk *actor, to string, n int, rng *rand.Rand) error {
	s, err := compose(desk.user, n, rng)
	if err != nil {
		return err
	}
	var ok protocol.SendOK
	if _, err := desk.do(ctx, protocol.OpSend, &protocol.SendArgs{Conv: protocol.UserConv(to), CID: s.cid, Body: s.body, Retry: true}, &ok); err != nil {
		return fmt.Errorf("%s: send to %s: %w", desk.user, to, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.seq, s.id, s.time = ok.Seq, ok.ID, ok.Time
	c.direct[to] = append(c.direct[to], s)
	c.sent++
	return nil
}

// errNotDone means that a request was rightly refused.
var errNotDone = errors.New("not done")

// remove makes a request that takes messages away, and notes when.
func (c *crowd) remove(g *crowdGroup, t *removal, request func() error) error {
	c.mu.Lock()
	t.begun = c.tick()
	g.removals = append(g.removals, t)
	c.mu.Unlock()
	err := request()
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, errNotDone) {
		g.removals = slices.DeleteFunc(g.removals, func(other *removal) bool { return other == t })
		return nil
	}
	if err != nil {
		return err
	}
	t.ended = c.tick()
	c.changes++
	return nil
}

func (c *crowd) recall(ctx context.Context, desk *actor, g *crowdGroup, seq uint64) error {
	if seq == 0 {
		return nil
	}
	return c.remove(g, &removal{seq: seq, reason: gapRecalled}, func() error {
		_, err := desk.do(ctx, protocol.OpRecall, &protocol.RecallArgs{Conv: protocol.GroupConv(g.id), Seq: seq}, nil)
		if refusedAs(err, protocol.CodeTooLate) && desk.user != c.owner {
			return errNotDone // time has passed at once
		}
		if err != nil {
			return fmt.Errorf("%s: recall of seq %d by %s: %w", g.id, seq, desk.user, err)
		}
		return nil
	})
}

// hide deletes one message from a user's own view.
func (c *crowd) hide(ctx context.Context, desk *actor, g *crowdGroup, rng *rand.Rand) error {
	seq := c.someSeq(g, rng)
	if seq == 0 {
		return nil
	}
	return c.remove(g, &removal{seq: seq, only: desk.user, reason: gapDeleted}, func() error {
		_, err := desk.do(ctx, protocol.OpDeleteMessage, &protocol.DeleteMessageArgs{Conv: protocol.GroupConv(g.id), Seqs: []uint64{seq}}, nil)
		if err != nil {
			return fmt.Errorf("%s: deleteMessage of seq %d by %s: %w", g.id, seq, desk.user, err)
		}
		return nil
	})
}

// someSeq returns one of a group's newest seqs, 0 if there is none.
func (c *crowd) someSeq(g *crowdGroup, rng *rand.Rand) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.newest == 0 {
		return 0
	}
	return g.newest - rng.Uint64N(min(g.newest, 20))
}

func (c *crowd) report(ctx context.Context, desk *actor, g *crowdGroup, rng *rand.Rand) error {
	seq := c.someSeq(g, rng)
	if seq == 0 {
		return nil
	}
	if _, err := desk.do(ctx, protocol.OpReadReport, &protocol.ReadReportArgs{Conv: protocol.GroupConv(g.id), Seq: seq}, nil); err != nil {
		return fmt.Errorf("%s: readReport of seq %d by %s: %w", g.id, seq, desk.user, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g.reads[desk.user] = max(g.reads[desk.user], seq)
	return nil
}

// comeAndGo joins and leaves all groups but the one that is remade, and in the
// end is a member of them.
func (c *crowd) comeAndGo(ctx context.Context, p *phone, rng *rand.Rand) error {
	desk := c.actor(p.user, "desk")
	defer desk.close()
	boss := c.actor(c.owner, p.user)
	defer boss.close()
	for ctx.Err() == nil {
		for _, g := range c.groups {
			if g.remade {
				continue
			}
			if err := c.join(ctx, desk, boss, g); err != nil {
				return err
			}
		}
		if c.stopped() {
			break
		}
		for _, g := range c.groups {
			rest(ctx, rng, 500*time.Millisecond)
			if g.remade || c.stopped() {
				continue
			}
			if err := c.leave(ctx, p, desk, boss, g, rng); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *crowd) join(ctx context.Context, desk, boss *actor, g *crowdGroup) error {
	user := desk.user
	c.mu.Lock()
	m := g.present(user)
	if m != nil {
		c.mu.Unlock()
		return nil
	}
	m = &membership{span: span{begun: c.tick()}}
	g.members[user] = append(g.members[user], m)
	c.forgetCursor(user, g)
	c.mu.Unlock()
	var err error
	switch g.kind {
	case protocol.KindPrivate:
		var ok protocol.AddMembersOK
		for failed := protocol.CodeUnavailable; err == nil && failed == protocol.CodeUnavailable; failed = failureOf(ok.Failed) {
			_, err = boss.do(ctx, protocol.OpAddMembers, &protocol.MembersArgs{Group: g.id, Users: []string{user}}, &ok)
		}
		if err == nil && len(ok.Failed) > 0 {
			err = violated("addMembers: %v", ok.Failed)
		}
	case protocol.KindPublic:
		if _, err = desk.do(ctx, protocol.OpJoinGroup, &protocol.GroupArgs{Group: g.id}, nil); err == nil {
			_, err = boss.do(ctx, protocol.OpAnswerJoin, &protocol.AnswerJoinArgs{Group: g.id, User: user, Accept: true}, nil)
		}
	default:
		_, err = desk.do(ctx, protocol.OpJoinGroup, &protocol.GroupArgs{Group: g.id}, nil)
	}
	if err != nil {
		return fmt.Errorf("%s: join of %s: %w", g.id, user, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.sure = c.tick()
	c.changes++
	return nil
}

// failureOf returns the code of the first user who could not be added, "" if all
// were.
func failureOf(failed []protocol.MemberFailure) string {
	if len(failed) == 0 {
		return ""
	}
	return failed[0].Code
}

// leave ends a membership, by the member or by the owner. Mostly it waits until
// the phone has been told of it: only then is it certain what the phone had to
// get.
func (c *crowd) leave(ctx context.Context, p *phone, desk, boss *actor, g *crowdGroup, rng *rand.Rand) error {
	user := desk.user
	c.mu.Lock()
	m := g.present(user)
	m.ending = c.tick()
	session, passes := p.synced, c.t.passes.Load()
	hasty := session == 0 || rng.IntN(3) == 0
	if n := len(g.members[user]); n > 1 && !g.members[user][n-2].told {
		hasty = true // what the user is told next may be about the membership before
	}
	m.unsure = m.unsure || hasty
	c.mu.Unlock()
	var err error
	if rng.IntN(2) == 0 {
		_, err = desk.do(ctx, protocol.OpLeaveGroup, &protocol.GroupArgs{Group: g.id}, nil)
	} else {
		_, err = boss.do(ctx, protocol.OpRemoveMembers, &protocol.MembersArgs{Group: g.id, Users: []string{user}}, nil)
	}
	if err != nil {
		return fmt.Errorf("%s: leaving of %s: %w", g.id, user, err)
	}
	c.mu.Lock()
	m.ended = c.tick()
	c.changes++
	c.mu.Unlock()
	if hasty {
		return nil
	}
	return c.awaitTold(ctx, p, m, g, session, passes)
}

// toldPatience bounds the wait for the event that ends a membership.
const toldPatience = 20 * time.Second

// awaitTold waits until a session of the phone has been told that a membership is
// over. It is uncertain what the phone had to get if the session ends before, or
// if kindPass has moved the clock meanwhile, since events are kept for a minute.
func (c *crowd) awaitTold(ctx context.Context, p *phone, m *membership, g *crowdGroup, session int, passes int64) error {
	for until := time.Now().Add(toldPatience); ; {
		c.mu.Lock()
		told, over := m.told, p.synced != session
		late := !told && !over && time.Now().After(until)
		if over || late {
			m.unsure = m.unsure || !told
		}
		c.mu.Unlock()
		switch {
		case late && c.t.passes.Load() == passes:
			return violated("%s: the phone of %s was not told that it is out of it", g.id, p.user)
		case told, over, late:
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// moderate does what the owner does: mute, recall, change, dismiss and make
// again.
func (c *crowd) moderate(ctx context.Context, boss *actor, staying, members []string, rng *rand.Rand) error {
	defer boss.close()
	var muted *crowdGroup
	for n := 0; !c.stopped() && ctx.Err() == nil; n++ {
		rest(ctx, rng, 300*time.Millisecond)
		g := c.groups[rng.IntN(len(c.groups))]
		var err error
		switch dice := rng.IntN(6); {
		case g.remade && n%2 == 0:
			err = c.remake(ctx, boss, g, members, rng)
		case g.remade:
		case dice == 0:
			err = c.recall(ctx, boss, g, c.someSeq(g, rng))
		case dice == 1:
			name := fmt.Sprintf("name %d", n)
			_, err = boss.do(ctx, protocol.OpSetGroup, &protocol.SetGroupArgs{Group: g.id, Name: &name}, nil)
		case dice == 2:
			_, err = boss.do(ctx, protocol.OpSetMember, &protocol.SetMemberArgs{Group: g.id, User: staying[1], Role: []string{protocol.RoleAdmin, protocol.RoleMember}[n%2]}, nil)
		case muted == nil:
			muted, err = g, c.mute(ctx, boss, g, staying[0])
		default:
			muted, err = nil, c.unmute(ctx, boss, muted, staying[0])
		}
		if err != nil {
			return err
		}
	}
	if muted != nil {
		return c.unmute(ctx, boss, muted, staying[0])
	}
	return nil
}

func (c *crowd) mute(ctx context.Context, boss *actor, g *crowdGroup, user string) error {
	c.mu.Lock()
	m := &span{begun: c.tick()}
	g.mutes[user] = append(g.mutes[user], m)
	c.mu.Unlock()
	until := time.Now().Add(30 * 24 * time.Hour).UnixMilli()
	if _, err := boss.do(ctx, protocol.OpSetMember, &protocol.SetMemberArgs{Group: g.id, User: user, MutedUntil: &until}, nil); err != nil {
		return fmt.Errorf("%s: mute: %w", g.id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.sure = c.tick()
	c.changes++
	return nil
}

func (c *crowd) unmute(ctx context.Context, boss *actor, g *crowdGroup, user string) error {
	c.mu.Lock()
	m := g.mutes[user][len(g.mutes[user])-1]
	m.ending = c.tick()
	c.mu.Unlock()
	if _, err := boss.do(ctx, protocol.OpSetMember, &protocol.SetMemberArgs{Group: g.id, User: user, MutedUntil: new(int64)}, nil); err != nil {
		return fmt.Errorf("%s: unmute: %w", g.id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.ended = c.tick()
	return nil
}

// remake dismisses a group and makes it again, of another kind.
func (c *crowd) remake(ctx context.Context, boss *actor, g *crowdGroup, members []string, rng *rand.Rand) error {
	c.mu.Lock()
	for _, user := range append([]string{c.owner}, members...) {
		m := g.present(user)
		m.ending = c.tick()
		// A member told of a dismissal may not have got what came just before it.
		m.unsure = true
	}
	c.mu.Unlock()
	again, err := boss.do(ctx, protocol.OpDismissGroup, &protocol.GroupArgs{Group: g.id}, nil)
	if err != nil && !(again && refusedAs(err, protocol.CodeNotFound)) {
		return fmt.Errorf("%s: dismissGroup: %w", g.id, err)
	}
	c.mu.Lock()
	for _, stays := range g.members {
		stays[len(stays)-1].ended = c.tick()
	}
	g.kind = []string{protocol.KindPrivate, protocol.KindPublic, protocol.KindChatroom}[rng.IntN(3)]
	clear(g.reads)
	c.changes++
	c.mu.Unlock()
	return c.create(ctx, boss, g, members)
}
