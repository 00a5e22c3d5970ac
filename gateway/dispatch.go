package gateway

import (
	"errors"
	"slices"
	"time"

	"github.com/belfry-im/belfry/gateway/errcode"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// A refusal is an error that a request is answered with.
type refusal struct {
	code       string
	message    string
	retryAfter time.Duration // when to try again, 0 = not said
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// dispatch calls the handler of a request, or refuses it.
func (s *session) dispatch(r request) {
	s.identified = 0
	op, known := ops[r.Op]
	s.frames.note(op.frame|frameIn, r.size, r.receivedAt.Sub(s.began))
	var err error
	used, parting, parted := s.beginRequest(r.ID)
	switch {
	case parted:
		return // as if it had not been read: its answer might come too late to be sent
	case parting.code != 0:
		err = &refusal{protocol.CodeUnavailable, "op: the server is going away; repeating it is safe", parting.retryAfter}
	case used:
		err = &refusal{code: protocol.CodeBadRequest, message: "id: is in use by a request in flight"}
	case !s.hasLoggedIn() && r.Op != protocol.OpLogin && r.Op != protocol.OpPing:
		err = &refusal{code: protocol.CodeUnauthorized, message: "op: log in first"}
	case !known:
		err = &refusal{code: protocol.CodeUnknownOp, message: "op: is unknown"}
	case (r.size > unchargedRequest || op.costly) && s.gateway.admission.MemoryLow():
		err = &refusal{protocol.CodeUnavailable, "op: the server has no memory for this right now; repeating it is safe", memoryRetryAfter}
	case op.costly:
		err = s.inTurn(r, op.handle)
	default:
		err = op.handle(s, r)
	}
	if s.repeats != nil && s.identified == 0 {
		s.repeats.used(r.ID)
	}
	if err != nil {
		s.refuse(r, err)
	}
}

// decode decodes the arguments of a request, and then calls allow to check a rate
// limit.
func (s *session) decode(r request, args interface{ Decode(protocol.Raw) error }, allow func(*session) error) error {
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	return allow(s)
}

// beginRequest notes that a request is being handled; waitForCapacity ends that. used
// reports whether a pending request has the same id. parting is the closing of a
// session that takes no new requests any more, zero otherwise; parted reports whether it
// is being closed now.
func (s *session) beginRequest(id uint64) (used bool, parting closing, parted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handling = true
	if s.pendingClose.code != 0 && time.Now().UnixMilli() >= s.refuseFrom {
		parting = s.pendingClose
	}
	return id != 0 && s.pendingIndex(id) >= 0, parting, s.parted
}

// hasLoggedIn reports whether the session has logged in. It is for the read loop, which
// sets id.
func (s *session) hasLoggedIn() bool { return s.id() != 0 }

// inTurn waits until it is the user's turn, and then handles a costly request.
func (s *session) inTurn(r request, handle func(*session, request) error) error {
	t := &turn{session: s}
	if err := t.take(); err != nil {
		return err
	}
	defer t.Leave()
	r.reads = s.gateway.backend.ReaderAt(t)
	return handle(s, r)
}

// A turn is a place among those that handle costly requests. It is a store.Place.
type turn struct {
	session *session
	taken   bool
}

func (t *turn) take() error {
	s := t.session
	ctx, cancel := s.requestContext()
	defer cancel()
	if t.taken = s.gateway.turns.Acquire(ctx, string(s.user)); !t.taken {
		return &refusal{protocol.CodeUnavailable, "op: the server is busy with other requests of this kind; repeating it is safe", memoryRetryAfter}
	}
	return nil
}

// Leave gives the turn to others, for as long as the read takes.
func (t *turn) Leave() (atMost time.Duration, err error) {
	if t.taken {
		t.session.gateway.turns.Release(string(t.session.user))
		t.taken = false
	}
	return 0, nil
}

// Return takes a turn again. If none becomes free in time the request goes on without:
// what it has read is there.
func (t *turn) Return() { _ = t.take() }

// A pendingRequest is a request that has no reply yet.
type pendingRequest struct {
	id   uint64
	size int // bytes that the connection is charged for it
}

// unchargedRequest is the size in bytes up to which a pending request is not charged to
// the connection.
const unchargedRequest = 512

// pendingIndex returns the index of a pending request, negative for none. The caller
// holds mu.
func (s *session) pendingIndex(id uint64) int {
	return slices.IndexFunc(s.pending, func(f pendingRequest) bool { return f.id == id })
}

// addPending notes that the reply to a request comes later.
func (s *session) addPending(r request) {
	f := pendingRequest{id: r.ID}
	if r.size > unchargedRequest {
		f.size = r.size
		s.conn.Admission.Charge(int64(f.size))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, f)
}

// removePending undoes addPending.
func (s *session) removePending(r request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removePendingLocked(r.ID)
}

// removePendingLocked is removePending for a caller that holds mu.
func (s *session) removePendingLocked(id uint64) {
	if i := s.pendingIndex(id); i >= 0 {
		s.conn.Admission.Charge(-int64(s.pending[i].size))
		s.pending[i] = s.pending[len(s.pending)-1]
		s.pending = s.pending[:len(s.pending)-1]
	}
	if s.pendingClose.code != 0 {
		go s.closeIfIdle() // it waits for mu, until the caller has queued the reply
	}
	s.capacity.Signal()
}

// propose submits the command of a request. Once it is applied, ok sends the reply. If
// it fails or is refused, the request is refused.
func (s *session) propose(r request, cmd command.Command, ok func(command.Result)) {
	s.proposeUntil(r, cmd, ok, func() {})
}

// proposeUntil is propose, but calls release before it replies.
func (s *session) proposeUntil(r request, cmd command.Command, ok func(command.Result), release func()) {
	s.addPending(r)
	s.submits.Add(1)
	s.gateway.backend.Submit(cmd, func(result command.Result, err error) {
		defer s.submits.Done()
		release() // first: the client may send its next request once it has the reply
		switch {
		case err != nil:
			s.refuse(r, err)
		case result.Code != command.OK:
			s.refuse(r, result.Err())
		default:
			ok(result)
		}
		s.removePending(r)
	})
}

// reply replies to a request with ok; nil stands for an empty answer.
func (s *session) reply(r request, ok protocol.OK) {
	s.replyWith(r, func(b []byte) []byte { return protocol.AppendReplyOK(b, s.codec, r.ID, ok) })
}

// replyWith queues the reply that encode appends, and wakes the pump. A notice gets no
// reply.
func (s *session) replyWith(r request, encode func([]byte) []byte) {
	s.answer(r, frameReply, encode)
}

// answer is replyWith for a reply or a refusal.
func (s *session) answer(r request, what frameOp, encode func([]byte) []byte) {
	if r.ID == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.queueFrame(what, encode)
	s.wakeLocked()
}

// refuse replies to a request with an error.
func (s *session) refuse(r request, err error) {
	why := refusalOf(err)
	if why.code == protocol.CodeInternal && !s.hasEnded() {
		s.gateway.log.Error("request failed", "op", r.Op, "user", s.user, "session", s.id(), "error", err)
	}
	s.gateway.metrics.refusals.WithLabelValues(why.code).Inc()
	if why.code == protocol.CodeRateLimited && s.user != "" {
		s.gateway.sick.limited(s.user, r.Op)
	}
	s.answer(r, frameRefusal, func(b []byte) []byte {
		// Rounded up: a retry that is too early is refused again.
		after := (why.retryAfter + time.Millisecond - 1).Milliseconds()
		return protocol.AppendReplyErr(b, s.codec, r.ID, why.code, why.message, after)
	})
}

// refusalOf returns the refusal that an error is answered with.
func refusalOf(err error) *refusal {
	if own, ok := errors.AsType[*refusal](err); ok {
		return own
	}
	r := errcode.Of(err, "op: ")
	return &refusal{r.Code, r.Message, r.After}
}
