package raftstore

import (
	"slices"
	"sync"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/prometheus/client_golang/prometheus"
)

// hubStripes is the number of locks that the users and groups are spread over.
const hubStripes = 64

// A hub knows the watchers of this node, by user and by group: one for each session
// that is logged in here, and those that gateways register for groups.
type hub struct {
	stripes  [hubStripes]hubStripe
	presence *presence
	count    prometheus.Gauge
	now      func() int64 // ms

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
	watcher    store.Watcher
	background bool  // nobody is looking at the device
	stalled    bool  // its app does not answer
	seen       int64 // ms, when the app last answered, if stalled
}

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
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	defer h.trackStatus(st, user)()
	listeners := st.users[user]
	for i := range listeners {
		if listeners[i].session == session {
			listeners[i] = listener{session: session, watcher: w}
			return
		}
	}
	st.users[user] = append(listeners, listener{session: session, watcher: w})
	h.count.Inc()
}

// trackStatus notes the status of a user. The function that it returns must be called
// once the user's listeners have changed: it reports what that did to the status. The
// caller holds st.mu throughout.
func (h *hub) trackStatus(st *hubStripe, user command.UserID) (end func()) {
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
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	return h.removeLocked(st, user, session)
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
	h.count.Dec()
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

// watches reports whether a session has a watcher.
func (h *hub) watches(key sessionKey) bool {
	st := h.stripe(key.user)
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.ContainsFunc(st.users[key.user], func(l listener) bool { return l.session == key.session })
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

// resume prepares the watchers of a shard for a new leadership: it kicks those whose
// session is not in live, and wakes the others and those of groups. It returns the
// sessions that have a watcher.
func (h *hub) resume(owns func(command.UserID) bool, live map[sessionKey]bool) map[sessionKey]bool {
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
					l.watcher.Kick("policy")
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
	return claimed
}
