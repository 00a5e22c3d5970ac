//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// Reasons of gaps.
const (
	gapDeleted   = "deleted"
	gapRecalled  = "recalled"
	gapNotMember = "notMember"
)

// check logs in every user with a new device and compares all that they find with
// what was sent and taken away. It is for a crowd that is closed; device has to
// be another each time.
func (c *crowd) check(ctx context.Context, device string) {
	c.mu.Lock()
	users := append([]string{c.owner}, c.away...)
	for _, p := range c.phones {
		users = append(users, p.user)
		if leaked := p.leaked(); leaked != "" {
			c.t.violated(violated("%s", leaked))
		}
	}
	c.mu.Unlock()
	var all sync.WaitGroup
	for _, user := range users {
		all.Go(func() {
			if err := c.checkUser(ctx, user, device); err != nil && ctx.Err() == nil {
				c.t.violated(fmt.Errorf("%s: %w", user, err))
			}
		})
	}
	all.Wait()
	if err := c.admin.check(ctx, device); err != nil && ctx.Err() == nil {
		c.t.violated(err)
	}
}

// A visit is a session of a new device, directly at the server.
type visit struct {
	wire   *wire
	end    context.CancelFunc
	synced protocol.Synced
}

func (c *crowd) visit(ctx context.Context, user, device string) (*visit, error) {
	w, err := dialWire(ctx, "ws://"+c.t.server.address(), c.codec)
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(ctx)
	v := &visit{wire: w, end: end}
	synced := make(chan struct{})
	go w.serve(ctx, func(f *protocol.ServerFrame) error {
		if f.Op != protocol.OpOnSynced {
			return nil
		}
		defer close(synced)
		return f.Decode(&v.synced)
	})
	token, err := c.t.server.token(user)
	if err == nil {
		err = w.call(ctx, protocol.OpLogin, &protocol.LoginArgs{Token: token, Device: device, Recents: protocol.RecentsQuiet}, new(protocol.LoginOK))
	}
	if err != nil {
		v.close()
		return nil, err
	}
	select {
	case <-synced:
		return v, nil
	case <-w.ended:
		err = fmt.Errorf("the session ended before onSynced")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	v.close()
	return nil, err
}

func (v *visit) close() {
	v.end()
	<-v.wire.ended
}

// entry returns what onSynced says of a conversation; ok is false if nothing.
func (v *visit) entry(conv protocol.Conv) (e protocol.Conversation, ok bool) {
	for _, list := range [][]protocol.Conversation{v.synced.Conversations, v.synced.Groups} {
		for i := range list {
			if list[i].Conv == conv {
				return list[i], true
			}
		}
	}
	return e, false
}

// A history is all that a user can read of a conversation.
type history struct {
	messages map[uint64]*protocol.Message
	gaps     map[uint64]string
	to       uint64
}

// history reads a conversation to its end. It checks that every seq is a message
// or has a reason.
func (v *visit) history(ctx context.Context, conv protocol.Conv) (*history, error) {
	h := &history{messages: map[uint64]*protocol.Message{}, gaps: map[uint64]string{}}
	for {
		var page protocol.PageOK
		args := protocol.GetMessageArgs{Conv: conv, HasAfter: true, After: h.to, Limit: protocol.MaxMessages}
		if err := v.wire.call(ctx, protocol.OpGetMessage, &args, &page); err != nil {
			return nil, fmt.Errorf("getMessage of %s: %w", conv, err)
		}
		if page.To == 0 {
			return h, nil
		}
		if page.From != h.to+1 || page.To < page.From {
			return nil, violated("%s: a page after %d covers %d to %d", conv, h.to, page.From, page.To)
		}
		for i := range page.Messages {
			m := &page.Messages[i]
			h.messages[m.Seq] = m
		}
		for _, g := range page.Gaps {
			for seq := g.From; seq <= g.To; seq++ {
				h.gaps[seq] = g.Reason
			}
		}
		for seq := page.From; seq <= page.To; seq++ {
			if _, gap := h.gaps[seq]; gap == (h.messages[seq] != nil) {
				return nil, violated("%s: seq %d is message %v, and gap %q", conv, seq, h.messages[seq] != nil, h.gaps[seq])
			}
		}
		h.to = page.To
	}
}

func (c *crowd) checkUser(ctx context.Context, user, device string) error {
	v, err := c.visit(ctx, user, device)
	if err != nil {
		return err
	}
	defer v.close()
	unread := 0
	for _, g := range c.groups {
		if g.members[user] == nil {
			continue
		}
		h, err := v.history(ctx, protocol.GroupConv(g.id))
		if err != nil {
			return err
		}
		n, err := c.checkGroup(v, user, g, h)
		if err != nil {
			return fmt.Errorf("%s: %w", g.id, err)
		}
		unread += n
		if err := c.checkMembers(ctx, v, g); err != nil {
			return err
		}
	}
	if strings.Contains(user, "guest") || strings.Contains(user, "writer") {
		if v.synced.UnreadTotal != unread {
			return violated("unreadTotal is %d, want %d", v.synced.UnreadTotal, unread)
		}
	}
	return c.checkDirect(ctx, v, user)
}

// checkGroup compares a user's view of a group with what was sent, and returns the
// number of unread messages in it.
func (c *crowd) checkGroup(v *visit, user string, g *crowdGroup, h *history) (unread int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stays := g.members[user]
	m := stays[len(stays)-1]
	all := g.kind == protocol.KindChatroom
	if len(h.gaps)+len(h.messages) > 0 && h.to != g.newest {
		return 0, violated("history goes to seq %d, want %d", h.to, g.newest)
	}
	e, listed := v.entry(protocol.GroupConv(g.id))
	for seq := uint64(1); seq <= g.newest; seq++ {
		s, shown := g.bySeq[seq], h.messages[seq]
		if s == nil {
			return 0, violated("seq %d is nobody's", seq)
		}
		if s.seq != seq {
			continue // of an earlier life
		}
		sure, _, reasons := g.gone(s, user)
		readable := m.must(s) || all && !g.remade || m.unsure && s.begun > m.sure
		outside := !m.may(s) && (!all || g.remade)
		switch {
		case shown != nil:
			if _, err := g.witness(shown); err != nil {
				return 0, err
			}
			if sure {
				return 0, violated("%v is shown, and is gone", s)
			}
			if outside {
				return 0, violated("%v is shown, and was sent while they were no member", s)
			}
			if s.from != user && seq > e.ReadSeq {
				unread++
			}
		case readable && len(reasons) == 0:
			return 0, violated("%v is missing: %s", s, h.gaps[seq])
		case readable && !slices.Contains(reasons, h.gaps[seq]):
			return 0, violated("%v is missing, because it is %s, want one of %v", s, h.gaps[seq], reasons)
		}
	}
	if !g.counts() {
		unread = 0
	}
	if e.Unread != unread {
		return 0, violated("%d are unread above seq %d, want %d", e.Unread, e.ReadSeq, unread)
	}
	if len(stays) == 1 && listed && user != c.owner && e.ReadSeq != g.reads[user] {
		return 0, violated("the read cursor is %d, want %d", e.ReadSeq, g.reads[user])
	}
	for _, s := range g.sends {
		if s.refused && s.seq != 0 {
			return 0, violated("%v was refused", s)
		}
	}
	return unread, nil
}

// checkMembers checks that the members of a group are those who have not left.
func (c *crowd) checkMembers(ctx context.Context, v *visit, g *crowdGroup) error {
	c.mu.Lock()
	want := map[string]bool{}
	for user := range g.members {
		if g.present(user) != nil {
			want[user] = true
		}
	}
	c.mu.Unlock()
	var ok protocol.MembersOK
	if err := v.wire.call(ctx, protocol.OpGetMembers, &protocol.GetMembersArgs{Group: g.id, Limit: 100}, &ok); err != nil {
		return fmt.Errorf("getMembers of %s: %w", g.id, err)
	}
	got := map[string]bool{}
	for _, m := range ok.Members {
		got[m.User] = true
	}
	if !maps.Equal(got, want) {
		return violated("%s has the members %v, want %v", g.id, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// checkDirect compares what a user who is away finds with what was sent to them.
func (c *crowd) checkDirect(ctx context.Context, v *visit, user string) error {
	bySender := map[string][]*sent{}
	for _, s := range c.direct[user] {
		bySender[s.from] = append(bySender[s.from], s)
	}
	for from, sends := range bySender {
		h, err := v.history(ctx, protocol.UserConv(from))
		if err != nil {
			return err
		}
		if len(h.gaps) > 0 || int(h.to) != len(sends) {
			return violated("u:%s goes to seq %d with gaps %v, want %d messages", from, h.to, h.gaps, len(sends))
		}
		for i, s := range sends {
			m := h.messages[uint64(i+1)]
			if m.From != from || string(m.CID) != s.cid || m.ID != s.id || m.Time != s.time || !bytes.Equal(m.Body, s.body) {
				return violated("u:%s: seq %d is %v, want %v", from, i+1, m, s)
			}
		}
		if e, _ := v.entry(protocol.UserConv(from)); e.Unread != len(sends) {
			return violated("u:%s has %d unread messages, want %d", from, e.Unread, len(sends))
		}
	}
	return nil
}

// check checks that what was imported is there, and that users who were erased
// are not.
func (a *admin) check(ctx context.Context, device string) error {
	for _, i := range a.imports {
		reader, conv := a.c.owner, protocol.GroupConv(strings.TrimPrefix(i.to, "g:"))
		if user, direct := strings.CutPrefix(i.to, "u:"); direct {
			reader, conv = user, protocol.UserConv(i.from)
		}
		v, err := a.c.visit(ctx, reader, "import-"+device)
		if err != nil {
			return err
		}
		h, err := v.history(ctx, conv)
		e, _ := v.entry(conv)
		v.close()
		if err != nil {
			return err
		}
		if h.to != importRows || len(h.messages) != importRows {
			return violated("%s has %d messages up to seq %d, want %d: %v", i.stream, len(h.messages), h.to, importRows, h.gaps)
		}
		for k, row := range i.rows {
			if got := protocol.AppendBodyJSON(nil, h.messages[uint64(k+1)].Body); !sameJSON(got, []byte(row)) {
				return violated("%s: seq %d is %s, want %s", i.stream, k+1, got, row)
			}
		}
		want := 0
		if i.unread {
			want = importRows
		}
		if e.Unread != want {
			return violated("%s: %d are unread, want %d", i.stream, e.Unread, want)
		}
	}
	for _, e := range a.erased {
		user, err := a.user(ctx, e.user)
		if err != nil {
			return err
		}
		if user != nil && (user.Exists || len(user.Groups)+user.Stored.Messages+user.UnreadTotal > 0) {
			return violated("%s was erased, and is %+v", e.user, *user)
		}
	}
	return nil
}
