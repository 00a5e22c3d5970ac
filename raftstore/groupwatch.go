package raftstore

import (
	"slices"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/watch"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// WatchGroup registers w for what comes in a group's order, until
// UnwatchGroup. What came before, the caller has to read. Registering w again
// has no effect.
func (s *Store) WatchGroup(group command.GroupID, w store.GroupWatcher) {
	s.hub.addGroup(group, w)
	s.tellLeader(group.Key(), watch.Key{Kind: watch.KeyGroup, Group: group}, nil)
}

// UnwatchGroup ends what WatchGroup began. Once it has returned, w is not
// called any more.
func (s *Store) UnwatchGroup(group command.GroupID, w store.GroupWatcher) {
	s.hub.removeGroup(group, w)
	s.tellLeader(group.Key(), watch.Key{Kind: watch.KeyGroup, Group: group}, nil)
}

func (h *hub) addGroup(group command.GroupID, w store.GroupWatcher) {
	st := h.stripe(group.Key())
	st.mu.Lock()
	defer st.mu.Unlock()
	if watchers := st.groups[group]; !slices.Contains(watchers, w) {
		st.groups[group] = append(watchers, w)
	}
}

func (h *hub) removeGroup(group command.GroupID, w store.GroupWatcher) {
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

// notifyGroups wakes the watchers of the groups that one log entry changed.
func (h *hub) notifyGroups(out *shard.Outcome) {
	for i, group := range out.Groups {
		if i > 0 && group == out.Groups[i-1] {
			continue
		}
		h.eachWatcher(group, store.GroupWatcher.Wake)
	}
	for i, m := range out.Members {
		if i > 0 && m == out.Members[i-1] {
			continue
		}
		h.eachWatcher(m.Group, func(w store.GroupWatcher) { w.WakeMember(m.User) })
	}
}

// signalGroup passes m to the watchers of its group, all in the same order.
func (h *hub) signalGroup(m *query.Message) {
	h.eachWatcher(m.Group, func(w store.GroupWatcher) { w.Signal(m) })
}

func (h *hub) eachWatcher(group command.GroupID, tell func(store.GroupWatcher)) {
	st := h.stripe(group.Key())
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.groups[group] {
		tell(w)
	}
}
