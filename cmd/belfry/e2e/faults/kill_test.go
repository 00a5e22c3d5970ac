package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// TestKill kills the server (kill -9) ten times while twenty devices write to
// each other, starts it again on the same data, and lets the devices return:
// half of them with their cursors, the others with nothing but their acks, so
// that they are pushed again what they had not acked. In the end everything
// that was answered is where it belongs: once, in order, unaltered, on both
// sides.
func TestKill(t *testing.T) {
	const kills = 10
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := harness.StartRace(t, killFlags...)
	run := startKillRun(t, s, seed, 200)
	for range kills {
		if rng.IntN(3) > 0 {
			run.progress(t, rng.Int64N(500))
		} // else it is killed while the devices return
		s.Kill()
		s.Restart()
	}
	run.progress(t, 200)
	run.finish(t, s)
}

// killFlags set limits beyond a killRun's size, so that nothing leaves but by a
// fault.
var killFlags = []string{"--user-bytes=256MiB", "--offline-max-messages=1000000", "--offline-max-bytes=256MiB",
	"--new-conversations=0", "--recents=1000"}

// A killRun is what the devices of one run share.
type killRun struct {
	url      string
	blob     int // bytes in a message's body, at most
	all      []*verifier
	answered atomic.Int64
	stop     chan struct{}         // closed when no device shall begin another message
	broken   atomic.Pointer[error] // the first violation
	end      func()                // ends the devices' sessions and waits for them
}

// startKillRun has twenty devices write to each other on a server that was
// started with killFlags, until finish; bodies have up to about blob bytes.
func startKillRun(t *testing.T, s *harness.Server, seed uint64, blob int) *killRun {
	const devices = 20
	run := &killRun{url: s.URL(), blob: blob, stop: make(chan struct{})}
	for i := range devices {
		user := fmt.Sprintf("user%02d", i)
		v := newVerifier(run, user)
		v.token, v.codec = s.Token(user), wstest.Codecs[i%len(wstest.Codecs)]
		v.cursors = i/len(wstest.Codecs)%2 == 0
		v.rng = rand.New(rand.NewPCG(seed, uint64(i)+1))
		run.all = append(run.all, v)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	for _, v := range run.all {
		loops.Go(func() { v.live(ctx) })
	}
	run.end = func() { cancel(); loops.Wait() }
	t.Cleanup(run.end)
	return run
}

// progress waits for n more answers.
func (r *killRun) progress(t *testing.T, n int64) {
	t.Helper()
	until := r.answered.Load() + n
	wstest.Eventually(t, fmt.Sprintf("%d answers", n), func() bool {
		r.failIfBroken(t)
		return r.answered.Load() >= until
	})
}

// finish lets no message begin any more, waits until all have arrived, and
// checks what everybody has, and what the server has.
func (r *killRun) finish(t *testing.T, s *harness.Server) {
	t.Helper()
	close(r.stop)
	wstest.Eventually(t, "every answered message at its receiver", func() bool {
		r.failIfBroken(t)
		return r.settled()
	})
	r.check(t.Errorf)
	r.end()
	r.failIfBroken(t)

	for _, v := range r.all {
		c := s.Device(t, v.user, "reader", v.codec)
		c.Login(obj{"recents": "off"})
		for conv, view := range v.views {
			r.checkHistory(t.Errorf, v, conv, view, c.AllHistory(conv))
		}
		c.Drop()
	}
	var repeats, sessions int
	for _, v := range r.all {
		repeats += v.repeats
		sessions += v.sessions
	}
	t.Logf("%d messages, %d sessions, %d pushed again after a kill", r.answered.Load(), sessions, repeats)
}

func (r *killRun) violation(err error) { r.broken.CompareAndSwap(nil, &err) }

func (r *killRun) failIfBroken(t *testing.T) {
	t.Helper()
	if err := r.broken.Load(); err != nil {
		t.Fatal(*err)
	}
}

func (r *killRun) of(user string) *verifier {
	return r.all[slices.IndexFunc(r.all, func(v *verifier) bool { return v.user == user })]
}

// An outgoing is one message of a verifier, answered or not.
type outgoing struct {
	to, cid string
	body    obj
	id      string // empty until answered
	seq     int64  // in the sender's view
	time    int64
	tried   bool // sent before: the answer may have been lost
}

// A verifier is one user with one device that never loses what it stores: its
// cursor, what it has sent and what it got. Its first violation ends the run.
type verifier struct {
	run   *killRun
	user  string
	token string
	codec *wstest.Codec
	// cursors is set if the device logs in with its cursor.
	cursors bool
	rng     *rand.Rand // of the sending loop

	mu       sync.Mutex
	cursor   string
	sent     []*outgoing
	got      map[string]wstest.Message   // by id, from others; the first copy
	order    []string                    // ids of got as they came
	newest   map[string]int64            // conv → highest seq got from others
	views    map[string]map[int64]string // conv → seq → id, own messages included
	repeats  int
	sessions int
}

func newVerifier(run *killRun, user string) *verifier {
	return &verifier{run: run, user: user, got: map[string]wstest.Message{}, newest: map[string]int64{}, views: map[string]map[int64]string{}}
}

// live holds a session, and after each that ends another, until ctx ends.
func (v *verifier) live(ctx context.Context) {
	for ctx.Err() == nil {
		if err := v.session(ctx); wstest.IsViolation(err) {
			v.run.violation(fmt.Errorf("%s: %w", v.user, err))
			return
		}
		wstest.Pause(ctx, 20*time.Millisecond)
	}
}

// session logs in and runs both loops until the connection is lost.
func (v *verifier) session(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	conn, err := wstest.Dial(ctx, v.run.url, wstest.DialOptions{Codec: v.codec})
	if err != nil {
		return err
	}
	defer conn.Drop()
	login := obj{"token": v.token, "device": "phone"}
	if v.cursors && v.cursor != "" {
		login["since"] = v.cursor
	}
	if _, err := conn.Call(ctx, "login", login); err != nil {
		return wstest.RefusedOr(err)
	}
	v.mu.Lock()
	v.sessions++
	v.mu.Unlock()
	var loops sync.WaitGroup
	loops.Go(func() { end(v.receive(ctx, conn)) })
	loops.Go(func() {
		if err := v.write(ctx, conn); err != nil {
			end(err)
		}
	})
	loops.Wait()
	return context.Cause(ctx)
}

// receive stores and acks what is pushed.
func (v *verifier) receive(ctx context.Context, conn *wstest.Conn) error {
	for {
		p, err := conn.Next(ctx)
		if err != nil {
			return err
		}
		switch p.Op {
		case "onNewMessage":
			if err := v.store(p.Args); err != nil {
				return err
			}
			if err := conn.Notice(ctx, "ack", obj{"d": p.Args["d"]}); err != nil {
				return err
			}
		case "onSynced":
			if p.Args["reset"] == true {
				return wstest.Violated("the cursor %q was not taken", v.cursor)
			}
			if lost, _ := p.Args["lost"].([]any); len(lost) > 0 {
				return wstest.Violated("lost: %v", lost)
			}
			cursor, ok := p.Args["cursor"].(string)
			if !ok {
				return wstest.Violated("onSynced without a cursor: %v", p.Args)
			}
			v.mu.Lock()
			v.cursor = cursor
			v.mu.Unlock()
		}
	}
}

func (v *verifier) store(args obj) error {
	messages, err := wstest.ParseMessages(args["messages"])
	if err != nil {
		return wstest.Violation{Err: err}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range messages {
		if err := v.place(m.Conv, m.Seq, m.ID); err != nil {
			return err
		}
		if m.From == v.user {
			continue // of an earlier session of this device
		}
		if first, ok := v.got[m.ID]; ok {
			v.repeats++
			if !reflect.DeepEqual(first, m) {
				return wstest.Violated("message %s came as %v, then as %v", m.ID, first, m)
			}
			continue
		}
		if m.Seq <= v.newest[m.Conv] {
			return wstest.Violated("%s: seq %d came after %d", m.Conv, m.Seq, v.newest[m.Conv])
		}
		v.newest[m.Conv] = m.Seq
		v.got[m.ID] = m
		v.order = append(v.order, m.ID)
	}
	if cursor, ok := args["cursor"].(string); ok {
		v.cursor = cursor
	}
	return nil
}

// place notes that seq of conv is id. The caller holds v.mu.
func (v *verifier) place(conv string, seq int64, id string) error {
	view := v.views[conv]
	if view == nil {
		view = map[int64]string{}
		v.views[conv] = view
	}
	if had, ok := view[seq]; ok && had != id {
		return wstest.Violated("%s: seq %d is %s and %s", conv, seq, had, id)
	}
	view[seq] = id
	return nil
}

// write sends the message that has no answer yet, then new ones.
func (v *verifier) write(ctx context.Context, conn *wstest.Conn) error {
	for {
		m := v.unanswered()
		if m == nil {
			select {
			case <-v.run.stop:
				return nil
			default:
			}
			m = v.compose()
		}
		args := obj{"conv": "u:" + m.to, "cid": m.cid, "body": m.body}
		if m.tried {
			args["retry"] = true
		}
		m.tried = true
		reply, err := conn.Call(ctx, "send", args)
		if we, ok := errors.AsType[*wstest.Error](err); ok && we.Code == "unavailable" {
			wstest.Pause(ctx, time.Duration(we.RetryAfterMS)*time.Millisecond)
			continue
		}
		if err != nil {
			return wstest.RefusedOr(err)
		}
		if err := v.answered(m, reply); err != nil {
			return err
		}
	}
}

func (v *verifier) unanswered() *outgoing {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.sent); n > 0 && v.sent[n-1].id == "" {
		return v.sent[n-1]
	}
	return nil
}

func (v *verifier) compose() *outgoing {
	to := v.run.all[v.rng.IntN(len(v.run.all))].user
	for to == v.user {
		to = v.run.all[v.rng.IntN(len(v.run.all))].user
	}
	blob := make([]byte, v.rng.IntN(v.run.blob))
	for i := range blob {
		blob[i] = byte(v.rng.Uint32())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	n := int64(len(v.sent) + 1)
	m := &outgoing{to: to, cid: fmt.Sprintf("%s-%d", v.user, n), body: obj{"n": n, "text": "grüße ✓", "blob": blob, "list": []any{true, nil, -1.5}}}
	v.sent = append(v.sent, m)
	return m
}

func (v *verifier) answered(m *outgoing, reply obj) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	m.id, _ = reply["id"].(string)
	m.seq, _ = reply["seq"].(int64)
	m.time, _ = reply["time"].(int64)
	if m.id == "" || m.seq < 1 || m.time < 1 {
		return wstest.Violated("send answered %v", reply)
	}
	v.run.answered.Add(1)
	return v.place("u:"+m.to, m.seq, m.id)
}

// settled reports whether every message is answered and has reached its receiver.
// Nobody begins a new one any more.
func (r *killRun) settled() bool {
	for _, v := range r.all {
		v.mu.Lock()
		sent := slices.Clone(v.sent)
		v.mu.Unlock()
		for _, m := range sent {
			v.mu.Lock()
			id := m.id
			v.mu.Unlock()
			to := r.of(m.to)
			to.mu.Lock()
			_, there := to.got[id]
			to.mu.Unlock()
			if !there {
				return false
			}
		}
	}
	return true
}

// check compares what each device got with what the others sent: nothing else,
// in each sender's order, with seqs that have no hole.
func (r *killRun) check(errorf wstest.Reporter) {
	for _, v := range r.all {
		v.mu.Lock()
		defer v.mu.Unlock()
	}
	for _, v := range r.all {
		bySender := map[string][]string{} // ids as they came
		for _, id := range v.order {
			m := v.got[id]
			if m.Conv != "u:"+m.From {
				errorf("%s got a message of %s in %s", v.user, m.From, m.Conv)
			}
			bySender[m.From] = append(bySender[m.From], id)
		}
		for _, sender := range r.all {
			var want []string
			for _, m := range sender.sent {
				if m.to != v.user {
					continue
				}
				want = append(want, m.id)
				if got := v.got[m.id]; got.CID != m.cid || !reflect.DeepEqual(got.Body, any(m.body)) {
					errorf("%s got %v, want cid %s with body %v", v.user, got, m.cid, m.body)
				}
			}
			if got := bySender[sender.user]; !slices.Equal(got, want) {
				errorf("%s got %d messages of %s, want %d in the order sent\ngot  %v\nwant %v",
					v.user, len(got), sender.user, len(want), got, want)
			}
		}
		for conv, view := range v.views {
			for seq := int64(1); seq <= int64(len(view)); seq++ {
				if view[seq] == "" {
					errorf("%s: %s holds %d messages but none of seq %d", v.user, conv, len(view), seq)
				}
			}
		}
	}
}

// checkHistory compares the server's history of a view with what the device
// has seen of it, and with the bodies as they were sent.
func (r *killRun) checkHistory(errorf wstest.Reporter, v *verifier, conv string, view map[int64]string, history []wstest.Message) {
	if len(history) != len(view) {
		errorf("%s: history of %s has %d messages, want %d", v.user, conv, len(history), len(view))
	}
	peer := r.of(conv[len("u:"):])
	var newest int64
	for i, m := range history {
		if m.Seq != int64(i+1) || view[m.Seq] != m.ID {
			errorf("%s: history of %s: seq %d is %s, want seq %d to be %s", v.user, conv, m.Seq, m.ID, i+1, view[int64(i+1)])
		}
		if m.Time < newest {
			errorf("%s: history of %s: time of seq %d runs backwards", v.user, conv, m.Seq)
		}
		newest = m.Time
		sender := v
		if m.From == peer.user {
			sender = peer
		}
		j := slices.IndexFunc(sender.sent, func(s *outgoing) bool { return s.id == m.ID })
		switch {
		case j < 0 || sender.sent[j].cid != m.CID || !reflect.DeepEqual(any(sender.sent[j].body), m.Body):
			errorf("%s: history of %s: seq %d is %v, which %s never sent", v.user, conv, m.Seq, m, m.From)
		case sender == v && sender.sent[j].time != m.Time:
			errorf("%s: history of %s: time of seq %d is %d, send was answered %d", v.user, conv, m.Seq, m.Time, sender.sent[j].time)
		case sender == peer && !reflect.DeepEqual(v.got[m.ID], m):
			errorf("%s: history of %s: seq %d is %v, was pushed as %v", v.user, conv, m.Seq, m, v.got[m.ID])
		}
	}
}
