package hooks

import (
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/belfry-im/belfry/gateway/webhook"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/query"
)

// changeEvents has the event for each kind of change that has one.
var changeEvents = map[query.ChangeKind]string{
	query.ChangeRead:                webhook.MessageRead,
	query.ChangeRecall:              webhook.MessageRecalled,
	query.ChangeMessagesDeleted:     webhook.MessageDeleted,
	query.ChangeConversationDeleted: webhook.MessageDeleted,
}

// WantsChange implements store.Hooks.
func (h *Hooks) WantsChange(kind query.ChangeKind) bool { return h.Wants(changeEvents[kind]) }

// Change implements store.Hooks.
func (h *Hooks) Change(c *shard.HookChange, unread func() (query.UnreadSum, error)) {
	e := webhook.Event{
		Type: changeEvents[c.Kind], ID: "message_" + ulid.Make().String(), Time: time.UnixMilli(c.Time),
		Order: h.nextOrder(c.Time), // before unread is called: of two events, the one with the higher order has the later counts
	}
	if !h.Wants(e.Type) {
		return
	}
	var data dataObject
	if c.User != "" {
		data.text("user", string(c.User))
	}
	data.text("conv", wire.Conv(c.Peer, c.Group).String())
	switch {
	case c.Kind == query.ChangeRead:
		data.int("seq", int64(c.Seq))
		if sum, err := unread(); err == nil {
			data.int("unreadTotal", int64(sum.Total))
			data.int("unreadUnmuted", int64(sum.Unmuted))
		}
	case c.Kind == query.ChangeConversationDeleted:
		data.bool("messages", c.Messages)
		data.int("upTo", int64(c.Seq))
	case c.Kind == query.ChangeMessagesDeleted && c.User != "":
		data.seqs("seqs", c.Ranges)
	default:
		data.ranges("ranges", c.Ranges)
		if c.By != "" {
			data.text("by", string(c.By))
		}
		if c.Sender != "" {
			data.text("sender", string(c.Sender))
		}
	}
	e.Data = data.end()
	h.receiver.Emit(e)
}

// ChangesLost implements store.Hooks.
func (h *Hooks) ChangesLost(n int) { h.receiver.Dropped("message", reasonOverflow, n) }

// ranges writes a list of [first, last] seqs.
func (o *dataObject) ranges(name string, ranges []query.Range) {
	o.key(name)
	o.b = append(o.b, '[')
	for i, r := range ranges {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = strconv.AppendUint(append(o.b, '['), r.From, 10)
		o.b = append(strconv.AppendUint(append(o.b, ','), r.To, 10), ']')
	}
	o.b = append(o.b, ']')
}

// seqs writes a list of all seqs in ranges.
func (o *dataObject) seqs(name string, ranges []query.Range) {
	o.key(name)
	o.b = append(o.b, '[')
	for i, r := range ranges {
		for seq := r.From; seq <= r.To; seq++ {
			if i > 0 || seq > r.From {
				o.b = append(o.b, ',')
			}
			o.b = strconv.AppendUint(o.b, seq, 10)
		}
	}
	o.b = append(o.b, ']')
}
