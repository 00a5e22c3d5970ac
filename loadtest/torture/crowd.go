//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A crowd is the users of one round who are in groups: writers stay in all groups
// and write, guests come and go, some are away all the time; the owner of all
// groups mutes, recalls, dismisses and makes again; an administrator deletes,
// imports and erases. Each user's phone does nothing but receive and keep; their
// desk makes the requests.
type crowd struct {
	t      *torture
	codec  protocol.Codec
	prefix string // of users and groups
	owner  string
	away   []string
	phones []*phone
	admin  *admin

	stop chan struct{} // closed when nothing new shall begin
	acts sync.WaitGroup
	live sync.WaitGroup // sessions of phones
	end  context.CancelFunc

	mu      sync.Mutex // guards the groups, the phones' sights, and what follows
	clock   int64
	groups  []*crowdGroup
	direct  map[string][]*sent // receiver → what writers sent to one who is away, in each sender's order
	told    map[hook]string    // message.queued → its webhook-id
	acked   map[hook]bool      // messages that drifters may have acked in the foreground
	sent    int64
	changes int64 // recalls, deletions, mutes, memberships, lives of groups
}

const (
	crowdWriters = 5
	crowdGuests  = 4
	crowdAway    = 2
)

// newCrowd creates the groups and starts what the users, the owner and the
// administrator do.
func newCrowd(ctx context.Context, t *torture, codec protocol.Codec, prefix string, rng *rand.Rand) (*crowd, error) {
	c := &crowd{
		t: t, codec: codec, prefix: prefix, owner: prefix + "owner", stop: make(chan struct{}),
		direct: map[string][]*sent{}, told: map[hook]string{}, acked: map[hook]bool{},
	}
	var staying, guests []string
	for i := range crowdWriters {
		staying = append(staying, fmt.Sprintf("%swriter%d", prefix, i))
	}
	for i := range crowdGuests {
		guests = append(guests, fmt.Sprintf("%sguest%d", prefix, i))
	}
	for i := range crowdAway {
		c.away = append(c.away, fmt.Sprintf("%saway%d", prefix, i))
	}
	for i := range crowdDrifters {
		c.away = append(c.away, fmt.Sprintf("%sdrifter%d", prefix, i))
	}
	members := append(append([]string(nil), staying...), c.away...)
	boss := c.actor(c.owner, "desk")
	for i, kind := range []string{protocol.KindPrivate, protocol.KindPublic, protocol.KindChatroom, protocol.KindPrivate} {
		g := newCrowdGroup(fmt.Sprintf("%sgroup%d", prefix, i), kind)
		g.remade = i == 3
		c.groups = append(c.groups, g)
		if err := c.create(ctx, boss, g, members); err != nil {
			boss.close()
			return nil, err
		}
	}
	c.admin = newAdmin(c, rand.New(rand.NewPCG(rng.Uint64(), 0)))

	ctx, c.end = context.WithCancel(ctx)
	for _, user := range append(append([]string(nil), staying...), guests...) {
		p := newPhone(c, user)
		c.phones = append(c.phones, p)
		c.live.Go(func() { p.stay(ctx) })
	}
	act := func(f func(context.Context, *rand.Rand) error) {
		own := rand.New(rand.NewPCG(rng.Uint64(), 0))
		c.acts.Go(func() {
			if err := f(ctx, own); err != nil && ctx.Err() == nil {
				t.violated(err)
			}
		})
	}
	for i, user := range staying {
		act(func(ctx context.Context, rng *rand.Rand) error { return c.write(ctx, user, i == 0, rng) })
	}
	for _, p := range c.phones[crowdWriters:] {
		act(func(ctx context.Context, rng *rand.Rand) error { return c.comeAndGo(ctx, p, rng) })
	}
	act(func(ctx context.Context, rng *rand.Rand) error { return c.moderate(ctx, boss, staying, members, rng) })
	act(func(ctx context.Context, _ *rand.Rand) error { return c.admin.work(ctx, staying) })
	for i, user := range c.away[crowdAway:] {
		act(func(ctx context.Context, rng *rand.Rand) error { return c.drift(ctx, user, i == 0, rng) })
	}
	return c, nil
}

func (c *crowd) actor(user, device string) *actor {
	return &actor{url: c.t.proxy.url(), user: user, device: device, codec: c.codec, token: c.t.server.token}
}

// tick advances the crowd's logical clock by one and returns it. The caller holds mu.
func (c *crowd) tick() int64 {
	c.clock++
	return c.clock
}

func (c *crowd) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// create makes a group, for the first time or again, and notes its new
// memberships.
func (c *crowd) create(ctx context.Context, boss *actor, g *crowdGroup, members []string) error {
	c.mu.Lock()
	begun := c.tick()
	var stays []*membership
	for _, user := range append([]string{c.owner}, members...) {
		m := &membership{span: span{begun: begun}}
		stays = append(stays, m)
		g.members[user] = append(g.members[user], m)
		c.forgetCursor(user, g)
	}
	c.mu.Unlock()
	var ok protocol.CreateGroupOK
	if _, err := boss.do(ctx, protocol.OpCreateGroup, &protocol.CreateGroupArgs{Group: g.id, Kind: g.kind, Members: members}, &ok); err != nil {
		return fmt.Errorf("createGroup %s: %w", g.id, err)
	}
	for len(ok.Failed) > 0 { // a shard of some members did not answer
		var added protocol.AddMembersOK
		if failureOf(ok.Failed) != protocol.CodeUnavailable {
			return violated("createGroup %s: %v", g.id, ok.Failed)
		}
		if _, err := boss.do(ctx, protocol.OpAddMembers, &protocol.MembersArgs{Group: g.id, Users: members}, &added); err != nil {
			return fmt.Errorf("addMembers %s: %w", g.id, err)
		}
		ok.Failed = added.Failed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range stays {
		m.sure = c.tick()
	}
	return nil
}

// forgetCursor drops the cursor that a user's phone has of a group, because the
// membership it came in is over. The caller holds mu.
func (c *crowd) forgetCursor(user string, g *crowdGroup) {
	for _, p := range c.phones {
		if p.user == user {
			p.sight(g).cursor = ""
		}
	}
}

// settlePatience bounds the wait for what is under way. Webhooks that failed are
// tried again after up to 30 s.
const settlePatience = 40 * time.Second

// settle stops all acts and waits until all that was sent is where it has to be.
func (c *crowd) settle(ctx context.Context) error {
	close(c.stop)
	c.acts.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return poll(ctx, settlePatience, func() (string, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range c.phones {
			if missing := p.missing(); missing != "" {
				return missing, nil
			}
		}
		return c.untold(), nil
	})
}

// close ends all sessions.
func (c *crowd) close() {
	c.end()
	c.acts.Wait()
	c.live.Wait()
}

// count adds the crowd's numbers to the report.
func (c *crowd) count() {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	r := &c.t.report.Groups
	r.Sent += c.sent
	r.Changes += c.changes
	r.Queued += int64(len(c.told))
	r.Imports += len(c.admin.imports)
	r.Erased += len(c.admin.erased)
}

// A hook identifies a message.queued.
type hook struct {
	user, conv string
	seq        uint64
}

// heardOf reports whether the receiver got message.queued for a message, or need
// not: a session may have acked it. The caller holds mu.
func (c *crowd) heardOf(h hook) bool { return c.told[h] != "" || c.acked[h] }

// untold describes a message that no session acked in the foreground and for
// which the receiver got no message.queued; "" if there is none. The caller holds
// mu.
func (c *crowd) untold() string {
	for _, user := range c.away {
		for _, s := range c.direct[user] {
			if !c.heardOf(hook{user, "u:" + s.from, s.seq}) {
				return fmt.Sprintf("message.queued: %s was not told of %v", user, s)
			}
		}
		for _, g := range c.groups {
			if !g.counts() || g.remade {
				continue
			}
			for _, s := range g.sends {
				_, _, gone := g.gone(s, user)
				if s.answered != 0 && !s.refused && len(gone) == 0 && g.members[user][0].must(s) && !c.heardOf(hook{user, "g:" + g.id, s.seq}) {
					return fmt.Sprintf("message.queued: %s was not told of %s, %v", user, g.id, s)
				}
			}
		}
	}
	return ""
}

// queued checks a message.queued that the receiver got, and notes it.
func (c *crowd) queued(user, conv string, m *queuedMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := hook{user, conv, m.Seq}
	before := c.told[h]
	c.told[h] = m.hookID
	for _, g := range c.groups {
		if conv != "g:"+g.id {
			continue
		}
		s := g.byCID[m.CID]
		if s == nil || s.from != m.From || s.refused || s.seq != 0 && s.seq != m.Seq && !g.remade {
			return violated("message.queued: %s: seq %d, %s of %s, is not what was sent: %v", conv, m.Seq, m.CID, m.From, s)
		}
		if !sameJSON(m.Body, protocol.AppendBodyJSON(nil, s.body)) {
			return violated("message.queued: %s: %v has body %s", conv, s, m.Body)
		}
		if before != "" && before != m.hookID && !g.remade {
			return violated("message.queued: %s was told of %s, %v, as %s and as %s", user, conv, s, before, m.hookID)
		}
		if g.members[user] == nil {
			return nil // one who is to be erased
		}
		for _, stay := range g.members[user] {
			if stay.may(s) {
				return nil
			}
		}
		return violated("message.queued: %s was told of %s, %v, sent while they were no member", user, conv, s)
	}
	if before != "" && before != m.hookID && strings.HasPrefix(conv, "u:") {
		return violated("message.queued: %s was told of %s, seq %d, as %s and as %s", user, conv, m.Seq, before, m.hookID)
	}
	return nil
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}

func refusedAs(err error, codes ...string) bool {
	refusal, ok := errors.AsType[*protocol.ReplyError](err)
	for _, code := range codes {
		if ok && refusal.Code == code {
			return true
		}
	}
	return false
}

// rest waits for a random time between two acts.
func rest(ctx context.Context, rng *rand.Rand, most time.Duration) {
	sleep(ctx, time.Duration(rng.Int64N(int64(most))))
}
