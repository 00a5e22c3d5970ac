package main

// Groups under load, for scenario 25's rule within them: members who stay write,
// others come and go, the server is killed meanwhile. Every device keeps what it
// gets, as a client with storage does.
//
// What must and what may reach a device follows from a counter that stamps the
// begin and the end of every request: a message whose send began after the reply
// to a join, and was answered before the leaving began, must arrive; one that
// was answered before the join began, or sent after the leaving ended, must not.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A groupRun is what the devices of one run share.
type groupRun struct {
	url      string
	owner    string // user, of all groups
	ownerKey string // his token
	groups   []*runGroup
	devices  []*groupDevice
	clock    atomic.Int64
	answered atomic.Int64
	stop     chan struct{}         // closed when nothing new shall begin
	broken   atomic.Pointer[error] // the first violation
}

// A runGroup is one group of a run.
type runGroup struct {
	id   string
	kind string

	mu    sync.Mutex
	sends []*groupSend
}

// A groupSend is one message, answered or not. Times are those of the run's
// counter; 0 is not yet.
type groupSend struct {
	from, cid       string
	n               int // of its sender in this group
	begun, answered int64
	seq             int64
	id              string
}

// A membership is one stay of a user in a group. Times are as in groupSend:
// joined and left are of the replies.
type membership struct {
	begun, joined, leaving, left int64
	// heard says that the device's session is in: who leaves before his shard has
	// heard of the join gets nothing of that stay.
	heard bool
	// unsure says that a session of the device ended at a point from where what it
	// missed cannot be had any more.
	unsure bool
}

// must tells whether a member has to get what was sent.
func (m *membership) must(s *groupSend) bool {
	return !m.unsure && m.joined != 0 && s.begun > m.joined && (m.leaving == 0 || s.answered < m.leaving)
}

// may tells whether a member can have got it.
func (m *membership) may(s *groupSend) bool {
	return s.answered > m.begun && (m.left == 0 || s.begun < m.left)
}

func (r *groupRun) now() int64 { return r.clock.Add(1) }

func (r *groupRun) violation(err error) { r.broken.CompareAndSwap(nil, &err) }

func (r *groupRun) failIfBroken(t *testing.T) {
	t.Helper()
	if err := r.broken.Load(); err != nil {
		t.Fatal(*err)
	}
}

func (r *groupRun) progress(t *testing.T, n int64) {
	t.Helper()
	until := r.answered.Load() + n
	eventually(t, fmt.Sprintf("%d answers", n), func() bool {
		r.failIfBroken(t)
		return r.answered.Load() >= until
	})
}

func (r *groupRun) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// A groupDevice is one user with one device.
type groupDevice struct {
	run    *groupRun
	user   string
	token  string
	codec  *codec
	writes bool // it stays in all groups and writes; otherwise it comes and goes
	rng    *rand.Rand

	mu       sync.Mutex
	cursor   string
	cursors  obj                         // group → cursor
	got      map[string]map[int64]string // group → seq → id
	newest   map[string]int64            // group → highest seq pushed
	stays    map[string][]*membership
	open     map[string]*groupSend // group → without an answer yet
	written  map[string]int        // group → messages begun
	settled  bool                  // it does nothing any more
	sessions int
}

func newGroupDevice(run *groupRun, user string) *groupDevice {
	return &groupDevice{
		run: run, user: user, cursors: obj{}, got: map[string]map[int64]string{}, newest: map[string]int64{},
		stays: map[string][]*membership{}, open: map[string]*groupSend{}, written: map[string]int{},
	}
}

// live holds a session, and after each that ends another, until ctx ends.
func (d *groupDevice) live(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.session(ctx); isViolation(err) {
			d.run.violation(fmt.Errorf("%s: %w", d.user, err))
			return
		}
		d.interrupted()
		pause(ctx, 20*time.Millisecond)
	}
}

// interrupted notes what the end of a session makes unsure: a leaving without
// answer ends the access to what was not pushed yet, and a chatroom has no
// backlog for who has no cursor.
func (d *groupDevice) interrupted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.run.groups {
		if m := d.present(g.id); m != nil && (m.leaving != 0 || g.kind == "chatroom" && d.cursors[g.id] == nil) {
			m.unsure = true
		}
	}
}

// present is the stay in a group that has not ended, nil if none. The caller
// holds d.mu.
func (d *groupDevice) present(group string) *membership {
	if stays := d.stays[group]; len(stays) > 0 && stays[len(stays)-1].left == 0 {
		return stays[len(stays)-1]
	}
	return nil
}

func (d *groupDevice) session(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	conn, err := dialWS(ctx, d.run.url, dialOptions{codec: d.codec})
	if err != nil {
		return err
	}
	defer conn.drop()
	args := obj{"token": d.token, "device": "phone", "recents": "off", "groupBacklog": 100}
	d.mu.Lock()
	if d.cursor != "" {
		args["since"] = d.cursor
	}
	args["groups"] = maps.Clone(d.cursors)
	d.sessions++
	d.mu.Unlock()
	if _, err := conn.call(ctx, "login", args); err != nil {
		return refusedOr(err)
	}
	synced := make(chan struct{})
	var loops sync.WaitGroup
	loops.Go(func() { end(d.receive(ctx, conn, synced)) })
	loops.Go(func() {
		select {
		case <-synced:
		case <-ctx.Done():
			return
		}
		act := d.comeAndGo
		if d.writes {
			act = d.write
		}
		if err := act(ctx, conn); err != nil {
			end(err)
		}
	})
	loops.Wait()
	return context.Cause(ctx)
}

// receive stores and acks what is pushed.
func (d *groupDevice) receive(ctx context.Context, conn *wsConn, synced chan<- struct{}) error {
	outside := map[string]bool{} // groups that an event of this session has put him out of
	first := map[string]int64{}  // the first seq of this sync
	pushed := map[string]int{}
	before := map[string]int64{}
	began := d.run.now()
	d.mu.Lock()
	maps.Copy(before, d.newest)
	hadCursor := maps.Clone(d.cursors)
	member := map[string]bool{} // beyond doubt
	for _, g := range d.run.groups {
		m := d.present(g.id)
		member[g.id] = m != nil && m.joined != 0 && m.leaving == 0
	}
	d.mu.Unlock()
	for {
		p, err := conn.next(ctx)
		if err != nil {
			return err
		}
		switch p.Op {
		case "onGroupEvent":
			group, _ := p.Args["group"].(string)
			users, _ := p.Args["users"].([]any)
			if !slices.Contains(users, any(d.user)) {
				continue
			}
			switch p.Args["event"] {
			case "left", "removed":
				outside[group] = true
			case "joined", "created":
				outside[group] = false
				d.heard(group, d.run.now())
			}
		case "onNewMessage":
			messages, err := parseMessages(p.Args["messages"])
			if err != nil {
				return violation{err}
			}
			for _, m := range messages {
				group := strings.TrimPrefix(m.Conv, "g:")
				if outside[group] {
					return violated("%s: seq %d came after the event that ends the membership", group, m.Seq)
				}
				if first[group] == 0 {
					first[group] = m.Seq
				}
				pushed[group]++
				d.heard(group, began)
				if err := d.take(group, m); err != nil {
					return err
				}
			}
			d.note(p.Args)
			if err := conn.notice(ctx, "ack", obj{"d": p.Args["d"]}); err != nil {
				return err
			}
		case "onSynced":
			if p.Args["reset"] == true {
				return violated("the cursor was not taken")
			}
			if lost, _ := p.Args["lost"].([]any); len(lost) > 0 {
				return violated("lost: %v", lost)
			}
			d.note(p.Args)
			for _, g := range d.run.groups {
				if hadCursor[g.id] == nil && g.kind == "chatroom" {
					d.begins(g.id)
				}
				if !member[g.id] {
					continue
				}
				to := first[g.id] - 1
				if pushed[g.id] == 0 {
					if g.kind != "chatroom" || hadCursor[g.id] == nil {
						continue
					}
					to = 1 << 50 // more than the backlog, and none of it is unread
				}
				others, own, err := d.fill(ctx, conn, g.id, before[g.id]+1, to)
				if err != nil {
					return err
				}
				if n := others + own + pushed[g.id]; pushed[g.id] > 0 && hadCursor[g.id] != nil && others > 0 && n <= 100 {
					return violated("%s: %d messages came after the cursor, %d were pushed", g.id, n, pushed[g.id])
				}
			}
			close(synced)
		}
	}
}

// heard notes that the session is in a group, if the present stay began before a
// time: a message may still be one of the stay before.
func (d *groupDevice) heard(group string, before int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.present(group); m != nil && m.begun < before {
		m.heard = true
	}
}

// note keeps the cursors of a push.
func (d *groupDevice) note(args obj) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if cursor, ok := args["cursor"].(string); ok {
		d.cursor = cursor
	}
	cursors, _ := args["groupCursors"].(obj)
	for group, cursor := range cursors {
		if d.present(group) != nil {
			d.cursors[group] = cursor
		}
	}
}

// take stores a message that was pushed: new, and above all before, unless it is
// the user's own of an earlier session.
func (d *groupDevice) take(group string, m wsMessage) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.place(group, m); err != nil {
		return err
	}
	if m.Seq <= d.newest[group] && m.From != d.user {
		return violated("%s: seq %d came after %d", group, m.Seq, d.newest[group])
	}
	d.newest[group] = max(d.newest[group], m.Seq)
	return nil
}

// place notes that seq of a group is m. The caller holds d.mu.
func (d *groupDevice) place(group string, m wsMessage) error {
	view := d.got[group]
	if view == nil {
		view = map[int64]string{}
		d.got[group] = view
	}
	if had, ok := view[m.Seq]; ok && had != m.ID {
		return violated("%s: seq %d is %s and %s", group, m.Seq, had, m.ID)
	}
	view[m.Seq] = m.ID
	return nil
}

// begins has a stay begin now, for what has to arrive: a chatroom has no backlog
// for who has no cursor.
func (d *groupDevice) begins(group string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.present(group); m != nil && m.joined != 0 {
		m.joined = d.run.now()
	}
}

// fill fetches what lies between, which was too much for the backlog, and tells
// how many messages it was. Those of his own the user may have by their replies.
func (d *groupDevice) fill(ctx context.Context, conn *wsConn, group string, from, to int64) (others, own int, err error) {
	for from <= to {
		reply, err := conn.call(ctx, "getMessage", obj{"conv": "g:" + group, "range": []any{from, to}, "limit": 100})
		if err != nil {
			return 0, 0, refusedOr(err)
		}
		messages, err := parseMessages(reply["messages"])
		if err != nil {
			return 0, 0, violation{err}
		}
		d.mu.Lock()
		for _, m := range messages {
			if err = d.place(group, m); err != nil {
				break
			}
			if m.From == d.user {
				own++
			} else {
				others++
			}
		}
		d.mu.Unlock()
		if err != nil {
			return 0, 0, err
		}
		covered, _ := reply["to"].(int64)
		if reply["more"] != true || covered < from {
			break
		}
		from = covered + 1
	}
	return others, own, nil
}

// persist makes a request until it is not refused as unavailable.
func persist(ctx context.Context, conn *wsConn, op string, args obj) (obj, error) {
	for {
		reply, err := conn.call(ctx, op, args)
		we, refused := errors.AsType[*wireError](err)
		switch {
		case refused && we.Code != "unavailable":
			return nil, violated("%s %v: %w", op, args, err)
		case !refused:
			return reply, err
		}
		pause(ctx, time.Duration(we.RetryAfterMS)*time.Millisecond)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// write sends to all groups in turn, one message at a time; what has no answer
// goes first.
func (d *groupDevice) write(ctx context.Context, conn *wsConn) error {
	for {
		waiting := 0
		for _, g := range d.run.groups {
			d.mu.Lock()
			s := d.open[g.id]
			if s == nil && !d.run.stopped() {
				d.written[g.id]++
				s = &groupSend{from: d.user, n: d.written[g.id], begun: d.run.now()}
				s.cid = fmt.Sprintf("%s-%s-%d", d.user, g.id, s.n)
				d.open[g.id] = s
				g.mu.Lock()
				g.sends = append(g.sends, s)
				g.mu.Unlock()
			}
			d.mu.Unlock()
			if s == nil {
				continue
			}
			waiting++
			reply, err := persist(ctx, conn, "send", obj{"conv": "g:" + g.id, "cid": s.cid, "body": s.n, "retry": true})
			if err != nil {
				return err
			}
			if err := d.sent(g, s, reply); err != nil {
				return err
			}
		}
		if waiting == 0 {
			d.mu.Lock()
			d.settled = true
			d.mu.Unlock()
			return nil
		}
		pause(ctx, time.Duration(d.rng.IntN(4))*time.Millisecond)
	}
}

func (d *groupDevice) sent(g *runGroup, s *groupSend, reply obj) error {
	id, _ := reply["id"].(string)
	seq, _ := reply["seq"].(int64)
	if id == "" || seq < 1 {
		return violated("send answered %v", reply)
	}
	g.mu.Lock()
	s.id, s.seq, s.answered = id, seq, d.run.now()
	g.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[g.id] = nil
	d.run.answered.Add(1)
	return d.place(g.id, wsMessage{ID: id, Seq: seq})
}

// comeAndGo joins and leaves one group after the other, and in the end is a
// member of all. The owner acts through a connection of its own.
func (d *groupDevice) comeAndGo(ctx context.Context, conn *wsConn) error {
	owner, err := dialWS(ctx, d.run.url, dialOptions{codec: d.codec})
	if err != nil {
		return err
	}
	defer owner.drop()
	if _, err := owner.call(ctx, "login", obj{"token": d.run.ownerKey, "device": d.user, "recents": "off", "groupBacklog": 0}); err != nil {
		return refusedOr(err)
	}
	for !d.run.stopped() {
		for _, g := range d.run.groups {
			if err := d.join(ctx, conn, owner, g); err != nil {
				return err
			}
		}
		for _, g := range d.run.groups {
			pause(ctx, time.Duration(d.rng.IntN(60))*time.Millisecond)
			if !d.run.stopped() {
				if err := d.leave(ctx, conn, owner, g); err != nil {
					return err
				}
			}
		}
	}
	for _, g := range d.run.groups {
		if err := d.join(ctx, conn, owner, g); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.settled = true
	d.mu.Unlock()
	return nil
}

// join begins a stay, or goes on with one that has begun, until it is answered.
func (d *groupDevice) join(ctx context.Context, conn, owner *wsConn, g *runGroup) error {
	d.mu.Lock()
	m := d.present(g.id)
	if m == nil {
		m = &membership{begun: d.run.now()}
		d.stays[g.id] = append(d.stays[g.id], m)
		delete(d.cursors, g.id)
	}
	done := m.joined != 0
	d.mu.Unlock()
	if done {
		return nil
	}
	var err error
	switch g.kind {
	case "private":
		var reply obj
		reply, err = persist(ctx, owner, "addMembers", obj{"group": g.id, "users": []any{d.user}})
		if failed, _ := reply["failed"].([]any); err == nil && len(failed) > 0 {
			err = violated("addMembers = %v", reply)
		}
	case "public":
		if _, err = persist(ctx, conn, "joinGroup", obj{"group": g.id}); err == nil {
			_, err = persist(ctx, owner, "answerJoin", obj{"group": g.id, "user": d.user, "accept": true})
		}
	default:
		_, err = persist(ctx, conn, "joinGroup", obj{"group": g.id})
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	m.joined = d.run.now()
	d.mu.Unlock()
	return nil
}

// leave ends the present stay, by the member or by the owner.
func (d *groupDevice) leave(ctx context.Context, conn, owner *wsConn, g *runGroup) error {
	var m *membership
	for heard := false; !heard; {
		d.mu.Lock()
		m = d.present(g.id)
		if heard = m == nil || m.heard; heard && m != nil && m.leaving == 0 {
			m.leaving = d.run.now()
		}
		d.mu.Unlock()
		if !heard {
			pause(ctx, 5*time.Millisecond)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if m == nil {
		return nil
	}
	var err error
	if d.rng.IntN(2) == 0 {
		_, err = persist(ctx, conn, "leaveGroup", obj{"group": g.id})
	} else {
		_, err = persist(ctx, owner, "removeMembers", obj{"group": g.id, "users": []any{d.user}})
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	m.left = d.run.now()
	d.mu.Unlock()
	return nil
}

// lost gives the first message of a group that the device has to have and has
// not, and leaked one that it has and cannot have.
func (d *groupDevice) lost(g *runGroup) (lost, leaked string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	bySeq := map[int64]*groupSend{}
	for _, s := range g.sends {
		if s.answered == 0 {
			continue
		}
		bySeq[s.seq] = s
		has := d.got[g.id][s.seq] == s.id
		if lost == "" && !has && slices.ContainsFunc(d.stays[g.id], func(m *membership) bool { return m.must(s) }) {
			lost = fmt.Sprintf("%s misses seq %d of %s (%s)", d.user, s.seq, g.id, s.cid)
		}
		if leaked == "" && has && !slices.ContainsFunc(d.stays[g.id], func(m *membership) bool { return m.may(s) }) {
			leaked = fmt.Sprintf("%s has seq %d of %s (%s), sent while it was no member", d.user, s.seq, g.id, s.cid)
		}
	}
	for seq, id := range d.got[g.id] {
		if s := bySeq[seq]; leaked == "" && (s == nil || s.id != id) {
			leaked = fmt.Sprintf("%s has seq %d of %s as %s, which nobody sent", d.user, seq, g.id, id)
		}
	}
	return lost, leaked
}

// check compares what everybody has with what was sent, and with the history.
func (r *groupRun) check(errorf reporter, history map[string][]wsMessage) {
	for _, g := range r.groups {
		for _, d := range r.devices {
			lost, leaked := d.lost(g)
			for _, report := range []string{lost, leaked} {
				if report != "" {
					errorf("%s", report)
				}
			}
		}
		byID := map[string]*groupSend{}
		for _, s := range g.sends {
			byID[s.id] = s
		}
		next := map[string]int{}
		for i, m := range history[g.id] {
			s := byID[m.ID]
			if s == nil || s.seq != m.Seq || m.Seq != int64(i+1) {
				errorf("history of %s: message %d is %v, sent as %v", g.id, i+1, m, s)
				return
			}
			if next[s.from]++; s.n != next[s.from] {
				errorf("history of %s: seq %d is number %d of %s, want %d", g.id, m.Seq, s.n, s.from, next[s.from])
			}
		}
		if len(history[g.id]) != len(g.sends) {
			errorf("history of %s has %d messages, want %d", g.id, len(history[g.id]), len(g.sends))
		}
	}
}

// arrived tells whether nothing is under way any more.
func (r *groupRun) arrived() bool {
	for _, d := range r.devices {
		d.mu.Lock()
		settled := d.settled
		d.mu.Unlock()
		if !settled {
			return false
		}
		for _, g := range r.groups {
			if lost, _ := d.lost(g); lost != "" {
				return false
			}
		}
	}
	return true
}
