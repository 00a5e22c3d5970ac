package client

import (
	"context"
	"time"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// The protocol's types that tell an application of groups.
type (
	Group         = protocol.GroupOK
	Member        = protocol.Member
	Ban           = protocol.Ban
	MemberFailure = protocol.MemberFailure
)

// maxLive bounds the live groups that one client is in.
const maxLive = 100

// A NewGroup describes a group to create. Kind is needed; other fields, when
// zero, take the kind's settings or are empty.
type NewGroup struct {
	Group      string // 1-48 bytes of printable ASCII without spaces, neither . nor ..; "" = the server makes one up
	Kind       string // protocol.KindPrivate, KindPublic, KindChatroom or KindLive
	Name       string // at most 256 bytes
	Members    []string
	Properties map[string]any // at most 8 KiB as stored

	MaxMembers int
	Join       string // protocol.JoinInvite, JoinApprove or JoinOpen
	History    string // protocol.HistorySinceJoin, HistoryAll or HistoryNone
	Unread     *bool
	MutedAll   *bool // only the owner and admins may send
}

// CreateGroup makes a group that the user owns, and returns its id. failed lists
// the members who could not be added.
func (c *Client) CreateGroup(ctx context.Context, g NewGroup) (group string, failed []MemberFailure, err error) {
	args := &protocol.CreateGroupArgs{
		Group: g.Group, Kind: g.Kind, Name: g.Name, Members: g.Members,
		MaxMembers: g.MaxMembers, Join: g.Join, History: g.History, Unread: g.Unread, MutedAll: g.MutedAll,
	}
	switch {
	case g.Group != "" && !validGroup(g.Group):
		return "", nil, wrong("Group", protocol.GroupRule)
	case len(g.Members) > protocol.MaxGroupMembers || !validUsers(g.Members):
		return "", nil, wrong("Members", "must be at most %d; each %s", protocol.MaxGroupMembers, protocol.UserRule)
	}
	if args.Properties, err = properties(g.Properties); err != nil {
		return "", nil, err
	}
	var ok protocol.CreateGroupOK
	err = c.ask(ctx, protocol.OpCreateGroup, &ok, args)
	if err == nil {
		c.begin(ok.Group, ok.Cursor)
	}
	return ok.Group, ok.Failed, err
}

// JoinGroup makes the user a member. If the group's admins have to approve, it
// returns pending; message is shown to them.
func (c *Client) JoinGroup(ctx context.Context, group, message string) (pending bool, err error) {
	if !validGroup(group) {
		return false, wrong("group", protocol.GroupRule)
	}
	var ok protocol.JoinGroupOK
	err = c.ask(ctx, protocol.OpJoinGroup, &ok, &protocol.GroupArgs{Group: group, Message: message})
	if err == nil {
		c.begin(group, ok.Cursor)
	}
	return ok.Pending, err
}

// JoinLive joins a live group, and joins it again on every later connection until
// LeaveGroup, or until the user is removed, refused or the group dismissed: membership in a
// live group ends with the connection. A client is in at most 100.
func (c *Client) JoinLive(ctx context.Context, group string) error {
	if !validGroup(group) {
		return wrong("group", protocol.GroupRule)
	}
	c.mu.Lock()
	_, known := c.live[group]
	if !known && len(c.live) == maxLive {
		c.mu.Unlock()
		return wrong("group", "must be no more than %d live ones", maxLive)
	}
	c.live[group] = struct{}{} // first: a session that begins before the answer has to join, too
	c.mu.Unlock()
	_, err := c.JoinGroup(ctx, group, "")
	if err != nil && !known {
		c.forgetLive(group)
	}
	return err
}

func (c *Client) forgetLive(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.live, group)
}

// LeaveGroup ends the user's membership.
func (c *Client) LeaveGroup(ctx context.Context, group string) error {
	c.forgetLive(group)
	return c.aboutGroup(ctx, protocol.OpLeaveGroup, group)
}

// DismissGroup dismisses a group that the user owns.
func (c *Client) DismissGroup(ctx context.Context, group string) error {
	return c.aboutGroup(ctx, protocol.OpDismissGroup, group)
}

func (c *Client) aboutGroup(ctx context.Context, op, group string) error {
	if !validGroup(group) {
		return wrong("group", protocol.GroupRule)
	}
	return c.ask(ctx, op, nil, &protocol.GroupArgs{Group: group})
}

// AnswerJoin accepts or refuses a request to join.
func (c *Client) AnswerJoin(ctx context.Context, group, user string, accept bool) error {
	if err := checkMember(group, user); err != nil {
		return err
	}
	return c.ask(ctx, protocol.OpAnswerJoin, nil, &protocol.AnswerJoinArgs{Group: group, User: user, Accept: accept})
}

// AddMembers makes 1-100 users members, except those in failed.
func (c *Client) AddMembers(ctx context.Context, group string, users ...string) (failed []MemberFailure, err error) {
	if err := checkMembers(group, users); err != nil {
		return nil, err
	}
	var ok protocol.AddMembersOK
	err = c.ask(ctx, protocol.OpAddMembers, &ok, &protocol.MembersArgs{Group: group, Users: users})
	return ok.Failed, err
}

// RemoveMembers ends the membership of 1-100 users, except those in failed.
func (c *Client) RemoveMembers(ctx context.Context, group string, users ...string) (failed []MemberFailure, err error) {
	if err := checkMembers(group, users); err != nil {
		return nil, err
	}
	var ok protocol.RemoveMembersOK
	err = c.ask(ctx, protocol.OpRemoveMembers, &ok, &protocol.MembersArgs{Group: group, Users: users})
	return ok.Failed, err
}

// BanMembers ends the membership of 1-100 users, except those in failed, and keeps
// them out for a time of whole seconds. They need not be members now.
func (c *Client) BanMembers(ctx context.Context, group string, d time.Duration, users ...string) (failed []MemberFailure, err error) {
	switch {
	case d < time.Second || d > protocol.MaxBan*time.Second:
		return nil, wrong("d", "must be from 1 s to %d s", protocol.MaxBan)
	case d%time.Second != 0:
		return nil, wrong("d", "must be whole seconds")
	}
	if err := checkMembers(group, users); err != nil {
		return nil, err
	}
	var ok protocol.RemoveMembersOK
	err = c.ask(ctx, protocol.OpRemoveMembers, &ok, &protocol.MembersArgs{Group: group, Users: users, Ban: uint32(d / time.Second)})
	return ok.Failed, err
}

// Unban ends a user's ban.
func (c *Client) Unban(ctx context.Context, group, user string) error {
	if err := checkMember(group, user); err != nil {
		return err
	}
	return c.ask(ctx, protocol.OpUnban, nil, &protocol.UnbanArgs{Group: group, User: user})
}

// Bans lists a group's banned users, for its owner and admins, in order of name:
// up to limit (1-100, 0 = 20) of those whose names come behind after. more
// reports whether there are others.
func (c *Client) Bans(ctx context.Context, group, after string, limit int) (bans []Ban, more bool, err error) {
	if err := checkPage(group, limit); err != nil {
		return nil, false, err
	}
	var ok protocol.BansOK
	err = c.ask(ctx, protocol.OpGetBans, &ok, &protocol.GetMembersArgs{Group: group, After: after, Limit: limit})
	return ok.Bans, ok.More, err
}

// AnswerOwner accepts or refuses the ownership that a group's owner offers.
func (c *Client) AnswerOwner(ctx context.Context, group string, accept bool) error {
	if !validGroup(group) {
		return wrong("group", protocol.GroupRule)
	}
	return c.ask(ctx, protocol.OpAnswerOwner, nil, &protocol.AnswerOwnerArgs{Group: group, Accept: accept})
}

// A MemberSetting changes a member; zero fields change nothing.
type MemberSetting struct {
	Role       string // protocol.RoleAdmin or RoleMember
	MutedUntil *int64 // Unix ms; 0 = not muted. Leaving the group does not end it
}

// SetMember changes a member's role, or mutes them.
func (c *Client) SetMember(ctx context.Context, group, user string, to MemberSetting) error {
	if err := checkMember(group, user); err != nil {
		return err
	}
	return c.ask(ctx, protocol.OpSetMember, nil, &protocol.SetMemberArgs{
		Group: group, User: user, Role: to.Role, MutedUntil: to.MutedUntil,
	})
}

// A GroupSetting changes a group; zero fields change nothing.
type GroupSetting struct {
	Name       *string
	Properties map[string]any // replace all that there are; nil leaves them
	Owner      string         // a member to offer the group to; they accept with AnswerOwner

	MaxMembers int
	Join       string // protocol.JoinInvite, JoinApprove or JoinOpen
	History    string // protocol.HistorySinceJoin, HistoryAll or HistoryNone
	Unread     *bool
	MutedAll   *bool // only the owner and admins may send
}

// SetGroup changes a group.
func (c *Client) SetGroup(ctx context.Context, group string, to GroupSetting) error {
	if !validGroup(group) {
		return wrong("group", protocol.GroupRule)
	}
	encoded, err := properties(to.Properties)
	if err != nil {
		return err
	}
	return c.ask(ctx, protocol.OpSetGroup, nil, &protocol.SetGroupArgs{
		Group: group, Name: to.Name, Properties: encoded, Owner: to.Owner,
		MaxMembers: to.MaxMembers, Join: to.Join, History: to.History, Unread: to.Unread, MutedAll: to.MutedAll,
	})
}

// Group returns a group's kind, properties and settings, and the user's role in it.
func (c *Client) Group(ctx context.Context, group string) (Group, error) {
	if !validGroup(group) {
		return Group{}, wrong("group", protocol.GroupRule)
	}
	var ok Group
	err := c.ask(ctx, protocol.OpGetGroup, &ok, &protocol.GroupArgs{Group: group})
	return ok, err
}

// Groups lists the groups of which the user is a member.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var groups []Group
	var args protocol.GetGroupsArgs
	for {
		var ok protocol.GroupsOK
		if err := c.ask(ctx, protocol.OpGetGroups, &ok, &args); err != nil {
			return nil, err
		}
		groups = append(groups, ok.Groups...)
		if !ok.More || len(ok.Groups) == 0 {
			return groups, nil
		}
		args.After = ok.Groups[len(ok.Groups)-1].Group
	}
}

// Members lists a group's members in order of name: up to limit (1-100, 0 = 20)
// of those whose names come behind after. more reports whether there are others.
func (c *Client) Members(ctx context.Context, group, after string, limit int) (members []Member, more bool, err error) {
	if err := checkPage(group, limit); err != nil {
		return nil, false, err
	}
	var ok protocol.MembersOK
	err = c.ask(ctx, protocol.OpGetMembers, &ok, &protocol.GetMembersArgs{Group: group, After: after, Limit: limit})
	return ok.Members, ok.More, err
}

// begin takes over the cursor that creating or joining a group returned, unless the device
// has one of the group already.
func (c *Client) begin(group, cursor string) {
	if c.disk == nil {
		c.had.begin(group, cursor)
		return
	}
	err := c.disk.Update(func(t *store.Tx) { t.BeginCursor(protocol.GroupCursor{Group: group, Cursor: cursor}) })
	if err != nil {
		c.cfg.Log.Error("cursor of a group not stored", "group", group, "err", err)
	}
}

// properties encodes the properties of a group; nil for nil.
func properties(p map[string]any) ([]byte, error) {
	if p == nil {
		return nil, nil
	}
	return protocol.EncodeBody(p)
}

func validGroup(group string) bool {
	_, err := protocol.ParseConv("g:" + group)
	return err == nil
}

func checkPage(group string, limit int) error {
	switch {
	case !validGroup(group):
		return wrong("group", protocol.GroupRule)
	case limit < 0 || limit > protocol.MaxMessages:
		return wrong("limit", "must be 1-%d, or 0 for %d", protocol.MaxMessages, protocol.DefaultPageLimit)
	}
	return nil
}

func checkMember(group, user string) error { return checkMembers(group, []string{user}) }

func checkMembers(group string, users []string) error {
	if !validGroup(group) {
		return wrong("group", protocol.GroupRule)
	}
	return checkUsers(users)
}
