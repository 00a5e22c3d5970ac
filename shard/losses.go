package shard

import (
	"cmp"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// A LossKind says what a limit took messages out of, and which limit.
type LossKind uint8

const (
	LostQueue   LossKind = iota // the offline queue was full; the messages are still in history
	LostHistory                 // the logs of a user or group were full
	LostMemory                  // memory was short, so that a cutoff rose
	lossKinds
)

// keptLosses is how many users and groups are remembered for each kind. The one that lost
// something the longest ago gives way to a new one; totals count all.
const keptLosses = 32

// A Loss is what limits of one kind took from a user or group since it is remembered.
type Loss struct {
	Kind        LossKind
	User        command.UserID  // "" for a group
	Group       command.GroupID // "" for a user
	Messages    int
	Bytes       int
	First, Last int64 // ms, of the shard's time
}

// A LossTotal is what limits of one kind took since the replica was opened.
type LossTotal struct{ Messages, Bytes int }

// losses remember what limits took of late. They are derived from the commands that this
// replica has applied since it was opened, and nothing depends on them.
type losses struct {
	totals [lossKinds]LossTotal
	latest [lossKinds][]Loss // at most keptLosses each, in no order
}

// note adds messages that a limit took from u. At a limit that is part of each send, so
// that it neither allocates, apart from a first time, nor looks at more than keptLosses.
func (l *losses) note(u *user, kind LossKind, messages, bytes int, now int64) {
	if messages == 0 {
		return
	}
	l.totals[kind].Messages += messages
	l.totals[kind].Bytes += bytes
	latest, oldest := l.latest[kind], 0
	for i := range latest {
		e := &latest[i]
		if e.User == u.name && u.group == nil || u.group != nil && e.Group == u.group.id {
			e.Messages += messages
			e.Bytes += bytes
			e.Last = now
			return
		}
		if e.Last < latest[oldest].Last {
			oldest = i
		}
	}
	fresh := Loss{Kind: kind, Messages: messages, Bytes: bytes, First: now, Last: now}
	if u.group != nil {
		fresh.Group = u.group.id
	} else {
		fresh.User = u.name
	}
	if len(latest) < keptLosses {
		if latest == nil {
			latest = make([]Loss, 0, keptLosses)
		}
		l.latest[kind] = append(latest, fresh)
		return
	}
	latest[oldest] = fresh
}

// forget leaves a user out of what is remembered.
func (l *losses) forget(user command.UserID) {
	for kind := range l.latest {
		l.latest[kind] = slices.DeleteFunc(l.latest[kind], func(e Loss) bool { return e.User == user })
	}
}

// Losses returns what limits took since this replica was opened: totals by kind, and from
// whom of late, the newest first.
func (s *State) Losses() (totals []LossTotal, latest []Loss) {
	for kind := range lossKinds {
		latest = append(latest, s.losses.latest[kind]...)
	}
	slices.SortStableFunc(latest, func(a, b Loss) int { return cmp.Compare(b.Last, a.Last) })
	return slices.Clone(s.losses.totals[:]), latest
}
