package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A remoteEnd is the leader of a shard on another node.
type remoteEnd struct {
	shard  *shardRef
	stream *peer.Stream
	number uint64 // of the leadership
}

// find returns the leader of the shard on another node, nil while none is known or its
// node is not connected.
func (sh *shardRef) find() leaderEnd {
	node, number, _ := sh.leads.get()
	if node == "" || !sh.store.cluster.Link.Connected(node) {
		return nil // all that waits would be encoded for a stream that breaks at once
	}
	stream := sh.store.streamTo(node)
	if stream == nil {
		return nil
	}
	return &remoteEnd{shard: sh, stream: stream, number: number}
}

// send implements leaderEnd.
func (e *remoteEnd) send(op *operation, done func(*peer.Answer)) (kept bool, err error) {
	err = e.stream.Send(op.request(e.shard.id, e.number), func(a peer.Answer) {
		if leaderless(a.Err) {
			e.shard.leads.refused(e.number)
		}
		done(&a)
	})
	if err == nil {
		op.counted = true // the line is locked: nobody else has it yet
		e.shard.metrics.sent.Inc()
	}
	return err == nil || errors.Is(err, store.ErrUnavailable), err
}

// Exchange executes what another node asks of a shard that this node leads. It
// implements peer.Handler.
func (s *Store) Exchange(ctx context.Context, _ string, r peer.Request, done func(peer.Answer)) {
	l, err := s.leaderFor(&r)
	if err != nil {
		done(peer.Answer{Err: err})
		return
	}
	switch r.Kind {
	case peer.Command, peer.Login, peer.Committed:
		err = l.order(&r, done)
	case peer.Read, peer.ReadApart, peer.Status, peer.Tell, peer.Transient, peer.Live, peer.Attention, peer.Away,
		peer.Reserve, peer.Unreserve:
		err = s.reads.run(func() { l.answerApart(ctx, &r, done) })
	default:
		err = fmt.Errorf("%w: request of kind %d is not known: the leader's node is older than the one that asks", peer.ErrFailed, r.Kind)
	}
	if err != nil {
		done(peer.Answer{Term: l.number, Err: err})
	}
}

// answerApart answers a request that has no place among commands, unless nobody waits for
// its answer any more.
func (l *leader) answerApart(ctx context.Context, r *peer.Request, done func(peer.Answer)) {
	switch {
	case ctx.Err() != nil:
		done(peer.Answer{Term: l.number, Err: ctx.Err()})
	case r.Kind >= peer.Status:
		l.answerCall(r, done)
	default:
		l.answerReads(ctx, r, done)
	}
}

// leaderFor returns the leadership that a request is for.
func (s *Store) leaderFor(r *peer.Request) (*leader, error) {
	if sh := s.owners.Load().shard(r.Shard); sh != nil {
		if here := sh.here(); here != nil {
			if l := here.serving.Load(); l != nil && (r.Term == l.number || r.Term == 0) {
				return l, nil
			}
		}
	}
	return nil, store.NotLeader(fmt.Sprintf("shard %d is not led here in term %d.%d", r.Shard, r.Term>>termShift, r.Term&(1<<termShift-1)))
}

// order executes a request whose place among others counts.
func (l *leader) order(r *peer.Request, done func(peer.Answer)) error {
	op := &operation{kind: r.Kind, encoded: r.Body}
	var err error
	switch r.Kind {
	case peer.Login:
		var body peer.LoginBody
		body, err = peer.DecodeLogin(r.Body)
		op.recents, op.encoded, op.counted = body.Recents, body.Command, body.Counted
		op.asked = time.Now().Add(-body.Age)
		op.begin = func(user command.UserID, sync *query.Sync) { l.shard.expect(user, sync.Session) }
	case peer.Committed:
		op.queries, err = peer.DecodeQueries(r.Body)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", peer.ErrFailed, err)
	}
	op.done = func(a answer) {
		out := peer.Answer{Term: l.number, Applied: l.shard.local.Stamp().Applied, Err: a.err}
		buf := bodies.Get().(*body)
		defer buf.release()
		switch {
		case a.err != nil:
		case op.kind == peer.Command:
			buf.b = peer.AppendResult(buf.b[:0], &a.result)
		case op.kind == peer.Committed:
			buf.b = peer.AppendAnswers(buf.b[:0], op.queries)
		default:
			if out.Err = a.result.Err(); out.Err == nil {
				buf.b = peer.AppendSync(buf.b[:0], a.sync)
			}
		}
		if out.Err == nil {
			out.Body = buf.b
		}
		done(out)
	}
	return l.execute(op, false)
}

// answerReads answers queries from memory.
func (l *leader) answerReads(ctx context.Context, r *peer.Request, done func(peer.Answer)) {
	out := peer.Answer{Term: l.number, Applied: l.shard.local.Stamp().Applied}
	queries, err := peer.DecodeQueries(r.Body)
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", peer.ErrFailed, err)
	case l.shard.memory() == nil: // there may be a newer leader
		// Nobody waits for longer, and others wait for the turn that this takes.
		patient, cancel := context.WithTimeout(ctx, readPatience)
		defer cancel()
		if err = l.shard.replica.ReadCommitted(patient, queries...); patient.Err() != nil && errors.Is(err, patient.Err()) {
			err = store.Unavailable(store.DefaultRetryAfter, "the leadership is not confirmed")
		}
	case r.Kind == peer.Read:
		err = l.shard.replica.Read(queries...)
	default:
		err = readEach(l.shard.replica, queries)
	}
	buf := bodies.Get().(*body)
	defer buf.release()
	if out.Err = err; err == nil {
		buf.b = peer.AppendAnswers(buf.b[:0], queries)
		out.Body = buf.b
	}
	done(out)
}

// A body is the buffer of an answer's body until that has been copied.
type body struct{ b []byte }

var bodies = sync.Pool{New: func() any { return new(body) }}

func (b *body) release() {
	if cap(b.b) <= 64<<10 { // larger ones are rare
		bodies.Put(b)
	}
}

var _ peer.Handler = (*Store)(nil)
