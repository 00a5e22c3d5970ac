package store

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A Watcher stands for a session at the leader of its user's shard. It is told
// that there is something to read, not what: the store is the only buffer, and
// the session reads on from its cursor with Since when it has room.
//
// All methods are called from a goroutine that the shard's next commands wait
// for, or with its lock held. They must not block and must not call back into
// the store.
type Watcher interface {
	// Wake is called when something came after what was last read.
	Wake()
	// Signal passes on what is stored nowhere. The watcher may drop it.
	Signal(Signal)
	// Kick is called when the session has ended; reason is as on the wire
	// ("sameDevice", "policy", "admin"), or "token" if the session's token is refused
	// from now on.
	Kick(reason string)
	// Gone is called when the state does not know the session, though nobody says that
	// it was ended: its node was cut off for too long. The watcher is registered no more,
	// and its gateway may log the session in again.
	Gone()
	// UpTo returns the arrival number of the user up to which the session has read.
	UpTo() uint64
	// Acked reports whether the device has acked, in the foreground, what has an
	// arrival number: in the order of a group or, if group is "", of the user.
	Acked(group command.GroupID, arrival uint64) bool
	// Acks returns all for which Acked is true.
	Acks() Acks
}

// A GroupWatcher stands for a gateway at the leader of a group's shard, one for
// all its sessions. As for a Watcher, its methods must not block and must not
// call back into the store.
type GroupWatcher interface {
	// Wake is called when something came in the group's order.
	Wake()
	// WakeMember is called when a member's own view of the group changed; user "": when
	// those of any members did.
	WakeMember(user command.UserID)
	// UpTo returns the arrival number of the group up to which the gateway has read.
	UpTo() uint64
	// Signal passes on a message of a group that stores none, or one of ttl 0. The
	// sessions of m.From that have number m.Session do not get it. m.Arrival is its
	// place in the group's order: it came after all up to that number and before all
	// above it. Messages come in the order of their places. m is shared and must not
	// be changed.
	Signal(m *query.Message)
}

// Acks are the parts of orders that a device has acked in the foreground.
type Acks struct {
	UpTo   uint64 // of the user's own arrivals
	Groups map[command.GroupID]Span
}

// Has reports whether an arrival number is acked: in the order of a group or, if
// group is "", of the user.
func (a *Acks) Has(group command.GroupID, arrival uint64) bool {
	if group == "" {
		return arrival <= a.UpTo
	}
	return a.Groups[group].Has(arrival)
}

// A Span is a range of arrival numbers: above From, up to To.
type Span struct{ From, To uint64 }

// Has reports whether an arrival number is in the span.
func (s Span) Has(arrival uint64) bool { return s.From < arrival && arrival <= s.To }

// Join returns the union of both spans if they touch, else the later one.
func (s Span) Join(t Span) Span {
	if s.To < t.To {
		s, t = t, s
	}
	if t.To >= s.From {
		s.From = min(s.From, t.From)
	}
	return s
}

// A SignalKind is the kind of a Signal.
type SignalKind uint8

const (
	SignalTyping    SignalKind = iota + 1 // User types to the watcher's user, or to Group
	SignalPresence                        // User came online or went offline
	SignalEphemeral                       // Message, ttl 0
)

// A Signal is delivered at most once: to sessions that are connected now.
type Signal struct {
	Kind    SignalKind
	User    command.UserID
	Group   command.GroupID // SignalTyping, "" = to the watcher's user
	Time    int64           // ms
	Online  bool            // SignalPresence
	Message *query.Message
}
