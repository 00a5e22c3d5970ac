package hooks

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
	"github.com/belfry-im/belfry/shard/command"
)

// maxReason is the most bytes of a refusal's reason that a client gets.
const maxReason = 256

// A Question asks the receiver whether a message may be sent.
type Question struct {
	User command.UserID
	Args *protocol.SendArgs
	Time time.Time // when it was received
	Due  time.Time // by when the receiver has to be asked
	// Stored looks whether the store has the message, which needs no decision then: it
	// returns an Answer that is Stored or Conflicting, or a zero one. nil: it cannot have it.
	// It may take longer than the receiver while there is no leader, and is not called
	// past Due.
	Stored func() Answer
}

// Decide returns the decision about a message. It asks the receiver, and waits for
// the answer, unless the message is stored or the receiver was asked about it before. If the
// decision is Accepted, the caller sends the message and then calls Done.
func (h *Hooks) Decide(q *Question) *Decision {
	d := h.decide(q)
	if d.Kind == Accepted {
		h.decisions.beginSend(d)
	}
	return d
}

// Done must be called with the outcome of sending a message that decision d allowed.
// d may be nil.
func (h *Hooks) Done(d *Decision, err error) {
	if d != nil {
		h.decisions.endSend(d, err == nil || errors.Is(err, store.ErrUnknown))
	}
}

func (h *Hooks) decide(q *Question) *Decision {
	// The receiver may be asked about another send of this message until then, too.
	ctx, cancel := context.WithDeadline(context.Background(), q.Due.Add(h.receiver.AskTimeout()))
	defer cancel()
	key := messageKey{string(q.User), q.Args.Conv.String(), q.Args.CID}
	body := command.HashBody(q.Args.Body)
	for {
		d, mine := h.decisions.claim(key, body, time.Now())
		if mine {
			a, outcome := h.stored(q)
			if a.Kind == 0 {
				a, outcome = h.ask(q)
			}
			h.decisions.setAnswer(d, a)
			h.outcomes.WithLabelValues(outcome).Inc()
			return d
		}
		select {
		case <-d.known:
		case <-ctx.Done():
			h.outcomes.WithLabelValues("timeout").Inc()
			return &Decision{Answer: Answer{Kind: Undecided}}
		}
		switch {
		case d.replaceable(body):
			if d.Kind == Undecided {
				h.outcomes.WithLabelValues("repeated").Inc()
				return d
			}
			continue // nothing was stored: ask the receiver about this body
		case d.body != body:
			h.outcomes.WithLabelValues("conflict").Inc()
			return &Decision{Answer: Answer{Kind: Conflicting}}
		}
		h.outcomes.WithLabelValues("repeated").Inc()
		return d
	}
}

// stored returns the answer to a repeat of what is stored, a zero one for anything else.
func (h *Hooks) stored(q *Question) (answer Answer, outcome string) {
	if q.Stored != nil && time.Now().Before(q.Due) {
		answer = q.Stored()
	}
	if answer.Kind == Conflicting {
		return answer, "conflict"
	}
	return answer, "repeated"
}

// ask asks the receiver. If it does not answer, Config.FailOpen decides; if there is
// no place for the question, the message is Undecided. outcome is for the metric.
func (h *Hooks) ask(q *Question) (answer Answer, outcome string) {
	ctx, cancel := context.WithDeadline(context.Background(), q.Due)
	defer cancel()
	args := q.Args
	var data dataObject
	data.text("from", string(q.User))
	data.text("conv", args.Conv.String())
	data.text("cid", args.CID)
	data.key("body")
	data.b = protocol.AppendBodyJSON(data.b, args.Body)
	if args.HasTTL && args.TTL == 0 {
		data.bool("ephemeral", true)
	} else if args.TTL > 0 {
		data.int("ttl", int64(args.TTL))
	}
	if len(args.Mentions) > 0 {
		data.texts("mentions", args.Mentions)
	}
	text, err := h.receiver.Ask(ctx, string(q.User), webhook.Event{
		Type: webhook.MessageBeforeSend,
		ID:   hashID("before_", string(q.User), args.Conv.String(), args.CID, strconv.FormatUint(xxhash.Sum64(args.Body), 16)),
		Time: q.Time, Order: h.nextOrder(0), Data: data.end(),
	})
	if err == nil {
		if answer, err = readAnswer(text, h.config.MaxBody); err == nil {
			switch {
			case answer.Kind == Refused:
				return answer, "refused"
			case answer.Body != nil:
				return answer, "replaced"
			}
			return answer, "accepted"
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
	h.config.Log.Debug("no decision about a message", "user", q.User, "outcome", outcome, "error", err)
	if h.config.FailOpen && outcome != "busy" {
		return Answer{Kind: Accepted}, outcome
	}
	return Answer{Kind: Undecided}, outcome
}

// readAnswer decodes the receiver's answer. If that has a body, it must be valid in a
// send.
func readAnswer(text []byte, maxBody int) (answer Answer, err error) {
	var a struct {
		Decision, Reason string
		Body             json.RawMessage
	}
	members, err := protocol.ObjectMembers(text)
	if err == nil {
		a.Body = members["body"]
		err = errors.Join(protocol.ReadMember(members, "decision", &a.Decision), protocol.ReadMember(members, "reason", &a.Reason))
	}
	if err != nil {
		return answer, fmt.Errorf("answer: %w", err)
	}
	switch a.Decision {
	case "accept":
		answer.Kind = Accepted
		// Many write null for a field that is not set.
		if len(a.Body) > 0 && string(a.Body) != "null" {
			if answer.Body, err = protocol.CanonicalJSON(nil, a.Body, maxBody); err != nil {
				return answer, fmt.Errorf("answer: %w", err)
			}
		}
	case "refuse":
		answer.Kind = Refused
		if answer.Reason = a.Reason; answer.Reason == "" {
			answer.Reason = "op: the message was refused"
		}
		if len(answer.Reason) > maxReason {
			answer.Reason = strings.ToValidUTF8(answer.Reason[:maxReason], "")
		}
	default:
		return answer, errors.New(`answer: decision is neither "accept" nor "refuse"`)
	}
	return answer, nil
}
