package shard_test

import (
	"fmt"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A feed follows one group as a gateway does: it reads on from where it stands
// and hands what comes to the members that it has sessions of.
type feed struct {
	group command.GroupID
	at    uint64
	subs  map[command.UserID]*subscription
}

// A subscription is what a feed knows of one member.
type subscription struct {
	base uint64 // told all after this
	told uint64 // up to which they were told
	seqs map[uint64]bool
}

// followGroup has a member attach or detach, or the feed read on.
func (w *world) followGroup() {
	f := pick(w, w.feeds)
	w.flush(w.shardOf(f.group.Key()))
	if w.moving(f.group.Key()) {
		return
	}
	switch user := pick(w, w.users); {
	case f.subs[user] == nil && w.chance(60):
		w.attach(f, user)
	case f.subs[user] != nil && w.chance(10):
		delete(f.subs, user)
	}
	for range 1 + w.rng.IntN(3) {
		if !w.readFeed(f) {
			break
		}
	}
}

// attach subscribes a member. What lies between their joining and the feed they
// read themselves.
func (w *world) attach(f *feed, user command.UserID) {
	state := w.shardOf(f.group.Key()).leader
	at, ok := state.MemberSince(f.group, user)
	if g := w.model.group(f.group); ok != (g.members[user] != nil) {
		w.failf("JoinedAt(%s, %s) = %v, want %v", f.group, user, ok, !ok)
	}
	if !ok || !w.model.group(f.group).settings.StoresMessages {
		return
	}
	sub := &subscription{base: at, told: at, seqs: map[uint64]bool{}}
	f.subs[user] = sub
	for sub.told < f.at && f.subs[user] == sub {
		up := w.readGroupSince(f.group, sub.told)
		if up.MissedEvents {
			w.recheck(f, user)
		}
		w.hand(f, user, up, f.at)
		if up.Through >= f.at || !up.More {
			sub.told = max(sub.told, f.at)
			return
		}
		sub.told = max(sub.told, up.Through)
	}
}

// readGroupSince reads what came after a point, compares it, and returns it.
func (w *world) readGroupSince(id command.GroupID, after uint64) *query.Updates {
	sh := w.shardOf(id.Key())
	now := w.readTime(sh)
	maxMessages, maxBytes := 1+w.rng.IntN(8), 1+w.rng.IntN(2000)
	if w.chance(50) {
		maxMessages, maxBytes = 100, 1<<20
	}
	sh.leader.GroupUpdatesAfter(id, after, &w.batch, maxMessages, maxBytes, now)
	w.checkGroupSince(id, after, &w.batch, maxMessages, maxBytes, now)
	return &w.batch
}

// readFeed reads one batch and reports whether there is more.
func (w *world) readFeed(f *feed) bool {
	up := w.readGroupSince(f.group, f.at)
	for user := range f.subs {
		if up.MissedEvents {
			w.recheck(f, user)
		}
		w.hand(f, user, up, up.Through)
	}
	f.at = max(f.at, up.Through)
	if up.More {
		return true
	}
	for user := range f.subs {
		w.checkSubscription(f, user)
	}
	return false
}

// recheck asks whether a user is still the member that they were, since events are
// missing that may say otherwise.
func (w *world) recheck(f *feed, user command.UserID) {
	sub := f.subs[user]
	switch at, ok := w.shardOf(f.group.Key()).leader.MemberSince(f.group, user); {
	case !ok || !w.model.group(f.group).settings.StoresMessages:
		delete(f.subs, user)
	case at > sub.told:
		sub.base, sub.told = at, at
	}
}

// hand tells a member what updates have for them, up to a point, and what ends their
// membership.
func (w *world) hand(f *feed, user command.UserID, up *query.Updates, upTo uint64) {
	g, sub := w.model.group(f.group), f.subs[user]
	if sub == nil {
		return
	}
	for _, item := range up.Items {
		switch {
		case item.Message >= 0:
			m := &up.Messages[item.Message]
			if m.Arrival <= sub.told || m.Arrival > upTo {
				continue
			}
			what := fmt.Sprintf("%s as a member of %s is told seq %d, arrival %d", user, f.group, m.Seq, m.Arrival)
			if sub.seqs[m.Seq] {
				w.failf("%s twice", what)
			}
			if !g.memberAt(user, m.Arrival) {
				w.failf("%s, when he was none: %v", what, g.pastMemberships[user])
			}
			sub.seqs[m.Seq] = true
		case item.Event >= 0:
			if e := &up.Events[item.Event]; e.Arrival > sub.told && e.Arrival <= upTo && e.EndsMembershipOf(user) {
				delete(f.subs, user)
				return
			}
		}
	}
	sub.told = max(sub.told, min(up.Through, upTo))
}

// checkSubscription wants a member to have been told, when all is read,
// everything since their joining that is still visible.
func (w *world) checkSubscription(f *feed, user command.UserID) {
	g, sub := w.model.group(f.group), f.subs[user]
	if g.members[user] == nil {
		w.failf("%s is told what comes in %s, but is no member since: %v", user, f.group, g.pastMemberships[user])
	}
	sh := w.shardOf(f.group.Key())
	limits := &w.model.shards[sh.index].limits
	now := sh.leader.Now() + readAhead // what an earlier read hid for its age may be missing
	for _, e := range g.held() {
		if e.arrival > sub.base && e.gap(limits, now) == "" && !sub.seqs[e.seq] {
			w.failf("%s as a member of %s was not told seq %d, arrival %d, after %d", user, f.group, e.seq, e.arrival, sub.base)
		}
	}
}

// catchUpFeeds reads until there is no more.
func (w *world) catchUpFeeds() {
	for _, f := range w.feeds {
		for _, user := range w.users {
			if f.subs[user] == nil {
				w.attach(f, user)
			}
		}
		for w.readFeed(f) {
		}
	}
}
