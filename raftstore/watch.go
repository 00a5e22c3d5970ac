package raftstore

import "github.com/belfry-im/belfry/shard"

// A Watcher is a session's ear at the leader of its user's shard. It is told
// that there is something to read, not what: the store is the only buffer, and
// the session reads on from its cursor with Since when it has room.
//
// All methods are called from a goroutine that the shard's next commands wait
// for, or with its lock held. They must not block and must not call back into
// the Store.
type Watcher interface {
	// Wake says that something came after what was last read.
	Wake()
	// Signal hands over what is stored nowhere. The watcher may drop it.
	Signal(Signal)
	// Kick says that the session is no more; reason as on the wire
	// ("sameDevice", "policy", "admin"), or "token" when that is refused from now on.
	Kick(reason string)
	// Acked tells whether the device has acked, while somebody looked at it, what
	// has a place in an order: that of a group or, without, of the user's own
	// arrivals.
	Acked(group shard.GroupID, arrival uint64) bool
	// Acks gives all that Acked says yes to.
	Acks() Acks
}

// Acks are parts of orders that a device has acked.
type Acks struct {
	UpTo   uint64 // of the user's own arrivals
	Groups map[shard.GroupID]Span
}

// A Span is the places of an order above From, up to To.
type Span struct{ From, To uint64 }

// Has tells whether a place is in the span.
func (s Span) Has(arrival uint64) bool { return s.From < arrival && arrival <= s.To }

// Join is both spans if they touch, else the later one.
func (s Span) Join(t Span) Span {
	if s.To < t.To {
		s, t = t, s
	}
	if t.To >= s.From {
		s.From = min(s.From, t.From)
	}
	return s
}

func (a *Acks) has(group shard.GroupID, arrival uint64) bool {
	if group == "" {
		return arrival <= a.UpTo
	}
	return a.Groups[group].Has(arrival)
}

// SignalKind says what a Signal is.
type SignalKind uint8

const (
	SignalTyping    SignalKind = iota + 1 // User types to the watcher's user, or to Group
	SignalPresence                        // User came online or went
	SignalEphemeral                       // Message, ttl 0
)

// A Signal is at most once: it reaches who is connected now, or nobody.
type Signal struct {
	Kind    SignalKind
	User    shard.UserID
	Group   shard.GroupID // SignalTyping, "" = to the user himself
	Time    int64         // ms
	Online  bool          // SignalPresence
	Message *shard.Message
}

// Presence is what one user may know of another.
type Presence struct {
	Online   bool
	LastSeen int64 // ms; 0 = never
}
