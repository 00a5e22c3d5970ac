package gateway

import (
	"time"

	"github.com/belfry-im/belfry/gateway/hooks"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// maxHeldAsks is how many questions of one session may be open at a time: one session
	// must not take all places of the gateway.
	maxHeldAsks = 8
	// undecidedRetry is the time after which a client may repeat a send that the receiver
	// has not decided about.
	undecidedRetry = time.Second
)

// A heldSend is a send that waits for a decision of the receiver of webhooks, and then for
// the earlier sends of its queue.
type heldSend struct {
	r        request
	args     protocol.SendArgs
	askBy    time.Time       // by when the receiver has to be asked
	decision *hooks.Decision // nil until there is one
}

// heldSends are the sends of a session that wait for decisions, at most maxRequests. The
// sends of one conversation form a queue, which keeps their order. Different conversations
// do not wait for each other, and the read loop waits for none. Guarded by session.mu.
type heldSends struct {
	queues  map[protocol.Conv]*heldQueue
	unasked []*heldSend
	asking  int // goroutines that ask
}

type heldQueue struct {
	sends     []*heldSend
	releasing bool // a goroutine sends those that are decided
}

// holdSend lets the receiver of webhooks decide about a send. It copies the body, which
// lies in the frame.
func (s *session) holdSend(r request, args *protocol.SendArgs) {
	r.Args = protocol.Raw{}
	h := &heldSend{r: r, args: *args, askBy: r.receivedAt.Add(s.gateway.config.Hooks.AskTimeout())}
	h.args.Body = append([]byte(nil), args.Body...)
	s.addPending(r)
	s.submits.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = &heldSends{queues: make(map[protocol.Conv]*heldQueue)}
	}
	queue := s.held.queues[args.Conv]
	if queue == nil {
		queue = new(heldQueue)
		s.held.queues[args.Conv] = queue
	}
	queue.sends = append(queue.sends, h)
	s.held.unasked = append(s.held.unasked, h)
	if s.held.asking < maxHeldAsks {
		s.held.asking++
		go s.askAboutSends() // ends when unasked is empty; s.submits waits for it
	}
}

// askAboutSends asks the receiver about one waiting send after the other, until none is
// left.
func (s *session) askAboutSends() {
	for {
		s.mu.Lock()
		if len(s.held.unasked) == 0 {
			s.held.unasked = nil
			s.held.asking--
			s.mu.Unlock()
			return
		}
		h := s.held.unasked[0]
		s.held.unasked = s.held.unasked[1:]
		s.mu.Unlock()
		q := hooks.Question{User: s.user, Args: &h.args, Time: h.r.receivedAt, Due: h.askBy}
		if !h.args.HasTTL || h.args.TTL != 0 {
			q.Stored = func() hooks.Answer { return s.storedSend(&h.args) }
		}
		d := s.gateway.config.Hooks.Decide(&q)
		s.mu.Lock()
		h.decision = d
		s.mu.Unlock()
		s.sendHeld(h.args.Conv)
	}
}

// storedSend looks whether the store has a message, as after a repeat: another gateway, or
// this one before a restart, has decided about it. If the store cannot tell, nor can it
// store anything, so that the receiver is asked in vain at worst.
func (s *session) storedSend(args *protocol.SendArgs) hooks.Answer {
	q := query.Sent{User: s.user, CID: args.CID, Body: command.HashBody(args.Body), Retry: args.Retry}
	if args.Conv.Group {
		q.Group = command.GroupID(args.Conv.ID)
	} else {
		q.Peer = command.UserID(args.Conv.ID)
	}
	err := s.gateway.backend.Read(&q)
	switch {
	case err != nil || !q.Found:
		return hooks.Answer{}
	case q.Conflict:
		return hooks.Answer{Kind: hooks.Conflicting}
	}
	return hooks.Answer{Kind: hooks.Stored, First: command.Result{ID: q.ID, Seq: q.Seq, Time: q.Time, Duplicate: true}}
}

// sendHeld sends or refuses the sends at the head of a conversation's queue whose
// decisions are known.
func (s *session) sendHeld(conv protocol.Conv) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.held.queues[conv]
	if queue == nil || queue.releasing {
		return
	}
	queue.releasing = true
	for len(queue.sends) > 0 && queue.sends[0].decision != nil {
		h := queue.sends[0]
		queue.sends = queue.sends[1:]
		s.mu.Unlock()
		s.sendDecided(h)
		s.mu.Lock()
	}
	queue.releasing = false
	if len(queue.sends) == 0 {
		delete(s.held.queues, conv)
	}
}

// sendDecided sends or refuses a message, according to the decision.
func (s *session) sendDecided(h *heldSend) {
	defer s.submits.Done()
	var err error
	switch d := h.decision; d.Kind {
	case hooks.Accepted:
		if d.Body != nil {
			h.args.Body = d.Body
		}
		if err = s.sendMessage(h.r, &h.args, d); err != nil {
			s.gateway.config.Hooks.Done(d, err)
		}
	case hooks.Stored:
		s.replyWith(h.r, func(b []byte) []byte { return s.appendSendOK(b, h.r.ID, &d.First) })
		s.countSend(h.r.receivedAt)
	case hooks.Refused:
		err = &refusal{code: protocol.CodeForbidden, message: d.Reason}
	case hooks.Conflicting:
		err = &refusal{code: protocol.CodeConflict, message: "cid: used before with another body"}
	default:
		err = &refusal{protocol.CodeUnavailable, "op: this message could not be checked; repeating it is safe", undecidedRetry}
	}
	if err != nil {
		s.refuseSend(h.r, h.args.Conv, h.args.CID, err)
	}
	s.removePending(h.r)
}
