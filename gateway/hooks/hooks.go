// Package hooks builds the events of docs/webhooks.md from what happens, and asks the
// receiver about messages before they are sent. Package webhook delivers the events.
package hooks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/webhook"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A Receiver gets events; *webhook.Client is one.
type Receiver interface {
	Wants(event string) bool
	// Emit delivers e, or drops it if there is no room.
	Emit(e webhook.Event)
	// Deliver delivers e. It calls read before each attempt, and done once: over is
	// false if e has to be delivered again after a restart.
	Deliver(e webhook.Event, read func(e *webhook.Event) error, done func(over bool))
	// Ask returns the receiver's answer to an event that a user causes. It fails with
	// webhook.ErrBusy if there is no place for the question before ctx ends; otherwise
	// the receiver has AskTimeout to answer.
	Ask(ctx context.Context, user string, e webhook.Event) ([]byte, error)
	AskTimeout() time.Duration
	// Dropped counts n events that were dropped before they reached Emit or Deliver.
	Dropped(event, reason string, n int)
}

// A Config configures Hooks. Receiver is required.
type Config struct {
	Receiver Receiver
	// FailOpen accepts a message if the receiver, when asked, gives no valid answer.
	FailOpen bool
	// DedupWindow is the store's dedupe window, default 5 min. Decisions are kept a
	// little longer.
	DedupWindow time.Duration
	MaxBody     int // the gateway's; default protocol.DefaultMaxBody

	Log        *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// Hooks are the hooks of a gateway and, as store.Hooks, of its store. Nil Hooks want
// no events.
type Hooks struct {
	config      Config
	receiver    Receiver
	decisions   decisions
	outcomes    *prometheus.CounterVec // of message.beforeSend
	newestOrder atomic.Uint64          // order of the newest event
}

var _ store.Hooks = (*Hooks)(nil)

// New returns the hooks of a gateway.
func New(c Config) (*Hooks, error) {
	if c.DedupWindow == 0 {
		c.DedupWindow = 5 * time.Minute
	}
	if c.MaxBody == 0 {
		c.MaxBody = protocol.DefaultMaxBody
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	h := &Hooks{
		config: c, receiver: c.Receiver, decisions: newDecisions(c.DedupWindow),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "belfry", Subsystem: "gateway", Name: "before_send_total",
			Help: "Decisions about messages before they were stored, by outcome.",
		}, []string{"outcome"}),
	}
	if c.Registerer != nil {
		if err := c.Registerer.Register(h.outcomes); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Wants reports whether the receiver wants events of a type.
func (h *Hooks) Wants(event string) bool { return h != nil && h.receiver.Wants(event) }

// AskTimeout returns how long the receiver may take to answer a question.
func (h *Hooks) AskTimeout() time.Duration { return h.receiver.AskTimeout() }

// hashID returns the id of an event: a hash of parts, which identify the event.
func hashID(prefix string, parts ...string) string {
	sum := sha256.New()
	for _, p := range parts {
		sum.Write(binary.AppendUvarint(nil, uint64(len(p))))
		sum.Write([]byte(p))
	}
	return prefix + hex.EncodeToString(sum.Sum(nil)[:16])
}

// A dataObject is a JSON object being written, the data of an event.
type dataObject struct{ b []byte }

func (o *dataObject) key(name string) {
	if len(o.b) == 0 {
		o.b = append(o.b, '{')
	} else {
		o.b = append(o.b, ',')
	}
	o.b = append(strconv.AppendQuote(o.b, name), ':')
}

// text writes a string, which must be UTF-8.
func (o *dataObject) text(name, value string) {
	o.key(name)
	quoted, _ := json.Marshal(value) // strings never fail
	o.b = append(o.b, quoted...)
}

func (o *dataObject) int(name string, value int64) {
	o.key(name)
	o.b = strconv.AppendInt(o.b, value, 10)
}

func (o *dataObject) bool(name string, value bool) {
	o.key(name)
	o.b = strconv.AppendBool(o.b, value)
}

func (o *dataObject) texts(name string, values []string) {
	o.key(name)
	list, _ := json.Marshal(values)
	o.b = append(o.b, list...)
}

func (o *dataObject) message(name string, m *protocol.Message) {
	o.key(name)
	o.b = appendMessage(o.b, m)
}

// appendMessage appends a message as JSON, without the comma that lists need.
func appendMessage(b []byte, m *protocol.Message) []byte {
	return bytes.TrimSuffix(protocol.AppendMessage(b, protocol.JSON, m), []byte(","))
}

func (o *dataObject) end() []byte { return append(o.b, '}') }

// nextOrder returns the order of a new event. It rises from event to event and, as it
// follows the clock, also from process to process. now is the store's time in ms,
// which does not go back if the system's clock is set back.
func (h *Hooks) nextOrder(now int64) uint64 {
	at := uint64(max(now*1000, time.Now().UnixMicro()))
	for {
		last := h.newestOrder.Load()
		if next := max(at, last+1); h.newestOrder.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Presence implements store.Hooks.
func (h *Hooks) Presence(user command.UserID, online bool, now int64) {
	event := webhook.UserOffline
	if online {
		event = webhook.UserOnline
	}
	if !h.Wants(event) {
		return
	}
	var data dataObject
	data.text("user", string(user))
	h.receiver.Emit(webhook.Event{
		Type: event, ID: "user_" + ulid.Make().String(), Time: time.UnixMilli(now), Order: h.nextOrder(now), Data: data.end(),
	})
}

// A Sending is a message that is being sent, as its message.sent will have it.
type Sending struct{ message protocol.Message }

// Sending returns the Sending of a message, nil if the receiver does not want
// message.sent.
func (h *Hooks) Sending(user command.UserID, args *protocol.SendArgs) *Sending {
	if !h.Wants(webhook.MessageSent) {
		return nil
	}
	return &Sending{protocol.Message{
		Conv: args.Conv, From: string(user), CID: []byte(args.CID), Body: slices.Clone(args.Body),
		TTL: args.TTL, Ephemeral: args.HasTTL && args.TTL == 0, Mentions: args.Mentions,
	}}
}

// Sent emits the message.sent of m, unless m is nil or a repeat. The message was
// stored, or passed on to sessions.
func (h *Hooks) Sent(m *Sending, result *command.Result) {
	if m == nil || result.Duplicate {
		return
	}
	m.message.ID, m.message.Seq, m.message.Time = protocol.ID(result.ID), result.Seq, result.Time
	m.message.Ephemeral = m.message.Ephemeral || result.Seq == 0
	h.receiver.Emit(webhook.Event{
		Type: webhook.MessageSent, ID: "sent_" + m.message.ID.String(), Time: time.UnixMilli(result.Time),
		Order: h.nextOrder(result.Time), Data: appendMessage(nil, &m.message),
	})
}

// WantsQueued implements store.Hooks.
func (h *Hooks) WantsQueued() bool { return h.Wants(webhook.MessageQueued) }

// Queued implements store.Hooks.
func (h *Hooks) Queued(m *store.QueuedMessage, done func(over bool)) {
	h.receiver.Deliver(webhook.Event{
		Type: webhook.MessageQueued, ID: hashID("queued_", string(m.User), string(m.ID[:])), Time: time.UnixMilli(m.Time),
	}, func(e *webhook.Event) error {
		r, err := m.Read(h.nextOrder)
		if errors.Is(err, store.ErrNotQueued) {
			return webhook.ErrVoid
		}
		if err == nil {
			e.Order, e.Data = r.Order, queuedData(m.User, r)
		}
		return err
	}, done)
}

// queuedData returns the data of message.queued.
func queuedData(user command.UserID, r *store.QueuedReading) []byte {
	message := wire.Message(r.Message)
	var data dataObject
	data.text("user", string(user))
	data.text("conv", message.Conv.String())
	data.message("message", &message)
	data.int("unread", int64(r.Unread))
	data.int("unreadTotal", int64(r.Sum.Total))
	data.int("unreadUnmuted", int64(r.Sum.Unmuted))
	data.bool("muted", r.Muted)
	return data.end()
}

// reasonOverflow is the reason, in metrics, for events that the store dropped because
// there were too many.
const reasonOverflow = "overflow"

// QueuedLost implements store.Hooks.
func (h *Hooks) QueuedLost(n int) { h.receiver.Dropped(webhook.MessageQueued, reasonOverflow, n) }

// GroupEventsLost implements store.Hooks.
func (h *Hooks) GroupEventsLost(n int) { h.receiver.Dropped("group", reasonOverflow, n) }

// GroupEvent implements store.Hooks.
func (h *Hooks) GroupEvent(e *query.GroupEvent) {
	event := "group." + enum.GroupEvents.Word(e.Kind)
	if !h.Wants(event) {
		return
	}
	var data dataObject
	data.text("group", string(e.Group))
	if e.By != "" {
		data.text("by", string(e.By))
	}
	if len(e.Users) > 0 {
		users := make([]string, len(e.Users))
		for i, u := range e.Users {
			users[i] = string(u)
		}
		data.texts("users", users)
	}
	h.receiver.Emit(webhook.Event{
		Type: event, ID: hashID("group_", string(e.Group), strconv.FormatUint(e.Arrival, 10), strconv.FormatInt(e.Time, 10)),
		Time: time.UnixMilli(e.Time), Order: h.nextOrder(e.Time), Data: data.end(),
	})
}
