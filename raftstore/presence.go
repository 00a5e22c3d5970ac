package raftstore

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// presence holds the subscriptions to users' presence. One goroutine tells subscribers
// of changes, because each time a subscriber's shard must be asked whether they may
// still see the user, which must not happen under the lock of another shard.
type presence struct {
	wake chan struct{}

	mu sync.Mutex
	// byUser and byWatcher hold the same subscriptions, at most
	// MaxSubscriptions for each watcher.
	byUser    map[command.UserID]map[store.Watcher]command.UserID // watchers that subscribe to a user, and whose they are
	byWatcher map[store.Watcher]map[command.UserID]struct{}
	altered   map[command.UserID]struct{} // users in byUser with a change that subscribers were not told of
}

func newPresence() *presence {
	return &presence{
		wake:      make(chan struct{}, 1),
		byUser:    make(map[command.UserID]map[store.Watcher]command.UserID),
		byWatcher: make(map[store.Watcher]map[command.UserID]struct{}),
		altered:   make(map[command.UserID]struct{}),
	}
}

// changed notes that a user may have come online or gone offline.
func (p *presence) changed(user command.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, wanted := p.byUser[user]; !wanted {
		return
	}
	p.altered[user] = struct{}{}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// subscribe subscribes w, on behalf of asker, to the presence of users. If these would
// be more than store.MaxSubscriptions it subscribes to none and returns a
// *command.RefusedError.
func (p *presence) subscribe(asker command.UserID, users []command.UserID, w store.Watcher) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := p.byWatcher[w]
	if held == nil {
		held = make(map[command.UserID]struct{})
	}
	fresh := make(map[command.UserID]struct{})
	for _, user := range users {
		if _, ok := held[user]; !ok {
			fresh[user] = struct{}{}
		}
	}
	if len(held)+len(fresh) > store.MaxSubscriptions {
		return &command.RefusedError{
			Code:   command.CodeBadRequest,
			Detail: fmt.Sprintf("users: a session may subscribe to %d, and has %d", store.MaxSubscriptions, len(held)),
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	maps.Copy(held, fresh)
	p.byWatcher[w] = held
	for user := range fresh {
		if p.byUser[user] == nil {
			p.byUser[user] = make(map[store.Watcher]command.UserID)
		}
		p.byUser[user][w] = asker
	}
	return nil
}

func (p *presence) unsubscribe(w store.Watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user := range p.byWatcher[w] {
		delete(p.byUser[user], w)
		if len(p.byUser[user]) == 0 {
			delete(p.byUser, user)
			delete(p.altered, user)
		}
	}
	delete(p.byWatcher, w)
}

// run tells subscribers of changes until ctx ends. Several changes of a user in quick
// succession become one, with the last state.
func (p *presence) run(ctx context.Context, s *Store) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.mu.Lock()
		altered := p.altered
		p.altered = make(map[command.UserID]struct{})
		p.mu.Unlock()
		for user := range altered {
			p.tell(s, user)
		}
	}
}

func (p *presence) tell(s *Store, user command.UserID) {
	p.mu.Lock()
	subscribers := maps.Clone(p.byUser[user])
	p.mu.Unlock()
	sig := store.Signal{Kind: store.SignalPresence, User: user, Time: s.Now(), Online: s.hub.online(user)}
	for w, asker := range subscribers {
		if c, err := s.contact(asker, user); err == nil && !c.BlockedBy {
			w.Signal(sig)
		}
	}
}

// Presence returns the presence of those of users who have not blocked asker and have
// written to asker, or are by their own will in a group with asker. Others are left
// out, and so are users who never logged in.
func (s *Store) Presence(asker command.UserID, users []command.UserID) (map[command.UserID]store.Presence, error) {
	visible, err := s.visible(asker, users)
	if err != nil {
		return nil, err
	}
	return s.presenceOf(visible), nil
}

func (s *Store) presenceOf(visible []command.UserID) map[command.UserID]store.Presence {
	answer := make(map[command.UserID]store.Presence, len(visible))
	for _, user := range visible {
		if s.hub.online(user) {
			answer[user] = store.Presence{Online: true, LastSeen: s.Now()}
			continue
		}
		// Without a leader of the shard, all that is known is that the user has no session
		// here.
		c, err := s.contact(user, "")
		seen := max(s.hub.answered(user), c.LastSeen)
		if err == nil && seen == 0 {
			continue // the user has never logged in
		}
		answer[user] = store.Presence{LastSeen: seen}
	}
	return answer
}

// SubscribePresence is Presence, and calls w.Signal at each change of the users that
// may be in the answer, until UnsubscribePresence. Past store.MaxSubscriptions it
// returns a *command.RefusedError and subscribes to nothing.
func (s *Store) SubscribePresence(asker command.UserID, users []command.UserID, w store.Watcher) (map[command.UserID]store.Presence, error) {
	visible, err := s.visible(asker, users)
	if err != nil {
		return nil, err
	}
	if err := s.hub.presence.subscribe(asker, visible, w); err != nil {
		return nil, err
	}
	return s.presenceOf(visible), nil // read after subscribing, so that no change is missed
}

// UnsubscribePresence ends all subscriptions of w.
func (s *Store) UnsubscribePresence(w store.Watcher) { s.hub.presence.unsubscribe(w) }

// visible returns those of users whose presence asker may know.
func (s *Store) visible(asker command.UserID, users []command.UserID) (visible []command.UserID, err error) {
	contacts := query.Contacts{User: asker, Peers: users}
	if err := s.read(&contacts); err != nil {
		return nil, err
	}
	o := s.owners.Load()
	unknown := make([][]command.UserID, len(o.shards)) // by shard: users who may have a group in common with asker
	found := false
	for i, user := range users {
		switch {
		case contacts.BlockedBy[i]:
		case contacts.ReceivedFrom[i] || user == asker:
			visible = append(visible, user)
		default:
			id := o.index(user)
			unknown[id], found = append(unknown[id], user), true
		}
	}
	if !found {
		return visible, nil
	}
	groups := query.GroupsOf{User: asker}
	if err := s.read(&groups); err != nil || len(groups.Groups) == 0 {
		return visible, err
	}
	ids := make([]command.GroupID, len(groups.Groups))
	for i, ref := range groups.Groups {
		ids[i] = ref.Group
	}
	for id, users := range unknown {
		if len(users) == 0 {
			continue
		}
		q := query.Sharing{Asker: asker, Groups: ids, Users: users}
		// A shard without a leader knows of no group.
		if err := o.shards[id].read(&q); err != nil {
			continue
		}
		for i, user := range users {
			if q.Sharing[i] {
				visible = append(visible, user)
			}
		}
	}
	return visible, nil
}
