package shard_test

import (
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// raiseCutoff shortens what a shard keeps, mostly to some minutes, and frees all of
// it, a part of it, or what an earlier command has left.
func (w *world) raiseCutoff() {
	if w.newTimes {
		return
	}
	sh := pick(w, w.shards)
	w.flush(sh)
	ms := w.model.shards[sh.index]
	cmd := &command.RaiseCutoff{Cutoff: ms.now - int64(w.rng.IntN(300_000)), MaxWork: 1 << 30}
	switch {
	case w.chance(10):
		cmd.Cutoff = ms.now + int64(w.rng.IntN(5000)) // all there is
	case w.chance(20):
		cmd.Cutoff = 0 // goes on with the cutoff in force
	}
	if w.chance(70) {
		cmd.MaxWork = uint32(w.rng.IntN(100))
		cmd.FirstSlot = ms.sweepFrom
	}
	through := w.chance(50)
	for range 10_000 {
		next := w.retainOnce(sh, cmd)
		for _, id := range w.groups {
			w.exploreGroup(id)
		}
		if ms.sweepFrom = next % command.Slots; next == command.Slots || !through {
			return
		}
		cmd.FirstSlot = next
	}
	w.failf("Retain does not get through shard %d", sh.index)
}

func (w *world) retainOnce(sh *simShard, cmd *command.RaiseCutoff) (next uint16) {
	before := w.holders(sh)
	w.order(sh.index, cmd, func(r *command.Result) { next = r.NextSlot })
	w.flush(sh)
	ms := w.model.shards[sh.index]
	if got := sh.leader.Cutoff(); got != ms.cutoff {
		w.failf("Cutoff() = %d, want %d", got, ms.cutoff)
	}
	if sh.second.Results[0].NextSlot != next {
		w.failf("Retain = %d on the follower, want %d", sh.second.Results[0].NextSlot, next)
	}
	if next < cmd.FirstSlot || next == cmd.FirstSlot && len(w.holders(sh)) >= len(before) && len(before) > 0 && cmd.Cutoff == 0 {
		w.failf("Retain from slot %d goes on at %d, having done nothing", cmd.FirstSlot, next)
	}
	for _, user := range w.holders(sh) {
		if slot := command.SlotOf(string(user)); slot >= cmd.FirstSlot && slot < next {
			w.failf("Retain from %d to %d left messages of %s in slot %d", cmd.FirstSlot, next, user, slot)
		}
	}
	return next
}

// holders are the users and groups of a shard whose logs still hold what the cutoff took.
func (w *world) holders(sh *simShard) (users []command.UserID) {
	for _, user := range w.keys() {
		if shard.HoldsBelowCutoff(sh.leader, user) {
			users = append(users, user)
		}
	}
	return users
}

// raiseCutoff follows a RaiseCutoff: all that is old enough is gone; whose logs were
// cleaned the state says.
func (m *model) raiseCutoff(sh *modelShard, c *command.RaiseCutoff) command.Result {
	sh.cutoff = max(sh.cutoff, min(c.Cutoff, sh.now-1))
	for _, id := range m.names() {
		if !m.serves(sh, id) {
			continue
		}
		u := m.users[id]
		u.cut(sh)
		if slot := command.SlotOf(string(id)); slot >= c.FirstSlot && !m.adopt.holdsBelowCutoff(id) {
			u.evictToCutoff(sh)
		}
	}
	for _, id := range m.groupIDs() {
		if g := m.groups[id]; m.serves(sh, id.Key()) {
			g.cut(sh)
			if slot := command.SlotOf(string(id.Key())); slot >= c.FirstSlot && !m.adopt.holdsBelowCutoff(id.Key()) {
				g.evictToCutoff(sh)
			}
		}
	}
	return command.Result{}
}

// cut marks what a shard's cutoff takes from a user.
func (u *modelUser) cut(sh *modelShard) {
	for _, v := range u.views {
		for _, e := range v.entries {
			e.belowCutoff = e.belowCutoff || e.time <= sh.cutoff
		}
	}
}

// evictToCutoff removes from a user's logs what is below the cutoff, as the shard does
// before it changes anything of theirs.
func (u *modelUser) evictToCutoff(sh *modelShard) {
	for _, v := range u.views {
		for _, e := range v.held() {
			if !e.belowCutoff {
				break
			}
			if v.queueable(e, &sh.limits, sh.now) {
				e.unqueued, e.lost = true, true
			}
			e.leave(&sh.limits, sh.now, query.GapEvicted)
		}
	}
}

// evicts reports whether a command gets as far as to its user. Deliver does so
// only when the letter is the next.
func evicts(cmd command.Command) bool {
	switch c := cmd.(type) {
	case *command.Send:
		return c.To != "" && c.CID != "" && len(c.Body) > 0
	case *command.Login, *command.SetUser, *command.RefreshToken, *command.Import:
		return false // unless they are taken
	case *command.Block:
		return c.Target != "" && c.Target != c.User
	case *command.Deliver:
		return false
	}
	return true
}

// inSlot lists the users of a slot.
func (m *model) inSlot(slot uint16) (users []*modelUser) {
	for _, id := range m.names() {
		if command.SlotOf(string(id)) == slot {
			users = append(users, m.users[id])
		}
	}
	return users
}
