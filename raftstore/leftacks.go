package raftstore

import (
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// maxLeft bounds each half of what one leftAcks keeps. All together know of at least
// the last 65,000 users who left, fewer if these were in many groups.
const maxLeft = 1024

// leftAcks are what ended sessions had acked, of the users who left last. What they no
// longer hold counts as not acked.
type leftAcks struct {
	young, old map[command.UserID]*leftAck
	weight     int // of young: users, and groups of them
}

type leftAck struct {
	at int64 // ms, when the last session ended: what came later it has not acked
	store.Acks
}

// add adds what an ended session had acked.
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
			one.Groups[group] = span.Join(one.Groups[group])
		}
	}
	delete(l.old, user)
	l.young[user] = one
	l.weight += 1 + len(a.Groups)
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
