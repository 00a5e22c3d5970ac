package gateway

import (
	"slices"
	"sort"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// codecs is the number of codecs: a protocol.Codec is an index below it.
const codecs = 2

// A chunk is a part of a group's order, encoded for all sessions. Once it is in a
// feed it does not change.
type chunk struct {
	through       uint64 // arrival number of its end
	cursor        string // cursor of through
	epoch         uint64 // epoch for cursors into the group
	missedThrough uint64 // arrival number of the newest event before items that is no longer kept, 0 for none
	items         []chunkItem
	bytes         [codecs][]byte // the items, one after the other
	encoded       [codecs]bool   // by codec: whether bytes has the items
	uncounted     bool           // the group counts no unread
}

// A chunkItem is a message, an event or a recall. Each event or recall is one push.
type chunkItem struct {
	arrival uint64
	ends    [codecs]uint32 // end in bytes of the chunk; the start is the end of the item before
	// Set for messages, which protocol.AppendMessage has encoded.
	message bool
	from    command.UserID
	session command.SessionID
	event   *query.GroupEvent // nil if it is no event
	recall  *query.Change     // nil if it is no recall
}

// sentBy reports whether the item is a message that session s sent.
func (it *chunkItem) sentBy(s *session) bool {
	return it.session == s.id() && it.session != 0 && it.from == s.user
}

// fill replaces the content of the chunk with what was read, encoded in the codecs of
// in.
func (c *chunk) fill(b *query.Updates, in [codecs]bool) {
	c.through, c.missedThrough, c.epoch, c.encoded, c.cursor = b.Through, b.MissedEventsTo, b.Epoch, in, ""
	c.uncounted = b.Uncounted
	clear(c.items)
	c.items = slices.Grow(c.items[:0], len(b.Items))
	for codec := range c.bytes {
		c.bytes[codec] = c.bytes[codec][:0]
	}
	for _, item := range b.Items {
		switch {
		case item.Message >= 0:
			m := &b.Messages[item.Message]
			message := wire.Message(m)
			c.add(chunkItem{arrival: m.Arrival, message: true, from: m.From, session: m.Session},
				func(dst []byte, codec protocol.Codec) []byte { return protocol.AppendMessage(dst, codec, &message) })
		case item.Event >= 0:
			e := new(b.Events[item.Event])
			c.add(chunkItem{arrival: e.Arrival, event: e},
				func(dst []byte, codec protocol.Codec) []byte {
					return wire.AppendGroupEvent(dst, codec, e, "", c.uncounted)
				})
		default:
			change := &b.Changes[item.Change]
			for part := range changeParts(change) {
				c.add(chunkItem{arrival: change.Arrival, recall: new(part)},
					func(dst []byte, codec protocol.Codec) []byte { return wire.AppendChange(dst, codec, &part) })
			}
		}
	}
}

func (c *chunk) add(it chunkItem, encode func([]byte, protocol.Codec) []byte) {
	for codec := range c.bytes {
		if c.encoded[codec] {
			c.bytes[codec] = encode(c.bytes[codec], protocol.Codec(codec))
		}
		it.ends[codec] = uint32(len(c.bytes[codec]))
	}
	c.items = append(c.items, it)
}

// clone returns a copy that holds no more memory than it needs.
func (c *chunk) clone() *chunk {
	kept := *c
	kept.items = slices.Clone(c.items)
	for codec := range c.bytes {
		kept.bytes[codec] = slices.Clone(c.bytes[codec])
	}
	return &kept
}

// size returns about how many bytes of memory the chunk takes.
func (c *chunk) size() int {
	const item = 64
	n := item * (1 + len(c.items))
	for codec := range c.bytes {
		n += len(c.bytes[codec])
	}
	return n
}

// span returns the encoded items i to j-1.
func (c *chunk) span(codec protocol.Codec, i, j int) []byte {
	start := uint32(0)
	if i > 0 {
		start = c.items[i-1].ends[codec]
	}
	return c.bytes[codec][start:c.items[j-1].ends[codec]]
}

// firstAfter returns the index of the first item after a point in the order.
func (c *chunk) firstAfter(arrival uint64) int {
	if len(c.items) == 0 || c.items[0].arrival > arrival {
		return 0
	}
	return sort.Search(len(c.items), func(i int) bool { return c.items[i].arrival > arrival })
}
