package watch

import (
	"bytes"
	"fmt"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/versions"
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// version is the first byte of every message. What follows are items, each with its
// length; package versions says how they may change.
const version = 1

// Versions are those of the messages that this binary reads.
var Versions = versions.Only(version)

const (
	// messageBytes is about the most that one message holds.
	messageBytes = 64 << 10
	// maxGroups bounds the groups of one session's acks, maxReason a reason.
	maxGroups = 1 << 16
	maxReason = 64
)

// A kind is that of an item, and says which of its fields are set.
type kind uint8

const (
	kindAlive kind = 1 + iota // nothing else was to be said
	kindScope                 // shard, term: of the items that follow

	// From a Follower.
	kindInterest  // interest
	kindConfirmed // number: of the last kick that came

	// From a Server.
	kindRefused // the shard is not led here in that term
	kindWake    // user, session
	kindKick    // number, user, session, reason
	kindGone    // user, session
	kindSignal  // user, session, signal
	kindWakeGroup
	kindWakeMember  // group, user; without user: all members
	kindSignalGroup // message
	kindPresence    // user, online
	kindAcks        // wanted: whether Interests are to have Acks
	kinds
)

// A KeyKind says what a Key names.
type KeyKind uint8

const (
	KeySession  KeyKind = 1 + iota // User, Session
	KeyGroup                       // Group
	KeyPresence                    // User: whether they are online
)

// A Key names something that a node watches.
type Key struct {
	Kind    KeyKind
	User    command.UserID
	Session command.SessionID
	Group   command.GroupID
}

// An Interest is what a node tells a leader of a Key.
type Interest struct {
	Key
	End bool // it is over; but for Acks nothing else is set

	UpTo       uint64 // arrival number, of user or group, up to which the node has read
	Background bool   // of a session, see store
	Stalled    bool
	Seen       int64 // ms, if stalled

	// Online is whether the node holds the user for online, OnlineUnknown if it does not
	// know.
	Online Online
	// Acks is what a session has acked, nil if it is not told.
	Acks *store.Acks
}

// Online says whether a user is online, as far as somebody knows.
type Online uint8

const (
	OnlineUnknown Online = iota
	OnlineNo
	OnlineYes
)

// An item is one piece of a message.
type item struct {
	kind     kind
	shard    uint32
	term     uint64
	number   uint64
	user     command.UserID
	session  command.SessionID
	group    command.GroupID
	reason   string
	online   bool
	wanted   bool
	interest Interest
	signal   store.Signal
	message  *query.Message
}

func (it *item) fields(x *codec.Coder) {
	codec.Byte(x, &it.kind)
	switch it.kind {
	case kindScope:
		codec.Uint(x, &it.shard)
		codec.Uint(x, &it.term)
	case kindInterest:
		it.interest.fields(x)
	case kindConfirmed:
		codec.Uint(x, &it.number)
	case kindWake, kindGone:
		codec.Text(x, &it.user, command.MaxName)
		codec.Uint(x, &it.session)
	case kindKick:
		codec.Uint(x, &it.number)
		codec.Text(x, &it.user, command.MaxName)
		codec.Uint(x, &it.session)
		codec.Text(x, &it.reason, maxReason)
	case kindSignal:
		codec.Text(x, &it.user, command.MaxName)
		codec.Uint(x, &it.session)
		SignalFields(&it.signal, x)
	case kindWakeGroup:
		codec.Text(x, &it.group, command.MaxGroup)
	case kindWakeMember:
		codec.Text(x, &it.group, command.MaxGroup)
		codec.Text(x, &it.user, command.MaxName)
	case kindSignalGroup:
		messageFields(&it.message, x)
	case kindPresence:
		codec.Text(x, &it.user, command.MaxName)
		codec.Bool(x, &it.online)
	case kindAcks:
		codec.Bool(x, &it.wanted)
	}
}

func (in *Interest) fields(x *codec.Coder) {
	codec.Enum(x, &in.Kind, KeySession, KeyPresence)
	codec.Bool(x, &in.End)
	switch in.Kind {
	case KeySession:
		codec.Text(x, &in.User, command.MaxName)
		codec.Uint(x, &in.Session)
	case KeyGroup:
		codec.Text(x, &in.Group, command.MaxGroup)
	case KeyPresence:
		codec.Text(x, &in.User, command.MaxName)
	}
	codec.Optional(x, &in.Acks, acksFields)
	if in.End {
		return
	}
	codec.Uint(x, &in.UpTo)
	codec.Bool(x, &in.Background)
	codec.Bool(x, &in.Stalled)
	codec.Int(x, &in.Seen)
	codec.Enum(x, &in.Online, OnlineUnknown, OnlineYes)
}

func acksFields(x *codec.Coder, a *store.Acks) {
	codec.Uint(x, &a.UpTo)
	type span struct {
		group command.GroupID
		store.Span
	}
	var spans []span
	for group, s := range a.Groups {
		spans = append(spans, span{group, s})
	}
	codec.List(x, &spans, 3, maxGroups, func(s *span, x *codec.Coder) {
		codec.Text(x, &s.group, command.MaxGroup)
		codec.Uint(x, &s.From)
		codec.Uint(x, &s.To)
	})
	if x.Writing() || len(spans) == 0 {
		return
	}
	a.Groups = make(map[command.GroupID]store.Span, len(spans))
	for _, s := range spans {
		a.Groups[s.group] = s.Span
	}
}

// SignalFields writes or reads a signal. One that was read has memory of its own.
func SignalFields(s *store.Signal, x *codec.Coder) {
	codec.Enum(x, &s.Kind, store.SignalTyping, store.SignalEphemeral)
	codec.Text(x, &s.User, command.MaxName)
	codec.Text(x, &s.Group, command.MaxGroup)
	codec.Int(x, &s.Time)
	codec.Bool(x, &s.Online)
	has := s.Message != nil
	if codec.Bool(x, &has); has {
		messageFields(&s.Message, x)
	}
}

// messageFields writes or reads a message. One that was read has memory of its own, since
// it is kept.
func messageFields(m **query.Message, x *codec.Coder) {
	if x.Writing() {
		(*m).Fields(x)
		return
	}
	*m = new(query.Message)
	(*m).Fields(x)
	(*m).CID, (*m).Body = bytes.Clone((*m).CID), bytes.Clone((*m).Body)
}

// A writer writes items to one message.
type writer struct {
	codec.Coder
	shard  uint32
	term   uint64
	scoped bool // an item with shard and term was written
}

func newWriter() *writer { return &writer{Coder: codec.NewWriter([]byte{version})} }

func (w *writer) add(it *item) { codec.Item(&w.Coder, it.fields) }

// scope writes the shard and term of the items that follow, unless they are those of the
// items before.
func (w *writer) scope(shard uint32, term uint64) {
	if w.scoped && w.shard == shard && w.term == term {
		return
	}
	w.shard, w.term, w.scoped = shard, term, true
	w.add(&item{kind: kindScope, shard: shard, term: term})
}

func (w *writer) full() bool { return len(w.B) >= messageBytes }

// bytes returns the message, nil if it has no item.
func (w *writer) bytes() []byte {
	if len(w.B) == 1 {
		return nil
	}
	return w.B
}

// items calls f with each item of a message, with shard and term of its scope. f must not
// keep the item.
func items(message []byte, f func(*item) error) error {
	if len(message) == 0 {
		return fmt.Errorf("watch: message: %w", codec.ErrMalformed)
	}
	if err := Versions.Check("message", int(message[0])); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	x := codec.NewReader(message[1:])
	var shard uint32
	var term uint64
	for len(x.B) > 0 {
		it := item{shard: shard, term: term}
		if codec.Item(&x, it.fields); x.Err != nil {
			return fmt.Errorf("watch: item: %w", x.Err)
		}
		if it.kind == 0 || it.kind >= kinds {
			if err := versions.Unknown("item", byte(it.kind)); err != nil {
				return fmt.Errorf("watch: %w", err)
			}
			continue
		}
		if it.kind == kindScope {
			shard, term = it.shard, it.term
			continue
		}
		if err := f(&it); err != nil {
			return err
		}
	}
	return nil
}
