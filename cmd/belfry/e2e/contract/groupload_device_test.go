package contract

// A device of a groupRun: its sessions, and what it has got.

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// A groupDevice is one user with one device.
type groupDevice struct {
	run    *groupRun
	user   string
	token  string
	codec  *wstest.Codec
	writes bool // it stays in all groups and writes; otherwise it comes and goes
	rng    *rand.Rand

	mu          sync.Mutex
	cursor      string
	cursors     obj                         // group → cursor
	got         map[string]map[int64]string // group → seq → id
	newest      map[string]int64            // group → highest seq pushed
	memberships map[string][]*membership    // by group, oldest first
	open        map[string]*groupSend       // group → without an answer yet
	written     map[string]int              // group → messages begun
	settled     bool                        // it does nothing any more
	sessions    int
}

func newGroupDevice(run *groupRun, user string) *groupDevice {
	return &groupDevice{
		run: run, user: user, cursors: obj{}, got: map[string]map[int64]string{}, newest: map[string]int64{},
		memberships: map[string][]*membership{}, open: map[string]*groupSend{}, written: map[string]int{},
	}
}

// live holds a session, and after each that ends another, until ctx ends.
func (d *groupDevice) live(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.session(ctx); wstest.IsViolation(err) {
			d.run.violation(fmt.Errorf("%s: %w", d.user, err))
			return
		}
		d.interrupted()
		wstest.Pause(ctx, 20*time.Millisecond)
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

// present returns the membership of a group that has not ended, nil if there is none. The caller
// holds d.mu.
func (d *groupDevice) present(group string) *membership {
	if all := d.memberships[group]; len(all) > 0 && all[len(all)-1].left == 0 {
		return all[len(all)-1]
	}
	return nil
}

func (d *groupDevice) session(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	conn, err := wstest.Dial(ctx, d.run.url, wstest.DialOptions{Codec: d.codec})
	if err != nil {
		return err
	}
	defer conn.Drop()
	args := obj{"token": d.token, "device": "phone", "recents": "off", "groupBacklog": 100}
	d.mu.Lock()
	if d.cursor != "" {
		args["since"] = d.cursor
	}
	args["groups"] = maps.Clone(d.cursors)
	d.sessions++
	d.mu.Unlock()
	if _, err := conn.Call(ctx, "login", args); err != nil {
		return wstest.RefusedOr(err)
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
func (d *groupDevice) receive(ctx context.Context, conn *wstest.Conn, synced chan<- struct{}) error {
	outside := map[string]bool{} // groups that an event of this session has removed the user from
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
		p, err := conn.Next(ctx)
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
			messages, err := wstest.ParseMessages(p.Args["messages"])
			if err != nil {
				return wstest.Violation{Err: err}
			}
			for _, m := range messages {
				group := strings.TrimPrefix(m.Conv, "g:")
				if outside[group] {
					return wstest.Violated("%s: seq %d came after the event that ends the membership", group, m.Seq)
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
			if err := conn.Notice(ctx, "ack", obj{"d": p.Args["d"]}); err != nil {
				return err
			}
		case "onSynced":
			if p.Args["reset"] == true {
				return wstest.Violated("the cursor was not taken")
			}
			if lost, _ := p.Args["lost"].([]any); len(lost) > 0 {
				return wstest.Violated("lost: %v", lost)
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
					return wstest.Violated("%s: %d messages came after the cursor, %d were pushed", g.id, n, pushed[g.id])
				}
			}
			close(synced)
		}
	}
}

// heard notes that the session is in a group, if the present membership began
// before a time: a message may still be one of the membership before.
func (d *groupDevice) heard(group string, before int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.present(group); m != nil && m.begun < before {
		m.heard = true
	}
}

// note keeps the cursors of a push, but for those that may still be of the
// membership before: a device that returns with one is pushed what came from its new
// membership on, while in a chatroom it can read what came in between, too.
func (d *groupDevice) note(args obj) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if cursor, ok := args["cursor"].(string); ok {
		d.cursor = cursor
	}
	cursors, _ := args["groupCursors"].(obj)
	for group, cursor := range cursors {
		if m := d.present(group); m != nil && m.heard {
			d.cursors[group] = cursor
		}
	}
}

// take stores a message that was pushed: new, and above all before, unless it is
// the user's own of an earlier session.
func (d *groupDevice) take(group string, m wstest.Message) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.place(group, m); err != nil {
		return err
	}
	if m.Seq <= d.newest[group] && m.From != d.user {
		return wstest.Violated("%s: seq %d came after %d", group, m.Seq, d.newest[group])
	}
	d.newest[group] = max(d.newest[group], m.Seq)
	return nil
}

// place notes that seq of a group is m. The caller holds d.mu.
func (d *groupDevice) place(group string, m wstest.Message) error {
	view := d.got[group]
	if view == nil {
		view = map[int64]string{}
		d.got[group] = view
	}
	if had, ok := view[m.Seq]; ok && had != m.ID {
		return wstest.Violated("%s: seq %d is %s and %s", group, m.Seq, had, m.ID)
	}
	view[m.Seq] = m.ID
	return nil
}

// begins has a membership begin now, for what has to arrive: a chatroom has no backlog
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
func (d *groupDevice) fill(ctx context.Context, conn *wstest.Conn, group string, from, to int64) (others, own int, err error) {
	for from <= to {
		reply, err := conn.Call(ctx, "getMessage", obj{"conv": "g:" + group, "range": []any{from, to}, "limit": 100})
		if err != nil {
			return 0, 0, wstest.RefusedOr(err)
		}
		messages, err := wstest.ParseMessages(reply["messages"])
		if err != nil {
			return 0, 0, wstest.Violation{Err: err}
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

// lost returns the first message of a group that the device has to have and has
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
		if lost == "" && !has && slices.ContainsFunc(d.memberships[g.id], func(m *membership) bool { return m.must(s) }) {
			lost = fmt.Sprintf("%s misses seq %d of %s (%s)", d.user, s.seq, g.id, s.cid)
		}
		if leaked == "" && has && !slices.ContainsFunc(d.memberships[g.id], func(m *membership) bool { return m.may(s) }) {
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
