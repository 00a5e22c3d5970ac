package raftstore

import (
	"slices"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/watch"
	"github.com/belfry-im/belfry/shard/command"
)

// A node subscribes once to each user to whom sessions of its subscribe, at the leader of
// that user's shard, and tells it what it holds for the user's status.

func presenceWatch(user command.UserID) watch.Key {
	return watch.Key{Kind: watch.KeyPresence, User: user}
}

// note takes over what subscribers were told as they subscribed, of users of whom nothing
// was known.
func (p *presence) note(users []command.UserID, seen map[command.UserID]store.Presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, user := range users {
		if _, known := p.online[user]; !known && len(p.byUser[user]) > 0 {
			p.online[user] = seen[user].Online
		}
	}
}

// watched returns the users to whom sessions of this node subscribe.
func (p *presence) watched() []command.UserID {
	p.mu.Lock()
	defer p.mu.Unlock()
	users := make([]command.UserID, 0, len(p.byUser))
	for user := range p.byUser {
		users = append(users, user)
	}
	return users
}

// known returns what this node holds for a user's status; watched reports whether a
// session of its subscribes to the user.
func (p *presence) known(user command.UserID) (online watch.Online, watched bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now, is := p.online[user]; is {
		online = onlineOf(now)
	}
	return online, len(p.byUser[user]) > 0
}

// heard takes over what the leader of a user's shard says.
func (p *presence) heard(user command.UserID, online bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byUser[user]) > 0 {
		p.online[user] = online
		p.alter(user)
	}
}

// follow subscribes a node to a user, unfollow undoes that.
func (p *presence) follow(user command.UserID, a *watch.Audience) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byNode[user] == nil {
		p.byNode[user] = make(map[*watch.Audience]struct{})
	}
	p.byNode[user][a] = struct{}{}
}

func (p *presence) unfollow(user command.UserID, a *watch.Audience) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unfollowLocked(user, a)
}

func (p *presence) unfollowLocked(user command.UserID, a *watch.Audience) {
	if delete(p.byNode[user], a); len(p.byNode[user]) == 0 {
		delete(p.byNode, user)
	}
}

// unfollowAll undoes all that a node has followed.
func (p *presence) unfollowAll(a *watch.Audience) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user := range p.byNode {
		p.unfollowLocked(user, a)
	}
}

// release ends a leadership of a shard: nodes subscribe anew at the next leader.
func (p *presence) release(owns func(command.UserID) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user := range p.byNode {
		if owns(user) {
			delete(p.byNode, user)
		}
	}
}

// begin takes over a shard from another leader: of users whose status is not what their
// subscribers here were told, these are told anew.
func (p *presence) begin(owns func(command.UserID) bool, online func(command.UserID) bool) {
	for _, user := range slices.DeleteFunc(p.watched(), func(user command.UserID) bool { return !owns(user) }) {
		now := online(user)
		p.mu.Lock()
		if was, known := p.online[user]; known && was != now {
			p.alter(user)
		}
		p.mu.Unlock()
	}
}
