//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// backlog is the groupBacklog of phones.
const backlog = protocol.MaxGroupBacklog

// A phone is a user's device that keeps all that it receives, and returns with
// its cursors.
type phone struct {
	c    *crowd
	user string

	// Guarded by the crowd's mu.
	cursor   string
	sights   map[*crowdGroup]*sight
	sessions int
	synced   int // number of the present session, 0 until it is synced and when there is none
}

// A sight is what a phone has of a group.
type sight struct {
	cursor  string
	covered uint64            // newest seq that was pushed up to the cursor
	got     map[uint64]bool   // seqs
	told    map[uint64]bool   // seqs it knows to be gone
	recalls []protocol.Recall // of all that one member sent up to then
	newest  uint64            // the highest that was pushed
}

func newPhone(c *crowd, user string) *phone {
	p := &phone{c: c, user: user, sights: map[*crowdGroup]*sight{}}
	for _, g := range c.groups {
		p.sights[g] = &sight{got: map[uint64]bool{}, told: map[uint64]bool{}}
	}
	return p
}

func (p *phone) sight(g *crowdGroup) *sight { return p.sights[g] }

// stay holds one session after the other, until ctx ends.
func (p *phone) stay(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if isViolation(err) || refusedAs(err, protocol.CodeBadRequest, protocol.CodeForbidden, protocol.CodeUnauthorized, protocol.CodeInternal) {
			p.c.t.violated(fmt.Errorf("%s: %w", p.user, err))
			return
		}
		p.interrupted()
		sleep(ctx, 50*time.Millisecond)
	}
}

// interrupted notes what is uncertain after the end of a session: messages of a
// group that the user has left cannot be read any more if they were not pushed
// yet, and a chatroom has no backlog for a device without a cursor.
func (p *phone) interrupted() {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.synced = 0
	for _, g := range p.c.groups {
		for _, m := range g.members[p.user] {
			if m.ending != 0 && !m.told {
				m.unsure, m.told = true, true // no event of this session is about it any more
			}
			if m.ended == 0 && g.kind == protocol.KindChatroom && p.sights[g].cursor == "" {
				m.unsure = true
			}
		}
	}
}

// A sitting is one session of a phone. The crowd's mu guards every field that
// does not say otherwise.
type sitting struct {
	*phone
	wire    *wire
	ctx     context.Context
	number  int
	began   int64
	over    bool // the sync is over
	lastD   uint64
	pushed  map[*crowdGroup]int
	last    map[*crowdGroup]uint64 // seq pushed in this session
	before  map[*crowdGroup]uint64 // newest when it began
	covered map[*crowdGroup]uint64 // by the cursor in the login, if it had one
	member  map[*crowdGroup]bool   // member beyond doubt when the session began
	listed  map[*crowdGroup]bool   // in onSynced
	outside map[*crowdGroup]bool   // an event of this session said that the user is out of the group
	fills   sync.WaitGroup
	all     int // messages pushed in the sync
}

func (p *phone) session(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	w, err := dialWire(ctx, p.c.t.proxy.url(), p.c.codec)
	if err != nil {
		return err
	}
	s := &sitting{
		phone: p, wire: w, ctx: ctx, pushed: map[*crowdGroup]int{}, last: map[*crowdGroup]uint64{}, before: map[*crowdGroup]uint64{},
		covered: map[*crowdGroup]uint64{}, member: map[*crowdGroup]bool{}, listed: map[*crowdGroup]bool{}, outside: map[*crowdGroup]bool{},
	}
	token, err := p.c.t.server.token(p.user)
	if err != nil {
		return err
	}
	login := protocol.LoginArgs{Token: token, Device: "phone", AutoRead: true, Recents: protocol.RecentsQuiet, GroupBacklog: backlog}
	p.c.mu.Lock()
	p.sessions++
	s.number, s.began = p.sessions, p.c.tick()
	login.Since, login.HasSince = p.cursor, p.cursor != ""
	for _, g := range p.c.groups {
		v := p.sights[g]
		s.before[g] = v.newest
		if v.cursor != "" {
			login.Groups = append(login.Groups, protocol.GroupCursor{Group: g.id, Cursor: v.cursor})
			s.covered[g] = v.covered
		}
		m := g.present(p.user)
		s.member[g] = m != nil && m.sure != 0 && m.ending == 0
	}
	p.c.mu.Unlock()
	var served sync.WaitGroup
	served.Go(func() { end(w.serve(ctx, s.take)) })
	err = w.call(ctx, protocol.OpLogin, &login, new(protocol.LoginOK))
	if err == nil {
		<-w.ended
		err = context.Cause(ctx)
	}
	end(err)
	served.Wait()
	s.fills.Wait()
	return err
}

// take handles a push.
func (s *sitting) take(f *protocol.ServerFrame) error {
	switch f.Op {
	case protocol.OpOnNewMessage:
		var p protocol.NewMessage
		if err := f.Decode(&p); err != nil {
			return violation{err}
		}
		if err := s.messages(&p); err != nil {
			return err
		}
		return s.wire.ack(s.ctx, p.D)
	case protocol.OpOnSynced:
		var p protocol.Synced
		if err := f.Decode(&p); err != nil {
			return violation{err}
		}
		return s.onSynced(&p)
	case protocol.OpOnRecall:
		var p protocol.Recall
		if err := f.Decode(&p); err != nil {
			return violation{err}
		}
		return s.recalled(&p)
	case protocol.OpOnMessageDeleted:
		var p protocol.MessageDeleted
		if err := f.Decode(&p); err != nil {
			return violation{err}
		}
		ranges := make([]protocol.Range, len(p.Seqs))
		for i, seq := range p.Seqs {
			ranges[i] = protocol.Range{From: seq, To: seq}
		}
		return s.recalled(&protocol.Recall{Conv: p.Conv, Ranges: ranges})
	case protocol.OpOnGroupEvent:
		var p protocol.GroupEvent
		if err := f.Decode(&p); err != nil {
			return violation{err}
		}
		s.event(&p)
	}
	return nil
}

func (c *crowd) groupOf(conv protocol.Conv) *crowdGroup {
	for _, g := range c.groups {
		if conv.Group && conv.ID == g.id {
			return g
		}
	}
	return nil
}

func (s *sitting) messages(p *protocol.NewMessage) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if p.D != s.lastD+1 {
		return violated("onNewMessage has d %d, want %d", p.D, s.lastD+1)
	}
	s.lastD = p.D
	for i := range p.Messages {
		m := &p.Messages[i]
		if m.From == s.user && slices.Contains(s.c.away, m.Conv.ID) && !m.Conv.Group {
			continue // what the user's desk sent to a user who is away is compared there
		}
		if err := s.message(m); err != nil {
			return err
		}
	}
	if p.Cursor != "" {
		s.cursor = p.Cursor
	}
	for _, cursor := range p.GroupCursors {
		s.keep(cursor.Group, cursor.Cursor)
	}
	return nil
}

// message checks a message that was pushed, and notes it. The caller holds the
// crowd's mu.
func (s *sitting) message(m *protocol.Message) error {
	g := s.c.groupOf(m.Conv)
	if g == nil {
		return violated("a message in %s, where nobody writes", m.Conv)
	}
	v := s.sights[g]
	sent, err := g.witness(m)
	if err != nil {
		return err
	}
	covered, hadCursor := s.covered[g]
	stays := g.members[s.user]
	switch {
	case s.outside[g]:
		return violated("%s: %v came after the event that ends the membership", g.id, sent)
	case m.Seq <= s.last[g]:
		return violated("%s: %v came after seq %d", g.id, sent, s.last[g])
	case hadCursor && m.Seq <= covered && s.listed[g] && stays[len(stays)-1].must(sent):
		// If the user's shard learnt late of a membership, all of it is pushed once more.
		return violated("%s: %v came again, though the cursor covers seq %d", g.id, sent, covered)
	case m.Seq <= v.newest && m.Seq > s.before[g]:
		return violated("%s: %v came again in one session", g.id, sent)
	case g.goneBefore(sent, s.user, s.began):
		return violated("%s: %v came, and was gone before the login", g.id, sent)
	}
	if s.pushed[g] == 0 && s.over && s.member[g] {
		// The group's shard did not serve at the login.
		s.fill(g, s.before[g]+1, m.Seq-1)
	}
	s.last[g] = m.Seq
	v.newest = max(v.newest, m.Seq)
	v.got[m.Seq] = true
	s.pushed[g]++
	if !s.over {
		s.all++
	}
	s.heard(g, s.began)
	return nil
}

// heard notes that the session has been told of the present membership, if that
// began before a time: otherwise the news may be of the membership before. The
// caller holds the crowd's mu.
func (s *sitting) heard(g *crowdGroup, before int64) {
	if m := g.present(s.user); m != nil && m.begun < before {
		m.heard = true
	}
}

// keep stores a group's cursor, unless it may be of the membership before. With
// such a one a device that returns is pushed only what came from its new
// membership on, though in a chatroom it can read what came in between, too. The
// caller holds the crowd's mu.
func (s *sitting) keep(group, cursor string) {
	g := s.c.groupOf(protocol.GroupConv(group))
	if g == nil {
		return
	}
	if m := g.present(s.user); m != nil && m.heard {
		v := s.sights[g]
		v.cursor, v.covered = cursor, v.newest
	}
}

func (s *sitting) onSynced(p *protocol.Synced) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	switch {
	case s.over:
		return violated("onSynced came twice")
	case p.Reset:
		return violated("a cursor was not taken")
	case len(p.Lost) > 0:
		return violated("lost: %v", p.Lost)
	}
	if p.Cursor != "" {
		s.cursor = p.Cursor
	}
	for _, list := range [][]protocol.Conversation{p.Conversations, p.Groups} {
		for i := range list {
			e := &list[i]
			g := s.c.groupOf(e.Conv)
			if g == nil {
				continue
			}
			if e.Unread != 0 && !g.counts() && !g.remade {
				return violated("%s: %d unread messages in a chatroom", g.id, e.Unread)
			}
			s.listed[g] = true
			if s.member[g] {
				to := e.LastSeq
				if s.pushed[g] > 0 {
					to = s.first(g) - 1
				}
				s.fill(g, s.before[g]+1, to)
			}
			if e.Cursor != "" {
				s.keep(g.id, e.Cursor)
			}
		}
	}
	for _, g := range s.c.groups {
		m := g.present(s.user)
		if m == nil {
			continue
		}
		if _, had := s.covered[g]; !had && g.kind == protocol.KindChatroom && m.sure != 0 {
			m.sure = s.c.tick() // what came before need not arrive: a chatroom has no backlog for a device without a cursor
		}
		if m.ending != 0 && !m.told {
			m.unsure = true
		}
	}
	s.over, s.synced = true, s.number
	return nil
}

// first returns the lowest seq of a group that was pushed in this session.
func (s *sitting) first(g *crowdGroup) uint64 {
	v := s.sights[g]
	for seq := s.before[g] + 1; seq < s.last[g]; seq++ {
		if v.got[seq] {
			return seq
		}
	}
	return s.last[g]
}

// fill fetches what a login left out because it was too much for the backlog. Of
// what came after a cursor, nothing may be left out that was not too much. The
// caller holds the crowd's mu.
func (s *sitting) fill(g *crowdGroup, from, to uint64) {
	_, hadCursor := s.covered[g]
	// In a chatroom, a guest finds also what was sent between their memberships.
	strict := hadCursor && s.all <= 900 && !g.remade && (g.kind != protocol.KindChatroom || len(g.members[s.user]) == 1)
	pushed := s.pushed[g]
	if from > to || g.remade && g.kind == protocol.KindChatroom {
		return
	}
	s.fills.Go(func() {
		if err := s.fetch(g, from, to, pushed, strict); isViolation(err) && s.ctx.Err() == nil {
			s.c.t.violated(fmt.Errorf("%s: %w", s.user, err))
		}
	})
}

func (s *sitting) fetch(g *crowdGroup, from, to uint64, pushed int, strict bool) error {
	left := 0
	for from <= to {
		var page protocol.PageOK
		err := s.wire.call(s.ctx, protocol.OpGetMessage, &protocol.GetMessageArgs{
			Conv: protocol.GroupConv(g.id), From: from, To: to, Limit: protocol.MaxMessages,
		}, &page)
		if err != nil {
			return err // the user may have left meanwhile
		}
		s.c.mu.Lock()
		v := s.sights[g]
		for i := range page.Messages {
			m := &page.Messages[i]
			if _, err := g.witness(m); err != nil {
				s.c.mu.Unlock()
				return err
			}
			if !v.got[m.Seq] {
				left++
			}
			v.got[m.Seq] = true
		}
		for _, gap := range page.Gaps {
			for seq := gap.From; seq <= gap.To && gap.Reason != gapNotMember; seq++ {
				v.told[seq] = true
			}
		}
		s.c.mu.Unlock()
		if !page.More || page.To < from {
			break
		}
		from = page.To + 1
	}
	if n := left + pushed; strict && left > 0 && n <= backlog {
		return violated("%s: %d messages came after the cursor, %d were pushed", g.id, n, pushed)
	}
	return nil
}

// recalled notes that messages are gone, and checks that they may be.
func (s *sitting) recalled(p *protocol.Recall) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	g := s.c.groupOf(p.Conv)
	if g == nil {
		return violated("onRecall in %s", p.Conv)
	}
	v := s.sights[g]
	if p.Sender != "" {
		v.recalls = append(v.recalls, *p)
	}
	for _, r := range p.Ranges {
		for seq := r.From; seq <= min(r.To, g.newest); seq++ {
			m := g.bySeq[seq]
			if p.Sender != "" && (m == nil || m.from != p.Sender) {
				continue
			}
			v.told[seq] = true
			if m == nil {
				continue // its sender has no answer yet
			}
			if _, _, reasons := g.gone(m, s.user); len(reasons) == 0 {
				return violated("%s: %v is said to be gone: %+v", g.id, m, p)
			}
		}
	}
	return nil
}

// event notes what a group event says of the user's own membership.
func (s *sitting) event(p *protocol.GroupEvent) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	g := s.c.groupOf(protocol.GroupConv(p.Group))
	if g == nil {
		return
	}
	named := slices.Contains(p.Users, s.user)
	switch p.Event {
	case protocol.EventJoined, protocol.EventCreated:
		if named {
			s.outside[g] = false
			s.heard(g, s.c.tick())
		}
	case protocol.EventLeft, protocol.EventRemoved, protocol.EventDismissed:
		if !named && p.Event != protocol.EventDismissed {
			return
		}
		s.outside[g] = true
		for _, m := range g.members[s.user] {
			m.told = m.told || m.ending != 0
		}
	}
}

// knows reports whether the phone was told that a message is gone.
func (v *sight) knows(m *sent) bool {
	return v.told[m.seq] || slices.ContainsFunc(v.recalls, func(r protocol.Recall) bool {
		return r.Sender == m.from && slices.ContainsFunc(r.Ranges, func(r protocol.Range) bool { return r.From <= m.seq && m.seq <= r.To })
	})
}

// missing describes what the phone has to have by now and has not; "" if nothing.
// The caller holds the crowd's mu.
func (p *phone) missing() string {
	if p.synced == 0 {
		return fmt.Sprintf("%s has no session", p.user)
	}
	for _, g := range p.c.groups {
		v := p.sights[g]
		whole := len(g.members[p.user]) == 1 // the user was a member all the time, and so was told all
		for _, m := range g.sends {
			if m.refused || m.answered == 0 {
				continue
			}
			must := slices.ContainsFunc(g.members[p.user], func(s *membership) bool { return s.must(m) })
			_, toldOf, gone := g.gone(m, p.user)
			switch {
			case must && len(gone) == 0 && !v.got[m.seq]:
				return fmt.Sprintf("%s: the phone of %s misses %v", g.id, p.user, m)
			case whole && !g.remade && toldOf && v.got[m.seq] && !v.knows(m):
				return fmt.Sprintf("%s: the phone of %s was not told that %v is gone", g.id, p.user, m)
			}
		}
	}
	return ""
}

// leaked describes a message that the phone has and must not have; "" if there is
// none. The caller holds the crowd's mu.
func (p *phone) leaked() string {
	for _, g := range p.c.groups {
		for seq := range p.sights[g].got {
			m := g.bySeq[seq]
			if !slices.ContainsFunc(g.members[p.user], func(s *membership) bool { return s.may(m) }) && (g.kind != protocol.KindChatroom || g.remade) {
				return fmt.Sprintf("%s: the phone of %s has %v, sent while they were no member", g.id, p.user, m)
			}
		}
	}
	return ""
}
