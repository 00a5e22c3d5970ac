package protocol

// Names of requests and notices.
const (
	OpLogin        = "login"
	OpAck          = "ack"
	OpRefreshToken = "refreshToken"
	OpSetState     = "setState"
	OpPing         = "ping"
	OpLogout       = "logout"

	OpSend               = "send"
	OpGetMessage         = "getMessage"
	OpGetRecents         = "getRecents"
	OpGetConversations   = "getConversations"
	OpReadReport         = "readReport"
	OpDeleteMessage      = "deleteMessage"
	OpDeleteConversation = "deleteConversation"
	OpSetConversation    = "setConversation"
	OpRecall             = "recall"
	OpTyping             = "typing"
	OpGetPresence        = "getPresence"
	OpSubscribePresence  = "subscribePresence"
	OpBlock              = "block"
	OpUnblock            = "unblock"
	OpGetBlocked         = "getBlocked"

	OpCreateGroup   = "createGroup"
	OpJoinGroup     = "joinGroup"
	OpLeaveGroup    = "leaveGroup"
	OpDismissGroup  = "dismissGroup"
	OpAnswerJoin    = "answerJoin"
	OpAddMembers    = "addMembers"
	OpRemoveMembers = "removeMembers"
	OpSetMember     = "setMember"
	OpSetGroup      = "setGroup"
	OpAnswerOwner   = "answerOwner"
	OpUnban         = "unban"
	OpGetBans       = "getBans"
	OpGetGroup      = "getGroup"
	OpGetMembers    = "getMembers"
	OpGetGroups     = "getGroups"
)

// Names of pushes.
const (
	OpOnNewMessage          = "onNewMessage"
	OpOnConversations       = "onConversations"
	OpOnSynced              = "onSynced"
	OpOnReadReport          = "onReadReport"
	OpOnReadReceipt         = "onReadReceipt"
	OpOnRecall              = "onRecall"
	OpOnConversationDeleted = "onConversationDeleted"
	OpOnMessageDeleted      = "onMessageDeleted"
	OpOnConversationChanged = "onConversationChanged"
	OpOnBlocked             = "onBlocked"
	OpOnGroupEvent          = "onGroupEvent"
	OpOnPresence            = "onPresence"
	OpOnTyping              = "onTyping"
	OpOnKicked              = "onKicked"
)

// An Op is a request or notice that clients may send.
type Op struct {
	Name   string
	Args   func() Args // returns new, empty args
	OK     func() OK   // returns a new, empty answer; NoOK if the answer has no content
	Notice bool        // it may be sent without id, and then is not answered
}

// Ops has all of them.
var Ops = []Op{
	op[LoginArgs, LoginOK](OpLogin),
	notice[AckArgs](OpAck),
	op[RefreshTokenArgs, RefreshOK](OpRefreshToken),
	op[SetStateArgs, NoOK](OpSetState),
	op[NoArgs, PingOK](OpPing),
	op[NoArgs, NoOK](OpLogout),

	op[SendArgs, SendOK](OpSend),
	op[GetMessageArgs, PageOK](OpGetMessage),
	op[NoArgs, ConversationsOK](OpGetRecents),
	op[GetConversationsArgs, ConversationsOK](OpGetConversations),
	op[ReadReportArgs, ReadReportOK](OpReadReport),
	op[DeleteMessageArgs, NoOK](OpDeleteMessage),
	op[DeleteConversationArgs, NoOK](OpDeleteConversation),
	op[SetConversationArgs, NoOK](OpSetConversation),
	op[RecallArgs, NoOK](OpRecall),
	notice[TypingArgs](OpTyping),
	op[PresenceArgs, PresenceOK](OpGetPresence),
	op[PresenceArgs, PresenceOK](OpSubscribePresence),
	op[BlockArgs, NoOK](OpBlock),
	op[BlockArgs, NoOK](OpUnblock),
	op[NoArgs, BlockedOK](OpGetBlocked),

	op[CreateGroupArgs, CreateGroupOK](OpCreateGroup),
	op[GroupArgs, JoinGroupOK](OpJoinGroup),
	op[GroupArgs, NoOK](OpLeaveGroup),
	op[GroupArgs, NoOK](OpDismissGroup),
	op[AnswerJoinArgs, NoOK](OpAnswerJoin),
	op[MembersArgs, AddMembersOK](OpAddMembers),
	op[MembersArgs, RemoveMembersOK](OpRemoveMembers),
	op[SetMemberArgs, NoOK](OpSetMember),
	op[SetGroupArgs, SetGroupOK](OpSetGroup),
	op[AnswerOwnerArgs, NoOK](OpAnswerOwner),
	op[UnbanArgs, NoOK](OpUnban),
	op[GetMembersArgs, BansOK](OpGetBans),
	op[GroupArgs, GroupOK](OpGetGroup),
	op[GetMembersArgs, MembersOK](OpGetMembers),
	op[GetGroupsArgs, GroupsOK](OpGetGroups),
}

// A Push is a frame that the server sends without a request.
type Push struct {
	Name string
	Args func() interface{ Decode(args Raw) error } // returns new, empty args
}

// Pushes has all of them.
var Pushes = []Push{
	push[NewMessage](OpOnNewMessage),
	push[SyncedPart](OpOnConversations),
	push[Synced](OpOnSynced),
	push[ReadReport](OpOnReadReport),
	push[ReadReceipt](OpOnReadReceipt),
	push[Recall](OpOnRecall),
	push[ConversationDeleted](OpOnConversationDeleted),
	push[MessageDeleted](OpOnMessageDeleted),
	push[ConversationChanged](OpOnConversationChanged),
	push[Blocked](OpOnBlocked),
	push[GroupEvent](OpOnGroupEvent),
	push[Presence](OpOnPresence),
	push[Typing](OpOnTyping),
	push[Kicked](OpOnKicked),
}

func op[A, O any, PA interface {
	*A
	Args
}, PO interface {
	*O
	OK
}](name string) Op {
	return Op{Name: name, Args: func() Args { return PA(new(A)) }, OK: func() OK { return PO(new(O)) }}
}

func notice[A any, PA interface {
	*A
	Args
}](name string) Op {
	o := op[A, NoOK, PA](name)
	o.Notice = true
	return o
}

func push[A any, PA interface {
	*A
	Decode(args Raw) error
}](name string) Push {
	return Push{name, func() interface{ Decode(args Raw) error } { return PA(new(A)) }}
}

// opNames maps the name of each op and push to itself, so that decoding
// allocates no string.
var opNames = func() map[string]string {
	m := make(map[string]string)
	for _, o := range Ops {
		m[o.Name] = o.Name
	}
	for _, p := range Pushes {
		m[p.Name] = p.Name
	}
	return m
}()
