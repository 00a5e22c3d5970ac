package raftstore

import (
	"slices"
	"sync"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/watch"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/prometheus/client_golang/prometheus"
)

// hubStripes is the number of locks that the users and groups are spread over.
const hubStripes = 64

// A hub knows who listens to the users and groups of this node. There are the watchers of
// this node's own sessions and gateway, whoever leads their shards; and, of the shards
// that this node leads, what stands for those of other nodes.
type hub struct {
	stripes  [hubStripes]hubStripe
	presence *presence
	count    prometheus.Gauge // of this node's own sessions
	now      func() int64     // ms

	// leads reports whether this node leads a user's shard, and so decides who is online;
	// nil: it always does.
	leads func(user command.UserID) bool

	// For hooks; nil without. They are called with a stripe locked.
	changed func(user command.UserID, online bool) // the user came online or went offline
	away    func(user command.UserID)              // no session of the user is in the foreground any more; nil if Hooks want no queued messages
}

type hubStripe struct {
	mu     sync.Mutex
	users  map[command.UserID][]listener
	groups map[command.GroupID][]store.GroupWatcher
	left   leftAcks
}

// A listener is a session with its watcher, and what is known of its app.
type listener struct {
	session    command.SessionID
	watcher    store.Watcher // a *watch.Session for one of another node, nobody if its node is not known
	background bool          // nobody is looking at the device
	stalled    bool          // its app does not answer
	// absent: the session is in the state, and its node is not connected. Until that has
	// lasted too long it counts as if it listened.
	absent bool
	seen   int64 // ms, when the app last answered, if stalled
}

// ofNode returns the node that a listener's session is at, nil for this one.
func (l *listener) ofNode() *watch.Audience {
	if s, remote := l.watcher.(*watch.Session); remote {
		return s.Audience()
	}
	return nil
}

// here reports whether the session is one of this node.
func (l *listener) here() bool { return l.ofNode() == nil && l.watcher != nobody{} }

// nobody is the watcher of a session whose node is not known.
type nobody struct{}

func (nobody) Wake()                              {}
func (nobody) Signal(store.Signal)                {}
func (nobody) Kick(string)                        {}
func (nobody) Gone()                              {}
func (nobody) UpTo() uint64                       { return 0 }
func (nobody) Acked(command.GroupID, uint64) bool { return false }
func (nobody) Acks() store.Acks                   { return store.Acks{} }

func newHub(p *presence, count prometheus.Gauge, now func() int64) *hub {
	h := &hub{presence: p, count: count, now: now}
	for i := range h.stripes {
		h.stripes[i].users = make(map[command.UserID][]listener)
		h.stripes[i].groups = make(map[command.GroupID][]store.GroupWatcher)
	}
	return h
}

func (h *hub) stripe(user command.UserID) *hubStripe {
	return &h.stripes[command.SlotOf(string(user))%hubStripes]
}

// add registers w for a session, in place of an earlier watcher.
func (h *hub) add(user command.UserID, session command.SessionID, w store.Watcher) {
	h.set(user, listener{session: session, watcher: w})
}

// set registers a listener, in place of an earlier one of its session. A watcher of this
// node gives way to no other.
func (h *hub) set(user command.UserID, l listener) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	defer h.trackStatus(st, user)()
	listeners := st.users[user]
	i := slices.IndexFunc(listeners, func(other listener) bool { return other.session == l.session })
	switch {
	case i < 0:
		st.users[user] = append(listeners, l)
	case listeners[i].here() && !l.here():
		return
	default:
		if listeners[i].here() {
			h.count.Dec()
		}
		listeners[i] = l
	}
	if l.here() {
		h.count.Inc()
	}
}

// trackStatus notes the status of a user. The function that it returns must be called
// once the user's listeners have changed: it reports what that did to the status. The
// caller holds st.mu throughout.
func (h *hub) trackStatus(st *hubStripe, user command.UserID) (end func()) {
	if h.leads != nil && !h.leads(user) {
		return func() {} // its leader does
	}
	online, looking := statusOf(st.users[user])
	return func() {
		nowOnline, nowLooking := statusOf(st.users[user])
		if nowOnline != online {
			h.presence.changed(user)
			if h.changed != nil {
				h.changed(user, nowOnline)
			}
		}
		if looking && !nowLooking && h.away != nil {
			h.away(user)
		}
	}
}

// statusOf reports whether the app of one of a user's listeners answers, and whether
// one of those that do is in the foreground.
func statusOf(listeners []listener) (online, looking bool) {
	for i := range listeners {
		l := &listeners[i]
		online = online || !l.stalled
		looking = looking || !l.stalled && !l.background
	}
	return online, looking
}

// remove removes a session's watcher and returns it, nil if there is none.
func (h *hub) remove(user command.UserID, session command.SessionID) store.Watcher {
	return h.removeIf(user, session, func(*listener) bool { return true })
}

// removeIf is remove for a listener that is as wanted.
func (h *hub) removeIf(user command.UserID, session command.SessionID, wanted func(*listener) bool) store.Watcher {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	listeners := st.users[user]
	i := slices.IndexFunc(listeners, func(l listener) bool { return l.session == session })
	if i < 0 || !wanted(&listeners[i]) {
		return nil
	}
	return h.removeLocked(st, user, session)
}

// removeAbsent removes a session that counted as if it listened. It reports whether there
// was one.
func (h *hub) removeAbsent(key sessionKey) bool {
	return h.removeIf(key.user, key.session, func(l *listener) bool { return l.absent }) != nil
}

// removeLocked is remove for a caller that holds st.mu.
func (h *hub) removeLocked(st *hubStripe, user command.UserID, session command.SessionID) store.Watcher {
	listeners := st.users[user]
	i := slices.IndexFunc(listeners, func(l listener) bool { return l.session == session })
	if i < 0 {
		return nil
	}
	defer h.trackStatus(st, user)()
	w := listeners[i].watcher
	if listeners[i].here() {
		h.count.Dec()
	}
	if h.away != nil {
		st.left.add(user, w.Acks(), h.now())
	}
	if len(listeners) == 1 {
		delete(st.users, user)
	} else {
		st.users[user] = slices.Delete(listeners, i, i+1)
	}
	return w
}

// online reports whether the user has a session whose app answers.
func (h *hub) online(user command.UserID) bool {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	online, _ := statusOf(st.users[user])
	return online
}

// answered returns when a stalled app of the user last answered, ms; 0 = none has
// stalled.
func (h *hub) answered(user command.UserID) (at int64) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, l := range st.users[user] {
		at = max(at, l.seen)
	}
	return at
}

// updateListener lets change modify the listener of a session, if it has one.
func (h *hub) updateListener(user command.UserID, session command.SessionID, change func(*listener)) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	defer h.trackStatus(st, user)()
	for i := range st.users[user] {
		if l := &st.users[user][i]; l.session == session {
			change(l)
		}
	}
}

// reportOffline reports that a user is offline, if they have no session here.
func (h *hub) reportOffline(user command.UserID) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.users[user]) > 0 {
		return
	}
	h.presence.changed(user)
	if h.changed != nil {
		h.changed(user, false)
	}
}

// forgetAcks forgets what ended sessions of a user had acked. It is called when the
// user was erased: their arrival numbers begin anew.
func (h *hub) forgetAcks(user command.UserID) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.left.forget(user)
}

// An attention says whether a user has acked a message, or may still do so.
type attention uint8

const (
	attentionAway       attention = iota // not acked, and no session is in the foreground
	attentionForeground                  // not acked, and a session in the foreground may still do so
	attentionAcked
	attentionUnknown // the leader of the user's shard does not answer
)

// attention returns a user's attention to a message: of a group or, if group is "", of
// one of their own conversations.
func (h *hub) attention(user command.UserID, group command.GroupID, m *query.QueuedHeader) attention {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	listeners := st.users[user]
	for i := range listeners {
		if listeners[i].watcher.Acked(group, m.Arrival) {
			return attentionAcked
		}
	}
	if st.left.has(user, group, m) {
		return attentionAcked
	}
	if _, is := statusOf(listeners); is {
		return attentionForeground
	}
	return attentionAway
}

// watches reports whether a session has a watcher whose node is connected.
func (h *hub) watches(key sessionKey) bool {
	st := h.stripe(key.user)
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.ContainsFunc(st.users[key.user], func(l listener) bool { return l.session == key.session && !l.absent })
}

// notify kicks the sessions that a log entry ended, and wakes the watchers of users
// and groups that it changed. Sessions that logged in with that entry are registered
// already.
func (h *hub) notify(out *shard.Outcome) {
	for _, k := range out.Kicked {
		h.kick(k.User, k.Session, k.Reason)
	}
	for i, user := range out.Users {
		if i > 0 && user == out.Users[i-1] {
			continue
		}
		st := h.stripe(user)
		st.mu.Lock()
		for _, l := range st.users[user] {
			l.watcher.Wake()
		}
		st.mu.Unlock()
	}
	h.notifyGroups(out)
}

// kick removes a session's watcher and tells it why.
func (h *hub) kick(user command.UserID, session command.SessionID, reason string) {
	if w := h.remove(user, session); w != nil {
		w.Kick(reason)
	}
}

// signal passes s to the sessions of a user, except one of them.
func (h *hub) signal(user command.UserID, except command.SessionID, s store.Signal) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, l := range st.users[user] {
		if l.session != except {
			l.watcher.Signal(s)
		}
	}
}

// resume prepares the watchers of a shard for a new leadership: those of this node whose
// session is not in live are gone, and the others and those of groups are woken. It
// returns the sessions that have a watcher. With absent, the other live ones count as if
// they listened, until their nodes have told of them or an orphan's time is over.
func (h *hub) resume(owns func(command.UserID) bool, live map[sessionKey]bool, absent bool) map[sessionKey]bool {
	claimed := make(map[sessionKey]bool)
	for i := range h.stripes {
		st := &h.stripes[i]
		st.mu.Lock()
		for user, listeners := range st.users {
			if !owns(user) {
				continue
			}
			for _, l := range slices.Clone(listeners) {
				key := sessionKey{user, l.session}
				if live[key] {
					claimed[key] = true
					l.watcher.Wake()
				} else {
					h.removeLocked(st, user, l.session)
					l.watcher.Gone()
				}
			}
		}
		for group, watchers := range st.groups {
			if owns(group.Key()) {
				for _, w := range watchers {
					w.Wake()
				}
			}
		}
		st.mu.Unlock()
	}
	if !absent {
		return claimed
	}
	for key := range live {
		if !claimed[key] {
			st := h.stripe(key.user)
			st.mu.Lock()
			st.users[key.user] = append(st.users[key.user], listener{session: key.session, watcher: nobody{}, absent: true})
			st.mu.Unlock()
		}
	}
	return claimed
}

// release ends a leadership of a shard: it removes all that stands for other nodes, and
// tells nobody.
func (h *hub) release(owns func(command.UserID) bool) {
	for i := range h.stripes {
		st := &h.stripes[i]
		st.mu.Lock()
		for user, listeners := range st.users {
			if !owns(user) {
				continue
			}
			if kept := slices.DeleteFunc(listeners, func(l listener) bool { return !l.here() }); len(kept) > 0 {
				st.users[user] = kept
			} else {
				delete(st.users, user)
			}
		}
		st.removeGroups(owns, func(of *watch.Audience) bool { return of != nil })
		st.mu.Unlock()
	}
}

// lost notes that a node is not connected any more. Its sessions are absent from now on,
// and are returned; what stands for it in groups is removed.
func (h *hub) lost(a *watch.Audience) (absent []sessionKey) {
	for i := range h.stripes {
		st := &h.stripes[i]
		st.mu.Lock()
		for user, listeners := range st.users {
			for i := range listeners {
				if l := &listeners[i]; l.ofNode() == a && !l.absent {
					l.absent = true
					absent = append(absent, sessionKey{user, l.session})
				}
			}
		}
		st.removeGroups(func(command.UserID) bool { return true }, func(of *watch.Audience) bool { return of == a })
		st.mu.Unlock()
	}
	return absent
}

// removeGroups removes those watchers of groups whose node is as wanted; nil is this one.
// The caller holds mu.
func (st *hubStripe) removeGroups(owns func(command.UserID) bool, wanted func(*watch.Audience) bool) {
	for group, watchers := range st.groups {
		if !owns(group.Key()) {
			continue
		}
		kept := slices.DeleteFunc(watchers, func(w store.GroupWatcher) bool { return wanted(nodeOfGroup(w)) })
		if len(kept) > 0 {
			st.groups[group] = kept
		} else {
			delete(st.groups, group)
		}
	}
}

// nodeOfGroup returns the node that a watcher of a group stands for, nil for this one.
func nodeOfGroup(w store.GroupWatcher) *watch.Audience {
	if g, remote := w.(*watch.Group); remote {
		return g.Audience()
	}
	return nil
}
