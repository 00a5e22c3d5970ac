package raftstore

import (
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// maxLeft bounds the weight of each half of a leftAcks, and the groups of one user in it.
// The leftAcks of all stripes together hold at least the last 65,000 users who left,
// fewer if these were in many groups.
const maxLeft = 1024

// leftAcks hold what ended sessions had acked, of the users who left last. What they no
// longer hold counts as not acked.
type leftAcks struct {
	young, old map[command.UserID]*leftAck
	weight     int // of young: users, and groups of them
}

type leftAck struct {
	at int64 // ms, when the last session ended: it has acked nothing that came later
	store.Acks
}

// add merges what an ended session had acked into what is held of its user.
func (l *leftAcks) add(user command.UserID, a store.Acks, now int64) {
	if a.UpTo == 0 && len(a.Groups) == 0 {
		return
	}
	if l.weight >= maxLeft {
		l.old, l.young, l.weight = l.young, nil, 0
	}
	if l.young == nil {
		l.young = make(map[command.UserID]*leftAck)
	}
	one := &leftAck{at: now, Acks: a}
	for _, earlier := range [...]*leftAck{l.young[user], l.old[user]} {
		if earlier == nil {
			continue
		}
		one.UpTo = max(one.UpTo, earlier.UpTo)
		for group, span := range earlier.Groups {
			if one.Groups == nil {
				one.Groups = make(map[command.GroupID]store.Span)
			}
			if _, has := one.Groups[group]; !has && len(one.Groups) >= maxLeft {
				continue // a user who joins and leaves groups again and again
			}
			one.Groups[group] = span.Join(one.Groups[group])
		}
	}
	delete(l.old, user)
	l.weight += one.weight() - l.young[user].weight()
	l.young[user] = one
}

// forget removes what is held of a user.
func (l *leftAcks) forget(user command.UserID) {
	l.weight -= l.young[user].weight()
	delete(l.young, user)
	delete(l.old, user)
}

// weight returns what a user counts for towards maxLeft, 0 if one is nil.
func (one *leftAck) weight() int {
	if one == nil {
		return 0
	}
	return 1 + len(one.Groups)
}

// has reports whether an ended session had acked a message.
func (l *leftAcks) has(user command.UserID, group command.GroupID, m *query.QueuedHeader) bool {
	for _, one := range [...]*leftAck{l.young[user], l.old[user]} {
		if one != nil && m.Time <= one.at && one.Has(group, m.Arrival) {
			return true
		}
	}
	return false
}
