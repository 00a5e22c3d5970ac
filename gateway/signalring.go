package gateway

import (
	"math"
	"sort"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// maxGroupSignals bounds the messages that a feed keeps of those that nobody
// stores. A session that is further behind has lost the oldest.
const maxGroupSignals = 256

// A signalEntry is a message that nobody stores, encoded for all who get it.
type signalEntry struct {
	arrival uint64 // it came after all in the group's order up to there, before all above
	from    command.UserID
	session command.SessionID
	bytes   [codecs][]byte // as protocol.AppendMessage writes it; nil = nobody had this codec
}

// A signalRing holds the newest messages of a group that nobody stores. They are
// numbered 0, 1, 2 … as they come, and have ascending places in the group's order.
type signalRing struct {
	entries []*signalEntry // numbers next-len(entries) … next-1
	next    uint64
	due     uint64 // up to this number the feed has read what came before them
	bytes   int
}

// first is the number of the oldest one that is kept.
func (r *signalRing) first() uint64 { return r.next - uint64(len(r.entries)) }

// nextAt is the place of the oldest one from number heard on that is kept, none
// when there is none.
func (r *signalRing) nextAt(heard uint64) uint64 {
	if heard = max(heard, r.first()); heard < r.next {
		return r.entries[heard-r.first()].arrival
	}
	return endOfOrder
}

// hasDue tells whether release has something to do.
func (r *signalRing) hasDue(at uint64) bool { return r.nextAt(r.due) <= at }

// makeDue makes those due whose place is not above one that the feed has come to.
func (r *signalRing) makeDue(at uint64) {
	for r.hasDue(at) {
		r.due = max(r.due, r.first()) + 1
	}
}

// endOfOrder lies behind all places in a group's order.
const endOfOrder = math.MaxUint64

func (e *signalEntry) size() int {
	return 64 + len(e.bytes[protocol.JSON]) + len(e.bytes[protocol.Msgpack])
}

// add takes a message in, and gives by how many bytes the ring has grown.
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

// clear empties the ring, and gives how many bytes it held.
func (r *signalRing) clear() (bytes int) {
	bytes, r.bytes = r.bytes, 0
	clear(r.entries)
	r.entries = r.entries[:0]
	return bytes
}

// Signal is called by the store with a message that nobody stores.
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
	// What it came after has to be read first, whether the store has said or not
	// that there is something.
	f.dirty = f.dirty || !f.started || e.arrival > f.at
	start := f.tryStart()
	f.mu.Unlock()
	if start {
		f.gateway.pumpers.startFeed(f)
	}
}

// signalsAfter appends the messages from number heard on that came before a place in
// the group's order, at most so many, to dst. lost is how many before them are
// gone.
func (f *feed) signalsAfter(heard, before uint64, most int, dst []*signalEntry) (entries []*signalEntry, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.signals.first()
	if heard < oldest {
		lost, heard = oldest-heard, oldest
	}
	rest := f.signals.entries[heard-oldest:]
	n := sort.Search(min(len(rest), most), func(i int) bool { return rest[i].arrival >= before })
	return append(dst, rest[:n]...), lost
}

// nextSignalAt is the place in the group's order of the oldest message from number
// heard on, none when there is none.
func (f *feed) nextSignalAt(heard uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.signals.nextAt(heard)
}
