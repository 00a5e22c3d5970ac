package raftstore

import (
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// maxWaiting bounds the messages of one shard that may still be acked, each
	// with the members that this is about. While it is reached no more are read.
	maxWaiting = 100_000
	// hookGlance is when a message is looked at that may still be acked: most are
	// by then, and need not be kept any longer.
	hookGlance = time.Second
)

// A waitingHook is a message that sessions may still ack which somebody looks at.
type waitingHook struct {
	query.HookRef
	since time.Time
	over  bool // it is decided
	hurry bool // it is in waitingHooks.hurried

	// Of a group: the members who may still ack it, by name. While they are looked
	// at, those in users[kept:at] have been decided about.
	users    []command.UserID
	at, kept int
	again    bool // one of those already looked at looks no more
	scanned  bool // all members were looked at once
}

// waitingHooks are the messages of a shard that may still be acked.
type waitingHooks struct {
	after, glance time.Duration

	queue   []*waitingHook // by number, and so by time; without gaps but with those that are over
	glanced int            // of queue, from the front, were looked at after glance
	over    int            // of queue
	weight  int            // of those that are not over: messages, and users of them
	hurried []*waitingHook // to be looked at now
	users   map[command.UserID][]*waitingHook
	groups  map[command.GroupID][]*waitingHook
}

func newWaitingHooks(after time.Duration) waitingHooks {
	return waitingHooks{
		after: after, glance: min(hookGlance, after/2),
		users: make(map[command.UserID][]*waitingHook), groups: make(map[command.GroupID][]*waitingHook),
	}
}

func (q *waitingHooks) full() bool { return q.weight >= maxWaiting }

func (q *waitingHooks) add(w *waitingHook) {
	q.queue = append(q.queue, w)
	q.weight++
	if w.Group != "" {
		q.groups[w.Group] = append(q.groups[w.Group], w)
	} else {
		q.users[w.User] = append(q.users[w.User], w)
	}
}

// remove takes a message out that is decided.
func (q *waitingHooks) remove(w *waitingHook) {
	w.over = true
	q.over++
	q.weight -= 1 + len(w.users)
	if w.Group != "" {
		removeFrom(q.groups, w.Group, w)
	} else {
		removeFrom(q.users, w.User, w)
	}
	w.users = nil
	q.trim()
}

func removeFrom[K comparable](m map[K][]*waitingHook, key K, w *waitingHook) {
	list := m[key]
	i := slices.Index(list, w)
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(m, key)
	} else {
		m[key] = list
	}
}

// trim drops what is over, at the front and when it is most of all.
func (q *waitingHooks) trim() {
	for len(q.queue) > 0 && q.queue[0].over {
		q.queue[0] = nil
		q.queue = q.queue[1:]
		q.glanced = max(q.glanced-1, 0)
		q.over--
	}
	if q.over < 1024 || q.over < len(q.queue)/2 {
		return
	}
	gone := 0
	for _, w := range q.queue[:q.glanced] {
		if w.over {
			gone++
		}
	}
	q.queue = slices.DeleteFunc(q.queue, func(w *waitingHook) bool { return w.over })
	q.glanced -= gone
	q.over = 0
}

// oldest is the number of the oldest message that waits, 0 for none.
func (q *waitingHooks) oldest() uint64 {
	if len(q.queue) == 0 {
		return 0
	}
	return q.queue[0].Number
}

// due gives a message that is to be looked at now, nil for none, and whether it has
// waited long enough. The same comes again until looked or remove.
func (q *waitingHooks) due(now time.Time) (w *waitingHook, last bool) {
	for len(q.hurried) > 0 {
		if w := q.hurried[0]; !w.over {
			return w, now.Sub(w.since) >= q.after
		}
		q.hurried[0] = nil
		q.hurried = q.hurried[1:]
	}
	if len(q.queue) > 0 && q.queue[0].decidable() && now.Sub(q.queue[0].since) >= q.after {
		return q.queue[0], true
	}
	for ; q.glanced < len(q.queue); q.glanced++ {
		w := q.queue[q.glanced]
		if w.over {
			continue
		}
		if now.Sub(w.since) < q.glance || !w.decidable() {
			break
		}
		return w, false
	}
	return nil, false
}

// decidable tells whether a look can decide about the message.
func (w *waitingHook) decidable() bool { return w.Group == "" || w.scanned }

// looked says that the message which due gave waits on.
func (q *waitingHooks) looked(w *waitingHook) {
	if w.hurry {
		w.hurry = false
		q.hurried[0] = nil
		q.hurried = q.hurried[1:]
		return
	}
	q.glanced++
}

// next is when a message is to be looked at, zero for never.
func (q *waitingHooks) next() (at time.Time) {
	if len(q.queue) == 0 {
		return at
	}
	at = q.queue[0].since.Add(q.after)
	for _, w := range q.queue[q.glanced:] {
		if !w.over {
			if glance := w.since.Add(q.glance); glance.Before(at) {
				at = glance
			}
			break
		}
	}
	return at
}

// hurryUser has the messages to a user looked at now.
func (q *waitingHooks) hurryUser(user command.UserID) {
	for _, w := range q.users[user] {
		q.hurryOne(w)
	}
}

// hurryMember has the messages of a group looked at that a member may still ack.
func (q *waitingHooks) hurryMember(group command.GroupID, user command.UserID) {
	for _, w := range q.groups[group] {
		if w.has(user) {
			q.hurryOne(w)
		}
	}
}

func (q *waitingHooks) hurryOne(w *waitingHook) {
	w.again = w.again || w.at > 0
	if !w.hurry {
		w.hurry = true
		q.hurried = append(q.hurried, w)
	}
}

// has tells whether a member may still ack the message.
func (w *waitingHook) has(user command.UserID) bool {
	for _, part := range [...][]command.UserID{w.users[:w.kept], w.users[w.at:]} {
		if _, ok := slices.BinarySearchFunc(part, user, compareUsers); ok {
			return true
		}
	}
	return false
}
