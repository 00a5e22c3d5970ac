package shard_test

import (
	"bytes"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// applyGroup executes a command on a group that the shard serves.
func (m *model) applyGroup(sh *modelShard, cmd command.GroupCommand) command.Result {
	g := m.groupOf(command.UserID(cmd.Key()))
	if c, ok := cmd.(*command.CreateGroup); ok {
		return m.createGroup(sh, g, c)
	}
	g.evictToCutoff(sh)
	if c, ok := cmd.(*command.DismissGroup); ok && g.known && !g.alive && (c.By == "" || c.By == g.owner) {
		return command.Result{}
	}
	if !g.alive {
		return refused(command.CodeNotFound)
	}
	switch c := cmd.(type) {
	case *command.JoinGroup:
		return m.joinGroup(sh, g, c)
	case *command.LeaveGroup:
		return m.leaveGroup(sh, g, c)
	case *command.DismissGroup:
		return m.dismissGroup(sh, g, c)
	case *command.AnswerJoin:
		return m.answerJoin(sh, g, c)
	case *command.AddMembers:
		return m.addMembers(sh, g, c)
	case *command.RemoveMembers:
		return m.removeMembers(sh, g, c)
	case *command.SetMember:
		return m.setMember(sh, g, c)
	case *command.SetGroup:
		return m.setGroup(sh, g, c)
	case *command.AnswerOwner:
		return m.answerOwner(sh, g, c)
	case *command.Unban:
		if g.role(c.By) < command.RoleAdmin {
			return refused(command.CodeForbidden)
		}
		if later(g.banned[c.User], sh.now) != 0 {
			delete(g.banned, c.User)
			m.addEvent(sh, g, query.EventBanned, c.By, c.User)
		}
		return command.Result{}
	case *command.SendGroup:
		return m.sendGroup(sh, g, c)
	case *command.RecallGroup:
		return m.recallGroup(sh, g, c)
	case *command.DeleteMessagesFrom:
		return m.deleteSender(sh, g, c)
	case *command.ReadGroup:
		return m.ofMember(g, c.User, func(mm *groupMember) command.Result { return m.readGroup(sh, g, mm, c) })
	case *command.HideMessages:
		return m.ofMember(g, c.User, func(mm *groupMember) command.Result { return m.hideMessages(sh, g, mm, c) })
	case *command.HideGroup:
		return m.ofMember(g, c.User, func(mm *groupMember) command.Result { return m.hideGroup(sh, g, mm, c) })
	case *command.SetGroupView:
		return m.ofMember(g, c.User, func(mm *groupMember) command.Result {
			before := mm.settings()
			for _, s := range []struct{ to, is *bool }{{c.Muted, &mm.quiet}, {c.Pinned, &mm.pinned}, {c.Unread, &mm.markedUnread}} {
				if s.to != nil {
					*s.is = *s.to
				}
			}
			if mm.settings() != before {
				mm.settingsArrival = m.stampMemberChange(g, mm.user)
			}
			return command.Result{}
		})
	}
	panic("model: unknown command on a group")
}

// malformed reports whether a command lacks what it cannot be without, which any
// shard says of it.
func malformed(cmd command.Command) bool {
	switch c := cmd.(type) {
	case *command.SendGroup:
		return c.User == "" || c.CID == "" || len(c.Body) == 0
	case *command.DeleteMessagesFrom:
		return c.Sender == ""
	case *command.JoinGroup:
		return c.User == ""
	case *command.AnswerOwner:
		return c.User == ""
	}
	return false
}

// ofMember executes what a member does to their own view.
func (m *model) ofMember(g *modelGroup, user command.UserID, do func(*groupMember) command.Result) command.Result {
	mm := g.members[user]
	if mm == nil || !g.settings.StoresMessages {
		return refused(command.CodeForbidden)
	}
	return do(mm)
}

// addEvent returns an event its place in the group's order.
func (m *model) addEvent(sh *modelShard, g *modelGroup, kind query.GroupEventKind, by command.UserID, users ...command.UserID) uint64 {
	g.arrival++
	// Of a group that stores nothing, what ends memberships is counted apart.
	ends := func(e query.GroupEvent) bool {
		return !g.settings.StoresMessages && (e.Kind == query.EventRemoved || e.Kind == query.EventDismissed || e.Kind == query.EventLeft)
	}
	var alike []int
	for i, e := range g.events {
		if ends(e) == ends(query.GroupEvent{Kind: kind}) {
			alike = append(alike, i)
		}
	}
	most := groupEvents
	if ends(query.GroupEvent{Kind: kind}) {
		most = groupEnds
	}
	if len(alike) >= most {
		g.forgetEvent(alike[0])
	}
	g.events = append(g.events, query.GroupEvent{
		Kind: kind, Group: g.id, By: by, Users: users, Time: sh.now, Arrival: g.arrival,
	})
	m.movedGroups[g.id] = true
	return g.arrival
}

// endings are how a membership comes to its end, as letters have it.
var endings = []query.GroupEventKind{query.EventLeft, query.EventRemoved, query.EventDismissed}

// unfit reports whether a group of the kind cannot have settings.
func unfit(kind command.GroupKind, v command.GroupSettings) bool {
	if kind == command.GroupLive {
		v.MutedAll = false
		return v != kind.Settings()
	}
	return !v.StoresMessages
}

func (m *model) createGroup(sh *modelShard, g *modelGroup, c *command.CreateGroup) command.Result {
	if unfit(c.Kind, c.Settings) {
		return refused(command.CodeBadRequest)
	}
	g.evictToCutoff(sh)
	if g.alive {
		same := c.Owner == g.owner && c.Kind == g.kind && c.Settings == g.settings && c.Name == g.name && bytes.Equal(c.Properties, g.properties)
		for _, user := range c.Members {
			same = same && (g.members[user] != nil || !g.settings.StoresMessages)
		}
		if !same {
			return refused(command.CodeConflict)
		}
		if mm := g.members[c.Owner]; mm != nil && g.settings.StoresMessages {
			return command.Result{Arrival: mm.joinArrival}
		}
		return command.Result{Arrival: g.arrival}
	}
	if g.known && c.By != "" && c.By != g.owner && g.dismissed+groupTakenMS > sh.now {
		return refused(command.CodeConflict)
	}
	if !g.known || c.Owner != g.owner {
		clear(g.muted)
		clear(g.banned)
		clear(g.savedSettings)
	}
	g.known, g.alive, g.offer, g.changed = true, true, "", query.GroupEvent{}
	g.kind, g.settings, g.name, g.properties = c.Kind, c.Settings, c.Name, bytes.Clone(c.Properties)
	g.owner, g.created, g.dismissed = c.Owner, sh.now, 0
	g.members, g.requests, g.recalls = map[command.UserID]*groupMember{}, nil, nil
	g.sent, g.fences, g.spent, g.spentAt = nil, nil, 0, sh.now
	var result command.Result
	var users []command.UserID
	if c.Owner != "" {
		users = append(users, c.Owner)
	}
	for _, user := range c.Members {
		switch {
		case !c.Settings.StoresMessages || user == "" || slices.Contains(users, user):
		case later(g.banned[user], sh.now) != 0:
			result.Failed = append(result.Failed, command.MemberFailure{User: user, Code: command.CodeForbidden})
		case c.Settings.MaxMembers > 0 && len(users) >= c.Settings.MaxMembers:
			result.Failed = append(result.Failed, command.MemberFailure{User: user, Code: command.CodeRateLimited})
		default:
			users = append(users, user)
		}
	}
	at := m.addEvent(sh, g, query.EventCreated, c.By, users...)
	for _, user := range users {
		role := command.RoleMember
		if user == c.Owner {
			role = command.RoleOwner
		}
		by := c.By
		if user == c.Owner {
			by = user
		}
		m.startMembership(sh, g, user, role, by, at)
	}
	result.Arrival = at
	return result
}

func (m *model) dismissGroup(sh *modelShard, g *modelGroup, c *command.DismissGroup) command.Result {
	if g.role(c.By) != command.RoleOwner {
		return refused(command.CodeForbidden)
	}
	owner := g.owner
	at := m.addEvent(sh, g, query.EventDismissed, c.By)
	for _, user := range g.names() {
		// Dismissal leaves no wishes of members, but what a member of a live group once
		// wished elsewhere stays.
		earlier, has := g.savedSettings[user]
		m.endMembership(sh, g, user, at, query.EventDismissed)
		if delete(g.savedSettings, user); has {
			g.savedSettings[user] = earlier
		}
	}
	for _, e := range g.held() {
		e.leave(&sh.limits, sh.now, query.GapDeleted)
	}
	for _, e := range g.entries {
		e.cidForgotten = true
	}
	g.alive, g.dismissed, g.owner, g.offer = false, sh.now, owner, ""
	g.requests, g.recalls, g.sent, g.fences = nil, nil, nil, nil
	return command.Result{}
}

func (m *model) setGroup(sh *modelShard, g *modelGroup, c *command.SetGroup) command.Result {
	by, settings := g.role(c.By), g.settings
	if c.Settings.MaxMembers != nil {
		settings.MaxMembers = *c.Settings.MaxMembers
	}
	settings.Join = max(c.Settings.Join, settings.Join*(1-min(c.Settings.Join, 1)))
	settings.History = max(c.Settings.History, settings.History*(1-min(c.Settings.History, 1)))
	if c.Settings.Unread != nil {
		settings.Unread = *c.Settings.Unread
	}
	if c.Settings.MutedAll != nil {
		settings.MutedAll = *c.Settings.MutedAll
	}
	switch {
	case by < command.RoleAdmin,
		by < command.RoleOwner && (c.Owner != "" || settings.History != g.settings.History):
		return refused(command.CodeForbidden)
	case c.Owner != "" && g.settings.StoresMessages && g.members[c.Owner] == nil:
		return refused(command.CodeNotFound)
	case c.Owner != "" && later(g.banned[c.Owner], sh.now) != 0:
		return refused(command.CodeForbidden)
	case unfit(g.kind, settings):
		return refused(command.CodeBadRequest)
	}
	changed := settings != g.settings
	g.settings = settings
	if c.Name != nil && *c.Name != g.name {
		g.name, changed = *c.Name, true
	}
	if c.Properties != nil && !bytes.Equal(c.Properties, g.properties) {
		g.properties, changed = bytes.Clone(c.Properties), true
	}
	if changed {
		at := m.addEvent(sh, g, query.EventChanged, c.By)
		g.changed = query.GroupEvent{Kind: query.EventChanged, Group: g.id, By: c.By, Time: sh.now, Arrival: at}
	}
	switch before := g.offered(sh.now); {
	case c.Owner == "":
	case c.By == "":
		m.makeOwner(sh, g, "", c.Owner)
	case c.Owner == g.owner && before != "":
		g.offer = ""
		m.addEvent(sh, g, query.EventOwnerOffered, c.By)
	case c.Owner != g.owner && c.Owner != before:
		g.offer, g.offerEnd = c.Owner, sh.now+groupOfferMS
		m.addEvent(sh, g, query.EventOwnerOffered, c.By, c.Owner)
	}
	return command.Result{Pending: c.Owner != "" && c.By != "" && c.Owner != g.owner}
}

func (m *model) answerOwner(sh *modelShard, g *modelGroup, c *command.AnswerOwner) command.Result {
	switch offered := g.offered(sh.now) == c.User; {
	case offered && c.Accept:
		m.makeOwner(sh, g, c.User, c.User)
	case offered:
		g.offer = ""
		m.addEvent(sh, g, query.EventOwnerOffered, c.User)
	case !c.Accept || g.owner == c.User:
	case g.settings.StoresMessages && g.members[c.User] == nil:
		return refused(command.CodeForbidden)
	default:
		return refused(command.CodeNotFound)
	}
	return command.Result{}
}

func (m *model) makeOwner(sh *modelShard, g *modelGroup, by, to command.UserID) {
	if to == g.owner {
		return
	}
	var users []command.UserID
	if old := g.members[g.owner]; old != nil {
		old.role = command.RoleAdmin
		users = append(users, old.user)
		if g.settings.StoresMessages {
			m.sendJoined(sh, g, old.user, command.RoleAdmin, old.user)
		}
	}
	if g.members[to] == nil {
		g.members[to] = &groupMember{user: to, joinedMS: sh.now, joinArrival: g.arrival, visibleFrom: 1, hidden: map[uint64]modelHidden{}}
	}
	g.members[to].role, g.owner, g.offer = command.RoleOwner, to, ""
	if by == to {
		g.members[to].invited = false
	}
	delete(g.muted, to)
	if g.settings.StoresMessages {
		m.sendJoined(sh, g, to, command.RoleOwner, to)
	}
	m.addEvent(sh, g, query.EventRoleChanged, by, append(users, to)...)
}
