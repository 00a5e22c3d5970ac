package watch

import (
	"maps"
	"sync"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// maxSignalBytes bounds the signals and unstored messages that wait for one node, in
	// bytes; further ones are dropped and counted.
	maxSignalBytes = 4 << 20
	// signalCost is what a signal counts for beside its body.
	signalCost = 256
	// maxMembers bounds the members of one group that wait to be woken, each alone. Past
	// it all members are.
	maxMembers = 1024
	// maxKicks bounds the kicks that a node has not confirmed. Past it the oldest is
	// dropped: its session is then found gone.
	maxKicks = 1 << 20
)

// An Audience is what leaders on this node keep of one following node: what is to be
// told it, in queues that never block who tells. Its methods may be called with a shard
// locked.
type Audience struct {
	node  string
	drops func(int) // counts dropped signals
	ready chan struct{}

	mu       sync.Mutex
	attached bool // there is a stream
	sessions []*Session
	groups   []*Group
	gone     []scoped[Key]
	presence map[command.UserID]scoped[bool]
	signals  []pendingSignal
	bytes    int // of signals
	refused  []scoped[struct{}]
	wanted   bool // acks are
	toldAcks bool

	// Kicks outlive streams. The number of kicks[0] is firstKick.
	kicks     []kick
	firstKick uint64
	toldKick  uint64 // number of the last kick that the present stream was given
}

// A scoped value belongs to one leadership.
type scoped[T any] struct {
	shard uint32
	term  uint64
	value T
}

type kick struct {
	user    command.UserID
	session command.SessionID
	reason  string
}

// A pendingSignal is for a session, or is a message of a group.
type pendingSignal struct {
	user    command.UserID
	session command.SessionID
	signal  store.Signal
	message *query.Message
}

func newAudience(node string, drops func(int)) *Audience {
	return &Audience{
		node: node, drops: drops, ready: make(chan struct{}, 1), firstKick: 1,
		presence: make(map[command.UserID]scoped[bool]),
	}
}

// Node returns the node that it is kept of.
func (a *Audience) Node() string { return a.node }

// A Session stands for a session of another node at the leader of its user's shard.
type Session struct {
	audience *Audience
	user     command.UserID
	number   command.SessionID

	queued bool        // it is in audience.sessions
	acks   *store.Acks // as last told, nil for nothing; never changed
}

var _ store.Watcher = (*Session)(nil)

// Session returns what stands for a session of the node.
func (a *Audience) Session(user command.UserID, number command.SessionID) *Session {
	return &Session{audience: a, user: user, number: number}
}

// Audience returns whose session it is.
func (s *Session) Audience() *Audience { return s.audience }

// Wake implements store.Watcher.
func (s *Session) Wake() {
	a := s.audience
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.attached && !s.queued {
		s.queued = true
		a.sessions = append(a.sessions, s)
		signal(a.ready)
	}
}

// Signal implements store.Watcher.
func (s *Session) Signal(sig store.Signal) {
	s.audience.queueSignal(pendingSignal{user: s.user, session: s.number, signal: sig})
}

// Kick implements store.Watcher. The node is told once it has a stream, if it has none.
func (s *Session) Kick(reason string) {
	a := s.audience
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.kicks) == maxKicks {
		a.kicks = a.kicks[1:]
		a.firstKick++
	}
	a.kicks = append(a.kicks, kick{s.user, s.number, reason})
	signal(a.ready)
}

// Gone implements store.Watcher. Leaders call Audience.Gone instead, which says who found
// the session gone.
func (s *Session) Gone() {}

// Gone tells the node that a leadership does not know a session of its: nobody says that
// it was ended, so it may log in again.
func (a *Audience) Gone(shard uint32, term uint64, user command.UserID, session command.SessionID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.attached {
		a.gone = append(a.gone, scoped[Key]{shard, term, Key{Kind: KeySession, User: user, Session: session}})
		signal(a.ready)
	}
}

// UpTo implements store.Watcher: leaders keep no positions.
func (s *Session) UpTo() uint64 { return 0 }

// SetAcks notes what the session has acked, as its node tells it.
func (s *Session) SetAcks(acks *store.Acks) {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	s.acks = acks
}

// Acked implements store.Watcher, with what the node has told last.
func (s *Session) Acked(group command.GroupID, arrival uint64) bool {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	return s.acks != nil && s.acks.Has(group, arrival)
}

// Acks implements store.Watcher.
func (s *Session) Acks() store.Acks {
	s.audience.mu.Lock()
	defer s.audience.mu.Unlock()
	if s.acks == nil {
		return store.Acks{}
	}
	return store.Acks{UpTo: s.acks.UpTo, Groups: maps.Clone(s.acks.Groups)}
}

// A Group stands for another node at the leader of a group's shard.
type Group struct {
	audience *Audience
	group    command.GroupID

	queued  bool // it is in audience.groups
	wake    bool
	members map[command.UserID]struct{} // to be woken
	all     bool                        // instead: all members
}

var _ store.GroupWatcher = (*Group)(nil)

// Group returns what stands for the node's sessions in a group.
func (a *Audience) Group(group command.GroupID) *Group { return &Group{audience: a, group: group} }

// Audience returns whose group it is.
func (g *Group) Audience() *Audience { return g.audience }

// Wake implements store.GroupWatcher.
func (g *Group) Wake() { g.queue(func() { g.wake = true }) }

// WakeMember implements store.GroupWatcher.
func (g *Group) WakeMember(user command.UserID) {
	g.queue(func() {
		switch {
		case g.all:
		case len(g.members) == maxMembers:
			g.members, g.all = nil, true
		default:
			if g.members == nil {
				g.members = make(map[command.UserID]struct{})
			}
			g.members[user] = struct{}{}
		}
	})
}

func (g *Group) queue(note func()) {
	a := g.audience
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.attached {
		return
	}
	note()
	if !g.queued {
		g.queued = true
		a.groups = append(a.groups, g)
		signal(a.ready)
	}
}

// Signal implements store.GroupWatcher.
func (g *Group) Signal(m *query.Message) { g.audience.queueSignal(pendingSignal{message: m}) }

// UpTo implements store.GroupWatcher: leaders keep no positions.
func (g *Group) UpTo() uint64 { return 0 }

// queueSignal queues a signal, or drops it when too much waits.
func (a *Audience) queueSignal(s pendingSignal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.attached {
		return
	}
	if a.bytes >= maxSignalBytes {
		a.drops(1)
		return
	}
	a.bytes += s.size()
	a.signals = append(a.signals, s)
	signal(a.ready)
}

func (s *pendingSignal) size() int {
	n := signalCost
	if s.message != nil {
		n += len(s.message.Body)
	} else if s.signal.Message != nil {
		n += len(s.signal.Message.Body)
	}
	return n
}

// Presence tells the node whether a user whom it watches is online, according to a
// leadership. Of several changes the last one counts.
func (a *Audience) Presence(shard uint32, term uint64, user command.UserID, online bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.attached {
		a.presence[user] = scoped[bool]{shard, term, online}
		signal(a.ready)
	}
}

// WantAcks says whether the node is to tell what its sessions ack.
func (a *Audience) WantAcks(wanted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wanted != wanted {
		a.wanted, a.toldAcks = wanted, false
		signal(a.ready)
	}
}

func (a *Audience) refuse(shard uint32, term uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.attached {
		a.refused = append(a.refused, scoped[struct{}]{shard: shard, term: term})
		signal(a.ready)
	}
}

// attach begins a stream: kicks that were not confirmed are told again.
func (a *Audience) attach() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attached, a.toldAcks = true, false
	a.toldKick = a.firstKick - 1
	signal(a.ready)
}

// detach ends a stream. What waits is dropped, but for kicks.
func (a *Audience) detach() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attached = false
	for _, s := range a.sessions {
		s.queued = false
	}
	for _, g := range a.groups {
		g.reset()
	}
	a.sessions, a.groups, a.gone, a.signals, a.bytes, a.refused = nil, nil, nil, nil, 0, nil
	clear(a.presence)
}

func (g *Group) reset() { g.queued, g.wake, g.members, g.all = false, false, nil, false }

// confirm notes that the node has all kicks up to a number.
func (a *Audience) confirm(number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if number < a.firstKick {
		return
	}
	n := min(int(number-a.firstKick)+1, len(a.kicks))
	a.firstKick += uint64(n)
	if a.kicks = a.kicks[n:]; len(a.kicks) == 0 {
		a.kicks = nil
	}
}

// next takes what is to be told from the queues, as much as fits a message; nil if there
// is nothing.
func (a *Audience) next() []byte {
	w := newWriter()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.toldAcks {
		a.toldAcks = true
		w.add(&item{kind: kindAcks, wanted: a.wanted})
	}
	// Kicks come first: a node that has one of a session does not mind that it is gone.
	for !w.full() && a.toldKick < a.firstKick+uint64(len(a.kicks))-1 {
		a.toldKick++
		k := &a.kicks[a.toldKick-a.firstKick]
		w.add(&item{kind: kindKick, number: a.toldKick, user: k.user, session: k.session, reason: k.reason})
	}
	for len(a.refused) > 0 && !w.full() {
		w.scope(a.refused[0].shard, a.refused[0].term)
		w.add(&item{kind: kindRefused})
		a.refused = a.refused[1:]
	}
	for len(a.gone) > 0 && !w.full() {
		g := &a.gone[0]
		w.scope(g.shard, g.term)
		w.add(&item{kind: kindGone, user: g.value.User, session: g.value.Session})
		a.gone = a.gone[1:]
	}
	for user, p := range a.presence {
		if w.full() {
			break
		}
		w.scope(p.shard, p.term)
		w.add(&item{kind: kindPresence, user: user, online: p.value})
		delete(a.presence, user)
	}
	for len(a.sessions) > 0 && !w.full() {
		s := a.sessions[0]
		s.queued = false
		w.add(&item{kind: kindWake, user: s.user, session: s.number})
		a.sessions = a.sessions[1:]
	}
	for len(a.groups) > 0 && !w.full() {
		g := a.groups[0]
		if g.wake {
			w.add(&item{kind: kindWakeGroup, group: g.group})
		}
		if g.all {
			w.add(&item{kind: kindWakeMember, group: g.group})
		}
		for user := range g.members {
			w.add(&item{kind: kindWakeMember, group: g.group, user: user})
		}
		g.reset()
		a.groups = a.groups[1:]
	}
	for len(a.signals) > 0 && !w.full() {
		s := &a.signals[0]
		if s.message != nil {
			w.add(&item{kind: kindSignalGroup, message: s.message})
		} else {
			w.add(&item{kind: kindSignal, user: s.user, session: s.session, signal: s.signal})
		}
		a.bytes -= s.size()
		*s = pendingSignal{}
		a.signals = a.signals[1:]
	}
	return w.bytes()
}
