package command

// Bounds of the fields of commands on groups. The edge bounds the members of a new
// group and the users of one request far lower.
const (
	MaxGroupName       = 256
	MaxGroupProperties = 8 << 10
	MaxJoinMessage     = 256
	MaxGroup           = 48
	MaxUsers           = 10_000
)

// A GroupCommandSet holds one value of each command on groups, see commandSet.
type GroupCommandSet struct {
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
	deleteSender DeleteMessagesFrom
	hideMessages HideMessages
	hide         HideGroup
	setView      SetGroupView
	answerOwner  AnswerOwner
	unban        Unban
}

func (cs *GroupCommandSet) Get(k kind) Command {
	switch k {
	case KindCreateGroup:
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
	case kindDeleteMessagesFrom:
		return &cs.deleteSender
	case kindHideMessages:
		return &cs.hideMessages
	case kindHideGroup:
		return &cs.hide
	case kindSetGroupView:
		return &cs.setView
	case kindAnswerOwner:
		return &cs.answerOwner
	case KindUnban:
		return &cs.unban
	}
	return nil
}

func AppendUsers(b []byte, users []UserID) []byte {
	b = AppendUint(b, uint64(len(users)))
	for _, u := range users {
		b = AppendBytes(b, u)
	}
	return b
}

// AppendBlob writes bytes that may be absent.
func AppendBlob(b, v []byte) []byte {
	if b = AppendBool(b, v != nil); v == nil {
		return b
	}
	return AppendBytes(b, v)
}

func AppendSettings(b []byte, v GroupSettings) []byte {
	b = AppendUint(b, uint64(v.MaxMembers))
	b = append(b, byte(v.Join), byte(v.History))
	return AppendBool(AppendBool(AppendBool(b, v.Unread), v.Stored), v.MutedAll)
}
