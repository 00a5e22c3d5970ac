package query

import "github.com/belfry-im/belfry/shard/command"

// Contact reads what a user's shard knows at one look: of the user, and of their
// conversation with Peer, if Peer is set.
type Contact struct {
	User command.UserID
	Peer command.UserID

	Now       int64 // ms, as of which this is
	Known     bool  // something is kept of the user
	Exists    bool  // as in UserInfo
	Suspended bool
	LastSeen  int64 // ms, 0 = never
	Talked    bool  // the conversation is there, and has or had messages
	Heard     bool  // Peer has written to the user
	Wrote     bool  // the user has written to Peer
	Blocks    bool  // the user has blocked Peer
	BlockedBy bool  // Peer has blocked the user, as far as letters told
}

// Contacts reads which of several users one has blocked or been blocked by, and from
// whom they heard.
type Contacts struct {
	User  command.UserID
	Peers []command.UserID

	Heard     []bool // as in Contact, i for Peers[i]
	BlockedBy []bool
}

// Eligibility reads what matters of a user before they come to a group.
type Eligibility struct {
	User  command.UserID
	Asker command.UserID // may be empty

	Known  bool // something is kept of them already
	Exists bool // the account has logged in before
	Blocks bool // they have blocked the asker
	Wrote  bool // they have written to the asker
	Counts GroupCounts
}

// Sharing reads which of several users are in one of some groups by their own will,
// and have not blocked the asker.
type Sharing struct {
	Asker  command.UserID
	Groups []command.GroupID // ascending
	Users  []command.UserID  // of one shard

	Sharing []bool // i for Users[i]; false for one whose slot is not here
}

// User reads all that an administrator can see of a user.
type User struct {
	User command.UserID

	Info  UserInfo
	Known bool // there is something, if only a message to them
}

// Sessions reads a user's sessions in order of login.
type Sessions struct {
	User command.UserID

	Sessions []SessionInfo
}

// Blocked reads whom a user has blocked, in order of name.
type Blocked struct {
	User command.UserID

	Users []command.UserID
}

// GroupsOf reads the groups whose member a user is, by id.
type GroupsOf struct {
	User command.UserID

	Groups []GroupRef
}

// Unread reads the one-to-one conversations that have unread messages, in order of
// peer.
type Unread struct {
	User command.UserID

	Counts []UnreadCount
}

// UnreadTotal reads the number of unread one-to-one messages.
type UnreadTotal struct {
	User command.UserID

	Sum UnreadSum
}

// GroupsUnread reads the number of a member's unread messages in several groups.
type GroupsUnread struct {
	User   command.UserID
	Groups []command.GroupID // of one shard

	Sum UnreadSum // those whose slot is not here add nothing
}

// UnreadSeqs reads the seqs that make up the unread of a conversation, ascending.
type UnreadSeqs struct {
	User  command.UserID
	Peer  command.UserID
	Group command.GroupID // instead of Peer

	Seqs []uint64
}

// Recents reads the recent conversations, newest first, with about MaxBytes bytes of
// messages.
type Recents struct {
	User     command.UserID
	MaxBytes int

	List ConversationList
}

// Conversations reads one-to-one conversations, except those that the user has taken
// off their list: those with the newest message first, whether that can be shown or
// not, from behind a place on. There are at most Limit, and about MaxBytes bytes of
// messages.
type Conversations struct {
	User     command.UserID
	Behind   uint64 // a Conversation.Place; 0 = from the first
	Limit    int
	MaxBytes int

	List ConversationList
}

// AllConversations reads one-to-one conversations that hold messages, in the order in
// which they came to be. LastSeq and Time are those of the newest entry, whether it
// can be shown or not.
type AllConversations struct {
	User  command.UserID
	From  int // number of the first one
	Limit int

	Conversations []Conversation
	Next          int // number of the one to go on with, 0 = that was all
}

// QueuedMessage reads a message that its receiver has not read, and how its
// conversation stands for them.
type QueuedMessage struct {
	User  command.UserID // the receiver, or a member of the group
	Peer  command.UserID
	Group command.GroupID // instead of Peer
	Seq   uint64

	Queued  bool // false: it is not unread any more, and the rest is empty
	Message Message
	Info    QueuedInfo
}

// ImportState reads how an import finds a conversation.
type ImportState struct {
	User   command.UserID
	Peer   command.UserID
	Group  command.GroupID // instead of User and Peer
	Stream uint64

	Now  int64 // ms, as of which this is
	View ImportStatus
	// Code is OK, CodeNotFound if there is no such group, or CodeBadRequest if it
	// stores no messages.
	Code command.Code
}

// SeqOf reads the seq of a message.
type SeqOf struct {
	User command.UserID
	Peer command.UserID
	ID   command.MsgID

	Seq uint64 // 0: the conversation does not hold it
}

func (q *Contact) Slot() int          { return ofUser(q.User) }
func (q *Contacts) Slot() int         { return ofUser(q.User) }
func (q *Eligibility) Slot() int      { return ofUser(q.User) }
func (q *Sharing) Slot() int          { return ofMany }
func (q *User) Slot() int             { return ofUser(q.User) }
func (q *Sessions) Slot() int         { return ofUser(q.User) }
func (q *Blocked) Slot() int          { return ofUser(q.User) }
func (q *GroupsOf) Slot() int         { return ofUser(q.User) }
func (q *Unread) Slot() int           { return ofUser(q.User) }
func (q *UnreadTotal) Slot() int      { return ofUser(q.User) }
func (q *GroupsUnread) Slot() int     { return ofMany }
func (q *UnreadSeqs) Slot() int       { return ofConversation(q.User, q.Group) }
func (q *Recents) Slot() int          { return ofUser(q.User) }
func (q *Conversations) Slot() int    { return ofUser(q.User) }
func (q *AllConversations) Slot() int { return ofUser(q.User) }
func (q *QueuedMessage) Slot() int    { return ofConversation(q.User, q.Group) }
func (q *ImportState) Slot() int      { return ofConversation(q.User, q.Group) }
func (q *SeqOf) Slot() int            { return ofUser(q.User) }
