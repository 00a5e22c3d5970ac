package protocol

// CreateGroupOK answers createGroup.
type CreateGroupOK struct {
	Group  string
	Cursor string          // of the group, for a device that has none; "" in a live group
	Failed []MemberFailure // nil = all became members
}

func (r *CreateGroupOK) encode(e *encoder) {
	e.textField("group", r.Group)
	e.optText("cursor", r.Cursor)
	if len(r.Failed) > 0 {
		e.memberFailures(r.Failed)
	}
}

// Decode reads the reply to a createGroup.
func (r *CreateGroupOK) Decode(ok Raw) error {
	*r = CreateGroupOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			r.Group = d.group()
		case "cursor":
			r.Cursor = d.text(0, MaxFrame)
		case "failed":
			r.Failed = d.memberFailures()
		default:
			d.skip()
		}
	}
	d.require("group", r.Group != "")
	return d.err
}

// JoinGroupOK answers joinGroup.
type JoinGroupOK struct {
	Pending bool   // an admin has to approve
	Cursor  string // of the group, for a device that has none; "" while pending, and in a live group
}

func (r *JoinGroupOK) encode(e *encoder) {
	e.optBool("pending", r.Pending)
	e.optText("cursor", r.Cursor)
}

// Decode reads the reply to a joinGroup.
func (r *JoinGroupOK) Decode(ok Raw) error {
	*r = JoinGroupOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "pending":
			r.Pending = d.bool()
		case "cursor":
			r.Cursor = d.text(0, MaxFrame)
		default:
			d.skip()
		}
	}
	return d.err
}

// SetGroupOK answers setGroup.
type SetGroupOK struct {
	Pending bool // the new owner has to accept
}

func (r *SetGroupOK) encode(e *encoder) { e.optBool("pending", r.Pending) }

// Decode reads the reply to a setGroup.
func (r *SetGroupOK) Decode(ok Raw) error {
	var join JoinGroupOK
	err := join.Decode(ok)
	*r = SetGroupOK{Pending: join.Pending}
	return err
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

func (r *BansOK) encode(e *encoder) {
	e.key("bans")
	e.array(len(r.Bans))
	for _, ban := range r.Bans {
		m := e.beginMap()
		e.textField("user", ban.User)
		e.intField("until", ban.Until)
		e.endMap(m)
	}
	e.endArray()
	e.boolField("more", r.More)
}

// Decode reads the reply to a getBans.
func (r *BansOK) Decode(ok Raw) error {
	*r = BansOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "bans":
			r.Bans = d.bans()
		case "more":
			r.More = d.bool()
		default:
			d.skip()
		}
	}
	return d.err
}

func (d *decoder) bans() []Ban {
	bs, a := makeList[Ban](d, memberLen)
	for i := 0; d.elem(&a); i++ {
		for o := d.object(); d.next(&o); {
			switch string(o.key) {
			case "user":
				bs[i].User = d.user()
			case "until":
				bs[i].Until = d.int()
			default:
				d.skip()
			}
		}
		d.check(bs[i].User != "", "bans", "must have user in each element")
	}
	d.endArray(a)
	return bs
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

func (r *AddMembersOK) encode(e *encoder) { encodeMembers(e, "added", r.Added, r.Failed) }

// Decode reads the reply to an addMembers.
func (r *AddMembersOK) Decode(ok Raw) (err error) {
	r.Added, r.Failed, err = decodeMembers(ok, "added")
	return err
}

func (r *RemoveMembersOK) encode(e *encoder) { encodeMembers(e, "removed", r.Removed, r.Failed) }

// Decode reads the reply to a removeMembers.
func (r *RemoveMembersOK) Decode(ok Raw) (err error) {
	r.Removed, r.Failed, err = decodeMembers(ok, "removed")
	return err
}

func encodeMembers(e *encoder, name string, users []string, failed []MemberFailure) {
	e.texts(name, users)
	e.memberFailures(failed)
}

func (e *encoder) memberFailures(failed []MemberFailure) {
	e.key("failed")
	e.array(len(failed))
	for _, f := range failed {
		m := e.beginMap()
		e.textField("user", f.User)
		e.textField("code", f.Code)
		e.endMap(m)
	}
	e.endArray()
}

func decodeMembers(ok Raw, name string) (users []string, failed []MemberFailure, err error) {
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case name:
			users = d.userList()
		case "failed":
			failed = d.memberFailures()
		default:
			d.skip()
		}
	}
	return users, failed, d.err
}

func (d *decoder) memberFailures() []MemberFailure {
	fs, a := makeList[MemberFailure](d, failureLen)
	for i := 0; d.elem(&a); i++ {
		for o := d.object(); d.next(&o); {
			switch string(o.key) {
			case "user":
				fs[i].User = d.user()
			case "code":
				fs[i].Code = d.text(1, MaxFrame)
			default:
				d.skip()
			}
		}
		d.check(fs[i].User != "" && fs[i].Code != "", "failed", "must have user and code in each element")
	}
	d.endArray(a)
	return fs
}

// GroupOK answers getGroup, and is an element of the answer to getGroups, which
// leaves out Properties and what comes after it.
type GroupOK struct {
	Group       string
	Kind        string
	Name        string
	Owner       string
	MemberCount int
	LastSeq     uint64
	Role        string // of the user who asks
	Properties  []byte // a map as canonical msgpack; nil = none
	Settings    *GroupSettings
	Requests    []JoinRequest // for the owner and admins, oldest first
	Offered     string        // for members: who may become the owner by answerOwner; "" = nobody
}

// GroupSettings are what a group's kind, or who made it, has set.
type GroupSettings struct {
	MaxMembers int    // 0 = no limit
	Join       string // one of the Join constants
	History    string // one of the History constants
	Unread     bool   // members have a number of unread messages
	Stored     bool   // messages are kept
	MutedAll   bool   // only the owner and admins may send
}

// A JoinRequest waits for an admin.
type JoinRequest struct {
	User    string
	Message string
	Time    int64 // ms
}

func (r *GroupOK) encode(e *encoder) {
	e.textField("group", r.Group)
	e.textField("kind", r.Kind)
	e.textField("name", r.Name)
	e.textField("owner", r.Owner)
	e.intField("memberCount", int64(r.MemberCount))
	e.uintField("lastSeq", r.LastSeq)
	e.optText("role", r.Role)
	e.optBody("properties", r.Properties)
	if r.Settings != nil {
		e.key("settings")
		m := e.beginMap()
		r.Settings.encode(e)
		e.endMap(m)
	}
	if len(r.Requests) > 0 {
		e.joinRequests("requests", r.Requests)
	}
	e.optText("ownerOffered", r.Offered)
}

func (g *GroupSettings) encode(e *encoder) {
	e.optInt("maxMembers", int64(g.MaxMembers))
	e.textField("join", g.Join)
	e.textField("history", g.History)
	e.boolField("unread", g.Unread)
	e.boolField("stored", g.Stored)
	e.optBool("mutedAll", g.MutedAll)
}

func (g *GroupSettings) decode(d *decoder) {
	*g = GroupSettings{}
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "maxMembers":
			g.MaxMembers = int(d.int())
		case "join":
			g.Join = d.text(0, MaxFrame)
		case "history":
			g.History = d.text(0, MaxFrame)
		case "unread":
			g.Unread = d.bool()
		case "stored":
			g.Stored = d.bool()
		case "mutedAll":
			g.MutedAll = d.bool()
		default:
			d.skip()
		}
	}
}

func (e *encoder) joinRequests(name string, requests []JoinRequest) {
	e.key(name)
	e.array(len(requests))
	for _, q := range requests {
		m := e.beginMap()
		e.textField("user", q.User)
		e.optText("message", q.Message)
		e.intField("time", q.Time)
		e.endMap(m)
	}
	e.endArray()
}

func (d *decoder) joinRequests() []JoinRequest {
	qs, a := makeList[JoinRequest](d, joinRequestLen)
	for i := 0; d.elem(&a); i++ {
		for o := d.object(); d.next(&o); {
			switch string(o.key) {
			case "user":
				qs[i].User = d.user()
			case "message":
				qs[i].Message = d.text(0, MaxFrame)
			case "time":
				qs[i].Time = d.int()
			default:
				d.skip()
			}
		}
		d.check(qs[i].User != "", "requests", "must have user in each element")
	}
	d.endArray(a)
	return qs
}

// Decode reads the reply to a getGroup.
func (r *GroupOK) Decode(ok Raw) error {
	d := ok.decoder()
	r.decode(&d)
	return d.err
}

func (r *GroupOK) decode(d *decoder) {
	*r = GroupOK{}
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "group":
			r.Group = d.group()
		case "kind":
			r.Kind = d.text(1, MaxFrame)
		case "name":
			r.Name = d.text(0, MaxFrame)
		case "owner":
			r.Owner = d.text(0, MaxUserLen)
		case "memberCount":
			r.MemberCount = int(d.int())
		case "lastSeq":
			r.LastSeq = d.uint(0, MaxInt)
		case "role":
			r.Role = d.text(0, MaxFrame)
		case "properties":
			r.Properties = d.body(maxBodyOfServer)
		case "settings":
			r.Settings = new(GroupSettings)
			r.Settings.decode(d)
		case "requests":
			r.Requests = d.joinRequests()
		case "ownerOffered":
			r.Offered = d.text(0, MaxUserLen)
		default:
			d.skip()
		}
	}
	d.require("group", r.Group != "")
	d.require("kind", r.Kind != "")
}

// GroupsOK answers getGroups.
type GroupsOK struct {
	Groups []GroupOK // ascending by id
	More   bool
}

func (r *GroupsOK) encode(e *encoder) {
	e.key("groups")
	e.array(len(r.Groups))
	for i := range r.Groups {
		m := e.beginMap()
		r.Groups[i].encode(e)
		e.endMap(m)
	}
	e.endArray()
	e.boolField("more", r.More)
}

// Decode reads the reply to a getGroups.
func (r *GroupsOK) Decode(ok Raw) error {
	*r = GroupsOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "groups":
			var a array
			r.Groups, a = makeList[GroupOK](&d, groupLen)
			for i := 0; d.elem(&a); i++ {
				r.Groups[i].decode(&d)
			}
			d.endArray(a)
		case "more":
			r.More = d.bool()
		default:
			d.skip()
		}
	}
	return d.err
}

// MembersOK answers getMembers.
type MembersOK struct {
	Members []Member
	More    bool
}

// A Member is one of a group.
type Member struct {
	User       string
	Role       string // one of the Role constants
	MutedUntil int64  // ms; 0 = not muted
}

func (r *MembersOK) encode(e *encoder) {
	e.key("members")
	e.array(len(r.Members))
	for _, member := range r.Members {
		m := e.beginMap()
		e.textField("user", member.User)
		e.textField("role", member.Role)
		e.optInt("mutedUntil", member.MutedUntil)
		e.endMap(m)
	}
	e.endArray()
	e.boolField("more", r.More)
}

// Decode reads the reply to a getMembers.
func (r *MembersOK) Decode(ok Raw) error {
	*r = MembersOK{}
	d := ok.decoder()
	for o := d.object(); d.next(&o); {
		switch string(o.key) {
		case "members":
			r.Members = d.members()
		case "more":
			r.More = d.bool()
		default:
			d.skip()
		}
	}
	return d.err
}

func (d *decoder) members() []Member {
	ms, a := makeList[Member](d, memberLen)
	for i := 0; d.elem(&a); i++ {
		for o := d.object(); d.next(&o); {
			switch string(o.key) {
			case "user":
				ms[i].User = d.user()
			case "role":
				ms[i].Role = d.text(0, MaxFrame)
			case "mutedUntil":
				ms[i].MutedUntil = d.int()
			default:
				d.skip()
			}
		}
		d.check(ms[i].User != "", "members", "must have user in each element")
	}
	d.endArray(a)
	return ms
}
