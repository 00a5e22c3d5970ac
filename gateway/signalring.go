package gateway

import (
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard"
)

// maxSignalled bounds the messages that a feed keeps of those that nobody
// stores. A session that is further behind has lost the oldest.
const maxSignalled = 256

// A liveEntry is a message that nobody stores, encoded for all who get it.
type liveEntry struct {
	from    shard.UserID
	session shard.SessionID
	bytes   [codecs][]byte // as protocol.AppendMessage writes it; nil = nobody had this codec
}

// A signalRing holds the newest messages of a group that nobody stores. They are
// numbered 0, 1, 2 … as they come.
type signalRing struct {
	entries []*liveEntry // numbers next-len(entries) … next-1
	next    uint64
	told    uint64 // up to which the sessions were woken
	bytes   int
}

func (e *liveEntry) size() int {
	return 64 + len(e.bytes[protocol.JSON]) + len(e.bytes[protocol.Msgpack])
}

// add takes a message in, and gives by how many bytes the ring has grown.
func (r *signalRing) add(e *liveEntry) int {
	before := r.bytes
	r.entries = append(r.entries, e)
	r.bytes += e.size()
	r.next++
	drop := 0
	for len(r.entries)-drop > maxSignalled || r.bytes > maxFeedBytes && len(r.entries)-drop > 1 {
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
func (f *feed) Signal(m *shard.Message) {
	wire := wireMessage(m)
	wire.Seq, wire.Ephemeral = 0, true
	f.mu.Lock()
	if f.stopped {
		f.mu.Unlock()
		return
	}
	e := &liveEntry{from: m.From, session: m.Session}
	for codec, n := range f.codecs {
		if n > 0 {
			e.bytes[codec] = protocol.AppendMessage(nil, protocol.Codec(codec), &wire)
		}
	}
	f.grow(f.signals.add(e))
	start := f.mayStart()
	f.mu.Unlock()
	if start {
		f.gateway.pumpers.startFeed(f)
	}
}

// signalled appends the messages from number heard on, at most so many, to dst.
// lost is how many before them are gone.
func (f *feed) signalled(heard uint64, most int, dst []*liveEntry) (entries []*liveEntry, lost uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.signals.next - uint64(len(f.signals.entries))
	if heard < oldest {
		lost, heard = oldest-heard, oldest
	}
	rest := f.signals.entries[heard-oldest:]
	return append(dst, rest[:min(len(rest), most)]...), lost
}
