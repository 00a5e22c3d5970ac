package shard_test

import (
	"bytes"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard"
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

// endings are how a membership comes to its end, as letters have it.
var endings = []query.GroupEventKind{query.EventLeft, query.EventRemoved, query.EventDismissed}

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
	g.sent, g.spent, g.spentAt = nil, 0, sh.now
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
	g.requests, g.recalls, g.sent = nil, nil, nil
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

func (m *model) sendGroup(sh *modelShard, g *modelGroup, c *command.SendGroup) command.Result {
	if first, lately := g.first(sh, c); first != nil {
		if differs(first.body, c.Body, first.original, c.Original, lately) {
			return refused(command.CodeConflict)
		}
		return command.Result{ID: first.id, Seq: first.seq, Time: first.time, Duplicate: true}
	}
	mm := g.members[c.User]
	switch {
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
