package raftstore

import (
	"context"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/watch"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// watchStep is how many watches are taken in under one lock of a shard.
const watchStep = 64

// openWatch begins to follow the leaders on other nodes, and to be followed.
func (s *Store) openWatch() {
	c := s.cluster
	config := watch.Config{Keep: max(2*s.cfg.ClaimWithin, time.Minute), Dropped: s.metrics.droppedSignals, Retold: s.metrics.retold, Log: s.cfg.Log}
	c.audiences = watch.NewServer(hosting{s}, config)
	c.audiences.WantAcks(s.cfg.Hooks != nil && s.cfg.Hooks.WantsQueued())
	watch.Register(c.Link.Server(), c.audiences, func(ctx context.Context) (string, bool) {
		node, err := c.Link.Caller(ctx)
		return string(node), err == nil
	})
	c.follower = watch.NewFollower(following{s}, func(ctx context.Context, node string) (watch.Conn, error) {
		return watch.Dial(ctx, c.Link.Conn(placement.NodeID(node)))
	}, config)
	s.hub.leads = func(user command.UserID) bool { return s.shardOf(user).leading() != nil }
}

// setLeader takes over who leads a shard, and in which leadership. It has to be called
// before anything is asked of that leader.
func (sh *shardRef) setLeader(node placement.NodeID, number uint64) {
	c := sh.store.cluster
	if node == c.Node {
		node = "" // it tells this node directly
	}
	c.follower.SetLeader(sh.id, string(node), number)
}

func sessionWatch(user command.UserID, session command.SessionID) watch.Key {
	return watch.Key{Kind: watch.KeySession, User: user, Session: session}
}

// tellLeader tells the leader of the shard of a user, or of the key of a group, if it is
// on another node, that something changed about what this node watches.
func (s *Store) tellLeader(key command.UserID, k watch.Key, acks *store.Acks) {
	if s.cluster != nil {
		s.cluster.follower.Tell(s.shardOf(key).id, k, acks)
	}
}

// following is the Store as the end of its own sessions and groups.
type following struct{ *Store }

var _ watch.Source = following{}

// Keys implements watch.Source.
func (f following) Keys(id uint32) (keys []watch.Key) {
	sh := f.owners.Load().shard(id)
	if sh == nil {
		return nil
	}
	h := f.hub
	for i := range h.stripes {
		st := &h.stripes[i]
		st.mu.Lock()
		for user, listeners := range st.users {
			if !sh.owns(user) {
				continue
			}
			for i := range listeners {
				if listeners[i].here() {
					keys = append(keys, sessionWatch(user, listeners[i].session))
				}
			}
		}
		for group, watchers := range st.groups {
			if sh.owns(group.Key()) && slices.ContainsFunc(watchers, isHere) {
				keys = append(keys, watch.Key{Kind: watch.KeyGroup, Group: group})
			}
		}
		st.mu.Unlock()
	}
	for _, user := range h.presence.watched() {
		if sh.owns(user) {
			keys = append(keys, watch.Key{Kind: watch.KeyPresence, User: user})
		}
	}
	return keys
}

func isHere(w store.GroupWatcher) bool { return nodeOfGroup(w) == nil }

// Interest implements watch.Source.
func (f following) Interest(k watch.Key, acks bool) watch.Interest {
	in := watch.Interest{Key: k, End: true}
	h := f.hub
	switch k.Kind {
	case watch.KeySession:
		st := h.stripe(k.User)
		st.mu.Lock()
		defer st.mu.Unlock()
		for i := range st.users[k.User] {
			l := &st.users[k.User][i]
			if l.session != k.Session || !l.here() {
				continue
			}
			in.End, in.UpTo = false, l.watcher.UpTo()
			in.Background, in.Stalled, in.Seen = l.background, l.stalled, l.seen
			if acks {
				in.Acks = new(l.watcher.Acks())
			}
		}
	case watch.KeyGroup:
		st := h.stripe(k.Group.Key())
		st.mu.Lock()
		defer st.mu.Unlock()
		for _, w := range st.groups[k.Group] {
			if !isHere(w) {
				continue
			}
			if upTo := w.UpTo(); in.End || upTo < in.UpTo {
				in.End, in.UpTo = false, upTo
			}
		}
	case watch.KeyPresence:
		var watched bool
		in.Online, watched = h.presence.known(k.User)
		in.End = !watched
	}
	return in
}

// eachHere calls f for the listeners of this node's sessions of a user.
func (h *hub) eachHere(user command.UserID, f func(*listener)) {
	st := h.stripe(user)
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range st.users[user] {
		if l := &st.users[user][i]; l.here() {
			f(l)
		}
	}
}

// eachGroupHere calls f for this node's watchers of a group.
func (h *hub) eachGroupHere(group command.GroupID, f func(store.GroupWatcher)) {
	h.eachWatcher(group, func(w store.GroupWatcher) {
		if isHere(w) {
			f(w)
		}
	})
}

// Wake implements watch.Source.
func (f following) Wake(user command.UserID, session command.SessionID) {
	f.hub.eachHere(user, func(l *listener) {
		if l.session == session {
			l.watcher.Wake()
		}
	})
}

// Signal implements watch.Source.
func (f following) Signal(user command.UserID, session command.SessionID, s store.Signal) {
	f.hub.eachHere(user, func(l *listener) {
		if l.session == session {
			l.watcher.Signal(s)
		}
	})
}

// Kick implements watch.Source.
func (f following) Kick(user command.UserID, session command.SessionID, reason string) {
	if w := f.hub.removeIf(user, session, (*listener).here); w != nil {
		w.Kick(reason)
	}
}

// Gone implements watch.Source.
func (f following) Gone(user command.UserID, session command.SessionID) {
	if w := f.hub.removeIf(user, session, (*listener).here); w != nil {
		w.Gone()
	}
}

// WakeGroup implements watch.Source.
func (f following) WakeGroup(group command.GroupID) {
	f.hub.eachGroupHere(group, store.GroupWatcher.Wake)
}

// WakeMember implements watch.Source.
func (f following) WakeMember(group command.GroupID, user command.UserID) {
	f.hub.eachGroupHere(group, func(w store.GroupWatcher) { w.WakeMember(user) })
}

// SignalGroup implements watch.Source.
func (f following) SignalGroup(m *query.Message) {
	f.hub.eachGroupHere(m.Group, func(w store.GroupWatcher) { w.Signal(m) })
}

// Presence implements watch.Source.
func (f following) Presence(user command.UserID, online bool) { f.hub.presence.heard(user, online) }

// hosting is the Store as the end of the leaders that run on its node.
type hosting struct{ *Store }

var _ watch.Host = hosting{}

// Watch implements watch.Host.
func (h hosting) Watch(a *watch.Audience, id uint32, term uint64, interests []watch.Interest) bool {
	for part := range slices.Chunk(interests, watchStep) {
		l, err := h.leaderFor(&peer.Request{Shard: id, Term: term})
		if err != nil {
			return false
		}
		// With the state locked nothing changes between what is read of it and what is
		// registered.
		err = l.shard.local.ReadLocal(func(st *shard.State, _ int64) {
			if l.shard.serving.Load() != l {
				return
			}
			for i := range part {
				l.watch(a, &part[i], st)
			}
		})
		if err != nil || l.shard.serving.Load() != l {
			return false
		}
	}
	return true
}

// watch takes in what a node watches.
func (l *leader) watch(a *watch.Audience, in *watch.Interest, st *shard.State) {
	hub := l.shard.store.hub
	switch in.Kind {
	case watch.KeySession:
		l.watchSession(a, in, st)
	case watch.KeyGroup:
		if in.End {
			hub.removeGroupOf(in.Group, a)
			return
		}
		if w := hub.addGroupOf(in.Group, a); in.UpTo < st.GroupArrival(in.Group) {
			w.Wake()
		}
	case watch.KeyPresence:
		if in.End {
			hub.presence.unfollow(in.User, a)
			return
		}
		hub.presence.follow(in.User, a)
		online := hub.online(in.User)
		if in.Online == onlineOf(online) {
			return
		}
		a.Presence(l.shard.id, l.number, in.User, online)
		for now := hub.online(in.User); now != online; now = hub.online(in.User) {
			online = now // it may have been told already, before what was just said
			a.Presence(l.shard.id, l.number, in.User, online)
		}
	}
}

func onlineOf(online bool) watch.Online {
	if online {
		return watch.OnlineYes
	}
	return watch.OnlineNo
}

func (l *leader) watchSession(a *watch.Audience, in *watch.Interest, st *shard.State) {
	sh := l.shard
	hub := sh.store.hub
	key := sessionKey{in.User, in.Session}
	if in.End {
		hub.removeIf(in.User, in.Session, func(listener *listener) bool {
			w, remote := listener.watcher.(*watch.Session)
			if !remote || w.Audience() != a {
				return false
			}
			if in.Acks != nil {
				w.SetAcks(in.Acks)
			}
			sh.orphans.add(key, true)
			return true
		})
		return
	}
	arrival, live := st.LiveSession(in.User, in.Session)
	if !live {
		a.Gone(sh.id, l.number, in.User, in.Session)
		return
	}
	w := hub.setOf(a, in)
	sh.orphans.remove(key)
	if w != nil && in.UpTo < arrival {
		w.Wake()
	}
}

// setOf registers a session of another node, or takes over what changed about it. It
// returns what stands for it, nil if the session is one of this node.
func (h *hub) setOf(a *watch.Audience, in *watch.Interest) *watch.Session {
	st := h.stripe(in.User)
	st.mu.Lock()
	listeners := st.users[in.User]
	i := slices.IndexFunc(listeners, func(l listener) bool { return l.session == in.Session })
	var w *watch.Session
	if i >= 0 && listeners[i].ofNode() == a {
		w = listeners[i].watcher.(*watch.Session)
	} else {
		w = a.Session(in.User, in.Session)
	}
	here := i >= 0 && listeners[i].here()
	st.mu.Unlock()
	if here {
		return nil
	}
	if in.Acks != nil {
		w.SetAcks(in.Acks)
	}
	h.set(in.User, listener{session: in.Session, watcher: w, background: in.Background, stalled: in.Stalled, seen: in.Seen})
	return w
}

// addGroupOf registers another node for a group, and returns what stands for it.
func (h *hub) addGroupOf(group command.GroupID, a *watch.Audience) store.GroupWatcher {
	st := h.stripe(group.Key())
	st.mu.Lock()
	defer st.mu.Unlock()
	watchers := st.groups[group]
	if i := slices.IndexFunc(watchers, func(w store.GroupWatcher) bool { return nodeOfGroup(w) == a }); i >= 0 {
		return watchers[i]
	}
	w := a.Group(group)
	st.groups[group] = append(watchers, w)
	return w
}

func (h *hub) removeGroupOf(group command.GroupID, a *watch.Audience) {
	st := h.stripe(group.Key())
	st.mu.Lock()
	defer st.mu.Unlock()
	st.removeGroups(func(key command.UserID) bool { return key == group.Key() }, func(of *watch.Audience) bool { return of == a })
}

// Lost implements watch.Host: the node's sessions are orphans from now on.
func (h hosting) Lost(a *watch.Audience) {
	for _, key := range h.hub.lost(a) {
		if l := h.shardOf(key.user).leading(); l != nil {
			l.shard.orphans.add(key, false)
		}
	}
	h.hub.presence.unfollowAll(a)
}

// expect notes a session of another node that has just logged in: that node is about to
// tell that it watches it.
func (sh *localShard) expect(user command.UserID, session command.SessionID) {
	sh.store.hub.set(user, listener{session: session, watcher: nobody{}, absent: true})
	sh.orphans.add(sessionKey{user, session}, false)
}
