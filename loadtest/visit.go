package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A visit is one login that was measured, with what it was pushed.
type visit struct {
	*reader
	took    time.Duration     // from the request to onSynced
	frames  [][]byte          // of onNewMessage, up to onSynced
	count   int               // messages in them
	end     int               // bytes of onSynced and of the lists before it
	cursors map[string]string // of groups, as the frames give them
}

// login opens a connection, logs in and returns what that took and what was
// pushed. It leaves decoding for later: it is the server's time that counts.
func (r *groupLoginRun) login(ctx context.Context, user string, args protocol.LoginArgs) (*visit, error) {
	token, err := r.run.config.Server.Token(user)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("not through within %v", connectTimeout))
	defer cancel()
	socket, err := dial(ctx, &r.run.config.Server, len(r.owners), 0)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, socket.cut)()
	v := &visit{reader: &reader{socket: socket}}
	args.Token, args.Device, args.AutoRead = token, "load", true
	began := time.Now()
	var parts [][]byte // frames of lists that onSynced has no room for
	err = v.call(protocol.OpLogin, &args, new(protocol.LoginOK))
	for err == nil && v.synced == nil {
		var payload []byte
		if payload, err = v.frame(); err != nil {
			break
		}
		var f protocol.ServerFrame
		f, err = protocol.DecodeServerFrame(socket.codec, payload)
		switch f.Op {
		case protocol.OpOnNewMessage:
			v.frames = append(v.frames, bytes.Clone(payload))
		case protocol.OpOnConversations:
			v.end += len(payload)
			parts = append(parts, bytes.Clone(payload))
		case protocol.OpOnSynced:
			v.took = time.Since(began)
			v.end += len(payload)
			v.synced = new(protocol.Synced)
			err = errors.Join(f.Decode(v.synced), v.complete(parts))
		}
	}
	if err != nil {
		socket.cut()
		return nil, errors.Join(fmt.Errorf("%s: login: %w", user, err), context.Cause(ctx))
	}
	return v, nil
}

// complete adds to onSynced the lists that came before it.
func (v *visit) complete(frames [][]byte) error {
	for _, frame := range frames {
		f, err := protocol.DecodeServerFrame(v.socket.codec, frame)
		var part protocol.SyncedPart
		if err == nil {
			err = f.Decode(&part)
		}
		if err != nil {
			return fmt.Errorf("onConversations: %w", err)
		}
		v.parts.Add(&part)
	}
	v.parts.Complete(v.synced)
	return nil
}

// groupCursors returns the cursors that the login returned, as many as the next
// may name.
func (v *visit) groupCursors() (cursors []protocol.GroupCursor) {
	for _, list := range [][]protocol.Conversation{v.synced.Conversations, v.synced.Groups} {
		for i := range list {
			if c := &list[i]; c.Conv.Group && c.Cursor != "" {
				v.cursors[c.Conv.ID] = c.Cursor
			}
		}
	}
	for group, cursor := range v.cursors {
		if len(cursors) < protocol.MaxLoginGroups {
			cursors = append(cursors, protocol.GroupCursor{Group: group, Cursor: cursor})
		}
	}
	return cursors
}

// checked logs in, hangs up, and verifies what was pushed.
func (r *groupLoginRun) checked(ctx context.Context, user string, args protocol.LoginArgs) (*visit, error) {
	v, err := r.login(ctx, user, args)
	if err != nil {
		return nil, err
	}
	v.socket.close()
	wrong := func(format string, values ...any) {
		r.tally.violated(fmt.Errorf("%s: login: %w", user, fmt.Errorf(format, values...)))
	}
	v.cursors = map[string]string{}
	last := map[string]uint64{} // seq by group
	for _, frame := range v.frames {
		f, err := protocol.DecodeServerFrame(v.socket.codec, frame)
		var p protocol.NewMessage
		if err == nil {
			err = f.Decode(&p)
		}
		if err != nil {
			wrong("onNewMessage: %w", err)
			continue
		}
		for _, c := range p.GroupCursors {
			v.cursors[c.Group] = c.Cursor
		}
		for i := range p.Messages {
			v.count++
			if err := r.message(last, &p.Messages[i]); err != nil {
				wrong("%s: seq %d: %w", p.Messages[i].Conv, p.Messages[i].Seq, err)
			}
		}
	}
	for group, seq := range last {
		if seq != uint64(r.config.Unread) {
			wrong("g:%s: what was pushed ends with seq %d, want %d", group, seq, r.config.Unread)
		}
	}
	if want, bytes := r.pushes(len(args.Groups)); bytes <= backlogBytes && v.count != want {
		wrong("%d messages were pushed, want %d", v.count, want)
	}
	r.synced(v, wrong)
	return v, nil
}

// message checks a message that was pushed. last has the seq of the one before it
// in each group.
func (r *groupLoginRun) message(last map[string]uint64, m *protocol.Message) error {
	s := r.groups[m.Conv.ID]
	if s == nil || !m.Conv.Group || m.From != s.stream.from {
		return fmt.Errorf("it is from %s, who does not write there", m.From)
	}
	counter, _, err := parseBody(m.Body, s.stream.id, s.stream.size, r.body)
	before := last[m.Conv.ID]
	last[m.Conv.ID] = m.Seq
	switch {
	case err != nil:
		return err
	case counter != m.Seq:
		return fmt.Errorf("it is message %d", counter)
	case before > 0 && m.Seq != before+1:
		return fmt.Errorf("it came after seq %d", before)
	}
	return nil
}

// synced checks what onSynced says.
func (r *groupLoginRun) synced(v *visit, wrong func(format string, values ...any)) {
	p := v.synced
	if n := len(p.Conversations) + len(p.Groups); n != r.config.Groups {
		wrong("onSynced names %d groups in %d bytes, want %d", n, v.end, r.config.Groups)
	}
	for _, list := range [][]protocol.Conversation{p.Conversations, p.Groups} {
		for i := range list {
			if c := &list[i]; r.groups[c.Conv.ID] == nil || c.LastSeq != uint64(r.config.Unread) || c.Unread != r.config.Unread {
				wrong("onSynced says of %s: last seq %d, %d unread; want %d of both", c.Conv, c.LastSeq, c.Unread, r.config.Unread)
			}
		}
	}
	if want := r.config.Groups * r.config.Unread; p.UnreadTotal != want {
		wrong("onSynced says that %d messages are unread, want %d", p.UnreadTotal, want)
	}
	if p.Reset || len(p.Lost) > 0 {
		wrong("onSynced says reset: %v, lost: %v; want neither", p.Reset, p.Lost)
	}
}

// pushes returns how many messages a login with so many cursors is pushed, and
// about how many bytes.
func (r *groupLoginRun) pushes(cursors int) (messages, bytes int) {
	of := r.config.Groups - cursors
	messages = min(of*min(r.config.Unread, r.config.Backlog), backlogMessages)
	return messages, messages * (r.config.Body + backlogOverhead)
}
