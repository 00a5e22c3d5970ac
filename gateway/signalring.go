package gateway

import (
	"math"
	"sort"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// maxGroupSignals limits the signals that a feed keeps. A session that is further behind
// loses the oldest.
const maxGroupSignals = 256

// A signalEntry is a message to a group that is not stored, encoded for all sessions.
type signalEntry struct {
	arrival uint64 // everything in the group's order up to here comes before it
	from    command.UserID
	session command.SessionID
	bytes   [codecs][]byte // by protocol.AppendMessage; nil if no session had this codec
}

// A signalRing holds the newest signals of a group. They are numbered 0, 1, 2 … in the
// order in which they come, and each has a point in the group's order. These points
// ascend.
type signalRing struct {
	entries []*signalEntry // those with the numbers next-len(entries) … next-1
	next    uint64
	due     uint64 // signals below this number are due: the feed has read everything before them
	bytes   int
}

// first returns the number of the oldest signal that is kept.
func (r *signalRing) first() uint64 { return r.next - uint64(len(r.entries)) }

// nextAt returns the point of the oldest kept signal with this number or a higher one,
// endOfOrder if there is none.
func (r *signalRing) nextAt(number uint64) uint64 {
	if number = max(number, r.first()); number < r.next {
		return r.entries[number-r.first()].arrival
	}
	return endOfOrder
}

// hasDue reports whether makeDue would make signals due.
func (r *signalRing) hasDue(at uint64) bool { return r.nextAt(r.due) <= at }

// makeDue makes the signals due whose points are at or before at. The feed has read up
// to at.
func (r *signalRing) makeDue(at uint64) {
	for r.hasDue(at) {
		r.due = max(r.due, r.first()) + 1
	}
}

// endOfOrder lies behind all points of a group's order.
const endOfOrder = math.MaxUint64

func (e *signalEntry) size() int {
	return 64 + len(e.bytes[protocol.JSON]) + len(e.bytes[protocol.Msgpack])
}

// add adds a signal, drops the oldest ones over the limits, and returns by how many
// bytes the ring has grown.
func (r *signalRing) add(e *signalEntry) int {
	before := r.bytes
	r.entries = append(r.entries, e)
	r.bytes += e.size()
	r.next++
	drop := 0
	for len(r.entries)-drop > maxGroupSignals || r.bytes > maxFeedBytes && len(r.entries)-drop > 1 {
		r.bytes -= r.entries[drop].size()
		drop++
	}
	if drop > 0 {
		n := copy(r.entries, r.entries[drop:])
		clear(r.entries[n:])
		r.entries = r.entries[:n]
	}
	return r.bytes - before
}

// clear empties the ring, and returns how many bytes it held.
func (r *signalRing) clear() (bytes int) {
	bytes, r.bytes = r.bytes, 0
	clear(r.entries)
	r.entries = r.entries[:0]
	return bytes
}

// Signal queues a message to the group that is not stored. The store calls it.
func (f *feed) Signal(m *query.Message) {
	message := wire.Message(m)
	message.Seq, message.Ephemeral = 0, true
	f.mu.Lock()
	if f.stopped {
		f.mu.Unlock()
		return
	}
	e := &signalEntry{arrival: m.Arrival, from: m.From, session: m.Session}
	for codec, n := range f.codecs {
		if n > 0 {
			e.bytes[codec] = protocol.AppendMessage(nil, protocol.Codec(codec), &message)
		}
	}
	f.grow(f.signals.add(e))
	// What comes before the signal has to be read first, even if the store has not
	// called Wake for it yet.
	f.dirty = f.dirty || !f.started || e.arrival > f.readTo
	start := f.tryStart()
	f.mu.Unlock()
	if start {
		f.gateway.pumpers.startFeed(f)
	}
}

// signalsAfter appends to dst the signals from a number on that come before a point in
// the group's order, at most most. lost is how many signals from that number on are not
// kept any more.
func (f *feed) signalsAfter(number, before uint64, most int, dst []*signalEntry) (entries []*signalEntry, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.signals.first()
	if number < oldest {
		lost, number = oldest-number, oldest
	}
	rest := f.signals.entries[number-oldest:]
	n := sort.Search(min(len(rest), most), func(i int) bool { return rest[i].arrival >= before })
	return append(dst, rest[:n]...), lost
}

// nextSignalAt returns the point of the oldest kept signal with this number or a higher
// one, endOfOrder if there is none.
func (f *feed) nextSignalAt(number uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.signals.nextAt(number)
}
