package shard

import (
	"bytes"
	"math"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func (s *State) applyCreateGroup(c *command.CreateGroup, r *command.Result) {
	sl := s.slotFor(c.Group.Key())
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	switch {
	case c.Group == "":
		*r = command.Result{Code: command.CodeBadRequest, Detail: "group: must not be empty"}
		return
	}
	if field := c.Kind.FixedSetting(c.Settings); field != "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: field + ": is the kind's, and cannot be set"}
		return
	}
	u := s.userMut(sl, c.Group.Key(), false)
	if u != nil && !s.mayRecreate(u.group, c, r) {
		if r.Code == command.OK {
			r.Arrival = s.joinArrival(u, c.Owner)
		}
		return
	}
	version := uint64(0)
	kept, keptEnd, wishes := array[sanction]{}, int64(math.MaxInt64), 0
	if u == nil {
		u = s.userMut(sl, c.Group.Key(), true)
		s.openConv(u, "")
	} else {
		version = u.group.letterVersion
		if c.Owner == u.group.owner {
			kept, keptEnd, wishes = u.group.sanctions, u.group.sanctionsEnd, u.group.savedSettings
			u.group.sanctions = array[sanction]{}
		}
		s.holdFor(u)
		s.freeGroup(u)
	}
	g := &groupRecord{
		id: c.Group, kind: c.Kind, settings: c.Settings, title: c.Name, properties: bytes.Clone(c.Properties),
		owner: c.Owner, createdMS: s.now, salt: c.Salt, letterVersion: version, sanctions: kept, sanctionsEnd: keptEnd, savedSettings: wishes,
	}
	if u.group != nil {
		g.events, g.eventsForgotten, g.letters = u.group.events, u.group.eventsForgotten, u.group.letters
		for _, n := range g.letters {
			s.letterBytes += len(n.bytes) // freeGroup has subtracted them
		}
	}
	u.group = g
	s.countHeapBytes(g)

	by := c.By
	users := make([]command.UserID, 0, 1+len(c.Members))
	if c.Owner != "" {
		users = append(users, c.Owner)
	}
	if g.settings.StoresMessages {
		for _, name := range c.Members {
			switch {
			case name == "" || slices.Contains(users, name):
			case s.bannedUntil(g, name) != 0:
				r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeForbidden})
			case g.full(len(users)):
				r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeRateLimited})
			default:
				users = append(users, name)
			}
		}
	}
	at := s.addEvent(u, query.EventCreated, by, users...)
	for _, name := range users {
		if name == c.Owner {
			s.startMembership(u, name, command.RoleOwner, name, at)
		} else {
			s.startMembership(u, name, command.RoleMember, by, at)
		}
	}
	r.Arrival = at
}

// joinArrival returns the arrival number of a member's join. For a user who is not a
// member it returns that of the newest event.
func (s *State) joinArrival(u *user, name command.UserID) uint64 {
	if m := s.member(u.group, name); m != nil && u.group.settings.StoresMessages {
		return m.joinArrival
	}
	return u.arrival
}

// mayRecreate reports whether CreateGroup may make a group whose id was used before. If
// not, r has the answer, which is OK if the group exists just as the command asks for.
func (s *State) mayRecreate(g *groupRecord, c *command.CreateGroup, r *command.Result) bool {
	if g.dismissedMS != 0 {
		if c.By == "" || c.By == g.owner || g.dismissedMS+keptDismissedMS <= s.now {
			return true
		}
		*r = command.Result{Code: command.CodeConflict, Detail: "group: " + string(c.Group) + " was dismissed a short time ago and is kept for its owner"}
		return false
	}
	same := c.Owner == g.owner && c.Kind == g.kind && c.Settings == g.settings && c.Name == g.title &&
		bytes.Equal(c.Properties, g.properties)
	for _, name := range c.Members {
		same = same && (!g.settings.StoresMessages || s.member(g, name) != nil)
	}
	if !same {
		*r = command.Result{Code: command.CodeConflict, Detail: "group: " + string(c.Group) + " exists"}
	}
	return false
}

// full reports whether a group with that many members accepts no more.
func (g *groupRecord) full(members int) bool {
	return g.settings.MaxMembers > 0 && members >= g.settings.MaxMembers
}

// startMembership makes a user a member, by the event with arrival number at, and tells
// the user's shard. by is who wanted it: the user, somebody else, or an administrator,
// "".
func (s *State) startMembership(u *user, name command.UserID, role command.Role, by command.UserID, at uint64) {
	g := u.group
	m := member{role: role, joinedMS: s.now, joinArrival: at, visibleFrom: 1}
	if by != name {
		m.flags = memberInvited
	}
	newest := u.convs.items[0].log.Next() - 1
	if g.settings.History != command.HistoryAll {
		m.visibleFrom = newest + 1
	}
	m.read = newest
	if wish := s.restoreSettings(u, name); wish != 0 && g.settings.StoresMessages {
		m.flags |= wish
		m.settingsArrival = s.stampMemberChange(u, name)
	}
	s.addMember(u, name, m)
	if g.settings.StoresMessages {
		s.postJoined(u, name, role, by)
	}
	g.requests = slices.DeleteFunc(g.requests, func(q query.JoinRequest) bool { return q.User == name })
}

// endMembership removes a member and tells the user's shard, with how as in postLeft.
func (s *State) endMembership(u *user, name command.UserID, how uint64) {
	g := u.group
	i, ok := s.memberIndex(g, name)
	if !ok {
		return
	}
	flags := g.members.items[i].flags
	s.removeMember(u, i)
	s.saveSettings(u, name, flags)
	if g.owner == name || g.offer.to == name {
		g.offer = ownerOffer{}
	}
	if g.owner == name {
		g.owner = ""
	}
	if g.settings.StoresMessages {
		s.postLeft(u, name, how)
	}
}

func (s *State) applyJoinGroup(c *command.JoinGroup, r *command.Result) {
	if c.User == "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "user: must not be empty"}
		return
	}
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	switch {
	case s.bannedUntil(g, c.User) != 0:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: you are banned from it"}
	case !g.settings.StoresMessages: // nothing is recorded: the session joins, not the user
	case s.member(g, c.User) != nil:
		r.Arrival = s.joinArrival(u, c.User)
		if m := s.member(g, c.User); m.flags&memberInvited != 0 {
			s.acceptInvitation(u, c.User, m)
		}
	case g.settings.Join == command.JoinByInvitation:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: members are invited"}
	case g.full(len(g.members.items)):
		*r = command.Result{Code: command.CodeRateLimited, Detail: "group: has as many members as it may", RetryAfterMS: quotaRetryMS}
	case g.settings.Join == command.JoinOpen:
		r.Arrival = s.addEvent(u, query.EventJoined, c.User, c.User)
		s.startMembership(u, c.User, command.RoleMember, c.User, r.Arrival)
	default:
		s.applyJoinRequest(u, c, r)
	}
}

func (s *State) applyJoinRequest(u *user, c *command.JoinGroup, r *command.Result) {
	g := u.group
	i := slices.IndexFunc(g.requests, func(q query.JoinRequest) bool { return q.User == c.User })
	switch {
	case i >= 0 && g.requests[i].Message == c.Message:
		r.Pending = true
		return
	case i >= 0:
		g.requests = slices.Delete(g.requests, i, i+1)
	case len(g.requests) >= maxRequests:
		*r = command.Result{Code: command.CodeRateLimited, Detail: "group: too many requests wait for its admins", RetryAfterMS: quotaRetryMS}
		return
	}
	g.requests = append(g.requests, query.JoinRequest{User: c.User, Message: c.Message, Time: s.now})
	s.addEvent(u, query.EventJoinRequested, c.User, c.User)
	r.Pending = true
}

func (s *State) applyAnswerJoin(c *command.AnswerJoin, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	i := slices.IndexFunc(g.requests, func(q query.JoinRequest) bool { return q.User == c.User })
	switch {
	case s.role(g, c.By) < command.RoleAdmin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins answer requests"}
	case i < 0 && c.Accept && s.member(g, c.User) == nil:
		*r = command.Result{Code: command.CodeNotFound, Detail: "user: has not asked to join"}
	case i < 0: // nothing to change
	case !c.Accept:
		g.requests = slices.Delete(g.requests, i, i+1)
		s.countHeapBytes(g)
	case g.full(len(g.members.items)):
		*r = command.Result{Code: command.CodeRateLimited, Detail: "group: has as many members as it may", RetryAfterMS: quotaRetryMS}
	default:
		s.startMembership(u, c.User, command.RoleMember, c.User, s.addEvent(u, query.EventJoined, c.By, c.User))
	}
}

func (s *State) applyLeaveGroup(c *command.LeaveGroup, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	switch m := s.member(g, c.User); {
	case m == nil || !g.settings.StoresMessages:
		g.requests = slices.DeleteFunc(g.requests, func(q query.JoinRequest) bool { return q.User == c.User })
	case m.role == command.RoleOwner:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: its owner has to transfer or dismiss it"}
	default:
		s.addEvent(u, query.EventLeft, c.User, c.User)
		s.endMembership(u, c.User, 0)
	}
}

func (s *State) applyAddMembers(c *command.AddMembers, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	least := command.RoleAdmin
	if g.settings.Join == command.JoinByInvitation {
		least = command.RoleMember
	}
	switch {
	case s.role(g, c.By) < least:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: you may not add members"}
		return
	case !g.settings.StoresMessages:
		*r = command.Result{Code: command.CodeBadRequest, Detail: "group: users join a live group themselves"}
		return
	}
	var added []command.UserID
	for _, name := range c.Users {
		switch {
		case slices.Contains(added, name) || s.member(g, name) != nil:
		case name == "":
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeBadRequest})
		case s.bannedUntil(g, name) != 0:
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeForbidden})
		case g.full(len(g.members.items) + len(added)):
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeRateLimited})
		default:
			added = append(added, name)
		}
	}
	if len(added) == 0 {
		return
	}
	at := s.addEvent(u, query.EventJoined, c.By, added...)
	for _, name := range added {
		s.startMembership(u, name, command.RoleMember, c.By, at)
	}
}

func (s *State) applyRemoveMembers(c *command.RemoveMembers, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	by := s.role(g, c.By)
	if by < command.RoleAdmin {
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins remove members"}
		return
	}
	var removed, banned []command.UserID
	for _, name := range c.Users {
		role := s.role(g, name)
		absent := role == command.RoleNone && g.settings.StoresMessages
		switch {
		case name == "" || absent && c.Ban == 0:
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeNotFound})
		case role >= by && c.By != "":
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeForbidden})
		case slices.Contains(removed, name) || slices.Contains(banned, name):
		case c.Ban != 0 && !s.roomForSanction(g, name, len(banned)):
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeRateLimited})
		default:
			if !absent {
				removed = append(removed, name)
			}
			if c.Ban != 0 {
				banned = append(banned, name)
			}
		}
	}
	if len(removed) > 0 {
		s.addEvent(u, query.EventRemoved, c.By, removed...)
		for _, name := range removed {
			s.endMembership(u, name, leftRemoved)
		}
	}
	if len(banned) > 0 {
		s.ban(u, banned, s.now+int64(c.Ban)*1000)
		s.addEvent(u, query.EventBanned, c.By, banned...)
	}
}

// ban bans users from a group until a time (ms). None of them may be a member of a
// group that stores messages.
func (s *State) ban(u *user, users []command.UserID, until int64) {
	g := u.group
	for _, name := range users {
		s.setSanction(u, name, s.mutedUntil(g, name), until)
		if g.offer.to == name {
			g.offer = ownerOffer{} // only in a live group is the offer still there
		}
	}
	g.requests = slices.DeleteFunc(g.requests, func(q query.JoinRequest) bool { return slices.Contains(users, q.User) })
}

func (s *State) applySetMember(c *command.SetMember, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	by, m, muted := s.role(g, c.By), s.member(g, c.User), s.mutedUntil(g, c.User)
	role := command.RoleMember
	if m != nil {
		role = m.role
	}
	switch {
	case by < command.RoleAdmin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins change members"}
		return
	case c.User == "" || m == nil && g.settings.StoresMessages && (c.Role != command.RoleNone || muted == 0):
		*r = command.Result{Code: command.CodeNotFound, Detail: "user: is no member"}
		return
	case c.Role != command.RoleNone && by < command.RoleOwner:
		*r = command.Result{Code: command.CodeForbidden, Detail: "role: only the owner changes roles"}
		return
	case c.Role != command.RoleNone && role == command.RoleOwner:
		*r = command.Result{Code: command.CodeForbidden, Detail: "role: the owner's changes with setGroup"}
		return
	case c.MutedUntil != nil && role >= by && c.By != "":
		*r = command.Result{Code: command.CodeForbidden, Detail: "mutedUntil: you may not mute this member"}
		return
	case c.MutedUntil != nil && s.ifFuture(*c.MutedUntil) != 0 && !s.roomForSanction(g, c.User, 0):
		*r = command.Result{Code: command.CodeRateLimited, Detail: "mutedUntil: too many users of this group are muted or banned", RetryAfterMS: quotaRetryMS}
		return
	case m == nil && c.Role == command.RoleAdmin && len(g.members.items) >= maxLiveAdmins:
		*r = command.Result{Code: command.CodeRateLimited, Detail: "role: this group has too many admins", RetryAfterMS: quotaRetryMS}
		return
	}
	if c.Role != command.RoleNone && role != c.Role {
		s.setRole(u, m, c)
	}
	if c.MutedUntil != nil && muted != s.ifFuture(*c.MutedUntil) {
		s.setSanction(u, c.User, *c.MutedUntil, s.bannedUntil(g, c.User))
		s.addEvent(u, query.EventMuted, c.By, c.User)
	}
}

// setRole makes a member an admin, or an admin a mere member. In a live group only
// users with a role have a member record.
func (s *State) setRole(u *user, m *member, c *command.SetMember) {
	g := u.group
	switch {
	case m == nil:
		s.addMember(u, c.User, member{role: c.Role, joinedMS: s.now, joinArrival: u.arrival, visibleFrom: 1})
	case !g.settings.StoresMessages && c.Role == command.RoleMember:
		i, _ := s.memberIndex(g, c.User)
		s.removeMember(u, i)
	default:
		m.role = c.Role
	}
	s.addEvent(u, query.EventRoleChanged, c.By, c.User)
}

func (s *State) applySetGroup(c *command.SetGroup, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	by, settings := s.role(g, c.By), c.Settings.ApplyTo(g.settings)
	switch {
	case by < command.RoleAdmin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins change it"}
		return
	case c.Owner != "" && by < command.RoleOwner:
		*r = command.Result{Code: command.CodeForbidden, Detail: "owner: only the owner transfers a group"}
		return
	case settings.History != g.settings.History && by < command.RoleOwner:
		*r = command.Result{Code: command.CodeForbidden, Detail: "history: only the owner changes it"}
		return
	case c.Owner != "" && g.settings.StoresMessages && s.member(g, c.Owner) == nil:
		*r = command.Result{Code: command.CodeNotFound, Detail: "owner: is no member"}
		return
	case c.Owner != "" && s.bannedUntil(g, c.Owner) != 0:
		*r = command.Result{Code: command.CodeForbidden, Detail: "owner: is banned from this group"}
		return
	}
	if field := g.kind.FixedSetting(settings); field != "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: field + ": is the kind's, and cannot be set"}
		return
	}
	changed := settings != g.settings
	g.settings = settings
	if c.Name != nil && *c.Name != g.title {
		g.title, changed = *c.Name, true
	}
	if c.Properties != nil && !bytes.Equal(c.Properties, g.properties) {
		g.properties, changed = bytes.Clone(c.Properties), true
	}
	if changed {
		g.lastChange = groupEdit{arrival: s.addEvent(u, query.EventChanged, c.By), at: s.now, by: c.By}
	}
	switch {
	case c.Owner == "":
	case c.By != "":
		s.offerOwner(u, c.By, c.Owner)
		r.Pending = c.Owner != g.owner
	case c.Owner != g.owner:
		s.transferOwnership(u, c.By, c.Owner)
	}
}

// offerOwner offers the ownership to another user, whose consent it needs because owned
// groups count against a limit. If to is the owner, it withdraws an offer.
func (s *State) offerOwner(u *user, by, to command.UserID) {
	g := u.group
	switch before := s.offered(g); {
	case to != g.owner && to != before:
		g.offer = ownerOffer{to: to, at: s.now}
		s.addEvent(u, query.EventOwnerOffered, by, to)
	case to == g.owner && before != "":
		g.offer = ownerOffer{}
		s.addEvent(u, query.EventOwnerOffered, by)
	}
}

func (s *State) applyAnswerOwner(c *command.AnswerOwner, r *command.Result) {
	if c.User == "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: "user: must not be empty"}
		return
	}
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	switch g := u.group; {
	case s.offered(g) == c.User && c.Accept:
		s.transferOwnership(u, c.User, c.User)
	case s.offered(g) == c.User:
		g.offer = ownerOffer{}
		s.addEvent(u, query.EventOwnerOffered, c.User)
	case !c.Accept || g.owner == c.User: // nothing to change
	case g.settings.StoresMessages && s.member(g, c.User) == nil:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: you are not a member of it"}
	default:
		*r = command.Result{Code: command.CodeNotFound, Detail: "group: its ownership is not offered to you"}
	}
}

// transferOwnership makes another user the owner. The old owner becomes an admin.
func (s *State) transferOwnership(u *user, by, to command.UserID) {
	g := u.group
	users := make([]command.UserID, 0, 2)
	if m := s.member(g, g.owner); m != nil {
		m.role = command.RoleAdmin
		users = append(users, g.owner)
		if g.settings.StoresMessages {
			s.postJoined(u, g.owner, command.RoleAdmin, g.owner)
		}
	}
	m := s.member(g, to)
	if m == nil { // in a live group
		m = s.addMember(u, to, member{joinedMS: s.now, joinArrival: u.arrival, visibleFrom: 1})
	}
	m.role = command.RoleOwner
	if by == to {
		m.flags &^= memberInvited
	}
	g.owner, g.offer = to, ownerOffer{}
	s.setSanction(u, to, 0, 0)
	if g.settings.StoresMessages {
		s.postJoined(u, to, command.RoleOwner, to)
	}
	s.addEvent(u, query.EventRoleChanged, by, append(users, to)...)
}

func (s *State) applyDismissGroup(c *command.DismissGroup, r *command.Result) {
	sl := s.slotFor(c.Group.Key())
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	if u := s.userMut(sl, c.Group.Key(), false); u != nil && u.group.dismissedMS != 0 && (c.By == "" || c.By == u.group.owner) {
		return // nothing to change
	}
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	g := u.group
	if s.role(g, c.By) < command.RoleOwner {
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner dismisses it"}
		return
	}
	s.addEvent(u, query.EventDismissed, c.By)
	if g.settings.StoresMessages {
		for i := range g.members.items {
			s.postLeft(u, command.UserID(s.memberName(&g.members.items[i])), leftDismissed)
		}
	}
	s.holdFor(u)
	for i := range g.members.items {
		m := &g.members.items[i]
		s.arena.Free(m.name, int(m.nameLen))
	}
	g.members.free(s.arena)
	cv := &u.convs.items[0]
	s.truncateLog(u, cv, cv.log.Next()-1, gapDeleted)
	s.forgetDedup(u, &u.dedup, s.now)
	s.forgetDedup(u, &u.removedDedup, s.now)
	g.dismissedMS = s.now
	g.title, g.properties, g.requests, g.recalls, g.ttlEnds = "", nil, nil, nil, nil
	g.offer = ownerOffer{}
	g.hidden, g.hiddenBytes = nil, 0
	s.countHeapBytes(g)
}
