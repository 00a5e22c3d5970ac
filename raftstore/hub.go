package raftstore

import (
	"slices"
	"sync"

	"github.com/belfry-im/belfry/shard"
	"github.com/prometheus/client_golang/prometheus"
)

// hubStripes spreads the users over locks.
const hubStripes = 64

// A hub knows the watchers of this node, by user and by group. It holds as many
// of users as sessions are logged in here, and of groups what the edge registers.
type hub struct {
	stripes  [hubStripes]hubStripe
	presence *presence
	count    prometheus.Gauge
}

type hubStripe struct {
	mu     sync.Mutex
	users  map[shard.UserID][]listener
	groups map[shard.GroupID][]GroupWatcher
}

type listener struct {
	session    shard.SessionID
	watcher    Watcher
	background bool // nobody looks at the device
}

func newHub(p *presence, count prometheus.Gauge) *hub {
	h := &hub{presence: p, count: count}
	for i := range h.stripes {
		h.stripes[i].users = make(map[shard.UserID][]listener)
		h.stripes[i].groups = make(map[shard.GroupID][]GroupWatcher)
	}
	return h
}

func (h *hub) stripe(user shard.UserID) *hubStripe {
	return &h.stripes[shard.SlotOf(string(user))%hubStripes]
}

// add registers w for a session. A watcher that the session had is replaced.
func (h *hub) add(user shard.UserID, session shard.SessionID, w Watcher) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	listeners := st.users[user]
	for i := range listeners {
		if listeners[i].session == session {
			listeners[i].watcher, listeners[i].background = w, false
			return
		}
	}
	st.users[user] = append(listeners, listener{session: session, watcher: w})
	h.count.Inc()
	if len(listeners) == 0 {
		h.presence.changed(user)
	}
}

// remove forgets a session's watcher and returns it, nil if there is none.
func (h *hub) remove(user shard.UserID, session shard.SessionID) Watcher {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	return h.drop(st, user, session)
}

// drop is remove for a caller that holds st.mu.
func (h *hub) drop(st *hubStripe, user shard.UserID, session shard.SessionID) Watcher {
	listeners := st.users[user]
	i := slices.IndexFunc(listeners, func(l listener) bool { return l.session == session })
	if i < 0 {
		return nil
	}
	w := listeners[i].watcher
	h.count.Dec()
	if len(listeners) == 1 {
		delete(st.users, user)
		h.presence.changed(user)
	} else {
		st.users[user] = slices.Delete(listeners, i, i+1)
	}
	return w
}

// online tells whether a session of the user listens.
func (h *hub) online(user shard.UserID) bool {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.users[user]) > 0
}

// setBackground notes whether somebody looks at the device of a session.
func (h *hub) setBackground(user shard.UserID, session shard.SessionID, background bool) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range st.users[user] {
		if l := &st.users[user][i]; l.session == session {
			l.background = background
		}
	}
}

// foreground tells whether a session of the user listens that is not in the
// background.
func (h *hub) foreground(user shard.UserID) bool {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.ContainsFunc(st.users[user], func(l listener) bool { return !l.background })
}

// watches tells whether a certain session listens.
func (h *hub) watches(key sessionKey) bool {
	st := h.stripe(key.user)
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.ContainsFunc(st.users[key.user], func(l listener) bool { return l.session == key.session })
}

// notify passes on what one entry did. Watchers that logins of that entry have
// registered are there by now.
func (h *hub) notify(out *shard.Outcome) {
	for _, k := range out.Kicked {
		h.kick(k.User, k.Session, k.Reason)
	}
	for i, user := range out.Touched {
		if i > 0 && user == out.Touched[i-1] {
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

// kick ends a session's watch and tells it why.
func (h *hub) kick(user shard.UserID, session shard.SessionID, reason string) {
	if w := h.remove(user, session); w != nil {
		w.Kick(reason)
	}
}

// signal passes s to the sessions of a user, but for one of them.
func (h *hub) signal(user shard.UserID, except shard.SessionID, s Signal) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, l := range st.users[user] {
		if l.session != except {
			l.watcher.Signal(s)
		}
	}
}

// resume prepares the watchers of a shard for a new reign over it: those whose
// session is no more are kicked, the others, and those of groups, told to look.
// It returns the sessions that are watched.
func (h *hub) resume(owns func(shard.UserID) bool, live map[sessionKey]bool) map[sessionKey]bool {
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
					h.drop(st, user, l.session)
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
