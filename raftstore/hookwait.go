package raftstore

import (
	"slices"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// maxWaiting bounds the waiting messages of one shard, each counted together with
	// its members who may still ack it. At that bound no more messages are read.
	maxWaiting = 100_000
	// hookFirstCheck is how long a waiting message is left alone before it is checked
	// for the first time: most are acked by then, and need not be kept until
	// Config.QueuedAfter.
	hookFirstCheck = time.Second
)

// A waitingHook is a message that Hooks are not told of yet, because sessions in the
// foreground may still ack it.
type waitingHook struct {
	query.HookRef
	since   time.Time
	found   bool // it was in the queue when the leadership began, and sent was not called
	over    bool // decided: Hooks are told of it, or need not be
	recheck bool // it is in waitingHooks.recheck

	// Of a group: the members who may still ack it, by name. While they are checked,
	// those in users[kept:at] have been decided about.
	users    []command.UserID
	at, kept int
	again    bool // a member already checked has left the foreground
	scanned  bool // all members were checked once
	header   query.QueuedHeader
}

// addUser adds a member who may still ack the message.
func (w *waitingHook) addUser(user command.UserID) {
	// While members are checked, those before at are decided about, or kept.
	i, found := slices.BinarySearchFunc(w.users[w.at:], user, compareUsers)
	if !found {
		w.users = slices.Insert(w.users, w.at+i, user)
	}
}

// waitingHooks are the messages of a shard that Hooks are not told of yet, because
// sessions in the foreground may still ack them.
type waitingHooks struct {
	after, firstCheck time.Duration

	queue        []*waitingHook // by number, and so by time; decided ones stay in it until trim
	firstChecked int            // how many at the front of queue had their first check
	over         int            // how many of queue are decided
	weight       int            // waiting messages and their users
	recheck      []*waitingHook // to be checked now
	users        map[command.UserID][]*waitingHook
	groups       map[command.GroupID][]*waitingHook
}

func newWaitingHooks(after time.Duration) waitingHooks {
	return waitingHooks{
		after: after, firstCheck: min(hookFirstCheck, after/2),
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

// sent takes over how old a message is, in milliseconds. What was in the queue before the
// leadership has waited in earlier ones, but no message is decided before half of the time
// is over in this one: nodes have to tell what their sessions have acked.
func (q *waitingHooks) sent(w *waitingHook, age int64) {
	if w.found {
		w.found = false
		w.since = w.since.Add(-min(time.Duration(max(age, 0))*time.Millisecond, q.after-q.after/2))
	}
}

// remove removes a message that is decided.
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

// trim removes the decided messages at the front, and all of them once they are most
// of the queue.
func (q *waitingHooks) trim() {
	for len(q.queue) > 0 && q.queue[0].over {
		q.queue[0] = nil
		q.queue = q.queue[1:]
		q.firstChecked = max(q.firstChecked-1, 0)
		q.over--
	}
	if q.over < 1024 || q.over < len(q.queue)/2 {
		return
	}
	gone := 0
	for _, w := range q.queue[:q.firstChecked] {
		if w.over {
			gone++
		}
	}
	q.queue = slices.DeleteFunc(q.queue, func(w *waitingHook) bool { return w.over })
	q.firstChecked -= gone
	q.over = 0
}

// oldest returns the number of the oldest message that waits, 0 for none.
func (q *waitingHooks) oldest() uint64 {
	if len(q.queue) == 0 {
		return 0
	}
	return q.queue[0].Number
}

// due returns a message that is to be checked now, nil if there is none; last reports
// whether it has waited long enough to be decided. due returns the same message until
// rechecked or remove is called.
func (q *waitingHooks) due(now time.Time) (w *waitingHook, last bool) {
	for len(q.recheck) > 0 {
		if w := q.recheck[0]; !w.over {
			return w, now.Sub(w.since) >= q.after
		}
		q.recheck[0] = nil
		q.recheck = q.recheck[1:]
	}
	if len(q.queue) > 0 && q.queue[0].decidable() && now.Sub(q.queue[0].since) >= q.after {
		return q.queue[0], true
	}
	for ; q.firstChecked < len(q.queue); q.firstChecked++ {
		w := q.queue[q.firstChecked]
		if w.over {
			continue
		}
		if now.Sub(w.since) < q.firstCheck || !w.decidable() {
			break
		}
		return w, false
	}
	return nil, false
}

// upcoming returns messages that due is about to return, at most n.
func (q *waitingHooks) upcoming(now time.Time, n int) (due []*waitingHook) {
	add := func(w *waitingHook) bool {
		if !w.over {
			due = append(due, w)
		}
		return len(due) < n
	}
	for _, w := range q.recheck {
		if !add(w) {
			return due
		}
	}
	for _, w := range q.queue {
		if !w.decidable() || now.Sub(w.since) < q.after || !add(w) {
			break
		}
	}
	for _, w := range q.queue[q.firstChecked:] {
		if now.Sub(w.since) < q.firstCheck || !w.decidable() || !add(w) {
			break
		}
	}
	return due
}

// decidable reports whether a check can decide about the message.
func (w *waitingHook) decidable() bool { return w.Group == "" || w.scanned }

// rechecked records that the message that due returned was checked and has to wait
// on.
func (q *waitingHooks) rechecked(w *waitingHook) {
	if w.recheck {
		w.recheck = false
		q.recheck[0] = nil
		q.recheck = q.recheck[1:]
		return
	}
	q.firstChecked++
}

// next returns the time at which a message is to be checked next, zero if none waits.
func (q *waitingHooks) next() (at time.Time) {
	if len(q.queue) == 0 {
		return at
	}
	at = q.queue[0].since.Add(q.after)
	for _, w := range q.queue[q.firstChecked:] {
		if !w.over {
			if glance := w.since.Add(q.firstCheck); glance.Before(at) {
				at = glance
			}
			break
		}
	}
	return at
}

// recheckUser makes due return the messages to a user.
func (q *waitingHooks) recheckUser(user command.UserID) {
	for _, w := range q.users[user] {
		q.recheckOne(w)
	}
}

// recheckMember makes due return the messages of a group that a member may still ack.
func (q *waitingHooks) recheckMember(group command.GroupID, user command.UserID) {
	for _, w := range q.groups[group] {
		if w.has(user) {
			q.recheckOne(w)
		}
	}
}

func (q *waitingHooks) recheckOne(w *waitingHook) {
	w.again = w.again || w.at > 0
	if !w.recheck {
		w.recheck = true
		q.recheck = append(q.recheck, w)
	}
}

// has reports whether a member may still ack the message.
func (w *waitingHook) has(user command.UserID) bool {
	for _, part := range [...][]command.UserID{w.users[:w.kept], w.users[w.at:]} {
		if _, ok := slices.BinarySearchFunc(part, user, compareUsers); ok {
			return true
		}
	}
	return false
}
