package loadtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// readbackPage is how many messages are asked for at a time.
const readbackPage = 100

// A readback compares one user's history with what was sent.
type readback struct {
	*reader
	client *Client
	wrong  []error
}

// Readback logs in as a new device and compares the whole history of each
// conversation with what was sent. It is for a client whose run is over, closed
// or not, and may be repeated, each time with another device. took is the time
// from dialing to onSynced; wrong lists what differs; err is set if the server
// could not be asked.
func (c *Client) Readback(ctx context.Context, device string) (took time.Duration, wrong []error, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: read back: %w", c.config.User, err)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("not through within %v", connectTimeout))
	defer cancel()
	token, err := c.config.Server.Token(c.config.User)
	if err != nil {
		return 0, nil, err
	}
	began := time.Now()
	socket, err := dial(ctx, c.config.Server, c.config.Number, 0)
	if err != nil {
		return 0, nil, err
	}
	defer socket.close()
	defer context.AfterFunc(ctx, socket.cut)()
	r := &readback{client: c, reader: &reader{socket: socket}}
	login := protocol.LoginArgs{Token: token, Device: device, Recents: protocol.RecentsOn}
	if err := r.call(protocol.OpLogin, &login, new(protocol.LoginOK)); err != nil {
		return 0, nil, errors.Join(err, context.Cause(ctx))
	}
	if err := r.sync(); err != nil {
		return 0, nil, errors.Join(err, context.Cause(ctx))
	}
	took = time.Since(began)
	// Messages that the login pushes are compared in history. Only those that the
	// offline queue has lost are looked for here.
	for _, l := range r.synced.Lost {
		r.wrong = append(r.wrong, fmt.Errorf("%s: a new device is told that seqs %d to %d of %s are lost", c.config.User, l.From, l.To, l.Conv))
	}
	for _, v := range c.views {
		if err := r.history(v); err != nil {
			return took, r.wrong, errors.Join(err, context.Cause(ctx))
		}
	}
	return took, r.wrong, nil
}

// history compares the server's history of one view, from the first message to
// the last, with what was sent.
func (r *readback) history(v *view) error {
	wrong := func(format string, args ...any) {
		r.wrong = append(r.wrong, v.errorf("history: %w", fmt.Errorf(format, args...)))
	}
	seen := map[*Stream]map[uint64]uint64{} // counter → seq
	seq, after, lastTime := uint64(0), uint64(0), int64(0)
	for more := true; more && len(r.wrong) == 0; {
		var page protocol.PageOK
		args := protocol.GetMessageArgs{Conv: v.conv, HasAfter: true, After: after, Limit: readbackPage}
		if err := r.call(protocol.OpGetMessage, &args, &page); err != nil {
			return err
		}
		for _, g := range page.Gaps {
			wrong("seqs %d to %d are missing: %s", g.From, g.To, g.Reason)
		}
		for i := range page.Messages {
			m := &page.Messages[i]
			if m.Seq != seq+1 {
				wrong("seq %d comes after seq %d", m.Seq, seq)
			}
			seq = m.Seq
			s := v.in
			if m.From == v.user {
				s = v.out
			}
			if s == nil || m.From != v.user && m.From != v.conv.ID {
				wrong("seq %d is from %q", seq, m.From)
				continue
			}
			counter, _, err := v.parse(m, s)
			if err == nil {
				err = v.repeated(m)
			}
			if err != nil {
				wrong("%w", err)
				continue
			}
			if first, twice := seen[s][counter]; twice {
				wrong("message %d of %s is seq %d and seq %d", counter, m.From, first, seq)
			}
			if seen[s] == nil {
				seen[s] = map[uint64]uint64{}
			}
			seen[s][counter] = seq
			if m.Time < lastTime {
				wrong("seq %d has time %d, the one before it %d", seq, m.Time, lastTime)
			}
			lastTime = m.Time
		}
		after, more = page.To, page.More && page.To > after
	}
	if len(r.wrong) > 0 {
		return nil
	}
	if seq != v.held.floor {
		wrong("it ends with seq %d, the device has up to %d", seq, v.held.floor)
	}
	for _, s := range []*Stream{v.in, v.out} {
		if s == nil {
			continue
		}
		s.mu.Lock()
		want := s.sent - s.refused
		s.mu.Unlock()
		if got := uint64(len(seen[s])); got != want {
			wrong("it has %d messages of %s, want %d", got, s, want)
		}
	}
	return nil
}
