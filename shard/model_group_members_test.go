package shard_test

import (
	"slices"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// stampMemberChange returns a change of a member's view its place in the group's order.
func (m *model) stampMemberChange(g *modelGroup, user command.UserID) uint64 {
	g.arrival++
	m.movedMembers[shard.MemberRef{Group: g.id, User: user}] = true
	return g.arrival
}

// sendJoined tells the user's shard what they are in the group now.
func (m *model) sendJoined(sh *modelShard, g *modelGroup, user command.UserID, role command.Role, by command.UserID) {
	g.version = max(g.version+1, uint64(sh.now))
	l := command.Letter{Kind: command.LetterJoined, From: g.id.Key(), To: user, Number: g.version, Time: sh.now, By: by}
	if role == command.RoleOwner {
		l.Seq = 1
	}
	if mm := g.members[user]; mm != nil && mm.invited {
		l.Seq |= 2
	}
	m.sendNotice(sh, g, l)
}

func (m *model) notifyEnd(sh *modelShard, g *modelGroup, user command.UserID, how query.GroupEventKind) {
	g.version = max(g.version+1, uint64(sh.now))
	m.sendNotice(sh, g, command.Letter{
		Kind: command.LetterLeft, From: g.id.Key(), To: user, Number: g.version, Time: sh.now, Seq: uint64(slices.Index(endings, how)),
	})
}

// acceptInvitation tells the shard of a user whom others added to a group that they have spoken.
func (m *model) acceptInvitation(sh *modelShard, g *modelGroup, mm *groupMember) {
	mm.invited = false
	g.version = max(g.version+1, uint64(sh.now))
	l := command.Letter{Kind: command.LetterJoined, From: g.id.Key(), To: mm.user, Number: g.version, Time: sh.now, By: mm.user}
	if mm.role == command.RoleOwner {
		l.Seq = 1
	}
	if len(g.letters[mm.user]) == 0 {
		l.Seq |= 4
	}
	m.sendNotice(sh, g, l)
}

func (m *model) sendNotice(sh *modelShard, g *modelGroup, l command.Letter) {
	user := l.To
	if m.serves(sh, user) && len(g.letters[user]) == 0 {
		m.applyMembershipLetter(sh, &l)
		return
	}
	g.letters[user] = []command.Letter{l} // the newest says all
	m.posted = append(m.posted, l)
}

// applyMembershipLetter applies a letter of a group, unless a later one came before.
func (m *model) applyMembershipLetter(sh *modelShard, l *command.Letter) {
	u := m.user(l.To)
	u.evictToCutoff(sh)
	id := m.groupOf(l.From).id
	ref := u.groups[id]
	if l.Number <= ref.version {
		return
	}
	was, joined := ref.joined, l.Kind == command.LetterJoined
	ref.how = query.EventJoined
	if !joined {
		ref.how = endings[l.Seq]
	}
	ref.version, ref.joined, ref.owner, ref.invited = l.Number, joined, joined && l.Seq&1 != 0, joined && l.Seq&2 != 0
	ref.byStranger = joined && !ref.owner && l.By != "" && l.By != l.To && (u.views[l.By] == nil || !u.views[l.By].sent)
	if !was || !joined || l.Seq&4 == 0 {
		u.arrival++
		ref.arrival = u.arrival
		m.touched[u.id] = true
	}
	u.groups[id] = ref
}

func (m *model) startMembership(sh *modelShard, g *modelGroup, user command.UserID, role command.Role, by command.UserID, at uint64) {
	mm := &groupMember{
		user: user, invited: by != user, role: role, joinedMS: sh.now, joinArrival: at, visibleFrom: g.newest() + 1, read: g.newest(), hidden: map[uint64]modelHidden{},
	}
	if g.settings.History == command.HistoryAll {
		mm.visibleFrom = 1
	}
	if wish := g.savedSettings[user]; wish.until > sh.now && g.settings.StoresMessages {
		mm.quiet, mm.pinned = wish.quiet, wish.pinned
		mm.settingsArrival = m.stampMemberChange(g, user)
	}
	delete(g.savedSettings, user)
	g.members[user] = mm
	g.begins(user, at)
	if g.settings.StoresMessages {
		m.sendJoined(sh, g, user, role, by)
	}
	g.withdraw(user)
}

func (g *modelGroup) withdraw(user command.UserID) {
	g.requests = slices.DeleteFunc(g.requests, func(q query.JoinRequest) bool { return q.User == user })
}

func (m *model) endMembership(sh *modelShard, g *modelGroup, user command.UserID, at uint64, how query.GroupEventKind) {
	if g.members[user] == nil {
		return
	}
	if mm := g.members[user]; mm.quiet || mm.pinned {
		g.savedSettings[user] = modelSavedSettings{mm.quiet, mm.pinned, sh.now + groupWishMS}
	}
	delete(g.members, user)
	g.ends(user, at)
	if user == g.owner || user == g.offer {
		g.offer = ""
	}
	if g.owner == user {
		g.owner = ""
	}
	if g.settings.StoresMessages {
		m.notifyEnd(sh, g, user, how)
	}
}

func (g *modelGroup) full(more int) bool {
	return g.settings.MaxMembers > 0 && len(g.members)+more >= g.settings.MaxMembers
}

func (m *model) joinGroup(sh *modelShard, g *modelGroup, c *command.JoinGroup) command.Result {
	switch {
	case later(g.banned[c.User], sh.now) != 0:
		return refused(command.CodeForbidden)
	case !g.settings.StoresMessages:
		return command.Result{}
	case g.members[c.User] != nil:
		if mm := g.members[c.User]; mm.invited {
			m.acceptInvitation(sh, g, mm)
		}
		return command.Result{Arrival: g.members[c.User].joinArrival}
	case g.settings.Join == command.JoinByInvitation:
		return refused(command.CodeForbidden)
	case g.full(0):
		return refused(command.CodeRateLimited)
	case g.settings.Join == command.JoinOpen:
		at := m.addEvent(sh, g, query.EventJoined, c.User, c.User)
		m.startMembership(sh, g, c.User, command.RoleMember, c.User, at)
		return command.Result{Arrival: at}
	}
	for _, q := range g.requests {
		if q.User == c.User && q.Message == c.Message {
			return command.Result{Pending: true}
		}
	}
	before := len(g.requests)
	g.withdraw(c.User)
	if before >= groupRequests && len(g.requests) == before {
		return refused(command.CodeRateLimited)
	}
	g.requests = append(g.requests, query.JoinRequest{User: c.User, Message: c.Message, Time: sh.now})
	m.addEvent(sh, g, query.EventJoinRequested, c.User, c.User)
	return command.Result{Pending: true}
}

func (m *model) leaveGroup(sh *modelShard, g *modelGroup, c *command.LeaveGroup) command.Result {
	mm := g.members[c.User]
	switch {
	case mm == nil || !g.settings.StoresMessages:
		g.withdraw(c.User)
	case mm.role == command.RoleOwner:
		return refused(command.CodeForbidden)
	default:
		m.endMembership(sh, g, c.User, m.addEvent(sh, g, query.EventLeft, c.User, c.User), query.EventLeft)
	}
	return command.Result{}
}

func (m *model) answerJoin(sh *modelShard, g *modelGroup, c *command.AnswerJoin) command.Result {
	asked := slices.ContainsFunc(g.requests, func(q query.JoinRequest) bool { return q.User == c.User })
	switch {
	case g.role(c.By) < command.RoleAdmin:
		return refused(command.CodeForbidden)
	case !asked && c.Accept && g.members[c.User] == nil:
		return refused(command.CodeNotFound)
	case !asked:
	case !c.Accept:
		g.withdraw(c.User)
	case g.full(0):
		return refused(command.CodeRateLimited)
	default:
		m.startMembership(sh, g, c.User, command.RoleMember, c.User, m.addEvent(sh, g, query.EventJoined, c.By, c.User))
	}
	return command.Result{}
}

func (m *model) addMembers(sh *modelShard, g *modelGroup, c *command.AddMembers) command.Result {
	role := g.role(c.By)
	switch {
	case role == command.RoleNone, role == command.RoleMember && g.settings.Join != command.JoinByInvitation:
		return refused(command.CodeForbidden)
	case !g.settings.StoresMessages:
		return refused(command.CodeBadRequest)
	}
	var result command.Result
	var added []command.UserID
	for _, user := range c.Users {
		failed := func(code command.Code) {
			result.Failed = append(result.Failed, command.MemberFailure{User: user, Code: code})
		}
		switch {
		case g.members[user] != nil || slices.Contains(added, user):
		case user == "":
			failed(command.CodeBadRequest)
		case later(g.banned[user], sh.now) != 0:
			failed(command.CodeForbidden)
		case g.full(len(added)):
			failed(command.CodeRateLimited)
		default:
			added = append(added, user)
		}
	}
	if len(added) > 0 {
		at := m.addEvent(sh, g, query.EventJoined, c.By, added...)
		for _, user := range added {
			m.startMembership(sh, g, user, command.RoleMember, c.By, at)
		}
	}
	return result
}

func (m *model) removeMembers(sh *modelShard, g *modelGroup, c *command.RemoveMembers) command.Result {
	by := g.role(c.By)
	if by < command.RoleAdmin {
		return refused(command.CodeForbidden)
	}
	var result command.Result
	var removed, banned []command.UserID
	for _, user := range c.Users {
		failed := func(code command.Code) {
			result.Failed = append(result.Failed, command.MemberFailure{User: user, Code: code})
		}
		switch mm := g.members[user]; {
		case user == "" || mm == nil && g.settings.StoresMessages && c.Ban == 0:
			failed(command.CodeNotFound)
		case c.By != "" && mm != nil && mm.role >= by:
			failed(command.CodeForbidden)
		default:
			if (mm != nil || !g.settings.StoresMessages) && !slices.Contains(removed, user) {
				removed = append(removed, user)
			}
			if c.Ban != 0 && !slices.Contains(banned, user) {
				banned = append(banned, user)
			}
		}
	}
	if len(removed) > 0 {
		at := m.addEvent(sh, g, query.EventRemoved, c.By, removed...)
		for _, user := range removed {
			m.endMembership(sh, g, user, at, query.EventRemoved)
		}
	}
	for _, user := range banned {
		g.banned[user] = sh.now + int64(c.Ban)*1000
		g.withdraw(user)
		if g.offer == user {
			g.offer = ""
		}
	}
	if len(banned) > 0 {
		m.addEvent(sh, g, query.EventBanned, c.By, banned...)
	}
	return result
}

func (m *model) setMember(sh *modelShard, g *modelGroup, c *command.SetMember) command.Result {
	by, mm, muted := g.role(c.By), g.members[c.User], later(g.muted[c.User], sh.now)
	role := command.RoleMember // what everybody is in a live group
	if mm != nil {
		role = mm.role
	}
	switch {
	case by < command.RoleAdmin:
		return refused(command.CodeForbidden)
	case c.User == "" || mm == nil && g.settings.StoresMessages && (muted == 0 || c.Role != command.RoleNone):
		return refused(command.CodeNotFound)
	case c.Role != command.RoleNone && (by < command.RoleOwner || role == command.RoleOwner):
		return refused(command.CodeForbidden)
	case c.MutedUntil != nil && c.By != "" && role >= by:
		return refused(command.CodeForbidden)
	}
	if c.Role != command.RoleNone && c.Role != role {
		if mm == nil {
			mm = &groupMember{user: c.User, joinedMS: sh.now, joinArrival: g.arrival, visibleFrom: 1, hidden: map[uint64]modelHidden{}}
			g.members[c.User] = mm
		}
		mm.role = c.Role
		if !g.settings.StoresMessages && c.Role == command.RoleMember {
			delete(g.members, c.User)
		}
		m.addEvent(sh, g, query.EventRoleChanged, c.By, c.User)
	}
	if c.MutedUntil != nil && later(*c.MutedUntil, sh.now) != muted {
		g.muted[c.User] = *c.MutedUntil
		m.addEvent(sh, g, query.EventMuted, c.By, c.User)
	}
	return command.Result{}
}
