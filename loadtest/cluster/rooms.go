//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest/nodes"
)

const (
	roomLeast  = 5 // members of a room
	roomMost   = 10
	roomShare  = 4                      // users for each room; each is in some
	roomRest   = 400 * time.Millisecond // the most that a writer waits between two posts
	roomVisits = 32                     // sessions at a time that look at what there is in the end
)

// Rooms are groups in which users chat while others chat in pairs. The users are
// connected through any nodes, and go to others as their nodes are broken.
type rooms struct {
	b      *bench
	codec  protocol.Codec
	rooms  []*room
	byConv map[string]*room
	guests []*guest
	http   *http.Client

	stop  chan struct{} // closed when nothing new shall be written or read
	acts  sync.WaitGroup
	posts atomic.Int64 // that were acknowledged
}

// A guest is a device of a user who is in rooms.
type guest struct {
	rooms  *rooms
	user   string
	client *client.Client
	asked  atomic.Int64 // logins that were begun
	// synced is the login that onSynced came last for. Of the handlers' goroutine.
	synced int64
}

// openRooms makes new rooms and starts what their members do there.
func (b *bench) openRooms(ctx context.Context, prefix string, codec protocol.Codec) (*rooms, error) {
	r := &rooms{
		b: b, codec: codec, byConv: map[string]*room{}, stop: make(chan struct{}),
		http: &http.Client{Transport: &http.Transport{}},
	}
	rng := rand.New(rand.NewPCG(b.Seed, uint64(len(prefix))))
	guests := 0
	if b.Rooms > 0 {
		guests = max(roomMost, roomShare*b.Rooms)
	}
	for i := range guests {
		r.guests = append(r.guests, &guest{rooms: r, user: fmt.Sprintf("%sguest%d", prefix, i)})
	}
	for i := range b.Rooms {
		var members []string
		for _, n := range rng.Perm(len(r.guests))[:roomLeast+rng.IntN(roomMost-roomLeast+1)] {
			members = append(members, r.guests[n].user)
		}
		room := newRoom(fmt.Sprintf("%sroom%d", prefix, i), members)
		r.rooms = append(r.rooms, room)
		r.byConv[room.conv()] = room
	}
	for _, g := range r.guests {
		if err := g.enter(); err != nil {
			r.close()
			return nil, err
		}
	}
	for _, room := range r.rooms {
		owner := r.guest(room.members[0])
		_, failed, err := owner.client.CreateGroup(ctx, client.NewGroup{Group: room.group, Kind: protocol.KindPrivate, Members: room.members[1:]})
		if err == nil && len(failed) > 0 {
			err = fmt.Errorf("members could not be added: %v", failed)
		}
		if err != nil {
			r.close()
			return nil, fmt.Errorf("createGroup %s: %w", room.group, err)
		}
	}
	for _, room := range r.rooms {
		writers := len(room.members)/2 + rng.IntN(len(room.members)/2)
		for i, user := range room.members {
			own := rand.New(rand.NewPCG(rng.Uint64(), 0))
			g := r.guest(user)
			if i < writers {
				r.acts.Go(func() { g.write(ctx, room, own) })
			} else {
				r.acts.Go(func() { g.read(ctx, room, own) })
			}
		}
	}
	return r, nil
}

func (r *rooms) guest(user string) *guest {
	return r.guests[slices.IndexFunc(r.guests, func(g *guest) bool { return g.user == user })]
}

func (r *rooms) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// enter starts the guest's client, which stays connected to one node or another.
func (g *guest) enter() (err error) {
	urls := g.rooms.b.cluster.URLs()
	g.client, err = client.New(client.Config{
		URL: urls[0], MoreURLs: urls[1:], Device: "phone", Codec: g.rooms.codec,
		Token: func(context.Context, client.TokenReason) (string, error) {
			g.asked.Add(1)
			return g.rooms.b.cluster.Token(g.user)
		},
		Recents: protocol.RecentsQuiet, ManualRead: true,
		LoginTimeout: maxSilence, PingInterval: maxSilence / 4, PingTimeout: maxSilence,
		MinBackoff: 50 * time.Millisecond, MaxBackoff: 2 * time.Second,
		HTTPClient: g.rooms.http,
		OnMessages: g.pushed, OnSynced: g.caughtUp,
		OnKicked: func(reason string) { g.rooms.b.violated(fmt.Errorf("%s was kicked: %s", g.user, reason)) },
	})
	return err
}

// pushed notes what was pushed.
func (g *guest) pushed(messages []client.Message) {
	for i := range messages {
		m := &messages[i]
		room := g.rooms.byConv[m.Conv.String()]
		p, err := postOf(m)
		switch {
		case room == nil:
			err = fmt.Errorf("%s was pushed seq %d of %s", g.user, m.Seq, m.Conv)
		case err == nil:
			err = room.pushed(g.user, m.Seq, p, g.asked.Load() != g.synced)
		}
		if err != nil {
			g.rooms.b.violated(err)
		}
	}
}

// caughtUp reads in history what a login has left out.
func (g *guest) caughtUp(s client.Synced) {
	g.synced = g.asked.Load()
	if s.Reset || len(s.Lost) > 0 {
		g.rooms.b.violated(fmt.Errorf("%s logged in: the cursor counted as absent: %v, lost: %v", g.user, s.Reset, s.Lost))
	}
	for _, list := range [][]client.Conversation{s.Conversations, s.Groups} {
		for _, e := range list {
			room := g.rooms.byConv[e.Conv.String()]
			if room == nil {
				g.rooms.b.violated(fmt.Errorf("%s was told of %s", g.user, e.Conv))
				continue
			}
			missing := room.synced(g.user, e.LastSeq)
			if len(missing) == 0 {
				continue
			}
			messages, err := history(context.Background(), g.client, room.conv(), missing[0]-1, missing[len(missing)-1])
			if errors.Is(err, client.ErrClosed) {
				return
			}
			for i := range messages {
				m := &messages[i]
				if m.Seq > e.LastSeq {
					break // it has to be pushed
				}
				p, wrong := postOf(m)
				err = errors.Join(err, wrong, room.fetched(g.user, m.Seq, p))
			}
			if err != nil {
				g.rooms.b.violated(fmt.Errorf("%s, history of %s: %w", g.user, room.group, err))
			}
		}
	}
}

// history reads all of a conversation after a seq, up to another; 0 = the end.
func history(ctx context.Context, c *client.Client, conv string, after, to uint64) (messages []client.Message, err error) {
	for {
		page, err := c.History(ctx, conv, client.Query{After: after, FromStart: after == 0, Limit: protocol.MaxMessages})
		if err != nil {
			return nil, err
		}
		if len(page.Gaps) > 0 {
			return nil, fmt.Errorf("seqs %d to %d are missing: %s", page.Gaps[0].From, page.Gaps[0].To, page.Gaps[0].Reason)
		}
		messages = append(messages, page.Messages...)
		after = page.To
		if !page.More || to > 0 && page.To >= to {
			return messages, nil
		}
	}
}

// write sends one post after the other. The client itself repeats what got no answer.
func (g *guest) write(ctx context.Context, r *room, rng *rand.Rand) {
	for n := 1; !g.rooms.stopped() && sleep(ctx, time.Duration(rng.Int64N(int64(roomRest)))) == nil; n++ {
		sent, err := g.client.Send(ctx, r.conv(), map[string]any{"n": n}, client.SendOptions{})
		if err == nil {
			g.rooms.posts.Add(1)
			err = r.acknowledged(post{g.user, n}, sent.Seq)
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, client.ErrClosed) {
				g.rooms.b.violated(fmt.Errorf("%s to %s: %w", g.user, r.group, err))
			}
			return
		}
	}
}

// read reports every now and then that all that has come is read.
func (g *guest) read(ctx context.Context, r *room, rng *rand.Rand) {
	for !g.rooms.stopped() && sleep(ctx, time.Duration(rng.Int64N(int64(4*roomRest)))) == nil {
		seq := r.whole(g.user)
		if seq == 0 {
			continue
		}
		if _, err := g.client.ReadReport(ctx, r.conv(), seq); err != nil {
			if ctx.Err() == nil && !errors.Is(err, client.ErrClosed) {
				g.rooms.b.violated(fmt.Errorf("%s reads %s: %w", g.user, r.group, err))
			}
			return
		}
		r.reported(g.user, seq)
	}
}

// settle lets nobody write any more, waits until every member has all that was
// written, and looks at each node at what there is.
func (r *rooms) settle(ctx context.Context) error {
	close(r.stop)
	done := make(chan struct{})
	go func() { r.acts.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(r.b.Patience):
		return fmt.Errorf("something that was written to a group, or read there, has got no answer for %v", r.b.Patience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, room := range r.rooms {
		if err := poll(ctx, r.b.Patience, func() (string, error) { return room.unmet(), nil }); err != nil {
			return err
		}
	}
	for _, room := range r.rooms {
		if err := room.check(); err != nil {
			return err
		}
	}
	return r.look(ctx, "look", r.b.cluster.Nodes()...)
}

// look reads the rooms' histories at nodes, and what each member is told of them
// there.
func (r *rooms) look(ctx context.Context, device string, at ...*nodes.Node) error {
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(roomVisits)
	for _, n := range at {
		for _, g := range r.guests {
			all.Go(func() error {
				if err := r.visit(ctx, n, g.user, device+" at "+n.Name); err != nil {
					return fmt.Errorf("at %s: %w", n, err)
				}
				return nil
			})
		}
	}
	return all.Wait()
}

// visit checks what a new device of a user finds at a node.
func (r *rooms) visit(ctx context.Context, n *nodes.Node, user, device string) error {
	c, synced, err := r.b.visit(ctx, n, user, device, client.Cursor{}, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	told := map[string]client.Conversation{}
	for _, list := range [][]client.Conversation{synced.Conversations, synced.Groups} {
		for _, e := range list {
			told[e.Conv.String()] = e
		}
	}
	for _, room := range r.rooms {
		if !slices.Contains(room.members, user) {
			continue
		}
		if err := room.checkEntry(user, told[room.conv()]); err != nil {
			return err
		}
		messages, err := history(ctx, c, room.conv(), 0, 0)
		if err != nil {
			return fmt.Errorf("%s, history of %s: %w", user, room.group, err)
		}
		if err := room.checkHistory(messages); err != nil {
			return err
		}
	}
	return nil
}

// close ends what settle has not ended, and all clients.
func (r *rooms) close() {
	if !r.stopped() {
		close(r.stop)
	}
	for _, g := range r.guests {
		if g.client != nil {
			g.client.Close()
			<-g.client.Done()
		}
	}
	r.acts.Wait()
	r.http.CloseIdleConnections()
}
