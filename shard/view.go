package shard

import (
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// A view is a log as one user sees it: a conversation of his own, or a group's.
type view struct {
	u     *user
	c     *conv
	m     *member // nil in a conversation of one's own
	low   uint64  // lowest seq that he can be shown
	hides []mark  // what he hid from himself in a group
}

func (s *State) ownView(u *user, i int) view { return view{u: u, c: &u.convs.items[i], low: 1} }

func (s *State) memberView(u *user, m *member) view {
	v := view{u: u, c: &u.convs.items[0], m: m, low: max(m.from, m.wiped+1), hides: s.hidesOf(u, m)}
	if u.team.settings.History == command.HistoryNone {
		v.low = v.log().Next()
	}
	return v
}

func (v *view) log() *ring.Ring { return &v.c.log }

// joined is the lowest seq that was sent to the user. What lies between that and
// low he has deleted.
func (v *view) joined() uint64 {
	switch {
	case v.m == nil:
		return 1
	case v.u.team.settings.History == command.HistoryNone:
		return v.low
	}
	return min(v.m.from, v.low)
}

// hiddenBy gives why an entry that the log holds is not shown.
func (v *view) hiddenBy(s *State, e *ring.Entry, now int64) gapCode {
	switch code := s.hiddenBy(v.u, v.c, e, now); {
	case e.Seq < v.joined():
		return gapNotMember
	case code != gapNone:
		return code
	case e.Seq < v.low:
		return gapDeleted
	}
	if len(v.hides) > 0 {
		if _, hidden := findMark(v.hides, e.Seq); hidden {
			return gapDeleted
		}
	}
	return gapNone
}
