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
	if field := c.Kind.Fixed(c.Settings); field != "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: field + ": is the kind's, and cannot be set"}
		return
	}
	u := s.mutate(sl, c.Group.Key(), false)
	if u != nil && !s.mayMakeAgain(u.team, c, r) {
		if r.Code == command.OK {
			r.Arrival = s.joinedAt(u, c.Owner)
		}
		return
	}
	version := uint64(0)
	kept, keptEnd, wishes := array[sanction]{}, int64(math.MaxInt64), 0
	if u == nil {
		u = s.mutate(sl, c.Group.Key(), true)
		s.open(u, "")
	} else {
		version = u.team.version
		if c.Owner == u.team.owner {
			kept, keptEnd, wishes = u.team.sanctions, u.team.sanctionsEnd, u.team.wishes
			u.team.sanctions = array[sanction]{}
		}
		s.frees(u)
		s.freeTeam(u)
	}
	t := &team{
		id: c.Group, kind: c.Kind, settings: c.Settings, title: c.Name, properties: bytes.Clone(c.Properties),
		owner: c.Owner, created: s.now, salt: c.Salt, version: version, sanctions: kept, sanctionsEnd: keptEnd, wishes: wishes,
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
	users := make([]command.UserID, 0, 1+len(c.Members))
	if c.Owner != "" {
		users = append(users, c.Owner)
	}
	if t.settings.Stored {
		for _, name := range c.Members {
			switch {
			case name == "" || slices.Contains(users, name):
			case s.bannedUntil(t, name) != 0:
				r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeForbidden})
			case t.full(len(users)):
				r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeRateLimited})
			default:
				users = append(users, name)
			}
		}
	}
	at := s.happened(u, query.EventCreated, by, users...)
	for _, name := range users {
		if name == c.Owner {
			s.enroll(u, name, command.RoleOwner, name, at)
		} else {
			s.enroll(u, name, command.RoleMember, by, at)
		}
	}
	r.Arrival = at
}

// joinedAt is the place of a user's joining in a group's order, or the present one
// of who is no member.
func (s *State) joinedAt(u *user, name command.UserID) uint64 {
	if m := s.member(u.team, name); m != nil && u.team.settings.Stored {
		return m.joinedAt
	}
	return u.arrival
}

// mayMakeAgain tells whether a group that is known can be made. If not, r has
// the answer: OK when the group is what was asked for already.
func (s *State) mayMakeAgain(t *team, c *command.CreateGroup, r *command.Result) bool {
	if t.dismissed != 0 {
		if c.By == "" || c.By == t.owner || t.dismissed+dismissedMS <= s.now {
			return true
		}
		*r = command.Result{Code: command.CodeConflict, Detail: "group: " + string(c.Group) + " was dismissed a short time ago and is kept for its owner"}
		return false
	}
	same := c.Owner == t.owner && c.Kind == t.kind && c.Settings == t.settings && c.Name == t.title &&
		bytes.Equal(c.Properties, t.properties)
	for _, name := range c.Members {
		same = same && (!t.settings.Stored || s.member(t, name) != nil)
	}
	if !same {
		*r = command.Result{Code: command.CodeConflict, Detail: "group: " + string(c.Group) + " exists"}
	}
	return false
}

// full tells whether a group with so many members takes no more.
func (t *team) full(members int) bool {
	return t.settings.MaxMembers > 0 && members >= t.settings.MaxMembers
}

// enroll makes a user a member as of an event, and tells his shard. by is who
// wanted it: himself, another, or an administrator, "".
func (s *State) enroll(u *user, name command.UserID, role command.Role, by command.UserID, at uint64) {
	t := u.team
	m := member{role: role, joined: s.now, joinedAt: at, from: 1}
	if by != name {
		m.flags = memberInvited
	}
	newest := u.convs.items[0].log.Next() - 1
	if t.settings.History != command.HistoryAll {
		m.from = newest + 1
	}
	m.read = newest
	if wish := s.takeWish(u, name); wish != 0 && t.settings.Stored {
		m.flags |= wish
		m.setAt = s.ownChange(u, name)
	}
	s.addMember(u, name, m)
	if t.settings.Stored {
		s.notify(u, name, role, by)
	}
	t.requests = slices.DeleteFunc(t.requests, func(q query.JoinRequest) bool { return q.User == name })
}

// expel ends a membership, and tells the user's shard how, see notifyEnd.
func (s *State) expel(u *user, name command.UserID, how uint64) {
	t := u.team
	i, ok := s.memberIndex(t, name)
	if !ok {
		return
	}
	flags := t.members.items[i].flags
	s.dropMember(u, i)
	s.keepWish(u, name, flags)
	if t.owner == name || t.offer.to == name {
		t.offer = ownerOffer{}
	}
	if t.owner == name {
		t.owner = ""
	}
	if t.settings.Stored {
		s.notifyEnd(u, name, how)
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
	t := u.team
	switch {
	case s.bannedUntil(t, c.User) != 0:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: you are banned from it"}
	case !t.settings.Stored: // membership is the session's
	case s.member(t, c.User) != nil:
		r.Arrival = s.joinedAt(u, c.User)
		if m := s.member(t, c.User); m.flags&memberInvited != 0 {
			s.spoke(u, c.User, m)
		}
	case t.settings.Join == command.JoinByInvitation:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: members are invited"}
	case t.full(len(t.members.items)):
		*r = command.Result{Code: command.CodeRateLimited, Detail: "group: has as many members as it may", RetryAfterMS: quotaRetryMS}
	case t.settings.Join == command.JoinOpen:
		r.Arrival = s.happened(u, query.EventJoined, c.User, c.User)
		s.enroll(u, c.User, command.RoleMember, c.User, r.Arrival)
	default:
		s.applyJoinRequest(u, c, r)
	}
}

func (s *State) applyJoinRequest(u *user, c *command.JoinGroup, r *command.Result) {
	t := u.team
	i := slices.IndexFunc(t.requests, func(q query.JoinRequest) bool { return q.User == c.User })
	switch {
	case i >= 0 && t.requests[i].Message == c.Message:
		r.Pending = true
		return
	case i >= 0:
		t.requests = slices.Delete(t.requests, i, i+1)
	case len(t.requests) >= maxRequests:
		*r = command.Result{Code: command.CodeRateLimited, Detail: "group: too many requests wait for its admins", RetryAfterMS: quotaRetryMS}
		return
	}
	t.requests = append(t.requests, query.JoinRequest{User: c.User, Message: c.Message, Time: s.now})
	s.happened(u, query.EventJoinRequested, c.User, c.User)
	r.Pending = true
}

func (s *State) applyAnswerJoin(c *command.AnswerJoin, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	i := slices.IndexFunc(t.requests, func(q query.JoinRequest) bool { return q.User == c.User })
	switch {
	case s.role(t, c.By) < command.RoleAdmin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins answer requests"}
	case i < 0 && c.Accept && s.member(t, c.User) == nil:
		*r = command.Result{Code: command.CodeNotFound, Detail: "user: has not asked to join"}
	case i < 0: // it is so already
	case !c.Accept:
		t.requests = slices.Delete(t.requests, i, i+1)
		s.weigh(t)
	case t.full(len(t.members.items)):
		*r = command.Result{Code: command.CodeRateLimited, Detail: "group: has as many members as it may", RetryAfterMS: quotaRetryMS}
	default:
		s.enroll(u, c.User, command.RoleMember, c.User, s.happened(u, query.EventJoined, c.By, c.User))
	}
}

func (s *State) applyLeaveGroup(c *command.LeaveGroup, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	switch m := s.member(t, c.User); {
	case m == nil || !t.settings.Stored:
		t.requests = slices.DeleteFunc(t.requests, func(q query.JoinRequest) bool { return q.User == c.User })
	case m.role == command.RoleOwner:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: its owner has to transfer or dismiss it"}
	default:
		s.happened(u, query.EventLeft, c.User, c.User)
		s.expel(u, c.User, 0)
	}
}

func (s *State) applyAddMembers(c *command.AddMembers, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	least := command.RoleAdmin
	if t.settings.Join == command.JoinByInvitation {
		least = command.RoleMember
	}
	switch {
	case s.role(t, c.By) < least:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: you may not add members"}
		return
	case !t.settings.Stored:
		*r = command.Result{Code: command.CodeBadRequest, Detail: "group: users join a live group themselves"}
		return
	}
	var added []command.UserID
	for _, name := range c.Users {
		switch {
		case slices.Contains(added, name) || s.member(t, name) != nil:
		case name == "":
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeBadRequest})
		case s.bannedUntil(t, name) != 0:
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeForbidden})
		case t.full(len(t.members.items) + len(added)):
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeRateLimited})
		default:
			added = append(added, name)
		}
	}
	if len(added) == 0 {
		return
	}
	at := s.happened(u, query.EventJoined, c.By, added...)
	for _, name := range added {
		s.enroll(u, name, command.RoleMember, c.By, at)
	}
}

func (s *State) applyRemoveMembers(c *command.RemoveMembers, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	by := s.role(t, c.By)
	if by < command.RoleAdmin {
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins remove members"}
		return
	}
	var removed, banned []command.UserID
	for _, name := range c.Users {
		role := s.role(t, name)
		absent := role == command.RoleNone && t.settings.Stored
		switch {
		case name == "" || absent && c.Ban == 0:
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeNotFound})
		case role >= by && c.By != "":
			r.Failed = append(r.Failed, command.MemberFailure{User: name, Code: command.CodeForbidden})
		case slices.Contains(removed, name) || slices.Contains(banned, name):
		case c.Ban != 0 && !s.mayPunish(t, name, len(banned)):
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
		s.happened(u, query.EventRemoved, c.By, removed...)
		for _, name := range removed {
			s.expel(u, name, leftRemoved)
		}
	}
	if len(banned) > 0 {
		s.ban(u, banned, s.now+int64(c.Ban)*1000)
		s.happened(u, query.EventBanned, c.By, banned...)
	}
}

// ban keeps users, who are no members, out of a group.
func (s *State) ban(u *user, users []command.UserID, until int64) {
	t := u.team
	for _, name := range users {
		s.punish(u, name, s.mutedUntil(t, name), until)
		if t.offer.to == name {
			t.offer = ownerOffer{} // of a live group
		}
	}
	t.requests = slices.DeleteFunc(t.requests, func(q query.JoinRequest) bool { return slices.Contains(users, q.User) })
}

func (s *State) applySetMember(c *command.SetMember, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	by, m, muted := s.role(t, c.By), s.member(t, c.User), s.mutedUntil(t, c.User)
	role := command.RoleMember
	if m != nil {
		role = m.role
	}
	switch {
	case by < command.RoleAdmin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins change members"}
		return
	case c.User == "" || m == nil && t.settings.Stored && (c.Role != command.RoleNone || muted == 0):
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
	case c.MutedUntil != nil && s.ahead(*c.MutedUntil) != 0 && !s.mayPunish(t, c.User, 0):
		*r = command.Result{Code: command.CodeRateLimited, Detail: "mutedUntil: too many users of this group are muted or banned", RetryAfterMS: quotaRetryMS}
		return
	case m == nil && c.Role == command.RoleAdmin && len(t.members.items) >= maxLiveRecords:
		*r = command.Result{Code: command.CodeRateLimited, Detail: "role: this group has too many admins", RetryAfterMS: quotaRetryMS}
		return
	}
	if c.Role != command.RoleNone && role != c.Role {
		s.setRole(u, m, c)
	}
	if c.MutedUntil != nil && muted != s.ahead(*c.MutedUntil) {
		s.punish(u, c.User, *c.MutedUntil, s.bannedUntil(t, c.User))
		s.happened(u, query.EventMuted, c.By, c.User)
	}
}

// setRole makes a member an admin, or an admin a member. Of a live group only
// those have a record who have a role.
func (s *State) setRole(u *user, m *member, c *command.SetMember) {
	t := u.team
	switch {
	case m == nil:
		s.addMember(u, c.User, member{role: c.Role, joined: s.now, joinedAt: u.arrival, from: 1})
	case !t.settings.Stored && c.Role == command.RoleMember:
		i, _ := s.memberIndex(t, c.User)
		s.dropMember(u, i)
	default:
		m.role = c.Role
	}
	s.happened(u, query.EventRoleChanged, c.By, c.User)
}

func (s *State) applySetGroup(c *command.SetGroup, r *command.Result) {
	u := s.groupFor(c.Group, r)
	if u == nil {
		return
	}
	t := u.team
	by, settings := s.role(t, c.By), c.Settings.Of(t.settings)
	switch {
	case by < command.RoleAdmin:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner and admins change it"}
		return
	case c.Owner != "" && by < command.RoleOwner:
		*r = command.Result{Code: command.CodeForbidden, Detail: "owner: only the owner transfers a group"}
		return
	case settings.History != t.settings.History && by < command.RoleOwner:
		*r = command.Result{Code: command.CodeForbidden, Detail: "history: only the owner changes it"}
		return
	case c.Owner != "" && t.settings.Stored && s.member(t, c.Owner) == nil:
		*r = command.Result{Code: command.CodeNotFound, Detail: "owner: is no member"}
		return
	case c.Owner != "" && s.bannedUntil(t, c.Owner) != 0:
		*r = command.Result{Code: command.CodeForbidden, Detail: "owner: is banned from this group"}
		return
	}
	if field := t.kind.Fixed(settings); field != "" {
		*r = command.Result{Code: command.CodeBadRequest, Detail: field + ": is the kind's, and cannot be set"}
		return
	}
	changed := settings != t.settings
	t.settings = settings
	if c.Name != nil && *c.Name != t.title {
		t.title, changed = *c.Name, true
	}
	if c.Properties != nil && !bytes.Equal(c.Properties, t.properties) {
		t.properties, changed = bytes.Clone(c.Properties), true
	}
	if changed {
		t.changed = teamChange{arrival: s.happened(u, query.EventChanged, c.By), at: s.now, by: c.By}
	}
	switch {
	case c.Owner == "":
	case c.By != "":
		s.offerOwner(u, c.By, c.Owner)
		r.Pending = c.Owner != t.owner
	case c.Owner != t.owner:
		s.transfer(u, c.By, c.Owner)
	}
}

// offerOwner offers to another what takes his consent: to own a group counts
// against what he may own. An offer to the owner himself ends another's.
func (s *State) offerOwner(u *user, by, to command.UserID) {
	t := u.team
	switch before := s.offered(t); {
	case to != t.owner && to != before:
		t.offer = ownerOffer{to: to, at: s.now}
		s.happened(u, query.EventOwnerOffered, by, to)
	case to == t.owner && before != "":
		t.offer = ownerOffer{}
		s.happened(u, query.EventOwnerOffered, by)
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
	switch t := u.team; {
	case s.offered(t) == c.User && c.Accept:
		s.transfer(u, c.User, c.User)
	case s.offered(t) == c.User:
		t.offer = ownerOffer{}
		s.happened(u, query.EventOwnerOffered, c.User)
	case !c.Accept || t.owner == c.User: // it is so already
	case t.settings.Stored && s.member(t, c.User) == nil:
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: you are no member of it"}
	default:
		*r = command.Result{Code: command.CodeNotFound, Detail: "group: its ownership is not offered to you"}
	}
}

// transfer makes another member the owner. Who was it stays an admin.
func (s *State) transfer(u *user, by, to command.UserID) {
	t := u.team
	users := make([]command.UserID, 0, 2)
	if m := s.member(t, t.owner); m != nil {
		m.role = command.RoleAdmin
		users = append(users, t.owner)
		if t.settings.Stored {
			s.notify(u, t.owner, command.RoleAdmin, t.owner)
		}
	}
	m := s.member(t, to)
	if m == nil { // of a live group
		m = s.addMember(u, to, member{joined: s.now, joinedAt: u.arrival, from: 1})
	}
	m.role = command.RoleOwner
	if by == to {
		m.flags &^= memberInvited
	}
	t.owner, t.offer = to, ownerOffer{}
	s.punish(u, to, 0, 0)
	if t.settings.Stored {
		s.notify(u, to, command.RoleOwner, to)
	}
	s.happened(u, query.EventRoleChanged, by, append(users, to)...)
}

func (s *State) applyDismissGroup(c *command.DismissGroup, r *command.Result) {
	sl := s.slotFor(c.Group.Key())
	if sl == nil {
		r.Code = command.CodeMoved
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
	if s.role(t, c.By) < command.RoleOwner {
		*r = command.Result{Code: command.CodeForbidden, Detail: "group: only its owner dismisses it"}
		return
	}
	s.happened(u, query.EventDismissed, c.By)
	if t.settings.Stored {
		for i := range t.members.items {
			s.notifyEnd(u, command.UserID(s.memberName(&t.members.items[i])), leftDismissed)
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
	s.forgetSent(u, &u.sent, s.now)
	s.forgetSent(u, &u.past, s.now)
	t.dismissed = s.now
	t.title, t.properties, t.requests, t.recalls, t.endings = "", nil, nil, nil, nil
	t.offer = ownerOffer{}
	t.hides, t.hidden = nil, 0
	s.weigh(t)
}
