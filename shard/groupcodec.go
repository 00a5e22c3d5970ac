package shard

// Bounds of the fields of commands on groups. The edge bounds members of a new
// group and users of one request far lower.
const (
	MaxGroupName       = 256
	MaxGroupProperties = 8 << 10
	MaxJoinMessage     = 256
	maxGroup           = 48
	maxUsers           = 10_000
)

// A groupCommandSet holds one value of each command on groups, see commandSet.
type groupCommandSet struct {
	create       CreateGroup
	join         JoinGroup
	leave        LeaveGroup
	dismiss      DismissGroup
	answer       AnswerJoin
	add          AddMembers
	remove       RemoveMembers
	setMember    SetMember
	set          SetGroup
	send         SendGroup
	read         ReadGroup
	recall       RecallGroup
	deleteSender DeleteSender
	hideMessages HideMessages
	hide         HideGroup
	setView      SetGroupView
	answerOwner  AnswerOwner
	unban        Unban
}

func (cs *groupCommandSet) get(k kind) Command {
	switch k {
	case kindCreateGroup:
		return &cs.create
	case kindJoinGroup:
		return &cs.join
	case kindLeaveGroup:
		return &cs.leave
	case kindDismissGroup:
		return &cs.dismiss
	case kindAnswerJoin:
		return &cs.answer
	case kindAddMembers:
		return &cs.add
	case kindRemoveMembers:
		return &cs.remove
	case kindSetMember:
		return &cs.setMember
	case kindSetGroup:
		return &cs.set
	case kindSendGroup:
		return &cs.send
	case kindReadGroup:
		return &cs.read
	case kindRecallGroup:
		return &cs.recall
	case kindDeleteSender:
		return &cs.deleteSender
	case kindHideMessages:
		return &cs.hideMessages
	case kindHideGroup:
		return &cs.hide
	case kindSetGroupView:
		return &cs.setView
	case kindAnswerOwner:
		return &cs.answerOwner
	case kindUnban:
		return &cs.unban
	}
	return nil
}

func (d *decoder) group() GroupID { return GroupID(d.text(maxGroup)) }

func appendUsers(b []byte, users []UserID) []byte {
	b = appendUint(b, uint64(len(users)))
	for _, u := range users {
		b = appendBytes(b, u)
	}
	return b
}

func (d *decoder) users() []UserID {
	n := d.count(1)
	if n > maxUsers {
		d.fail(errMalformed)
		return nil
	}
	if n == 0 || d.check {
		for range n {
			d.user()
		}
		return nil
	}
	users := make([]UserID, n)
	for i := range users {
		users[i] = d.user()
	}
	return users
}

// appendBlob writes bytes that may be absent.
func appendBlob(b, v []byte) []byte {
	if b = appendBool(b, v != nil); v == nil {
		return b
	}
	return appendBytes(b, v)
}

func (d *decoder) blob(limit int) []byte {
	if !d.bool() {
		return nil
	}
	v := d.bytes()
	if len(v) > limit {
		d.fail(errMalformed)
	}
	if v == nil {
		v = []byte{}
	}
	return v
}

func appendSettings(b []byte, v GroupSettings) []byte {
	b = appendUint(b, uint64(v.MaxMembers))
	b = append(b, byte(v.Join), byte(v.History))
	return appendBool(appendBool(appendBool(b, v.Unread), v.Stored), v.MutedAll)
}

func (d *decoder) settings() GroupSettings {
	v := GroupSettings{
		MaxMembers: int(d.uintMax(1 << 31)), Join: JoinMode(d.byte()), History: GroupHistory(d.byte()),
		Unread: d.bool(), Stored: d.bool(), MutedAll: d.bool(),
	}
	if v.Join < JoinByInvitation || v.Join > JoinOpen || v.History < HistorySinceJoin || v.History > HistoryNone {
		d.fail(errMalformed)
	}
	return v
}

func (c *SettingsChange) append(b []byte) []byte {
	if b = appendBool(b, c.MaxMembers != nil); c.MaxMembers != nil {
		b = appendUint(b, uint64(*c.MaxMembers))
	}
	b = append(b, byte(c.Join), byte(c.History))
	return appendOptional(appendOptional(b, c.Unread), c.MutedAll)
}

func (d *decoder) settingsChange() (c SettingsChange) {
	if d.bool() {
		most := int(d.uintMax(1 << 31))
		if !d.check {
			c.MaxMembers = &most
		}
	}
	c.Join, c.History = JoinMode(d.byte()), GroupHistory(d.byte())
	c.Unread, c.MutedAll = d.optional(), d.optional()
	if c.Join > JoinOpen || c.History > HistoryNone {
		d.fail(errMalformed)
	}
	return c
}

func (d *decoder) groupKind() GroupKind {
	k := GroupKind(d.byte())
	if k < GroupPrivate || k > GroupLive {
		d.fail(errMalformed)
	}
	return k
}

func (c *CreateGroup) append(b []byte) []byte {
	b = appendBytes(b, c.Group)
	b = appendBytes(b, c.By)
	b = appendBytes(b, c.Owner)
	b = append(b, byte(c.Kind))
	b = appendSettings(b, c.Settings)
	b = appendBytes(b, c.Name)
	b = appendBlob(b, c.Properties)
	b = appendUsers(b, c.Members)
	return appendUint(b, c.Salt)
}

func (c *CreateGroup) decode(d *decoder) {
	*c = CreateGroup{
		Group: d.group(), By: d.user(), Owner: d.user(), Kind: d.groupKind(), Settings: d.settings(),
		Name: d.text(MaxGroupName), Properties: d.blob(MaxGroupProperties), Members: d.users(), Salt: d.uint(),
	}
}

func (c *JoinGroup) append(b []byte) []byte {
	return appendBytes(appendBytes(appendBytes(b, c.Group), c.User), c.Message)
}

func (c *JoinGroup) decode(d *decoder) {
	*c = JoinGroup{Group: d.group(), User: d.user(), Message: d.text(MaxJoinMessage)}
}

func (c *LeaveGroup) append(b []byte) []byte { return appendBytes(appendBytes(b, c.Group), c.User) }
func (c *LeaveGroup) decode(d *decoder)      { *c = LeaveGroup{Group: d.group(), User: d.user()} }

func (c *DismissGroup) append(b []byte) []byte { return appendBytes(appendBytes(b, c.Group), c.By) }
func (c *DismissGroup) decode(d *decoder)      { *c = DismissGroup{Group: d.group(), By: d.user()} }

func (c *AnswerJoin) append(b []byte) []byte {
	return appendBool(appendBytes(appendBytes(appendBytes(b, c.Group), c.By), c.User), c.Accept)
}

func (c *AnswerJoin) decode(d *decoder) {
	*c = AnswerJoin{Group: d.group(), By: d.user(), User: d.user(), Accept: d.bool()}
}

func (c *AddMembers) append(b []byte) []byte {
	return appendUsers(appendBytes(appendBytes(b, c.Group), c.By), c.Users)
}

func (c *AddMembers) decode(d *decoder) {
	*c = AddMembers{Group: d.group(), By: d.user(), Users: d.users()}
}

func (c *RemoveMembers) append(b []byte) []byte {
	return appendUint(appendUsers(appendBytes(appendBytes(b, c.Group), c.By), c.Users), uint64(c.Ban))
}

func (c *RemoveMembers) decode(d *decoder) {
	*c = RemoveMembers{Group: d.group(), By: d.user(), Users: d.users(), Ban: uint32(d.uintMax(MaxBan))}
}

func (c *Unban) append(b []byte) []byte {
	return appendBytes(appendBytes(appendBytes(b, c.Group), c.By), c.User)
}

func (c *Unban) decode(d *decoder) { *c = Unban{Group: d.group(), By: d.user(), User: d.user()} }

func (c *AnswerOwner) append(b []byte) []byte {
	return appendBool(appendBytes(appendBytes(b, c.Group), c.User), c.Accept)
}

func (c *AnswerOwner) decode(d *decoder) {
	*c = AnswerOwner{Group: d.group(), User: d.user(), Accept: d.bool()}
}

func (c *SetMember) append(b []byte) []byte {
	b = appendBytes(appendBytes(appendBytes(b, c.Group), c.By), c.User)
	b = append(b, byte(c.Role))
	if b = appendBool(b, c.MutedUntil != nil); c.MutedUntil != nil {
		b = appendInt(b, *c.MutedUntil)
	}
	return b
}

func (c *SetMember) decode(d *decoder) {
	*c = SetMember{Group: d.group(), By: d.user(), User: d.user(), Role: Role(d.byte())}
	if c.Role > RoleAdmin {
		d.fail(errMalformed)
	}
	if d.bool() {
		v := d.int()
		if !d.check {
			c.MutedUntil = &v
		}
	}
}

func (c *SetGroup) append(b []byte) []byte {
	b = appendBytes(appendBytes(b, c.Group), c.By)
	if b = appendBool(b, c.Name != nil); c.Name != nil {
		b = appendBytes(b, *c.Name)
	}
	b = appendBlob(b, c.Properties)
	return c.Settings.append(appendBytes(b, c.Owner))
}

func (c *SetGroup) decode(d *decoder) {
	*c = SetGroup{Group: d.group(), By: d.user()}
	if d.bool() {
		name := d.text(MaxGroupName)
		if !d.check {
			c.Name = &name
		}
	}
	c.Properties = d.blob(MaxGroupProperties)
	c.Owner, c.Settings = d.user(), d.settingsChange()
}

func (c *SendGroup) append(b []byte) []byte {
	b = appendBytes(b, c.Group)
	b = appendBytes(b, c.User)
	b = appendUint(b, uint64(c.Session))
	b = appendBool(b, c.Admin)
	b = append(b, c.ID[:]...)
	b = appendBytes(b, c.CID)
	b = appendUint(b, uint64(c.TTL))
	b = appendBool(b, c.Retry)
	b = appendMentions(b, c.Mentions)
	return appendBytes(b, c.Body)
}

func (c *SendGroup) decode(d *decoder) {
	*c = SendGroup{
		Group: d.group(), User: d.user(), Session: SessionID(d.uint()), Admin: d.bool(), ID: d.id(),
		CID: d.text(MaxName), TTL: uint32(d.uintMax(1<<32 - 1)), Retry: d.bool(), Mentions: d.mentions(), Body: d.body(),
	}
}

func (c *ReadGroup) append(b []byte) []byte {
	b = appendUint(appendBytes(appendBytes(b, c.Group), c.User), uint64(c.Session))
	return appendBool(appendUint(b, c.Seq), c.Back)
}

func (c *ReadGroup) decode(d *decoder) {
	*c = ReadGroup{Group: d.group(), User: d.user(), Session: SessionID(d.uint()), Seq: d.uint(), Back: d.bool()}
}

func (c *RecallGroup) append(b []byte) []byte {
	return appendBool(appendUint(appendBytes(appendBytes(b, c.Group), c.By), c.Seq), c.Silent)
}

func (c *RecallGroup) decode(d *decoder) {
	*c = RecallGroup{Group: d.group(), By: d.user(), Seq: d.uint(), Silent: d.bool()}
}

func (c *DeleteSender) append(b []byte) []byte {
	return appendBool(appendBytes(appendBytes(b, c.Group), c.Sender), c.Silent)
}

func (c *DeleteSender) decode(d *decoder) {
	*c = DeleteSender{Group: d.group(), Sender: d.user(), Silent: d.bool()}
}

func (c *HideMessages) append(b []byte) []byte {
	b = appendUint(appendBytes(appendBytes(b, c.Group), c.User), uint64(c.Session))
	return appendSeqs(b, c.Seqs)
}

func (c *HideMessages) decode(d *decoder) {
	*c = HideMessages{Group: d.group(), User: d.user(), Session: SessionID(d.uint()), Seqs: d.seqs(c.Seqs[:0])}
}

func (c *HideGroup) append(b []byte) []byte {
	b = appendUint(appendBytes(appendBytes(b, c.Group), c.User), uint64(c.Session))
	return appendBool(b, c.Messages)
}

func (c *HideGroup) decode(d *decoder) {
	*c = HideGroup{Group: d.group(), User: d.user(), Session: SessionID(d.uint()), Messages: d.bool()}
}

func (c *SetGroupView) append(b []byte) []byte {
	b = appendBytes(appendBytes(b, c.Group), c.User)
	return appendOptional(appendOptional(appendOptional(b, c.Muted), c.Pinned), c.Unread)
}

func (c *SetGroupView) decode(d *decoder) {
	*c = SetGroupView{Group: d.group(), User: d.user(), Muted: d.optional(), Pinned: d.optional(), Unread: d.optional()}
}
