package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// A view is a log as one user sees it: their conversation with a peer, or a group's
// log.
type view struct {
	u           *user
	c           *conv
	m           *member     // the member in a group; nil otherwise
	visibleFrom uint64      // lowest seq that can be visible
	hidden      []tombstone // messages that the member has hidden from their own view, by seq
}

// ownView returns a user's view of conversation i or, for a group, the log without
// regard to any member.
func (s *State) ownView(u *user, i int) view { return view{u: u, c: &u.convs.items[i], visibleFrom: 1} }

// memberView returns a member's view of the group's log.
func (s *State) memberView(u *user, m *member) view {
	v := view{u: u, c: &u.convs.items[0], m: m, visibleFrom: max(m.visibleFrom, m.clearedTo+1), hidden: s.hiddenOf(u, m)}
	if u.group.settings.History == command.HistoryNone {
		v.visibleFrom = v.log().Next()
	}
	return v
}

func (v *view) log() *ring.Ring { return &v.c.log }

// sentFrom returns the lowest seq that was sent to the user. If that is below
// visibleFrom, the user has deleted the messages between.
func (v *view) sentFrom() uint64 {
	switch {
	case v.m == nil:
		return 1
	case v.u.group.settings.History == command.HistoryNone:
		return v.visibleFrom
	}
	return min(v.m.visibleFrom, v.visibleFrom)
}

// gapOf returns why an entry that the log holds is not visible in the view, or gapNone
// if it is.
func (v *view) gapOf(s *State, e *ring.Entry, now int64) gapCode {
	switch code := s.gapOf(v.u, v.c, e, now); {
	case e.Seq < v.sentFrom():
		return gapNotMember
	case code != gapNone:
		return code
	case e.Seq < v.visibleFrom:
		return gapDeleted
	}
	if len(v.hidden) > 0 {
		if _, hidden := findTombstone(v.hidden, e.Seq); hidden {
			return gapDeleted
		}
	}
	return gapNone
}
