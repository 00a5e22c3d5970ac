package raftstore

import (
	"slices"

	"github.com/belfry-im/belfry/shard"
)

// A GroupWatcher is a gateway's ear at the leader of a group's shard, one for
// all its sessions. As for a Watcher, its methods must not block and must not
// call back into the Store.
type GroupWatcher interface {
	// Wake says that something came in the group's order.
	Wake()
	// WakeMember says that a member's own view of the group changed.
	WakeMember(user shard.UserID)
	// Signal hands over a message of a group that stores none, or one of ttl 0.
	// The sessions of m.From that have number m.Session do not get it. m.Arrival
	// is its place in the group's order: it came after all up to that number and
	// before all above it. Messages come in the order of their places. It is
	// shared and must not be changed.
	Signal(m *shard.Message)
}

// WatchGroup registers w until UnwatchGroup. What came before, w has to read.
// To register it again changes nothing.
func (s *Store) WatchGroup(group shard.GroupID, w GroupWatcher) { s.hub.addGroup(group, w) }

// UnwatchGroup ends what WatchGroup began. Once it has returned, w is not
// called any more.
func (s *Store) UnwatchGroup(group shard.GroupID, w GroupWatcher) { s.hub.removeGroup(group, w) }

func (h *hub) addGroup(group shard.GroupID, w GroupWatcher) {
	st := h.stripe(group.Key())
	st.mu.Lock()
	defer st.mu.Unlock()
	if watchers := st.groups[group]; !slices.Contains(watchers, w) {
		st.groups[group] = append(watchers, w)
	}
}

func (h *hub) removeGroup(group shard.GroupID, w GroupWatcher) {
	st := h.stripe(group.Key())
	st.mu.Lock()
	defer st.mu.Unlock()
	watchers := st.groups[group]
	i := slices.Index(watchers, w)
	switch {
	case i < 0:
	case len(watchers) == 1:
		delete(st.groups, group)
	default:
		st.groups[group] = slices.Delete(watchers, i, i+1)
	}
}

// notifyGroups passes on what one entry did to groups.
func (h *hub) notifyGroups(out *shard.Outcome) {
	for i, group := range out.Groups {
		if i > 0 && group == out.Groups[i-1] {
			continue
		}
		h.eachWatcher(group, GroupWatcher.Wake)
	}
	for i, m := range out.Members {
		if i > 0 && m == out.Members[i-1] {
			continue
		}
		h.eachWatcher(m.Group, func(w GroupWatcher) { w.WakeMember(m.User) })
	}
}

// signalGroup passes m to the watchers of its group, all in the same order.
func (h *hub) signalGroup(m *shard.Message) {
	h.eachWatcher(m.Group, func(w GroupWatcher) { w.Signal(m) })
}

func (h *hub) eachWatcher(group shard.GroupID, tell func(GroupWatcher)) {
	st := h.stripe(group.Key())
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.groups[group] {
		tell(w)
	}
}
