package protocol

// CreateGroupOK answers createGroup.
type CreateGroupOK struct {
	Group  string
	Cursor string          // of the group, for devices without one; "" for a live group
	Failed []MemberFailure // nil = all became members
}

// Decode reads the reply to a createGroup.
func (r *CreateGroupOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *CreateGroupOK) encode(e *encoder)   { e.record(r) }

func (r *CreateGroupOK) fields(x *fields) {
	x.group("group", &r.Group, required)
	x.text("cursor", &r.Cursor, 0, MaxFrame, optional)
	list(x, "failed", &r.Failed, failureLen, optional)
}

// JoinGroupOK answers joinGroup.
type JoinGroupOK struct {
	Pending bool   // an admin has yet to approve
	Cursor  string // of the group, for devices without one; "" while pending, and for a live group
}

// Decode reads the reply to a joinGroup.
func (r *JoinGroupOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *JoinGroupOK) encode(e *encoder)   { e.record(r) }

func (r *JoinGroupOK) fields(x *fields) {
	x.bool("pending", &r.Pending, optional)
	x.text("cursor", &r.Cursor, 0, MaxFrame, optional)
}

// SetGroupOK answers setGroup.
type SetGroupOK struct {
	Pending bool // the new owner has yet to accept
}

// Decode reads the reply to a setGroup.
func (r *SetGroupOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *SetGroupOK) encode(e *encoder)   { e.record(r) }

func (r *SetGroupOK) fields(x *fields) {
	x.bool("pending", &r.Pending, optional)
}

// BansOK answers getBans.
type BansOK struct {
	Bans []Ban
	More bool
}

// A Ban keeps a user out of a group.
type Ban struct {
	User  string
	Until int64 // ms
}

// Decode reads the reply to a getBans.
func (r *BansOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *BansOK) encode(e *encoder)   { e.record(r) }

func (r *BansOK) fields(x *fields) {
	list(x, "bans", &r.Bans, memberLen, always)
	x.bool("more", &r.More, always)
}

func (b *Ban) fields(x *fields) {
	x.user("user", &b.User, always)
	count(x, "until", &b.Until, always)
	x.check(b.User != "", "bans", "must have user in each element")
}

// AddMembersOK answers addMembers.
type AddMembersOK struct {
	Added  []string
	Failed []MemberFailure
}

// RemoveMembersOK answers removeMembers.
type RemoveMembersOK struct {
	Removed []string
	Failed  []MemberFailure
}

// A MemberFailure is a user who was not added or removed.
type MemberFailure struct {
	User string
	Code string // one of the Code constants
}

// Decode reads the reply to an addMembers.
func (r *AddMembersOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *AddMembersOK) encode(e *encoder)   { e.record(r) }

func (r *AddMembersOK) fields(x *fields) {
	x.anyUsers("added", &r.Added, always)
	list(x, "failed", &r.Failed, failureLen, always)
}

// Decode reads the reply to a removeMembers.
func (r *RemoveMembersOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *RemoveMembersOK) encode(e *encoder)   { e.record(r) }

func (r *RemoveMembersOK) fields(x *fields) {
	x.anyUsers("removed", &r.Removed, always)
	list(x, "failed", &r.Failed, failureLen, always)
}

func (f *MemberFailure) fields(x *fields) {
	x.user("user", &f.User, always)
	x.text("code", &f.Code, 1, MaxFrame, always)
	x.check(f.User != "" && f.Code != "", "failed", "must have user and code in each element")
}

// GroupOK answers getGroup. It is also an element of the answer to getGroups,
// without Properties and the fields after that.
type GroupOK struct {
	Group       string
	Kind        string
	Name        string
	Owner       string
	MemberCount int
	LastSeq     uint64
	Role        string // of the user who asked
	Properties  []byte // a map as canonical msgpack; nil = none
	Settings    *GroupSettings
	Requests    []JoinRequest // for the owner and admins, oldest first
	Offered     string        // for members: the user who may become the owner by answerOwner; "" = nobody
}

// GroupSettings are the settings of a group: those of its kind, with changes by
// its owner.
type GroupSettings struct {
	MaxMembers     int    // 0 = no limit
	Join           string // one of the Join constants
	History        string // one of the History constants
	Unread         bool   // members have a number of unread messages
	StoresMessages bool   // messages are kept
	MutedAll       bool   // only the owner and admins may send
}

// A JoinRequest is a request to join that waits for an admin's answer.
type JoinRequest struct {
	User    string
	Message string
	Time    int64 // ms
}

// Decode reads the reply to a getGroup.
func (r *GroupOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *GroupOK) encode(e *encoder)   { e.record(r) }

func (r *GroupOK) fields(x *fields) {
	x.group("group", &r.Group, required)
	x.text("kind", &r.Kind, 1, MaxFrame, required)
	x.text("name", &r.Name, 0, MaxFrame, always)
	x.text("owner", &r.Owner, 0, MaxUserLen, always)
	count(x, "memberCount", &r.MemberCount, always)
	count(x, "lastSeq", &r.LastSeq, always)
	x.text("role", &r.Role, 0, MaxFrame, optional)
	x.body("properties", &r.Properties, maxBodyOfServer)
	if settings := pointer(x, "settings", &r.Settings); settings != nil {
		x.inner(settings)
	}
	list(x, "requests", &r.Requests, joinRequestLen, optional)
	x.text("ownerOffered", &r.Offered, 0, MaxUserLen, optional)
}

func (g *GroupSettings) fields(x *fields) {
	count(x, "maxMembers", &g.MaxMembers, optional)
	x.text("join", &g.Join, 0, MaxFrame, always)
	x.text("history", &g.History, 0, MaxFrame, always)
	x.bool("unread", &g.Unread, always)
	x.bool("stored", &g.StoresMessages, always)
	x.bool("mutedAll", &g.MutedAll, optional)
}

func (q *JoinRequest) fields(x *fields) {
	x.user("user", &q.User, always)
	x.text("message", &q.Message, 0, MaxFrame, optional)
	count(x, "time", &q.Time, always)
	x.check(q.User != "", "requests", "must have user in each element")
}

// GroupsOK answers getGroups.
type GroupsOK struct {
	Groups []GroupOK // ascending by id
	More   bool
}

// Decode reads the reply to a getGroups.
func (r *GroupsOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *GroupsOK) encode(e *encoder)   { e.record(r) }

func (r *GroupsOK) fields(x *fields) {
	list(x, "groups", &r.Groups, groupLen, always)
	x.bool("more", &r.More, always)
}

// MembersOK answers getMembers.
type MembersOK struct {
	Members []Member
	More    bool
}

// A Member is a member of a group.
type Member struct {
	User       string
	Role       string // one of the Role constants
	MutedUntil int64  // ms; 0 = not muted
}

// Decode reads the reply to a getMembers.
func (r *MembersOK) Decode(ok Raw) error { return decode(ok, r) }
func (r *MembersOK) encode(e *encoder)   { e.record(r) }

func (r *MembersOK) fields(x *fields) {
	list(x, "members", &r.Members, memberLen, always)
	x.bool("more", &r.More, always)
}

func (m *Member) fields(x *fields) {
	x.user("user", &m.User, always)
	x.text("role", &m.Role, 0, MaxFrame, always)
	count(x, "mutedUntil", &m.MutedUntil, optional)
	x.check(m.User != "", "members", "must have user in each element")
}
