package protocol

// CreateGroupArgs are the args of createGroup.
type CreateGroupArgs struct {
	Group      string // "" = the server chooses one
	Kind       string // one of the Kind constants
	Name       string
	Members    []string // users
	Properties []byte   // a map as canonical msgpack; nil = absent

	// These replace the settings that come with the kind.
	MaxMembers int    // 1-10,000; 0 = the kind's
	Join       string // one of the Join constants; "" = the kind's
	History    string // one of the History constants; "" = the kind's
	Unread     *bool  // members have a number of unread messages; nil = as the kind says
	MutedAll   *bool  // only the owner and admins may send; nil = as the kind says

	StoresMessages *bool // messages are kept; nil = as the kind says, and any other value is refused
}

// Decode reads the args of a createGroup. Its errors are *FieldError.
func (a *CreateGroupArgs) Decode(args Raw) error { return decode(args, a) }
func (a *CreateGroupArgs) encode(e *encoder)     { e.record(a) }

func (a *CreateGroupArgs) fields(x *fields) {
	x.group("group", &a.Group, optional)
	x.word("kind", &a.Kind, GroupKinds, required)
	x.text("name", &a.Name, 0, MaxGroupNameLen, optional)
	x.users("members", &a.Members, 0, MaxGroupMembers, optional)
	x.properties("properties", &a.Properties)
	number(x, "maxMembers", &a.MaxMembers, 1, MaxMembersOfGroup, optional)
	x.word("join", &a.Join, JoinModes, optional)
	x.word("history", &a.History, Histories, optional)
	x.flag("unread", &a.Unread)
	x.flag("mutedAll", &a.MutedAll)
	x.flag("stored", &a.StoresMessages)
	x.refuse("owner", "cannot be set: who makes the group owns it")
	x.refuse("settings", settingsRule)
}

// settingsRule is the error for settings given as one object, in which getGroup
// returns them.
const settingsRule = "cannot be set as a whole: maxMembers, join, history, unread and mutedAll stand beside group"

// GroupArgs are the args of joinGroup, leaveGroup, dismissGroup and getGroup.
type GroupArgs struct {
	Group   string
	Message string // for the users who answer the request to join
}

// Decode reads the args of a joinGroup, leaveGroup, dismissGroup or getGroup.
// Its errors are *FieldError.
func (a *GroupArgs) Decode(args Raw) error { return decode(args, a) }
func (a *GroupArgs) encode(e *encoder)     { e.record(a) }

func (a *GroupArgs) fields(x *fields) {
	x.group("group", &a.Group, required)
	x.text("message", &a.Message, 0, MaxJoinTextLen, optional)
}

// AnswerJoinArgs are the args of answerJoin.
type AnswerJoinArgs struct {
	Group  string
	User   string
	Accept bool
}

// Decode reads the args of an answerJoin. Its errors are *FieldError.
func (a *AnswerJoinArgs) Decode(args Raw) error { return decode(args, a) }
func (a *AnswerJoinArgs) encode(e *encoder)     { e.record(a) }

func (a *AnswerJoinArgs) fields(x *fields) {
	x.group("group", &a.Group, required)
	x.user("user", &a.User, required)
	x.bool("accept", &a.Accept, required)
}

// AnswerOwnerArgs are the args of answerOwner.
type AnswerOwnerArgs struct {
	Group  string
	Accept bool
}

// Decode reads the args of an answerOwner. Its errors are *FieldError.
func (a *AnswerOwnerArgs) Decode(args Raw) error { return decode(args, a) }
func (a *AnswerOwnerArgs) encode(e *encoder)     { e.record(a) }

func (a *AnswerOwnerArgs) fields(x *fields) {
	x.group("group", &a.Group, required)
	x.bool("accept", &a.Accept, required)
}

// MembersArgs are the args of addMembers and removeMembers.
type MembersArgs struct {
	Group string
	Users []string // 1-100
	Ban   uint32   // of removeMembers: seconds for which they cannot join again, at most MaxBan; 0 = no ban
}

// Decode reads the args of an addMembers or removeMembers. Its errors are
// *FieldError.
func (a *MembersArgs) Decode(args Raw) error { return decode(args, a) }
func (a *MembersArgs) encode(e *encoder)     { e.record(a) }

func (a *MembersArgs) fields(x *fields) {
	x.group("group", &a.Group, required)
	x.users("users", &a.Users, 1, MaxUsers, required)
	number(x, "ban", &a.Ban, 1, MaxBan, optional)
}

// UnbanArgs are the args of unban.
type UnbanArgs struct {
	Group string
	User  string
}

// Decode reads the args of an unban. Its errors are *FieldError.
func (a *UnbanArgs) Decode(args Raw) error { return decode(args, a) }
func (a *UnbanArgs) encode(e *encoder)     { e.record(a) }

func (a *UnbanArgs) fields(x *fields) {
	x.group("group", &a.Group, required)
	x.user("user", &a.User, required)
}

// SetMemberArgs are the args of setMember.
type SetMemberArgs struct {
	Group      string
	User       string
	Role       string // RoleAdmin or RoleMember; "" leaves it
	MutedUntil *int64 // ms, 0 = not muted; nil leaves it
}

// Decode reads the args of a setMember. Its errors are *FieldError.
func (a *SetMemberArgs) Decode(args Raw) error { return decode(args, a) }
func (a *SetMemberArgs) encode(e *encoder)     { e.record(a) }

func (a *SetMemberArgs) fields(x *fields) {
	x.group("group", &a.Group, required)
	x.user("user", &a.User, required)
	x.word("role", &a.Role, SettableRoles, optional)
	x.optionalTime("mutedUntil", &a.MutedUntil)
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

// Decode reads the args of a setGroup. Its errors are *FieldError.
func (a *SetGroupArgs) Decode(args Raw) error { return decode(args, a) }
func (a *SetGroupArgs) encode(e *encoder)     { e.record(a) }

func (a *SetGroupArgs) fields(x *fields) {
	x.group("group", &a.Group, required)
	x.optionalText("name", &a.Name, 0, MaxGroupNameLen)
	x.properties("properties", &a.Properties)
	x.user("owner", &a.Owner, optional)
	number(x, "maxMembers", &a.MaxMembers, 1, MaxMembersOfGroup, optional)
	x.word("join", &a.Join, JoinModes, optional)
	x.word("history", &a.History, Histories, optional)
	x.flag("unread", &a.Unread)
	x.flag("mutedAll", &a.MutedAll)
	x.refuse("kind", "cannot be changed")
	x.refuse("stored", "cannot be changed")
	x.refuse("members", "change with addMembers and removeMembers")
	x.refuse("settings", settingsRule)
}

// GetMembersArgs are the args of getMembers and getBans.
type GetMembersArgs struct {
	Group string
	After string // the last user of the page before; "" = from the beginning
	Limit int    // 1-100; default 20
}

// Decode reads the args of a getMembers or getBans. Its errors are *FieldError.
func (a *GetMembersArgs) Decode(args Raw) error {
	*a = GetMembersArgs{Limit: DefaultPageLimit}
	return args.read(a)
}

func (a *GetMembersArgs) encode(e *encoder) { e.record(a) }

func (a *GetMembersArgs) fields(x *fields) {
	x.group("group", &a.Group, required)
	x.user("after", &a.After, optional)
	number(x, "limit", &a.Limit, 1, MaxUsers, optional)
}

// GetGroupsArgs are the args of getGroups.
type GetGroupsArgs struct {
	After string // the last group of the page before; "" = from the beginning
	Limit int    // 1-100; default 100
}

// Decode reads the args of a getGroups. Its errors are *FieldError.
func (a *GetGroupsArgs) Decode(args Raw) error {
	*a = GetGroupsArgs{Limit: MaxGroups}
	return args.read(a)
}

func (a *GetGroupsArgs) encode(e *encoder) { e.record(a) }

func (a *GetGroupsArgs) fields(x *fields) {
	x.group("after", &a.After, optional)
	number(x, "limit", &a.Limit, 1, MaxGroups, optional)
}
