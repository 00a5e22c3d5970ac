package protocol

// Kinds of groups.
const (
	KindPrivate  = "private"
	KindPublic   = "public"
	KindChatroom = "chatroom"
	KindLive     = "live"
)

// Roles of members.
const (
	RoleOwner  = "owner"
	RoleAdmin  = "admin"
	RoleMember = "member"
)

// How users become members.
const (
	JoinInvite  = "invite"  // members add them
	JoinApprove = "approve" // an admin approves their request
	JoinOpen    = "open"
)

// What members may read of a group's log.
const (
	HistorySinceJoin = "sinceJoin"
	HistoryAll       = "all"
	HistoryNone      = "none"
)

// CreateGroupArgs are the args of createGroup.
type CreateGroupArgs struct {
	Group      string // "" = the server makes one up
	Kind       string // one of the Kind constants
	Name       string
	Members    []string // users
	Properties []byte   // a map as canonical msgpack; nil = absent

	// These take the place of the kind's own settings.
	MaxMembers int    // 1-10,000; 0 = the kind's
	Join       string // one of the Join constants; "" = the kind's
	History    string // one of the History constants; "" = the kind's
	Unread     *bool  // members have a number of unread messages; nil = as the kind
	MutedAll   *bool  // only the owner and admins may send; nil = as the kind

	Stored *bool // messages are kept; only as the kind says, which is what nil means
}

// GroupArgs are the args of joinGroup, leaveGroup, dismissGroup and getGroup.
type GroupArgs struct {
	Group   string
	Message string // for those who decide on a join
}

// AnswerJoinArgs are the args of answerJoin.
type AnswerJoinArgs struct {
	Group  string
	User   string
	Accept bool
}

// AnswerOwnerArgs are the args of answerOwner.
type AnswerOwnerArgs struct {
	Group  string
	Accept bool
}

// MembersArgs are the args of addMembers and removeMembers.
type MembersArgs struct {
	Group string
	Users []string // 1-100
	Ban   uint32   // of removeMembers: seconds for which they cannot come back, at most MaxBan; 0 = they can
}

// UnbanArgs are the args of unban.
type UnbanArgs struct {
	Group string
	User  string
}

// SetMemberArgs are the args of setMember.
type SetMemberArgs struct {
	Group      string
	User       string
	Role       string // RoleAdmin or RoleMember; "" leaves it
	MutedUntil *int64 // ms, 0 = not muted; nil leaves it
}

// SetGroupArgs are the args of setGroup.
type SetGroupArgs struct {
	Group      string
	Name       *string // nil leaves it
	Properties []byte  // a map as canonical msgpack; nil leaves them
	Owner      string  // "" leaves it

	MaxMembers int    // 1-10,000; 0 leaves it
	Join       string // one of the Join constants; "" leaves it
	History    string // one of the History constants; "" leaves it
	Unread     *bool  // nil leaves it
	MutedAll   *bool  // nil leaves it
}

// GetMembersArgs are the args of getMembers and getBans.
type GetMembersArgs struct {
	Group string
	After string // the last user of the page before; "" = from the beginning
	Limit int    // 1-100; default 20
}

// GetGroupsArgs are the args of getGroups.
type GetGroupsArgs struct {
	After string // the last group of the page before; "" = from the beginning
	Limit int    // 1-100; default 100
}

// Decode reads the args of a createGroup. Its errors are *FieldError.
func (a *CreateGroupArgs) Decode(args Raw) error {
	*a = CreateGroupArgs{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "kind":
			a.Kind = d.oneOf("must be private, public, chatroom or live", KindPrivate, KindPublic, KindChatroom, KindLive)
		case "name":
			a.Name = d.text(0, MaxGroupNameLen)
		case "members":
			a.Members = d.users(0, MaxGroupMembers)
		case "properties":
			a.Properties = d.properties()
		case "maxMembers":
			a.MaxMembers = int(d.uint(1, MaxMembersOfGroup))
		case "join":
			a.Join = d.oneOf("must be invite, approve or open", JoinInvite, JoinApprove, JoinOpen)
		case "history":
			a.History = d.oneOf("must be sinceJoin, all or none", HistorySinceJoin, HistoryAll, HistoryNone)
		case "unread":
			a.Unread = new(d.bool())
		case "mutedAll":
			a.MutedAll = new(d.bool())
		case "stored":
			a.Stored = new(d.bool())
		case "owner":
			d.fail("cannot be set: who makes the group owns it")
		case "settings":
			d.fail(settingsRule)
		default:
			d.skip()
		}
	}
	d.require("kind", a.Kind != "")
	return d.err
}

func (a *CreateGroupArgs) encode(e *encoder) {
	e.optText("group", a.Group)
	e.textField("kind", a.Kind)
	e.optText("name", a.Name)
	e.optTexts("members", a.Members)
	e.optBody("properties", a.Properties)
	e.optUint("maxMembers", uint64(a.MaxMembers))
	e.optText("join", a.Join)
	e.optText("history", a.History)
	e.optFlag("unread", a.Unread)
	e.optFlag("mutedAll", a.MutedAll)
	if a.Stored != nil {
		e.boolField("stored", *a.Stored)
	}
}

// Decode reads the args of a joinGroup, leaveGroup, dismissGroup or getGroup.
// Its errors are *FieldError.
func (a *GroupArgs) Decode(args Raw) error {
	*a = GroupArgs{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "message":
			a.Message = d.text(0, MaxJoinTextLen)
		default:
			d.skip()
		}
	}
	d.require("group", a.Group != "")
	return d.err
}

func (a *GroupArgs) encode(e *encoder) {
	e.textField("group", a.Group)
	e.optText("message", a.Message)
}

// Decode reads the args of an answerJoin. Its errors are *FieldError.
func (a *AnswerJoinArgs) Decode(args Raw) error {
	*a = AnswerJoinArgs{}
	d := args.decoder()
	hasAccept := false
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "user":
			a.User = d.user()
		case "accept":
			a.Accept, hasAccept = d.bool(), true
		default:
			d.skip()
		}
	}
	d.require("group", a.Group != "")
	d.require("user", a.User != "")
	d.require("accept", hasAccept)
	return d.err
}

func (a *AnswerJoinArgs) encode(e *encoder) {
	e.textField("group", a.Group)
	e.textField("user", a.User)
	e.boolField("accept", a.Accept)
}

// settingsRule is why settings are refused where getGroup has them.
const settingsRule = "cannot be set as a whole: maxMembers, join, history, unread and mutedAll stand beside group"

// Decode reads the args of an answerOwner. Its errors are *FieldError.
func (a *AnswerOwnerArgs) Decode(args Raw) error {
	*a = AnswerOwnerArgs{}
	d := args.decoder()
	hasAccept := false
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "accept":
			a.Accept, hasAccept = d.bool(), true
		default:
			d.skip()
		}
	}
	d.require("group", a.Group != "")
	d.require("accept", hasAccept)
	return d.err
}

func (a *AnswerOwnerArgs) encode(e *encoder) {
	e.textField("group", a.Group)
	e.boolField("accept", a.Accept)
}

// Decode reads the args of an unban. Its errors are *FieldError.
func (a *UnbanArgs) Decode(args Raw) error {
	*a = UnbanArgs{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "user":
			a.User = d.user()
		default:
			d.skip()
		}
	}
	d.require("group", a.Group != "")
	d.require("user", a.User != "")
	return d.err
}

func (a *UnbanArgs) encode(e *encoder) {
	e.textField("group", a.Group)
	e.textField("user", a.User)
}

// Decode reads the args of an addMembers or removeMembers. Its errors are
// *FieldError.
func (a *MembersArgs) Decode(args Raw) error {
	*a = MembersArgs{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "users":
			a.Users = d.users(1, MaxUsers)
		case "ban":
			a.Ban = uint32(d.uint(1, MaxBan))
		default:
			d.skip()
		}
	}
	d.require("group", a.Group != "")
	d.require("users", a.Users != nil)
	return d.err
}

func (a *MembersArgs) encode(e *encoder) {
	e.textField("group", a.Group)
	e.texts("users", a.Users)
	e.optUint("ban", uint64(a.Ban))
}

// Decode reads the args of a setMember. Its errors are *FieldError.
func (a *SetMemberArgs) Decode(args Raw) error {
	*a = SetMemberArgs{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "user":
			a.User = d.user()
		case "role":
			a.Role = d.oneOf("must be admin or member", RoleAdmin, RoleMember)
		case "mutedUntil":
			a.MutedUntil = new(d.int())
		default:
			d.skip()
		}
	}
	d.require("group", a.Group != "")
	d.require("user", a.User != "")
	return d.err
}

func (a *SetMemberArgs) encode(e *encoder) {
	e.textField("group", a.Group)
	e.textField("user", a.User)
	e.optText("role", a.Role)
	if a.MutedUntil != nil {
		e.intField("mutedUntil", *a.MutedUntil)
	}
}

// Decode reads the args of a setGroup. Its errors are *FieldError.
func (a *SetGroupArgs) Decode(args Raw) error {
	*a = SetGroupArgs{}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "name":
			a.Name = new(d.text(0, MaxGroupNameLen))
		case "properties":
			a.Properties = d.properties()
		case "owner":
			a.Owner = d.user()
		case "maxMembers":
			a.MaxMembers = int(d.uint(1, MaxMembersOfGroup))
		case "join":
			a.Join = d.oneOf("must be invite, approve or open", JoinInvite, JoinApprove, JoinOpen)
		case "history":
			a.History = d.oneOf("must be sinceJoin, all or none", HistorySinceJoin, HistoryAll, HistoryNone)
		case "unread":
			a.Unread = new(d.bool())
		case "mutedAll":
			a.MutedAll = new(d.bool())
		case "kind", "stored":
			d.fail("cannot be changed")
		case "members":
			d.fail("change with addMembers and removeMembers")
		case "settings":
			d.fail(settingsRule)
		default:
			d.skip()
		}
	}
	d.require("group", a.Group != "")
	return d.err
}

func (a *SetGroupArgs) encode(e *encoder) {
	e.textField("group", a.Group)
	if a.Name != nil {
		e.textField("name", *a.Name)
	}
	e.optBody("properties", a.Properties)
	e.optText("owner", a.Owner)
	e.optUint("maxMembers", uint64(a.MaxMembers))
	e.optText("join", a.Join)
	e.optText("history", a.History)
	e.optFlag("unread", a.Unread)
	e.optFlag("mutedAll", a.MutedAll)
}

// Decode reads the args of a getMembers or getBans. Its errors are *FieldError.
func (a *GetMembersArgs) Decode(args Raw) error {
	*a = GetMembersArgs{Limit: DefaultPageLimit}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			a.Group = d.group()
		case "after":
			a.After = d.user()
		case "limit":
			a.Limit = int(d.uint(1, MaxUsers))
		default:
			d.skip()
		}
	}
	d.require("group", a.Group != "")
	return d.err
}

func (a *GetMembersArgs) encode(e *encoder) {
	e.textField("group", a.Group)
	e.optText("after", a.After)
	e.optUint("limit", uint64(a.Limit))
}

// Decode reads the args of a getGroups. Its errors are *FieldError.
func (a *GetGroupsArgs) Decode(args Raw) error {
	*a = GetGroupsArgs{Limit: MaxGroups}
	d := args.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "after":
			a.After = d.group()
		case "limit":
			a.Limit = int(d.uint(1, MaxGroups))
		default:
			d.skip()
		}
	}
	return d.err
}

func (a *GetGroupsArgs) encode(e *encoder) {
	e.optText("after", a.After)
	e.optUint("limit", uint64(a.Limit))
}
