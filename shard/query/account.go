package query

import (
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// A Contact query reads what is known of a user and, if Peer is set, of the user's
// conversation with Peer.
type Contact struct {
	User command.UserID
	Peer command.UserID

	Now             int64 // ms, the time of the answer
	Known           bool  // the shard keeps something of the user, if only a message to them
	Exists          bool  // as in UserInfo
	Suspended       bool
	LastSeen        int64 // ms, 0 = never
	HasConversation bool  // the conversation has, or had, messages
	ReceivedFrom    bool  // Peer has written to the user
	SentTo          bool  // the user has written to Peer
	Blocks          bool  // the user has blocked Peer
	BlockedBy       bool  // Peer has blocked the user, as far as letters have arrived
}

func (q *Contact) Slot() int           { return slotOfUser(q.User) }
func (q *Contact) args(x *codec.Coder) { texts(x, &q.User, &q.Peer) }

func (q *Contact) result(x *codec.Coder) {
	ints(x, &q.Now, &q.LastSeen)
	bools(x, &q.Known, &q.Exists, &q.Suspended, &q.HasConversation, &q.ReceivedFrom, &q.SentTo, &q.Blocks, &q.BlockedBy)
}

// A Contacts query reads for each of several peers whether they have written to the
// user and whether they have blocked the user.
type Contacts struct {
	User  command.UserID
	Peers []command.UserID

	ReceivedFrom []bool // as in Contact; element i is about Peers[i]
	BlockedBy    []bool
}

func (q *Contacts) Slot() int { return slotOfUser(q.User) }

func (q *Contacts) args(x *codec.Coder) {
	texts(x, &q.User)
	names(x, &q.Peers)
}

func (q *Contacts) result(x *codec.Coder) {
	flags(x, &q.ReceivedFrom)
	flags(x, &q.BlockedBy)
}

// An Eligibility query reads the facts that decide whether a user may be added to a
// group.
type Eligibility struct {
	User  command.UserID
	Asker command.UserID // may be empty

	Known       bool // the shard keeps something of the user
	Exists      bool // as in UserInfo
	Blocks      bool // the user has blocked the asker
	SentToAsker bool // the user has written to the asker
	Counts      GroupCounts
}

func (q *Eligibility) Slot() int           { return slotOfUser(q.User) }
func (q *Eligibility) args(x *codec.Coder) { texts(x, &q.User, &q.Asker) }

func (q *Eligibility) result(x *codec.Coder) {
	bools(x, &q.Known, &q.Exists, &q.Blocks, &q.SentToAsker)
	q.Counts.fields(x)
}

// A Sharing query reads which of several users are members of one of some groups by
// their own will, and have not blocked the asker.
type Sharing struct {
	Asker  command.UserID
	Groups []command.GroupID // ascending
	Users  []command.UserID  // their slots must be in one shard

	Sharing []bool // element i is about Users[i]; false if the user's slot is not in this shard
}

func (q *Sharing) Slot() int { return noSingleSlot }

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
	Known bool // the shard keeps something of the user, if only a message to them
}

func (q *User) Slot() int           { return slotOfUser(q.User) }
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

func (q *Sessions) Slot() int             { return slotOfUser(q.User) }
func (q *Sessions) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *Sessions) result(x *codec.Coder) { list(x, &q.Sessions, (*SessionInfo).fields) }

// Blocked reads whom a user has blocked, in order of name.
type Blocked struct {
	User command.UserID

	Users []command.UserID
}

func (q *Blocked) Slot() int             { return slotOfUser(q.User) }
func (q *Blocked) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *Blocked) result(x *codec.Coder) { names(x, &q.Users) }

// GroupsOf reads the groups that a user is a member of, in order of id.
type GroupsOf struct {
	User command.UserID

	Groups []GroupRef
}

func (q *GroupsOf) Slot() int             { return slotOfUser(q.User) }
func (q *GroupsOf) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *GroupsOf) result(x *codec.Coder) { list(x, &q.Groups, (*GroupRef).fields) }

// Unread reads the one-to-one conversations that have unread messages, in order of
// peer.
type Unread struct {
	User command.UserID

	Counts []UnreadCount
}

func (q *Unread) Slot() int             { return slotOfUser(q.User) }
func (q *Unread) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *Unread) result(x *codec.Coder) { list(x, &q.Counts, (*UnreadCount).fields) }

// UnreadTotal reads the number of unread one-to-one messages.
type UnreadTotal struct {
	User command.UserID

	Sum UnreadSum
}

func (q *UnreadTotal) Slot() int             { return slotOfUser(q.User) }
func (q *UnreadTotal) args(x *codec.Coder)   { texts(x, &q.User) }
func (q *UnreadTotal) result(x *codec.Coder) { q.Sum.fields(x) }

// GroupsUnread reads how many messages a member has unread in several groups together.
type GroupsUnread struct {
	User   command.UserID
	Groups []command.GroupID // their slots must be in one shard

	Sum UnreadSum // groups whose slot is not in this shard add nothing
}

func (q *GroupsUnread) Slot() int { return noSingleSlot }

func (q *GroupsUnread) args(x *codec.Coder) {
	texts(x, &q.User)
	names(x, &q.Groups)
}

func (q *GroupsUnread) result(x *codec.Coder) { q.Sum.fields(x) }

// UnreadSeqs reads the seqs of a conversation's unread messages, ascending.
type UnreadSeqs struct {
	User  command.UserID
	Peer  command.UserID
	Group command.GroupID // instead of Peer

	Seqs []uint64
}

func (q *UnreadSeqs) Slot() int { return slotOfConversation(q.User, q.Group) }

func (q *UnreadSeqs) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
}

func (q *UnreadSeqs) result(x *codec.Coder) { seqs(x, &q.Seqs) }

// Recents reads a user's recent conversations, newest first. It stops when their last
// messages take MaxBytes.
type Recents struct {
	User     command.UserID
	MaxBytes int

	List ConversationList
}

func (q *Recents) Slot() int { return slotOfUser(q.User) }

func (q *Recents) args(x *codec.Coder) {
	texts(x, &q.User)
	sizes(x, &q.MaxBytes)
}

func (q *Recents) result(x *codec.Coder) { q.List.fields(x) }

// A Conversations query reads one-to-one conversations in order of their newest
// message, newest first, whether that message is visible or not. Those that the user
// took off their recents are left out. It stops at Limit conversations, or when their
// last messages take MaxBytes.
type Conversations struct {
	User       command.UserID
	AfterPlace uint64 // Conversation.Place after which to begin; 0 = at the first
	Limit      int
	MaxBytes   int

	List ConversationList
}

func (q *Conversations) Slot() int { return slotOfUser(q.User) }

func (q *Conversations) args(x *codec.Coder) {
	texts(x, &q.User)
	uints(x, &q.AfterPlace)
	sizes(x, &q.Limit, &q.MaxBytes)
}

func (q *Conversations) result(x *codec.Coder) { q.List.fields(x) }

// An AllConversations query reads one-to-one conversations that hold messages, in the
// order in which they were made. Their LastSeq and Time are those of the newest entry,
// visible or not.
type AllConversations struct {
	User  command.UserID
	From  int // number of the conversation to begin with, from 0
	Limit int

	Conversations []Conversation
	Next          int // number from which to go on; 0 = all were read
}

func (q *AllConversations) Slot() int { return slotOfUser(q.User) }

func (q *AllConversations) args(x *codec.Coder) {
	texts(x, &q.User)
	sizes(x, &q.From, &q.Limit)
}

func (q *AllConversations) result(x *codec.Coder) {
	list(x, &q.Conversations, (*Conversation).fields)
	sizes(x, &q.Next)
}

// A QueuedMessage query reads a message that its receiver has not read yet, and what a
// push service needs besides it.
type QueuedMessage struct {
	User  command.UserID // receiver of the message, or a member of the group
	Peer  command.UserID
	Group command.GroupID // instead of Peer
	Seq   uint64

	Queued  bool // the message is still unread; if not, the other results are zero
	Message Message
	Info    QueuedInfo
}

func (q *QueuedMessage) Slot() int { return slotOfConversation(q.User, q.Group) }

func (q *QueuedMessage) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	texts(x, &q.Group)
	uints(x, &q.Seq)
}

func (q *QueuedMessage) result(x *codec.Coder) {
	bools(x, &q.Queued)
	q.Message.Fields(x)
	q.Info.fields(x)
}

// An ImportState query reads what an importer has to know about a conversation.
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

func (q *ImportState) Slot() int { return slotOfConversation(q.User, q.Group) }

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

// A SeqOf query reads the seq of the message with an id.
type SeqOf struct {
	User command.UserID
	Peer command.UserID
	ID   command.MsgID

	Seq uint64 // 0 = the conversation does not hold the message
}

func (q *SeqOf) Slot() int { return slotOfUser(q.User) }

func (q *SeqOf) args(x *codec.Coder) {
	texts(x, &q.User, &q.Peer)
	codec.Fixed(x, q.ID[:])
}

func (q *SeqOf) result(x *codec.Coder) { uints(x, &q.Seq) }
