package gateway

import (
	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/errcode"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

func (s *session) addMembers(r request) error {
	var args protocol.MembersArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if args.Ban != 0 {
		return &refusal{code: protocol.CodeBadRequest, message: "ban: is for removeMembers"}
	}
	if err := s.allowGroupChange(); err != nil {
		return err
	}
	cmd := &command.AddMembers{Group: command.GroupID(args.Group), By: s.user, Users: userIDs(args.Users)}
	change, again := s.beginGroupChange(r, cmd)
	if again {
		return nil
	}
	failed := make(failures)
	if cmd.Users = change.eligible(cmd.Group, cmd.Users, failed); len(cmd.Users) == 0 {
		// Whether he may add anybody at all is still to be answered: that he adds
		// himself, who is there, changes nothing.
		cmd.Users = []command.UserID{s.user}
	}
	change.propose(cmd, func(result command.Result) protocol.OK {
		failed.add(result.Failed)
		added, names := failed.sort(args.Users)
		return &protocol.AddMembersOK{Added: added, Failed: names}
	})
	return nil
}

func (s *session) removeMembers(r request) error {
	var args protocol.MembersArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if err := s.allowGroupChange(); err != nil {
		return err
	}
	cmd := &command.RemoveMembers{Group: command.GroupID(args.Group), By: s.user, Users: userIDs(args.Users), Ban: args.Ban}
	change, again := s.beginGroupChange(r, cmd)
	if again {
		return nil
	}
	change.propose(cmd, func(result command.Result) protocol.OK {
		failed := make(failures)
		failed.add(result.Failed)
		removed, names := failed.sort(args.Users)
		return &protocol.RemoveMembersOK{Removed: removed, Failed: names}
	})
	return nil
}

func (s *session) setMember(r request) error {
	var args protocol.SetMemberArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if err := s.allowGroupChange(); err != nil {
		return err
	}
	s.proposeChange(r, &command.SetMember{
		Group: command.GroupID(args.Group), By: s.user, User: command.UserID(args.User),
		Role: enum.Roles.Value(args.Role), MutedUntil: args.MutedUntil,
	})
	return nil
}

func (s *session) unban(r request) error {
	var args protocol.UnbanArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if err := s.allowGroupChange(); err != nil {
		return err
	}
	s.proposeChange(r, &command.Unban{Group: command.GroupID(args.Group), By: s.user, User: command.UserID(args.User)})
	return nil
}

// getBans is for those who may lift bans.
func (s *session) getBans(r request) error {
	var args protocol.GetMembersArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	b, group := s.gateway.backend, command.GroupID(args.Group)
	info, exists, err := b.Group(group, s.user)
	switch {
	case err != nil:
		return err
	case !exists:
		return noGroup(args.Group)
	case info.Role < command.RoleAdmin:
		return &refusal{code: protocol.CodeForbidden, message: "group: only its owner and admins see bans"}
	}
	bans, more, err := b.Bans(group, command.UserID(args.After), args.Limit)
	if err != nil {
		return err
	}
	reply := &protocol.BansOK{Bans: make([]protocol.Ban, len(bans)), More: more}
	for i, ban := range bans {
		reply.Bans[i] = protocol.Ban{User: string(ban.User), Until: ban.Until}
	}
	s.reply(r, reply)
	return nil
}

func (s *session) getMembers(r request) error {
	var args protocol.GetMembersArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	b, group := s.gateway.backend, command.GroupID(args.Group)
	info, exists, err := b.Group(group, s.user)
	switch {
	case err != nil:
		return err
	case !exists:
		return noGroup(args.Group)
	case info.Role == command.RoleNone && !s.inLive(group):
		return noMember()
	}
	members, more, err := b.Members(group, command.UserID(args.After), args.Limit)
	if err != nil {
		return err
	}
	reply := &protocol.MembersOK{Members: make([]protocol.Member, len(members)), More: more}
	now := b.Now()
	for i, m := range members {
		reply.Members[i] = protocol.Member{User: string(m.User), Role: enum.Roles.Word(m.Role)}
		if m.MutedUntil > now {
			reply.Members[i].MutedUntil = m.MutedUntil
		}
	}
	s.reply(r, reply)
	return nil
}

// eligible gives those of users who can become members of a group, "" for one whose
// id is still to be made up, each once. Why the others cannot is noted in failed.
func (c *groupChange) eligible(group command.GroupID, users []command.UserID, failed failures) []command.UserID {
	s := c.session
	asked := make([]command.UserID, 0, len(users))
	seen := map[command.UserID]bool{s.user: true}
	for _, user := range users {
		if !seen[user] {
			seen[user] = true
			asked = append(asked, user)
		}
	}
	joining := make([]int, len(asked))
	for i, user := range asked {
		joining[i], _ = s.gateway.reservations.add(joinReservation{user, group, joins})
	}
	admitted := asked[:0]
	for i, eligibility := range s.gateway.backend.Eligibility(s.user, asked) {
		user := asked[i]
		err := s.checkEligible(group, user, &eligibility, joining[i])
		c.keepReservation(joinReservation{user, group, joins}, err)
		if err != nil {
			failed[user] = refusalOf(err).code
		} else {
			admitted = append(admitted, user)
		}
	}
	return admitted
}

// checkEligible refuses what the shard of the group cannot know of a user, who is coming
// to some other groups at the moment.
func (s *session) checkEligible(group command.GroupID, user command.UserID, eligibility *store.Eligibility, joining int) error {
	switch {
	case eligibility.Err != nil:
		return eligibility.Err
	case s.gateway.config.KnownUsersOnly && s.allowUnknownUser() != nil:
		return s.allowUnknownUser()
	case s.gateway.config.KnownUsersOnly && !eligibility.Exists:
		s.gateway.unknownUsers.Allow(string(s.user))
		return &refusal{code: protocol.CodeNotFound, message: "users: there is no user " + string(user)}
	case eligibility.Blocks:
		return &refusal{code: protocol.CodeForbidden, message: "users: " + string(user) + " has blocked you"}
	}
	limit := joins
	if !eligibility.Wrote {
		limit = unsolicited
	}
	full := s.checkGroupLimits(eligibility, joining, 0, "users: "+string(user), limit)
	if full != nil && group != "" {
		if info, _, err := s.gateway.backend.Group(group, user); err == nil && info.Role != command.RoleNone {
			return nil // he is there already
		}
	}
	if full == nil && !eligibility.Known {
		if wait, ok := s.gateway.newUsers.Allow(string(s.user)); !ok {
			return &refusal{protocol.CodeRateLimited, "users: you have added too many new ones", wait}
		}
	}
	return full
}

// failures are the codes for users who were not added or removed.
type failures map[command.UserID]string

func (f failures) add(failed []command.MemberFailure) {
	for _, m := range failed {
		f[m.User] = errcode.OfStore(m.Code)
	}
}

// sort parts users, each once, into those who did not fail and those who did.
func (f failures) sort(users []string) (done []string, failed []protocol.MemberFailure) {
	seen := make(map[string]bool, len(users))
	for _, user := range users {
		if seen[user] {
			continue
		}
		seen[user] = true
		if code, ok := f[command.UserID(user)]; ok {
			failed = append(failed, protocol.MemberFailure{User: user, Code: code})
		} else {
			done = append(done, user)
		}
	}
	return done, failed
}

func userIDs(names []string) []command.UserID {
	users := make([]command.UserID, len(names))
	for i, name := range names {
		users[i] = command.UserID(name)
	}
	return users
}
