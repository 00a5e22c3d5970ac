package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// noProperties are empty properties: an empty map in canonical msgpack.
var noProperties = []byte{0x80}

// creationsPerOwned is how many groups a user may create in an hour, as a multiple of
// MaxOwnedGroups: dismissed groups still take some memory.
const creationsPerOwned = 10

func (s *session) createGroup(r request) error {
	var args protocol.CreateGroupArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	settings, err := groupSettings(&args)
	if err != nil {
		return err
	}
	cmd := &command.CreateGroup{
		Group: command.GroupID(args.Group), By: s.user, Owner: s.user, Kind: enum.GroupKinds.Value(args.Kind), Settings: settings,
		Name: args.Name, Properties: args.Properties, Members: userIDs(args.Members),
	}
	change, again := s.beginGroupChange(r, cmd)
	if again {
		return nil
	}
	if err := change.reserve(s.user, cmd.Group, "group", joins|owns); err != nil {
		return err
	}
	if wait, ok := s.gateway.groupCreations.Allow(string(s.user)); !ok {
		change.release()
		return &refusal{protocol.CodeRateLimited, "group: you have created too many groups within the hour", wait}
	}
	failed := make(failures)
	cmd.Members = change.eligible(cmd.Group, cmd.Members, failed)
	if cmd.Group == "" {
		cmd.Group = s.newGroupID(change)
	}
	cmd.Salt = rand.Uint64()
	change.propose(cmd, func(result command.Result) protocol.OK {
		if !settings.StoresMessages {
			// The creator becomes a member, unless the session is in too many live
			// groups.
			_ = s.joinLive(cmd.Group, result.Arrival, 0)
		}
		failed.add(result.Failed)
		_, names := failed.split(args.Members)
		return &protocol.CreateGroupOK{Group: string(cmd.Group), Cursor: s.joinCursor(cmd.Group, settings, &result), Failed: names}
	})
	return nil
}

// joinCursor returns the cursor of the point at which the user joined, "" for a live
// group. With it a device misses nothing if its connection breaks before the first
// message with a cursor.
func (s *session) joinCursor(group command.GroupID, settings command.GroupSettings, result *command.Result) string {
	if !settings.StoresMessages || result.Pending {
		return ""
	}
	return s.gateway.backend.Cursor(group.Key(), result.Arrival)
}

// groupSettings returns the settings of a new group: those of its kind, changed by args.
func groupSettings(args *protocol.CreateGroupArgs) (command.GroupSettings, error) {
	settings := enum.GroupKinds.Value(args.Kind).Settings()
	if args.MutedAll != nil {
		settings.MutedAll = *args.MutedAll
	}
	if args.StoresMessages != nil && *args.StoresMessages != settings.StoresMessages {
		return settings, &refusal{code: protocol.CodeBadRequest, message: "stored: must be false for a live group and true for any other"}
	}
	if args.Kind == protocol.KindLive {
		// A live group stores nothing and its members are sessions, so these settings
		// have no choice.
		for field, bad := range map[string]bool{
			"maxMembers": args.MaxMembers != 0,
			"join":       args.Join != "" && args.Join != protocol.JoinOpen,
			"history":    args.History != "" && args.History != protocol.HistoryNone,
			"unread":     args.Unread != nil && *args.Unread,
			"members":    len(args.Members) > 0,
		} {
			if bad {
				return settings, &refusal{code: protocol.CodeBadRequest, message: field + ": is not for a live group, which is open and keeps nothing"}
			}
		}
		return settings, nil
	}
	if args.MaxMembers != 0 {
		settings.MaxMembers = args.MaxMembers
	}
	if args.Join != "" {
		settings.Join = enum.JoinModes.Value(args.Join)
	}
	if args.History != "" {
		settings.History = enum.Histories.Value(args.History)
	}
	if args.Unread != nil {
		settings.Unread = *args.Unread
	}
	return settings, nil
}

// newGroupID returns the id of a new group, a ULID in lower case. It is computed from the
// request, so that a repeat gets the same id.
func (s *session) newGroupID(c groupChange) command.GroupID {
	b := binary.BigEndian.AppendUint64([]byte(s.user), uint64(s.id()))
	b = binary.BigEndian.AppendUint64(b, c.identity.ID)
	b = binary.BigEndian.AppendUint64(b, c.identity.Hash)
	if c.identity.ID == 0 { // a notice is not repeated
		b = binary.BigEndian.AppendUint64(b, rand.Uint64())
	}
	hash := sha256.Sum256(b)
	var id ulid.ULID
	copy(id[6:], hash[:])
	_ = id.SetTime(uint64(s.began.UnixMilli())) // fails from the year 10889 on
	return command.GroupID(strings.ToLower(id.String()))
}

func (s *session) joinGroup(r request) error {
	var args protocol.GroupArgs
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
		return err
	}
	cmd := &command.JoinGroup{Group: command.GroupID(args.Group), User: s.user, Message: args.Message}
	change, again := s.beginGroupChange(r, cmd)
	if again {
		return nil
	}
	info, exists, err := s.gateway.backend.Group(cmd.Group, s.user)
	if err != nil {
		return err
	}
	if exists && !info.Settings.StoresMessages {
		if info.BannedUntil > s.gateway.backend.Now() {
			return &refusal{code: protocol.CodeForbidden, message: "group: you are banned from it"}
		}
		if err := s.joinLive(cmd.Group, info.Arrival, info.EndArrival); err != nil {
			return err
		}
		change.answer(nil)
		return nil
	}
	if info.Role == command.RoleNone {
		if err := change.reserve(s.user, cmd.Group, "group", joins); err != nil {
			return err
		}
	}
	change.propose(cmd, func(result command.Result) protocol.OK {
		return &protocol.JoinGroupOK{Pending: result.Pending, Cursor: s.joinCursor(cmd.Group, info.Settings, &result)}
	})
	return nil
}

func (s *session) leaveGroup(r request) error {
	var args protocol.GroupArgs
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
		return err
	}
	cmd := &command.LeaveGroup{Group: command.GroupID(args.Group), User: s.user}
	change, again := s.beginGroupChange(r, cmd)
	if again {
		return nil
	}
	if s.leaveLive(cmd.Group) {
		change.answer(nil)
		return nil
	}
	change.propose(cmd, nil)
	return nil
}

func (s *session) dismissGroup(r request) error {
	var args protocol.GroupArgs
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
		return err
	}
	s.proposeChange(r, &command.DismissGroup{Group: command.GroupID(args.Group), By: s.user})
	return nil
}

func (s *session) answerJoin(r request) error {
	var args protocol.AnswerJoinArgs
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
		return err
	}
	cmd := &command.AnswerJoin{Group: command.GroupID(args.Group), By: s.user, User: command.UserID(args.User), Accept: args.Accept}
	change, again := s.beginGroupChange(r, cmd)
	if again {
		return nil
	}
	if args.Accept {
		if err := change.reserve(cmd.User, cmd.Group, "user", joins); err != nil {
			return err
		}
	}
	change.propose(cmd, nil)
	return nil
}

func (s *session) setGroup(r request) error {
	var args protocol.SetGroupArgs
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
		return err
	}
	cmd := &command.SetGroup{
		Group: command.GroupID(args.Group), By: s.user, Name: args.Name, Properties: args.Properties, Owner: command.UserID(args.Owner),
		Settings: command.SettingsChange{
			Join: enum.JoinModes.Value(args.Join), History: enum.Histories.Value(args.History), Unread: args.Unread, MutedAll: args.MutedAll,
		},
	}
	if args.MaxMembers != 0 {
		cmd.Settings.MaxMembers = &args.MaxMembers
	}
	if change, again := s.beginGroupChange(r, cmd); !again {
		change.propose(cmd, func(result command.Result) protocol.OK { return &protocol.SetGroupOK{Pending: result.Pending} })
	}
	return nil
}

func (s *session) answerOwner(r request) error {
	var args protocol.AnswerOwnerArgs
	if err := s.decode(r, &args, (*session).allowGroupChange); err != nil {
		return err
	}
	cmd := &command.AnswerOwner{Group: command.GroupID(args.Group), User: s.user, Accept: args.Accept}
	change, again := s.beginGroupChange(r, cmd)
	if again {
		return nil
	}
	if args.Accept {
		info, _, err := s.gateway.backend.Group(cmd.Group, s.user)
		if err != nil {
			return err
		}
		if info.Settings.StoresMessages && info.Owner != s.user {
			if err := change.reserve(s.user, cmd.Group, "group", owns); err != nil {
				return err
			}
		}
	}
	change.propose(cmd, nil)
	return nil
}

// getGroup replies with what the user may know of a group. Users who are not members get
// only what they need to join.
func (s *session) getGroup(r request) error {
	var args protocol.GroupArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	info, exists, err := r.reads.Group(command.GroupID(args.Group), s.user)
	switch {
	case err != nil:
		return err
	case !exists:
		return noGroup(args.Group)
	case info.Role == command.RoleNone && info.Settings.Join == command.JoinByInvitation:
		return noMember()
	}
	reply := wireGroupInfo(&info)
	if reply.Properties = info.Properties; reply.Properties == nil {
		reply.Properties = noProperties
	}
	reply.Settings = &protocol.GroupSettings{
		MaxMembers: info.Settings.MaxMembers, Join: enum.JoinModes.Word(info.Settings.Join), History: enum.Histories.Word(info.Settings.History),
		Unread: info.Settings.Unread, StoresMessages: info.Settings.StoresMessages, MutedAll: info.Settings.MutedAll,
	}
	if info.Role != command.RoleNone || info.Offered == s.user {
		reply.Offered = string(info.Offered)
	}
	if info.Role >= command.RoleAdmin && info.Requests > 0 {
		requests, err := r.reads.JoinRequests(info.ID)
		if err != nil {
			return err
		}
		for _, q := range requests {
			reply.Requests = append(reply.Requests, protocol.JoinRequest{User: string(q.User), Message: q.Message, Time: q.Time})
		}
	}
	s.reply(r, &reply)
	return nil
}

func (s *session) getGroups(r request) error {
	var args protocol.GetGroupsArgs
	if err := s.decode(r, &args, (*session).allowScan); err != nil {
		return err
	}
	ctx, cancel := s.requestContext()
	defer cancel()
	refs, err := r.reads.GroupsOf(ctx, s.user)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(ref query.GroupRef) bool { return string(ref.Group) <= args.After })
	reply := &protocol.GroupsOK{Groups: make([]protocol.GroupOK, 0, min(len(refs), args.Limit))}
	for _, ref := range refs {
		if len(reply.Groups) == args.Limit {
			reply.More = true
			break
		}
		info, exists, err := r.reads.Group(ref.Group, s.user)
		if err != nil {
			return err
		}
		if exists && info.Role != command.RoleNone { // otherwise the user is no member any more
			reply.Groups = append(reply.Groups, wireGroupInfo(&info))
		}
	}
	s.reply(r, reply)
	return nil
}

// wireGroupInfo returns the part of a group that getGroup and getGroups have in common.
func wireGroupInfo(info *query.GroupInfo) protocol.GroupOK {
	return protocol.GroupOK{
		Group: string(info.ID), Kind: enum.GroupKinds.Word(info.Kind), Name: info.Name, Owner: string(info.Owner),
		MemberCount: info.Members, LastSeq: info.LastSeq, Role: enum.Roles.Word(info.Role),
	}
}

func noGroup(group string) error {
	return &refusal{code: protocol.CodeNotFound, message: "group: " + group + " does not exist"}
}

func noMember() error {
	return &refusal{code: protocol.CodeForbidden, message: "group: you are not a member of it"}
}
