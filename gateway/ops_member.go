package gateway

import (
	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/errcode"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func (s *session) addMembers(r request) error {
	var args protocol.MembersArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if args.Ban != 0 {
		return &refusal{code: protocol.CodeBadRequest, message: "ban: is only for removeMembers"}
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
		// The command is still needed: the shard checks whether the user may add
		// members. To add themselves changes nothing.
		cmd.Users = []command.UserID{s.user}
	}
	change.propose(cmd, func(result command.Result) protocol.OK {
		failed.add(result.Failed)
		added, names := failed.split(args.Users)
		return &protocol.AddMembersOK{Added: added, Failed: names}
	})
	return nil
}

func (s *session) removeMembers(r request) error {
	var args protocol.MembersArgs
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
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
		removed, names := failed.split(args.Users)
		return &protocol.RemoveMembersOK{Removed: removed, Failed: names}
	})
	return nil
}

func (s *session) setMember(r request) error {
	var args protocol.SetMemberArgs
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
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
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
		return err
	}
	s.proposeChange(r, &command.Unban{Group: command.GroupID(args.Group), By: s.user, User: command.UserID(args.User)})
	return nil
}

// getBans replies with the bans of a group. Only the owner and admins get them: they may
// lift bans.
func (s *session) getBans(r request) error {
	args, info, err := s.listArgs(r)
	switch {
	case err != nil:
		return err
	case info.Role < command.RoleAdmin:
		return &refusal{code: protocol.CodeForbidden, message: "group: only its owner and admins see bans"}
	}
	bans, more, err := s.gateway.backend.Bans(info.ID, command.UserID(args.After), args.Limit)
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
	args, info, err := s.listArgs(r)
	switch {
	case err != nil:
		return err
	case info.Role == command.RoleNone && !s.inLive(info.ID):
		return noMember()
	}
	members, more, err := r.reads.Members(info.ID, command.UserID(args.After), args.Limit)
	if err != nil {
		return err
	}
	reply := &protocol.MembersOK{Members: make([]protocol.Member, len(members)), More: more}
	now := s.gateway.backend.Now()
	for i, m := range members {
		reply.Members[i] = protocol.Member{User: string(m.User), Role: enum.Roles.Word(m.Role)}
		if m.MutedUntil > now {
			reply.Members[i].MutedUntil = m.MutedUntil
		}
	}
	s.reply(r, reply)
	return nil
}

// listArgs decodes the arguments of a request for one page of a list of a group
// (members, bans), and returns the group as the user sees it.
func (s *session) listArgs(r request) (args protocol.GetMembersArgs, info query.GroupInfo, err error) {
	if err := args.Decode(r.Args); err != nil {
		return args, info, err
	}
	info, exists, err := r.reads.Group(command.GroupID(args.Group), s.user)
	if err == nil && !exists {
		err = noGroup(args.Group)
	}
	return args, info, err
}

// eligible returns those of users that may be added to a group, each once, and adds the
// others to failed. It makes reservations for the former. group is "" if it has no id
// yet.
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
	reservations := make([]store.Reservation, len(asked))
	for i, user := range asked {
		reservations[i] = newReservation(user, group, joins)
	}
	reserved := s.gateway.backend.Reserve(reservations)
	admitted := asked[:0]
	for i, eligibility := range s.gateway.backend.Eligibility(s.user, asked) {
		user := asked[i]
		err := reserved[i].Err
		if err == nil {
			err = s.checkEligible(group, user, &eligibility, reserved[i].Joined)
		}
		c.keepReservation(reservations[i], err)
		if err != nil {
			failed[user] = refusalOf(err).code
		} else {
			admitted = append(admitted, user)
		}
	}
	return admitted
}

// checkEligible returns the error for which a user cannot be added to a group. It checks
// what the group's shard does not know. joining is how many other groups the user has
// reservations for.
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
			return nil // the user is a member already
		}
	}
	if full == nil && !eligibility.Known {
		if wait, ok := s.gateway.newUsers.Allow(string(s.user)); !ok {
			return &refusal{protocol.CodeRateLimited, "users: you have added too many users who are new here", wait}
		}
	}
	return full
}

// failures are the users that were not added or removed, each with the code of the
// error.
type failures map[command.UserID]string

func (f failures) add(failed []command.MemberFailure) {
	for _, m := range failed {
		f[m.User] = errcode.OfStore(m.Code)
	}
}

// split splits users into those without a failure and those with one, each once.
func (f failures) split(users []string) (done []string, failed []protocol.MemberFailure) {
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
