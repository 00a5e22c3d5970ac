package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/webhook"
	"github.com/belfry-im/belfry/raftstore/store"
)

const (
	// maxHeldAsks bounds the questions of one session that are open, so that it
	// cannot take all that a gateway may have open.
	maxHeldAsks = 8
	// maxReason bounds the reason of a refusal that is passed on, in bytes.
	maxReason = 256
	// undecidedRetry is when to try again a send that nobody has decided about.
	undecidedRetry = time.Second
)

// A heldSend waits for a decision, and then for those before it in its line.
type heldSend struct {
	r       request
	args    protocol.SendArgs
	due     time.Time // by which it has to be asked about
	decided bool
	ruling
	decision *decision // by which it is accepted, nil for none
}

// held are the sends of a session that wait for decisions: at most as many as the
// session may have requests. Those of one conversation form a line, which keeps
// their order; conversations do not wait for one another, nor does the read loop
// for any of them. It is guarded by session.mu.
type held struct {
	lines   map[protocol.Conv]*heldLine
	unasked []*heldSend
	asking  int // goroutines that ask
}

type heldLine struct {
	sends     []*heldSend
	releasing bool // a goroutine passes on what is decided
}

// hold has the receiver decide about a send before it goes on. Nothing of the
// frame is kept.
func (s *session) hold(r request, args *protocol.SendArgs) {
	r.Args = protocol.Raw{}
	h := &heldSend{r: r, args: *args, due: r.came.Add(s.gateway.config.Hooks.receiver.AskTimeout())}
	h.args.Body = append([]byte(nil), args.Body...)
	s.start(r)
	s.submits.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = &held{lines: make(map[protocol.Conv]*heldLine)}
	}
	line := s.held.lines[args.Conv]
	if line == nil {
		line = new(heldLine)
		s.held.lines[args.Conv] = line
	}
	line.sends = append(line.sends, h)
	s.held.unasked = append(s.held.unasked, h)
	if s.held.asking < maxHeldAsks {
		s.held.asking++
		go s.ask() // ends with what is unasked; submits waits for it
	}
}

// ask asks about sends until none is left that nobody asks about.
func (s *session) ask() {
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
		v, d := s.gateway.config.Hooks.decide(s, h)
		s.mu.Lock()
		h.ruling, h.decision, h.decided = v, d, true
		s.mu.Unlock()
		s.releaseHeld(h.args.Conv)
	}
}

// releaseHeld passes on the sends at the head of a line that are decided.
func (s *session) releaseHeld(conv protocol.Conv) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := s.held.lines[conv]
	if line == nil || line.releasing {
		return
	}
	line.releasing = true
	for len(line.sends) > 0 && line.sends[0].decided {
		h := line.sends[0]
		line.sends = line.sends[1:]
		s.mu.Unlock()
		s.conclude(h)
		s.mu.Lock()
	}
	line.releasing = false
	if len(line.sends) == 0 {
		delete(s.held.lines, conv)
	}
}

// conclude goes on with a send as was decided.
func (s *session) conclude(h *heldSend) {
	defer s.submits.Done()
	var err error
	switch h.kind {
	case accepted:
		if h.ruling.body != nil {
			h.args.Body = h.ruling.body
		}
		if err = s.accept(h.r, &h.args, h.decision); err != nil {
			s.gateway.config.Hooks.decided(h.decision, err)
		}
	case refused:
		err = &refusal{code: protocol.CodeForbidden, message: h.reason}
	case conflicting:
		err = &refusal{code: protocol.CodeConflict, message: "cid: used before with another body"}
	default:
		err = &refusal{protocol.CodeUnavailable, "op: nobody could decide about this message; repeating it is safe", undecidedRetry}
	}
	if err != nil {
		s.refuse(h.r, err)
	}
	s.finish(h.r)
}

// decided tells what became of a send that was accepted by a decision, nil for
// none.
func (h *Hooks) decided(d *decision, err error) {
	if d != nil {
		h.decisions.sent(d, err == nil || errors.Is(err, store.ErrUnknown))
	}
}

// decide asks about a send, unless it is a repeat, and counts what came of it. It
// gives the decision of one that is accepted.
func (h *Hooks) decide(s *session, send *heldSend) (v ruling, by *decision) {
	v, d := h.rule(s, send)
	if v.kind != accepted {
		return v, nil
	}
	h.decisions.send(d)
	return v, d
}

func (h *Hooks) rule(s *session, send *heldSend) (ruling, *decision) {
	// Another send of this message may be asked about as late as this one.
	ctx, cancel := context.WithDeadline(context.Background(), send.due.Add(h.receiver.AskTimeout()))
	defer cancel()
	key := decisionKey{string(s.user), send.args.Conv.String(), send.args.CID}
	body := xxhash.Sum64(send.args.Body)
	for {
		d, mine := h.decisions.claim(key, body, time.Now())
		if mine {
			v, outcome := h.ask(s, send)
			h.decisions.settle(d, v)
			h.outcomes.WithLabelValues(outcome).Inc()
			return v, d
		}
		select {
		case <-d.known:
		case <-ctx.Done():
			h.outcomes.WithLabelValues("timeout").Inc()
			return ruling{kind: undecided}, nil
		}
		switch {
		case d.overtaken(body):
			if d.kind == undecided {
				h.outcomes.WithLabelValues("repeated").Inc()
				return d.ruling, d
			}
			continue // nothing was stored: this body has to be asked about
		case d.body != body:
			h.outcomes.WithLabelValues("conflict").Inc()
			return ruling{kind: conflicting}, nil
		}
		h.outcomes.WithLabelValues("repeated").Inc()
		return d.ruling, d
	}
}

// ask asks the receiver. A question that fails is as the policy says; a message that
// nobody could be asked about is undecided.
func (h *Hooks) ask(s *session, send *heldSend) (v ruling, outcome string) {
	ctx, cancel := context.WithDeadline(context.Background(), send.due)
	defer cancel()
	a := &send.args
	var data dataObject
	data.text("from", string(s.user))
	data.text("conv", a.Conv.String())
	data.text("cid", a.CID)
	data.key("body")
	data.b = protocol.AppendBodyJSON(data.b, a.Body)
	if a.HasTTL && a.TTL == 0 {
		data.bool("ephemeral", true)
	} else if a.TTL > 0 {
		data.int("ttl", int64(a.TTL))
	}
	if len(a.Mentions) > 0 {
		data.texts("mentions", a.Mentions)
	}
	answer, err := h.receiver.Ask(ctx, string(s.user), webhook.Event{
		Type: webhook.MessageBeforeSend,
		ID:   hashID("before_", string(s.user), a.Conv.String(), a.CID, strconv.FormatUint(xxhash.Sum64(a.Body), 16)),
		Time: send.r.came, Order: h.order(0), Data: data.end(),
	})
	if err == nil {
		if v, err = readRuling(answer, h.config.MaxBody); err == nil {
			switch {
			case v.kind == refused:
				return v, "refused"
			case v.body != nil:
				return v, "replaced"
			}
			return v, "accepted"
		}
	}
	switch {
	case errors.Is(err, webhook.ErrBusy):
		outcome = "busy"
	case errors.Is(err, context.DeadlineExceeded):
		outcome = "timeout"
	default:
		outcome = "failed"
	}
	s.gateway.log.Debug("no decision about a message", "user", s.user, "outcome", outcome, "error", err)
	if h.config.FailOpen && outcome != "busy" {
		return ruling{kind: accepted}, outcome
	}
	return ruling{kind: undecided}, outcome
}

// readRuling reads the answer of a receiver. A body of it has to be one that could
// be sent.
func readRuling(answer []byte, maxBody int) (v ruling, err error) {
	var a struct {
		Decision, Reason string
		Body             json.RawMessage
	}
	members, err := protocol.ObjectMembers(answer)
	if err == nil {
		a.Body = members["body"]
		err = errors.Join(protocol.ReadMember(members, "decision", &a.Decision), protocol.ReadMember(members, "reason", &a.Reason))
	}
	if err != nil {
		return v, fmt.Errorf("answer: %w", err)
	}
	switch a.Decision {
	case "accept":
		v.kind = accepted
		// null is what many write for a field that is not set.
		if len(a.Body) > 0 && string(a.Body) != "null" {
			if v.body, err = protocol.CanonicalJSON(nil, a.Body, maxBody); err != nil {
				return v, fmt.Errorf("answer: %w", err)
			}
		}
	case "refuse":
		v.kind = refused
		if v.reason = a.Reason; v.reason == "" {
			v.reason = "op: the message was refused"
		}
		if len(v.reason) > maxReason {
			v.reason = strings.ToValidUTF8(v.reason[:maxReason], "")
		}
	default:
		return v, errors.New(`answer: decision is neither "accept" nor "refuse"`)
	}
	return v, nil
}
