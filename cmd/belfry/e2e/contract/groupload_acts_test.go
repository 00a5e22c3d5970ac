package contract

// What the devices of a groupRun do: they write, or come and go.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// persist makes a request until it is not refused as unavailable.
func persist(ctx context.Context, conn *wstest.Conn, op string, args obj) (obj, error) {
	for {
		reply, err := conn.Call(ctx, op, args)
		we, refused := errors.AsType[*wstest.Error](err)
		switch {
		case refused && we.Code != "unavailable":
			return nil, wstest.Violated("%s %v: %w", op, args, err)
		case !refused:
			return reply, err
		}
		wstest.Pause(ctx, time.Duration(we.RetryAfterMS)*time.Millisecond)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// write sends to all groups in turn, one message at a time; what has no answer
// goes first.
func (d *groupDevice) write(ctx context.Context, conn *wstest.Conn) error {
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
		wstest.Pause(ctx, time.Duration(d.rng.IntN(4))*time.Millisecond)
	}
}

func (d *groupDevice) sent(g *runGroup, s *groupSend, reply obj) error {
	id, _ := reply["id"].(string)
	seq, _ := reply["seq"].(int64)
	if id == "" || seq < 1 {
		return wstest.Violated("send answered %v", reply)
	}
	g.mu.Lock()
	s.id, s.seq, s.answered = id, seq, d.run.now()
	g.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[g.id] = nil
	d.run.answered.Add(1)
	return d.place(g.id, wstest.Message{ID: id, Seq: seq})
}

// comeAndGo joins and leaves one group after the other, and in the end is a
// member of all. The owner acts through a connection of its own.
func (d *groupDevice) comeAndGo(ctx context.Context, conn *wstest.Conn) error {
	owner, err := wstest.Dial(ctx, d.run.url, wstest.DialOptions{Codec: d.codec})
	if err != nil {
		return err
	}
	defer owner.Drop()
	if _, err := owner.Call(ctx, "login", obj{"token": d.run.ownerKey, "device": d.user, "recents": "off", "groupBacklog": 0}); err != nil {
		return wstest.RefusedOr(err)
	}
	for !d.run.stopped() {
		for _, g := range d.run.groups {
			if err := d.join(ctx, conn, owner, g); err != nil {
				return err
			}
		}
		for _, g := range d.run.groups {
			wstest.Pause(ctx, time.Duration(d.rng.IntN(60))*time.Millisecond)
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

// join begins a membership, or goes on with one that has begun, until it is
// answered.
func (d *groupDevice) join(ctx context.Context, conn, owner *wstest.Conn, g *runGroup) error {
	d.mu.Lock()
	m := d.present(g.id)
	if m == nil {
		m = &membership{begun: d.run.now()}
		d.memberships[g.id] = append(d.memberships[g.id], m)
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
			err = wstest.Violated("addMembers = %v", reply)
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

// leave ends the present membership, by the member or by the owner.
func (d *groupDevice) leave(ctx context.Context, conn, owner *wstest.Conn, g *runGroup) error {
	d.mu.Lock()
	m := d.present(g.id)
	if m != nil && m.leaving == 0 {
		m.leaving = d.run.now()
	}
	d.mu.Unlock()
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
