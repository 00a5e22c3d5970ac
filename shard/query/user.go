package query

import "github.com/belfry-im/belfry/shard/command"

// An UnreadSum is the number of unread messages in several conversations
// together.
type UnreadSum struct {
	Total   int
	Unmuted int // in conversations that are not muted
}

// Add adds the unread messages of one conversation.
func (n *UnreadSum) Add(unread int, muted bool) {
	if n.Total += unread; !muted {
		n.Unmuted += unread
	}
}

// A SessionInfo describes a session that has not ended.
type SessionInfo struct {
	Number   command.SessionID
	Device   string
	Platform string
	LoginMS  int64
}

// A UserInfo is what an administrator can see of a user.
type UserInfo struct {
	User          command.UserID
	Exists        bool // the user has logged in, and was not erased since
	Settings      command.UserSettings
	Sessions      []SessionInfo // in order of login
	LastSeen      int64         // ms, the last replicated sign of life; 0 = none
	Conversations int           // one-to-one conversations that hold messages
	Messages      int           // number of messages in those conversations
	Bytes         int           // of those
	Queued        int           // messages in the offline queue: the unread ones of one-to-one conversations
	QueuedBytes   int
	Unread        int // in all conversations; the store adds the groups' unread, the shard does not
	Blocked       int // users whom the user has blocked
	Groups        []GroupRef
}

// A UserEntry is an entry in a list of users.
type UserEntry struct {
	User      command.UserID
	Exists    bool // as in UserInfo
	Suspended bool
	Sessions  int
	LastSeen  int64 // ms, 0 = never
	Bytes     int   // of stored messages
}

// An UnreadCount is the number of unread messages in one conversation.
type UnreadCount struct {
	Peer   command.UserID
	Group  command.GroupID // instead of Peer
	Unread int
}

// A Counts says how much a range of slots holds.
type Counts struct {
	Users         int // users of whom something is kept, whether they have logged in or not
	Sessions      int
	Groups        int
	Conversations int // views of one-to-one conversations
	Messages      int // entries of all logs: a message between two users counts twice
	Bytes         int // of those
}

// Add adds the counts of other slots.
func (c *Counts) Add(v *Counts) {
	c.Users += v.Users
	c.Sessions += v.Sessions
	c.Groups += v.Groups
	c.Conversations += v.Conversations
	c.Messages += v.Messages
	c.Bytes += v.Bytes
}
