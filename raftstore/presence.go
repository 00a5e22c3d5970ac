package raftstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/watch"
	"github.com/belfry-im/belfry/shard"
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
	altered   map[command.UserID]struct{} // users in byUser or byNode with a change that was not told
	// online is what this node was last told of the users in byUser.
	online map[command.UserID]bool
	// byNode holds the nodes that watch users whose shard this node leads.
	byNode map[command.UserID]map[*watch.Audience]struct{}
}

func newPresence() *presence {
	return &presence{
		wake:      make(chan struct{}, 1),
		byUser:    make(map[command.UserID]map[store.Watcher]command.UserID),
		byWatcher: make(map[store.Watcher]map[command.UserID]struct{}),
		altered:   make(map[command.UserID]struct{}),
		online:    make(map[command.UserID]bool),
		byNode:    make(map[command.UserID]map[*watch.Audience]struct{}),
	}
}

// changed notes that a user may have come online or gone offline.
func (p *presence) changed(user command.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alter(user)
}

// alter notes a change of a user, if somebody is to be told. The caller holds mu.
func (p *presence) alter(user command.UserID) {
	if len(p.byUser[user]) == 0 && len(p.byNode[user]) == 0 {
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

// unsubscribe ends the subscriptions of w, and returns the users to whom nobody here
// subscribes any more.
func (p *presence) unsubscribe(w store.Watcher) (left []command.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user := range p.byWatcher[w] {
		delete(p.byUser[user], w)
		if len(p.byUser[user]) == 0 {
			delete(p.byUser, user)
			delete(p.online, user)
			left = append(left, user)
		}
	}
	delete(p.byWatcher, w)
	return left
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

// tell tells subscribers here, and nodes that watch the user, of the user's present
// status.
func (p *presence) tell(s *Store, user command.UserID) {
	sh := s.shardOf(user)
	l := sh.leading()
	decides := l != nil || s.cluster == nil // who is online
	online := decides && s.hub.online(user)
	p.mu.Lock()
	if decides {
		if len(p.byUser[user]) > 0 {
			p.online[user] = online
		}
		for a := range p.byNode[user] {
			a.Presence(sh.id, l.number, user, online)
		}
	}
	online = p.online[user]
	subscribers := make(map[*shardRef][]subscriber) // by the shards of who they are
	for w, asker := range p.byUser[user] {
		sh := s.shardOf(asker)
		subscribers[sh] = append(subscribers[sh], subscriber{w, query.Contact{User: asker, Peer: user}})
	}
	p.mu.Unlock()
	sig := store.Signal{Kind: store.SignalPresence, User: user, Time: s.Now(), Online: online}
	for sh, of := range subscribers {
		for part := range slices.Chunk(of, contactsAtOnce) {
			queries := make([]query.Query, len(part))
			for i := range part {
				queries[i] = &part[i].contact
			}
			if sh.read(queries...) != nil {
				continue // nobody is told what they may not know
			}
			for i := range part {
				if !part[i].contact.BlockedBy {
					part[i].watcher.Signal(sig)
				}
			}
		}
	}
}

// contactsAtOnce is how many subscribers of one shard are looked at under its lock.
const contactsAtOnce = 256

// A subscriber is a watcher that subscribes to a user, and what its own user may know of
// that one.
type subscriber struct {
	watcher store.Watcher
	contact query.Contact
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

// presenceOf asks each shard once. Of users whose shard does not serve, all that is known
// is that they are not said to be online.
func (s *Store) presenceOf(visible []command.UserID) map[command.UserID]store.Presence {
	answer := make(map[command.UserID]store.Presence, len(visible))
	var mu sync.Mutex // of answer
	var asked sync.WaitGroup
	for sh, users := range s.byShard(visible) {
		ask := func() {
			statuses, err := sh.statusOf(users)
			now := s.Now()
			mu.Lock()
			defer mu.Unlock()
			for i, user := range users {
				switch {
				case err != nil:
					answer[user] = store.Presence{}
				case statuses[i].online:
					answer[user] = store.Presence{Online: true, LastSeen: now}
				case statuses[i].seen != 0: // else the user has never logged in
					answer[user] = store.Presence{LastSeen: statuses[i].seen}
				}
			}
		}
		if sh.leaderHere() != nil {
			ask()
		} else {
			asked.Go(ask)
		}
	}
	asked.Wait()
	return answer
}

// statusOf returns the statuses of users of the shard, in their order.
func (sh *shardRef) statusOf(users []command.UserID) (list []userStatus, err error) {
	err = sh.call(call{
		kind: peer.Status,
		here: func(l *leader) (err error) { list, err = l.statusOf(users); return err },
		body: func() []byte { return encodeCall(userList(&users)) },
		read: func(answer []byte) error {
			if err := decodeCall(answer, statusList(&list)); err != nil || len(list) == len(users) {
				return err
			}
			return fmt.Errorf("%d statuses of %d users", len(list), len(users))
		},
	})
	return list, err
}

func (l *leader) answerStatus(body []byte) ([]byte, error) {
	var users []command.UserID
	if err := decodeCall(body, userList(&users)); err != nil {
		return nil, err
	}
	list, err := l.statusOf(users)
	return encodeCall(statusList(&list)), err
}

func (l *leader) statusOf(users []command.UserID) ([]userStatus, error) {
	hub := l.shard.store.hub
	list := make([]userStatus, len(users))
	return list, l.shard.local.ReadLocal(func(st *shard.State, _ int64) {
		for i, user := range users {
			if list[i].online = hub.online(user); !list[i].online {
				list[i].seen = max(hub.answered(user), st.LastSeen(user))
			}
		}
	})
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
	seen := s.presenceOf(visible) // read after subscribing, so that no change is missed
	s.hub.presence.note(visible, seen)
	for _, user := range visible {
		s.tellLeader(user, presenceWatch(user), nil)
	}
	return seen, nil
}

// UnsubscribePresence ends all subscriptions of w.
func (s *Store) UnsubscribePresence(w store.Watcher) {
	for _, user := range s.hub.presence.unsubscribe(w) {
		s.tellLeader(user, presenceWatch(user), nil)
	}
}

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
