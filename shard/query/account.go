package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A Contact reads what a user's shard knows of the user and, if Peer is set, of their
// conversation with Peer.
type Contact struct {
	User command.UserID
	Peer command.UserID

	Now             int64 // ms, the time of the answer
	Known           bool  // anything is kept of the user
	Exists          bool  // as in UserInfo
	Suspended       bool
	LastSeen        int64 // ms, 0 = never
	HasConversation bool  // the conversation has, or had, messages
	ReceivedFrom    bool  // Peer has written to the user
	SentTo          bool  // the user has written to Peer
	Blocks          bool  // the user has blocked Peer
	BlockedBy       bool  // Peer has blocked the user, as far as letters have arrived
}

func (q *Contact) Slot() int           { return ofUser(q.User) }
func (q *Contact) args(x *codec.Coder) { texts(x, &q.User, &q.Peer) }

func (q *Contact) result(x *codec.Coder) {
	ints(x, &q.Now, &q.LastSeen)
	bools(x, &q.Known, &q.Exists, &q.Suspended, &q.HasConversation, &q.ReceivedFrom, &q.SentTo, &q.Blocks, &q.BlockedBy)
}

// A Contacts reads which of several users one has blocked or been blocked by, and from
// whom they have received messages.
type Contacts struct {
	User  command.UserID
	Peers []command.UserID

	ReceivedFrom []bool // as in Contact, i for Peers[i]
	BlockedBy    []bool
}

func (q *Contacts) Slot() int { return ofUser(q.User) }

func (q *Contacts) args(x *codec.Coder) {
	texts(x, &q.User)
	names(x, &q.Peers)
}

func (q *Contacts) result(x *codec.Coder) {
	flags(x, &q.ReceivedFrom)
	flags(x, &q.BlockedBy)
}

// An Eligibility reads what decides whether a user may be added to a group.
type Eligibility struct {
	User  command.UserID
	Asker command.UserID // may be empty

	Known       bool // anything is kept of the user
	Exists      bool // the account has logged in before
	Blocks      bool // they have blocked the asker
	SentToAsker bool // they have written to the asker
	Counts      GroupCounts
}

func (q *Eligibility) Slot() int           { return ofUser(q.User) }
func (q *Eligibility) args(x *codec.Coder) { texts(x, &q.User, &q.Asker) }

func (q *Eligibility) result(x *codec.Coder) {
	bools(x, &q.Known, &q.Exists, &q.Blocks, &q.SentToAsker)
	q.Counts.fields(x)
}

// A Sharing reads which of several users are in one of some groups by their own will,
// and have not blocked the asker.
type Sharing struct {
	Asker  command.UserID
	Groups []command.GroupID // ascending
	Users  []command.UserID  // of one shard

	Sharing []bool // i for Users[i]; false for a user whose slot is not in this shard
}

func (q *Sharing) Slot() int { return ofMany }

func (q *Sharing) args(x *codec.Coder) {
	texts(x, &q.Asker)
	names(x, &q.Groups)
	names(x, &q.Users)
}

func (q *Sharing) result(x *codec.Coder) { flags(x, &q.Sharing) }

// A User query reads all that an administrator can see of a user.
type User struct {
	User command.UserID

	Info  UserInfo
	Known bool // there is anything, if only a message to them
}

func (q *User) Slot() int           { return ofUser(q.User) }
func (q *User) args(x *codec.Coder) { texts(x, &q.User) }

func (q *User) result(x *codec.Coder) {
	q.Info.fields(x)
	bools(x, &q.Known)
}

// Sessions reads a user's sessions in order of login.
type Sessions struct {
	User command.UserID

	Sessions []SessionInfo
}

func (q *Sessions) Slot() int             { return ofUser(q.User) }
func (q *Sessions) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *Sessions) result(x *codec.Coder) { list(x, &q.Sessions, (*SessionInfo).fields) }

// Blocked reads whom a user has blocked, in order of name.
type Blocked struct {
	User command.UserID

	Users []command.UserID
}

func (q *Blocked) Slot() int             { return ofUser(q.User) }
func (q *Blocked) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *Blocked) result(x *codec.Coder) { names(x, &q.Users) }

// GroupsOf reads the groups whose member a user is, by id.
type GroupsOf struct {
	User command.UserID

	Groups []GroupRef
}

func (q *GroupsOf) Slot() int             { return ofUser(q.User) }
func (q *GroupsOf) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *GroupsOf) result(x *codec.Coder) { list(x, &q.Groups, (*GroupRef).fields) }

// Unread reads the one-to-one conversations that have unread messages, in order of
// peer.
type Unread struct {
	User command.UserID

	Counts []UnreadCount
}

func (q *Unread) Slot() int             { return ofUser(q.User) }
func (q *Unread) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *Unread) result(x *codec.Coder) { list(x, &q.Counts, (*UnreadCount).fields) }

// UnreadTotal reads the number of unread one-to-one messages.
type UnreadTotal struct {
	User command.UserID

	Sum UnreadSum
}

func (q *UnreadTotal) Slot() int             { return ofUser(q.User) }
func (q *UnreadTotal) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *UnreadTotal) result(x *codec.Coder) { q.Sum.fields(x) }

// GroupsUnread reads the number of a member's unread messages in several groups.
type GroupsUnread struct {
	User   command.UserID
	Groups []command.GroupID // of one shard

	Sum UnreadSum // those whose slot is not here add nothing
}

func (q *GroupsUnread) Slot() int { return ofMany }

func (q *GroupsUnread) args(x *codec.Coder) {
	texts(x, &q.User)
	names(x, &q.Groups)
}

func (q *GroupsUnread) result(x *codec.Coder) { q.Sum.fields(x) }

// UnreadSeqs reads the seqs that make up the unread of a conversation, ascending.
type UnreadSeqs struct {
	User  command.UserID
	Peer  command.UserID
	Group command.GroupID // instead of Peer

	Seqs []uint64
}

func (q *UnreadSeqs) Slot() int { return ofConversation(q.User, q.Group) }

func (q *UnreadSeqs) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
}

func (q *UnreadSeqs) result(x *codec.Coder) { seqs(x, &q.Seqs) }

// Recents reads the recent conversations, newest first, with about MaxBytes bytes of
// messages.
type Recents struct {
	User     command.UserID
	MaxBytes int

	List ConversationList
}

func (q *Recents) Slot() int { return ofUser(q.User) }

func (q *Recents) args(x *codec.Coder) {
	texts(x, &q.User)
	sizes(x, &q.MaxBytes)
}

func (q *Recents) result(x *codec.Coder) { q.List.fields(x) }

// A Conversations reads one-to-one conversations, except those taken off recents, in
// order of their newest message, visible or not, newest first. There are at most Limit
// of them, and about MaxBytes of messages.
type Conversations struct {
	User       command.UserID
	AfterPlace uint64 // a Conversation.Place; 0 = from the first
	Limit      int
	MaxBytes   int

	List ConversationList
}

func (q *Conversations) Slot() int { return ofUser(q.User) }

func (q *Conversations) args(x *codec.Coder) {
	texts(x, &q.User)
	uints(x, &q.AfterPlace)
	sizes(x, &q.Limit, &q.MaxBytes)
}

func (q *Conversations) result(x *codec.Coder) { q.List.fields(x) }

// An AllConversations reads one-to-one conversations that hold messages, in the order
// in which they were made. LastSeq and Time are those of the newest entry, visible or
// not.
type AllConversations struct {
	User  command.UserID
	From  int // number of the first one
	Limit int

	Conversations []Conversation
	Next          int // number to go on from, 0 = that was all
}

func (q *AllConversations) Slot() int { return ofUser(q.User) }

func (q *AllConversations) args(x *codec.Coder) {
	texts(x, &q.User)
	sizes(x, &q.From, &q.Limit)
}

func (q *AllConversations) result(x *codec.Coder) {
	list(x, &q.Conversations, (*Conversation).fields)
	sizes(x, &q.Next)
}

// A QueuedMessage reads a message that its receiver has not read, and what a push
// service needs besides.
type QueuedMessage struct {
	User  command.UserID // the receiver, or a member of the group
	Peer  command.UserID
	Group command.GroupID // instead of Peer
	Seq   uint64

	Queued  bool // the message is still unread; if not, the rest is empty
	Message Message
	Info    QueuedInfo
}

func (q *QueuedMessage) Slot() int { return ofConversation(q.User, q.Group) }

func (q *QueuedMessage) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
	uints(x, &q.Seq)
}

func (q *QueuedMessage) result(x *codec.Coder) {
	bools(x, &q.Queued)
	q.Message.fields(x)
	q.Info.fields(x)
}

// An ImportState reads what an import has to know about a conversation.
type ImportState struct {
	User   command.UserID
	Peer   command.UserID
	Group  command.GroupID // instead of User and Peer
	Stream uint64

	Now    int64 // ms, the time of the answer
	Status ImportStatus
	// Code is OK, CodeNotFound if there is no such group, or CodeBadRequest if it
	// stores no messages.
	Code command.Code
}

func (q *ImportState) Slot() int { return ofConversation(q.User, q.Group) }

func (q *ImportState) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
	uints(x, &q.Stream)
}

func (q *ImportState) result(x *codec.Coder) {
	ints(x, &q.Now)
	q.Status.fields(x)
	codec.Byte(x, &q.Code)
}

// SeqOf reads the seq of a message.
type SeqOf struct {
	User command.UserID
	Peer command.UserID
	ID   command.MsgID

	Seq uint64 // 0 = the conversation does not hold the message
}

func (q *SeqOf) Slot() int { return ofUser(q.User) }

func (q *SeqOf) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	codec.Fixed(x, q.ID[:])
}

func (q *SeqOf) result(x *codec.Coder) { uints(x, &q.Seq) }
