package loadtest

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// knownMessages is how many of a group's newest messages its clients know
	// from each other. A client that is further behind checks for itself what it
	// gets.
	knownMessages = 1 << 13
	// windowBlocks is the number of blocks that a window is divided into,
	// blockSlots the number of blocks that are counted at a time.
	windowBlocks = 2
	blockSlots   = 2 * windowBlocks
)

// A group is one group of a run as all its clients know it: its senders, and the
// newest messages that were sent or answered. It holds the clients to one order:
// all have to find the same message at a seq. It is safe for concurrent use once
// the run has begun to send.
type group struct {
	id        string
	live      bool // it stores nothing: no seqs, and messages may be skipped
	codec     protocol.Codec
	receivers int                     // sessions that get each message
	senders   map[string]*groupSender // by user
	shape     frameShape

	newest atomic.Uint64                  // highest seq that was answered
	recent []atomic.Pointer[groupMessage] // by number modulo length

	frames, framed atomic.Int64 // onNewMessage of this group, and messages in them
	checked        atomic.Int64 // messages in frames that were decoded
	fetched        atomic.Int64 // messages that a sync had left out
}

// A groupMessage is a message of a group that one client has checked, or that a
// reply has told its sender of.
type groupMessage struct {
	number  uint64 // its seq; in a live group its counter
	sender  *groupSender
	counter uint64
	at      time.Duration // intended time
	id      protocol.ID
	time    int64  // ms
	ends    bool   // the last of a block
	raw     []byte // as an element of a frame; nil = nobody has received it
}

// newGroup returns a group that knows as many of its newest messages as known
// says.
func newGroup(id string, live bool, codec protocol.Codec, receivers, known int) *group {
	return &group{
		id: id, live: live, codec: codec, receivers: receivers, senders: map[string]*groupSender{},
		shape: newFrameShape(codec, id), recent: make([]atomic.Pointer[groupMessage], known),
	}
}

// sender adds a user who sends bodies of size bytes. With a window, at most that
// many of their messages may not yet have reached all receivers; 0 = no limit.
// Call it before the run sends.
func (g *group) sender(user string, size, window int) *groupSender {
	s := &groupSender{
		stream: NewStream(uint32(len(g.senders)+1), user, g.id, size), index: len(g.senders),
		receivers: int64(g.receivers), window: uint64(window), block: uint64(window+windowBlocks-1) / windowBlocks,
		wake: make(chan struct{}, 1),
	}
	for i := range s.left {
		s.left[i].Store(s.receivers)
	}
	g.senders[user] = s
	return s
}

func (g *group) slot(number uint64) *atomic.Pointer[groupMessage] {
	return &g.recent[number%uint64(len(g.recent))]
}

// known returns the message of that number, or nil if it is not known.
func (g *group) known(number uint64) *groupMessage {
	if m := g.slot(number).Load(); m != nil && m.number == number {
		return m
	}
	return nil
}

// agree compares a message with what other clients know of it and returns an
// error if they differ. If it is new, they know it from now on.
func (g *group) agree(m *groupMessage) error {
	slot := g.slot(m.number)
	for {
		old := slot.Load()
		if old != nil && old.number > m.number {
			return nil // forgotten
		}
		if old != nil && old.number == m.number {
			if old.sender != m.sender || old.counter != m.counter || old.id != m.id || old.time != m.time {
				return fmt.Errorf("it is message %d of %s, id %s, time %d here, but message %d of %s, id %s, time %d elsewhere",
					m.counter, m.sender.stream.from, m.id, m.time, old.counter, old.sender.stream.from, old.id, old.time)
			}
			if old.raw != nil || m.raw == nil {
				return nil
			}
		}
		if slot.CompareAndSwap(old, m) {
			return nil
		}
	}
}

// received notes a message that one client has checked.
func (g *group) received(s *groupSender, counter uint64, at time.Duration, m *protocol.Message) error {
	n := &groupMessage{number: m.Seq, sender: s, counter: counter, at: at, id: m.ID, time: m.Time, ends: s.ends(counter)}
	if g.live {
		if n.number = counter; len(g.senders) > 1 {
			return nil // counters of several senders have no common order to keep them by
		}
	}
	if old := g.known(n.number); old == nil || old.raw == nil {
		n.raw = g.shape.element(m)
	}
	return g.agree(n)
}

// answered notes what the reply to a send says of its message.
func (g *group) answered(s *groupSender, o *outgoing, ok *protocol.SendOK) error {
	if g.live {
		return nil
	}
	for old := g.newest.Load(); ok.Seq > old && !g.newest.CompareAndSwap(old, ok.Seq); old = g.newest.Load() {
	}
	return g.agree(&groupMessage{number: ok.Seq, sender: s, counter: o.counter, at: o.at, id: ok.ID, time: ok.Time, ends: s.ends(o.counter)})
}

// messagesPerFrame returns how many messages an onNewMessage of the group has had
// on average.
func (g *group) messagesPerFrame() float64 {
	return float64(g.framed.Load()) / float64(max(g.frames.Load(), 1))
}

// A groupSender is one member who sends in a group.
type groupSender struct {
	stream    *Stream
	index     int // among the group's senders
	receivers int64

	// The window is counted in blocks, of which blockSlots can be under way. A
	// block has reached everybody when its last message has: receivers get a
	// sender's messages in order.
	window, block uint64
	left          [blockSlots]atomic.Int64 // receivers without the last message of block n, at n modulo slots
	done          atomic.Uint64            // messages that have reached everybody
	wake          chan struct{}            // told when done moves on
}

// room reports whether the window has room for the next message.
func (s *groupSender) room() bool {
	return s.window == 0 || s.stream.count() < s.done.Load()+s.window
}

func (s *groupSender) ends(counter uint64) bool { return s.block > 0 && counter%s.block == 0 }

// reached notes that one receiver has got the message that ends a block, or has
// lost it for good. After the last receiver it moves done and wakes the sender.
func (s *groupSender) reached(counter uint64) {
	left := &s.left[counter/s.block%blockSlots]
	if left.Add(-1) > 0 {
		return
	}
	left.Store(s.receivers)
	s.done.Store(counter)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
