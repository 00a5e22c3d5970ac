package gateway

import (
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A window holds the frames that were pushed and are not acked: not their messages,
// which stay in the store, but what an ack of each frame means.
type window struct {
	last   uint64        // delivery number of the newest frame; the first is 1
	frames []pushedFrame // frames last-len(frames)+1 … last
	bytes  int           // bytes of all frames
	marks  []mark        // ascending by d

	groups []groupMark // ascending by d; only kept if a webhook needs acks of groups
	acked  uint64      // everything of the user up to this arrival number was acked while somebody looked
}

// A pushedFrame is a frame that was pushed and is not acked.
type pushedFrame struct {
	size int32
	upTo uint64 // with it, the device has everything of the user up to this arrival number; 0 = not known
}

// A mark notes that frame d holds messages from peer, up to seq.
type mark struct {
	d    uint64
	peer command.UserID
	seq  uint64
}

// A groupMark notes that frame d holds a span of a group's order.
type groupMark struct {
	d    uint64
	sub  *subscription
	span store.Span
}

// keptFrames is the largest capacity that an empty window keeps.
const keptFrames = 16

// nextDelivery returns the delivery number of the next frame.
func (w *window) nextDelivery() uint64 { return w.last + 1 }

// addMark notes that the frame being built holds a message from peer.
func (w *window) addMark(peer command.UserID, seq uint64) {
	d := w.nextDelivery()
	for i := len(w.marks) - 1; i >= 0 && w.marks[i].d == d; i-- {
		if w.marks[i].peer == peer {
			w.marks[i].seq = max(w.marks[i].seq, seq)
			return
		}
	}
	w.marks = append(w.marks, mark{d: d, peer: peer, seq: seq})
}

// addGroupMark notes that the frame being built holds a span of a group's order.
func (w *window) addGroupMark(sub *subscription, span store.Span) {
	w.groups = append(w.groups, groupMark{d: w.nextDelivery(), sub: sub, span: span})
}

// push adds the frame that was built, with the number nextDelivery.
func (w *window) push(size int, upTo uint64) {
	w.last++
	w.frames = append(w.frames, pushedFrame{int32(size), upTo})
	w.bytes += size
}

// ack removes the frames up to d and returns their marks, which are valid until the next
// call of a method. ok is false if d was never pushed; a repeated ack removes nothing.
// looking says that somebody looks at the device: only then the frames count as acked.
func (w *window) ack(d uint64, looking bool) (read []mark, ok bool) {
	if d > w.last {
		return nil, false
	}
	first := w.last - uint64(len(w.frames)) + 1
	if d < first {
		return nil, true
	}
	freed := int(d - first + 1)
	for _, f := range w.frames[:freed] {
		w.bytes -= int(f.size)
		if looking {
			w.acked = max(w.acked, f.upTo)
		}
	}
	w.ackGroups(d, looking)
	if freed == len(w.frames) {
		read = w.marks
		w.frames, w.marks = w.frames[:0], w.marks[:0]
		if cap(w.frames) > keptFrames {
			w.frames, w.marks = nil, nil
		}
		return read, true
	}
	w.frames = w.frames[:copy(w.frames, w.frames[freed:])]
	n := 0
	for n < len(w.marks) && w.marks[n].d <= d {
		n++
	}
	read, w.marks = w.marks[:n:n], w.marks[n:]
	return read, true
}

func (w *window) ackGroups(d uint64, looking bool) {
	n := 0
	for ; n < len(w.groups) && w.groups[n].d <= d; n++ {
		if m := &w.groups[n]; looking {
			m.sub.acked = m.sub.acked.Join(m.span)
		}
	}
	rest := copy(w.groups, w.groups[n:])
	clear(w.groups[rest:])
	w.groups = w.groups[:rest]
	if rest == 0 && cap(w.groups) > keptFrames {
		w.groups = nil
	}
}
