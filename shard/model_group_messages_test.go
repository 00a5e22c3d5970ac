package shard_test

import (
	"bytes"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func (m *model) sendGroup(sh *modelShard, g *modelGroup, c *command.SendGroup) command.Result {
	if first, lately := g.first(sh, c); first != nil {
		if differs(first.body, c.Body, first.original, c.Original, lately) {
			return refused(command.CodeConflict)
		}
		return command.Result{ID: first.id, Seq: first.seq, Time: first.time, Duplicate: true}
	}
	mm := g.members[c.User]
	switch {
	case fenced(g.fences, sh, c.User, c.Origin):
		return refused(command.CodeOvertaken)
	case !g.settings.StoresMessages && c.Admin:
		return refused(command.CodeBadRequest)
	case !g.settings.StoresMessages:
		return refused(command.CodeForbidden)
	case !c.Admin && (mm == nil || g.muted[c.User] > sh.now || g.settings.MutedAll && mm.role == command.RoleMember):
		return refused(command.CodeForbidden)
	case !c.Admin && !g.spend(sh):
		return refused(command.CodeRateLimited)
	}
	e := &groupEntry{
		time: sh.now, from: c.User, session: c.Session, ttl: c.TTL, id: c.ID, cid: c.CID,
		mentions: slices.Clone(c.Mentions), body: bytes.Clone(c.Body), original: c.Original,
	}
	g.append(e)
	if g.settings.Unread && g.settings.History != command.HistoryNone {
		sh.hooks.add(query.HookRef{Group: g.id, Seq: e.seq})
	}
	g.sent = append(g.sent, groupSent{user: c.User, cid: c.CID, at: sh.now, seq: e.seq})
	fence(&g.fences, sh, c.User, c.Origin)
	m.movedGroups[g.id] = true
	if mm != nil && mm.invited && !c.Admin {
		m.acceptInvitation(sh, g, mm)
	}
	if mm != nil {
		if mm.read < e.seq-1 { // others' messages before it are read thereby
			m.movedMembers[shard.MemberRef{Group: g.id, User: c.User}] = true
			mm.readArrival, mm.readBy = e.arrival, c.Session
			m.addHookChange(sh, mm.user, query.Change{Kind: query.ChangeRead, Group: g.id, Seq: e.seq})
		}
		mm.read = e.seq
		m.unmarkGroup(g, mm)
	}
	g.limitHistory(&sh.limits, sh.now)
	return command.Result{ID: e.id, Seq: e.seq, Time: e.time}
}

// first finds the message that c repeats.
func (g *modelGroup) first(sh *modelShard, c *command.SendGroup) (e *groupEntry, lately bool) {
	for _, s := range slices.Backward(g.sent) {
		if s.user == c.User && s.cid == c.CID && s.at+sh.limits.DedupWindow.Milliseconds() > sh.now {
			return g.at(s.seq), true
		}
	}
	if c.Retry {
		for _, e := range slices.Backward(g.entries) {
			if e.from == c.User && e.cid == c.CID && e.known(sh) {
				return e, false
			}
		}
	}
	return nil, false
}

// spend takes one message from the rate's burst.
func (g *modelGroup) spend(sh *modelShard) bool {
	if sh.limits.GroupRate == math.MaxInt32 {
		return true
	}
	const message = 1_000_000
	g.spent = max(0, g.spent-(sh.now-g.spentAt)*int64(sh.limits.GroupRate)*1000)
	g.spentAt = sh.now
	if g.spent+message > int64(sh.limits.GroupBurst)*message {
		return false
	}
	g.spent += message
	return true
}

func (m *model) readGroup(sh *modelShard, g *modelGroup, mm *groupMember, c *command.ReadGroup) command.Result {
	if !c.MayMoveBack {
		m.unmarkGroup(g, mm)
	}
	if seq := min(c.Seq, g.newest()); seq > mm.read || seq < mm.read && c.MayMoveBack {
		mm.read, mm.readBy, mm.readArrival = seq, c.Session, m.stampMemberChange(g, mm.user)
		m.addHookChange(sh, mm.user, query.Change{Kind: query.ChangeRead, Group: g.id, Seq: seq})
	}
	return command.Result{Unread: len(g.unread(mm, &sh.limits, sh.now))}
}

func (m *model) unmarkGroup(g *modelGroup, mm *groupMember) {
	if mm.markedUnread {
		mm.markedUnread = false
		mm.settingsArrival = m.stampMemberChange(g, mm.user)
	}
}

func (m *model) recallGroup(sh *modelShard, g *modelGroup, c *command.RecallGroup) command.Result {
	role, e := g.role(c.By), g.at(c.Seq)
	mine := e != nil && e.from == c.By
	switch {
	case role == command.RoleNone:
		return refused(command.CodeForbidden)
	case e == nil || e.gone != "":
		return refused(command.CodeNotFound)
	case e.taken != "" && (mine || role >= command.RoleAdmin):
		return command.Result{}
	case e.gap(&sh.limits, sh.now) != "":
		return refused(command.CodeNotFound)
	case role >= command.RoleAdmin:
	case !mine:
		return refused(command.CodeForbidden)
	case e.time+sh.limits.RecallWindow.Milliseconds() < sh.now:
		return refused(command.CodeTooLate)
	}
	kind := query.ChangeRecall
	e.taken = query.GapRecalled
	if c.By == "" {
		e.taken, kind = query.GapDeleted, query.ChangeMessagesDeleted
	}
	m.addHookChange(sh, "", query.Change{Kind: kind, Group: g.id, By: c.By, Ranges: oneSeq(c.Seq)})
	if !c.Silent {
		e.takenAt = m.recalled(g, groupRecall{from: c.Seq, to: c.Seq, by: c.By})
	}
	return command.Result{}
}

func (m *model) recalled(g *modelGroup, r groupRecall) uint64 {
	g.arrival++
	r.arrival = g.arrival
	g.recalls = append(g.recalls, r)
	m.movedGroups[g.id] = true
	return r.arrival
}

// deleteSender deletes all there is of a sender. What had expired is not counted.
func (m *model) deleteSender(sh *modelShard, g *modelGroup, c *command.DeleteMessagesFrom) command.Result {
	var theirs []*groupEntry
	deleted := 0
	for _, e := range g.held() {
		if e.from == c.Sender && e.taken == "" {
			theirs = append(theirs, e)
			if e.gap(&sh.limits, sh.now) == "" {
				deleted++
			}
		}
	}
	if deleted > 0 {
		m.addHookChange(sh, "", query.Change{
			Kind: query.ChangeMessagesDeleted, Group: g.id, Sender: c.Sender,
			Ranges: []query.Range{{From: theirs[0].seq, To: theirs[len(theirs)-1].seq}},
		})
	}
	at := uint64(0)
	if deleted > 0 && !c.Silent {
		at = m.recalled(g, groupRecall{from: theirs[0].seq, to: theirs[len(theirs)-1].seq, sender: c.Sender})
	}
	for _, e := range theirs {
		e.taken, e.takenAt = query.GapDeleted, at
	}
	return command.Result{Deleted: deleted}
}

func (m *model) hideMessages(sh *modelShard, g *modelGroup, mm *groupMember, c *command.HideMessages) command.Result {
	var hide []uint64
	held := 0 // of those hidden, what a limit counts
	for _, seq := range c.Seqs {
		e := g.at(seq)
		if e == nil || seq < mm.visibleFrom {
			return refused(command.CodeNotFound)
		}
		_, hidden := mm.hidden[seq]
		if !hidden && !slices.Contains(hide, seq) && seq > mm.clearedTo && e.gap(&sh.limits, sh.now) == "" {
			hide = append(hide, seq)
		}
	}
	for seq := range mm.hidden {
		if g.at(seq).gone == "" {
			held++
		}
	}
	switch {
	case len(hide) == 0:
		return command.Result{}
	case held+len(hide) > groupHides:
		return refused(command.CodeRateLimited)
	}
	at := m.stampMemberChange(g, mm.user)
	for _, seq := range hide {
		mm.hidden[seq] = modelHidden{at, c.Session}
		m.addHookChange(sh, mm.user, query.Change{Kind: query.ChangeMessagesDeleted, Group: g.id, Ranges: oneSeq(seq)})
	}
	return command.Result{}
}

func (m *model) hideGroup(sh *modelShard, g *modelGroup, mm *groupMember, c *command.HideGroup) command.Result {
	newest := g.newest()
	if mm.unlistedTo == newest && (mm.clearedTo == newest || !c.Messages) {
		return command.Result{}
	}
	at := m.stampMemberChange(g, mm.user)
	mm.unlistedTo = newest
	if c.Messages {
		mm.clearedTo, mm.clearedArrival, mm.clearedBy = newest, at, c.Session
	} else {
		mm.unlistedArrival, mm.unlistedBy = at, c.Session
	}
	m.addHookChange(sh, mm.user, query.Change{Kind: query.ChangeConversationDeleted, Group: g.id, Seq: newest, Messages: c.Messages})
	return command.Result{}
}
