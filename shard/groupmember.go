package shard

import (
	"bytes"
	"slices"
)

func (s *State) applyCreateGroup(c *CreateGroup, r *Result) {
	sl := s.slotFor(c.Group.Key())
	if sl == nil {
		r.Code = CodeMoved
		return
	}
	switch {
	case c.Group == "":
		*r = Result{Code: CodeBadRequest, Detail: "group: must not be empty"}
		return
	case c.Settings.Stored != (c.Kind != GroupLive):
		*r = Result{Code: CodeBadRequest, Detail: "stored: must be false for a live group and true for any other"}
		return
	}
	u := s.mutate(sl, c.Group.Key(), false)
	if u != nil && !s.mayMakeAgain(u.team, c, r) {
		if r.Code == OK {
			r.Arrival = u.arrival
		}
		return
	}
	version := uint64(0)
	if u == nil {
		u = s.mutate(sl, c.Group.Key(), true)
		s.open(u, "")
	} else {
		version = u.team.version
		s.freeTeam(u)
	}
	t := &team{
		id: c.Group, kind: c.Kind, settings: c.Settings, title: c.Name, properties: bytes.Clone(c.Properties),
		owner: c.Owner, created: s.now, salt: c.Salt, version: version,
	}
	if u.team != nil {
		t.events, t.forgotten, t.notices = u.team.events, u.team.forgotten, u.team.notices
		for _, n := range t.notices {
			s.letterBytes += len(n.bytes) // freeTeam took them off
		}
	}
	u.team = t
	s.weigh(t)

	by := c.By
	users := make([]UserID, 0, 1+len(c.Members))
	if c.Owner != "" {
		users = append(users, c.Owner)
	}
	if t.settings.Stored {
		for _, name := range c.Members {
			switch {
			case name == "" || slices.Contains(users, name):
			case t.full(len(users)):
				r.Failed = append(r.Failed, MemberFailure{User: name, Code: CodeRateLimited})
			default:
				users = append(users, name)
			}
		}
	}
	at := s.happened(u, EventCreated, by, users...)
	for _, name := range users {
		role, flags := RoleMember, uint8(memberInvited)
		if name == c.Owner {
			role, flags = RoleOwner, 0
		}
		s.enroll(u, name, role, at, flags)
	}
	r.Arrival = at
}

// mayMakeAgain tells whether a group that is known can be made. If not, r has
// the answer: OK when the group is what was asked for already.
func (s *State) mayMakeAgain(t *team, c *CreateGroup, r *Result) bool {
	if t.dismissed != 0 {
		if c.By == "" || c.By == t.owner || t.dismissed+dismissedMS <= s.now {
			return true
		}
		*r = Result{Code: CodeConflict, Detail: "group: " + string(c.Group) + " was dismissed a short time ago and is kept for its owner"}
		return false
	}
	same := c.Owner == t.owner && c.Kind == t.kind && c.Settings == t.settings && c.Name == t.title &&
		bytes.Equal(c.Properties, t.properties)
	for _, name := range c.Members {
		same = same && (!t.settings.Stored || s.member(t, name) != nil)
	}
	if !same {
		*r = Result{Code: CodeConflict, Detail: "group: " + string(c.Group) + " exists"}
	}
	return false
}

// full tells whether a group with so many members takes no more.
func (t *team) full(members int) bool {
	return t.settings.MaxMembers > 0 && members >= t.settings.MaxMembers
}

// enroll makes a user a member as of an event, and tells his shard.
func (s *State) enroll(u *user, name UserID, role Role, at uint64, flags uint8) {
	t := u.team
	m := member{role: role, flags: flags, joined: s.now, joinedAt: at, from: 1}
	newest := u.convs.items[0].log.Next() - 1
	if t.settings.History != HistoryAll {
		m.from = newest + 1
	}
	m.read = newest
	s.addMember(u, name, m)
	if t.settings.Stored {
		s.notify(u, name, role)
	}
	t.requests = slices.DeleteFunc(t.requests, func(q JoinRequest) bool { return q.User == name })
}

// expel ends a membership, and tells the user's shard.
func (s *State) expel(u *user, name UserID) {
	t := u.team
	i, ok := s.memberIndex(t, name)
	if !ok {
		return
	}
	s.dropMember(u, i)
	if t.owner == name {
		t.owner = ""
	}
	if t.settings.Stored {
		s.notify(u, name, RoleNone)
	}
}

func (s *State) applyJoinGroup(c *JoinGroup, r *Result) {
	if c.User == "" {
		*r = Result{Code: CodeBadRequest, Detail: "user: must not be empty"}
		return
	}
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	switch {
	case !t.settings.Stored: // membership is the session's
	case s.member(t, c.User) != nil:
	case t.settings.Join == JoinByInvitation:
		*r = Result{Code: CodeForbidden, Detail: "group: members are invited"}
	case t.full(len(t.members.items)):
		*r = Result{Code: CodeRateLimited, Detail: "group: has as many members as it may", RetryAfterMS: quotaRetryMS}
	case t.settings.Join == JoinOpen:
		s.enroll(u, c.User, RoleMember, s.happened(u, EventJoined, c.User, c.User), 0)
	default:
		s.applyJoinRequest(u, c, r)
	}
}

func (s *State) applyJoinRequest(u *user, c *JoinGroup, r *Result) {
	t := u.team
	i := slices.IndexFunc(t.requests, func(q JoinRequest) bool { return q.User == c.User })
	switch {
	case i >= 0 && t.requests[i].Message == c.Message:
		r.Pending = true
		return
	case i >= 0:
		t.requests = slices.Delete(t.requests, i, i+1)
	case len(t.requests) >= maxRequests:
		*r = Result{Code: CodeRateLimited, Detail: "group: too many requests wait for its admins", RetryAfterMS: quotaRetryMS}
		return
	}
	t.requests = append(t.requests, JoinRequest{User: c.User, Message: c.Message, Time: s.now})
	s.happened(u, EventJoinRequested, c.User, c.User)
	r.Pending = true
}

func (s *State) applyAnswerJoin(c *AnswerJoin, r *Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	i := slices.IndexFunc(t.requests, func(q JoinRequest) bool { return q.User == c.User })
	switch {
	case s.role(t, c.By) < RoleAdmin:
		*r = Result{Code: CodeForbidden, Detail: "group: only its owner and admins answer requests"}
	case i < 0 && c.Accept && s.member(t, c.User) == nil:
		*r = Result{Code: CodeNotFound, Detail: "user: has not asked to join"}
	case i < 0: // it is so already
	case !c.Accept:
		t.requests = slices.Delete(t.requests, i, i+1)
		s.weigh(t)
	case t.full(len(t.members.items)):
		*r = Result{Code: CodeRateLimited, Detail: "group: has as many members as it may", RetryAfterMS: quotaRetryMS}
	default:
		s.enroll(u, c.User, RoleMember, s.happened(u, EventJoined, c.By, c.User), 0)
	}
}

func (s *State) applyLeaveGroup(c *LeaveGroup, r *Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	switch m := s.member(t, c.User); {
	case m == nil || !t.settings.Stored:
		t.requests = slices.DeleteFunc(t.requests, func(q JoinRequest) bool { return q.User == c.User })
	case m.role == RoleOwner:
		*r = Result{Code: CodeForbidden, Detail: "group: its owner has to transfer or dismiss it"}
	default:
		s.happened(u, EventLeft, c.User, c.User)
		s.expel(u, c.User)
	}
}

func (s *State) applyAddMembers(c *AddMembers, r *Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	least := RoleAdmin
	if t.settings.Join == JoinByInvitation {
		least = RoleMember
	}
	switch {
	case s.role(t, c.By) < least:
		*r = Result{Code: CodeForbidden, Detail: "group: you may not add members"}
		return
	case !t.settings.Stored:
		*r = Result{Code: CodeBadRequest, Detail: "group: users join a live group themselves"}
		return
	}
	var added []UserID
	for _, name := range c.Users {
		switch {
		case slices.Contains(added, name) || s.member(t, name) != nil:
		case name == "":
			r.Failed = append(r.Failed, MemberFailure{User: name, Code: CodeBadRequest})
		case t.full(len(t.members.items) + len(added)):
			r.Failed = append(r.Failed, MemberFailure{User: name, Code: CodeRateLimited})
		default:
			added = append(added, name)
		}
	}
	if len(added) == 0 {
		return
	}
	at := s.happened(u, EventJoined, c.By, added...)
	for _, name := range added {
		s.enroll(u, name, RoleMember, at, memberInvited)
	}
}

func (s *State) applyRemoveMembers(c *RemoveMembers, r *Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	by := s.role(t, c.By)
	if by < RoleAdmin {
		*r = Result{Code: CodeForbidden, Detail: "group: only its owner and admins remove members"}
		return
	}
	var removed []UserID
	for _, name := range c.Users {
		role := s.role(t, name)
		switch {
		case name == "" || role == RoleNone && t.settings.Stored:
			r.Failed = append(r.Failed, MemberFailure{User: name, Code: CodeNotFound})
		case role >= by && c.By != "":
			r.Failed = append(r.Failed, MemberFailure{User: name, Code: CodeForbidden})
		case !slices.Contains(removed, name):
			removed = append(removed, name)
		}
	}
	if len(removed) == 0 {
		return
	}
	s.happened(u, EventRemoved, c.By, removed...)
	for _, name := range removed {
		s.expel(u, name)
	}
}

func (s *State) applySetMember(c *SetMember, r *Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	by, m := s.role(t, c.By), s.member(t, c.User)
	role := RoleMember
	if m != nil {
		role = m.role
	}
	switch {
	case by < RoleAdmin:
		*r = Result{Code: CodeForbidden, Detail: "group: only its owner and admins change members"}
		return
	case m == nil && (t.settings.Stored || c.User == ""):
		*r = Result{Code: CodeNotFound, Detail: "user: is no member"}
		return
	case c.Role != RoleNone && by < RoleOwner:
		*r = Result{Code: CodeForbidden, Detail: "role: only the owner changes roles"}
		return
	case c.Role != RoleNone && role == RoleOwner:
		*r = Result{Code: CodeForbidden, Detail: "role: the owner's changes with setGroup"}
		return
	case c.MutedUntil != nil && role >= by && c.By != "":
		*r = Result{Code: CodeForbidden, Detail: "mutedUntil: you may not mute this member"}
		return
	}
	if m == nil { // of a live group, which only keeps what differs from nothing
		if len(t.members.items) >= maxLiveRecords {
			s.forgetMutes(u)
		}
		if len(t.members.items) >= maxLiveRecords {
			*r = Result{Code: CodeRateLimited, Detail: "user: too many members of this group are muted", RetryAfterMS: quotaRetryMS}
			return
		}
		m = s.addMember(u, c.User, member{role: RoleMember, joined: s.now, joinedAt: u.arrival, from: 1})
	}
	if c.Role != RoleNone && m.role != c.Role {
		m.role = c.Role
		s.happened(u, EventRoleChanged, c.By, c.User)
	}
	if c.MutedUntil != nil && m.muted != *c.MutedUntil {
		m.muted = *c.MutedUntil
		s.happened(u, EventMuted, c.By, c.User)
	}
	if !t.settings.Stored && m.role == RoleMember && m.muted <= s.now {
		i, _ := s.memberIndex(t, c.User)
		s.dropMember(u, i)
	}
}

// forgetMutes removes the records of a live group that say nothing any more.
func (s *State) forgetMutes(u *user) {
	t := u.team
	s.frees(u)
	t.members.items = slices.DeleteFunc(t.members.items, func(m member) bool {
		gone := m.role == RoleMember && m.muted <= s.now
		if gone {
			s.arena.Free(m.name, int(m.nameLen))
		}
		return gone
	})
	if len(t.members.items) == 0 {
		t.members.free(s.arena)
	}
}

func (s *State) applySetGroup(c *SetGroup, r *Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	by := s.role(t, c.By)
	switch {
	case by < RoleAdmin:
		*r = Result{Code: CodeForbidden, Detail: "group: only its owner and admins change it"}
		return
	case c.Owner != "" && by < RoleOwner:
		*r = Result{Code: CodeForbidden, Detail: "owner: only the owner transfers a group"}
		return
	case c.Settings != nil && c.By != "":
		*r = Result{Code: CodeForbidden, Detail: "group: only an administrator changes its settings"}
		return
	case c.Settings != nil && c.Settings.Stored != t.settings.Stored:
		*r = Result{Code: CodeBadRequest, Detail: "stored: cannot change"}
		return
	case c.Owner != "" && t.settings.Stored && s.member(t, c.Owner) == nil:
		*r = Result{Code: CodeNotFound, Detail: "owner: is no member"}
		return
	}
	changed := false
	if c.Name != nil && *c.Name != t.title {
		t.title, changed = *c.Name, true
	}
	if c.Properties != nil && !bytes.Equal(c.Properties, t.properties) {
		t.properties, changed = bytes.Clone(c.Properties), true
	}
	if c.Settings != nil && *c.Settings != t.settings {
		t.settings, changed = *c.Settings, true
	}
	if changed {
		s.happened(u, EventChanged, c.By)
	}
	if c.Owner != "" && c.Owner != t.owner {
		s.transfer(u, c.By, c.Owner)
	}
}

// transfer makes another member the owner. Who was it stays an admin.
func (s *State) transfer(u *user, by, to UserID) {
	t := u.team
	users := make([]UserID, 0, 2)
	if m := s.member(t, t.owner); m != nil {
		m.role = RoleAdmin
		users = append(users, t.owner)
		if t.settings.Stored {
			s.notify(u, t.owner, RoleAdmin)
		}
	}
	m := s.member(t, to)
	if m == nil { // of a live group
		m = s.addMember(u, to, member{joined: s.now, joinedAt: u.arrival, from: 1})
	}
	m.role, m.muted = RoleOwner, 0
	t.owner = to
	if t.settings.Stored {
		s.notify(u, to, RoleOwner)
	}
	s.happened(u, EventRoleChanged, by, append(users, to)...)
}

func (s *State) applyDismissGroup(c *DismissGroup, r *Result) {
	sl := s.slotFor(c.Group.Key())
	if sl == nil {
		r.Code = CodeMoved
		return
	}
	if u := s.mutate(sl, c.Group.Key(), false); u != nil && u.team.dismissed != 0 && (c.By == "" || c.By == u.team.owner) {
		return // it is so already
	}
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	if s.role(t, c.By) < RoleOwner {
		*r = Result{Code: CodeForbidden, Detail: "group: only its owner dismisses it"}
		return
	}
	s.happened(u, EventDismissed, c.By)
	if t.settings.Stored {
		for i := range t.members.items {
			s.notify(u, UserID(s.memberName(&t.members.items[i])), RoleNone)
		}
	}
	s.frees(u)
	for i := range t.members.items {
		m := &t.members.items[i]
		s.arena.Free(m.name, int(m.nameLen))
	}
	t.members.free(s.arena)
	cv := &u.convs.items[0]
	s.drop(u, cv, cv.log.Next()-1, gapDeleted)
	s.forgetSent(u, s.now)
	t.dismissed = s.now
	t.title, t.properties, t.requests, t.recalls, t.endings = "", nil, nil, nil, nil
	t.hides, t.hidden = nil, 0
	s.weigh(t)
}
