package query

import "github.com/belfry-im/belfry/shard/command"

// An UnreadSum is the number of unread messages of several conversations.
type UnreadSum struct {
	Total   int
	Unmuted int // of those that are not muted
}

// Add adds a conversation.
func (n *UnreadSum) Add(unread int, muted bool) {
	if n.Total += unread; !muted {
		n.Unmuted += unread
	}
}

// SessionInfo describes a live session.
type SessionInfo struct {
	Number   command.SessionID
	Device   string
	Platform string
	LoginMS  int64 // ms
}

// A UserInfo is what an administrator can see of a user.
type UserInfo struct {
	User          command.UserID
	Exists        bool // he has logged in, since he was erased if he was
	Settings      command.UserSettings
	Sessions      []SessionInfo // in order of login
	LastSeen      int64         // ms, his last sign of life that was replicated; 0 = none
	Conversations int           // one-to-one, that hold messages
	Messages      int           // stored, one-to-one
	Bytes         int           // of those
	Queued        int           // messages in the offline queue: the unread of one-to-one conversations
	QueuedBytes   int
	Unread        int // of all, groups included once the store has added theirs
	Blocked       int // users whom he has blocked
	Groups        []GroupRef
}

// A UserEntry is one of a list of users.
type UserEntry struct {
	User      command.UserID
	Exists    bool // as in UserInfo; false: others wrote to him, or an administrator set something
	Suspended bool
	Sessions  int
	LastSeen  int64 // ms, 0 = never
	Bytes     int   // of stored messages
}

// An UnreadCount is the unread of one conversation.
type UnreadCount struct {
	Peer   command.UserID
	Group  command.GroupID // instead of Peer
	Unread int
}

// Counts says how much there is.
type Counts struct {
	Users         int // that are known, whether they have logged in or not
	Sessions      int
	Groups        int
	Conversations int // views of one-to-one conversations
	Messages      int // entries of all logs: two for a message of two users
	Bytes         int // of those
}

// Add adds up what several parts hold.
func (c *Counts) Add(v *Counts) {
	c.Users += v.Users
	c.Sessions += v.Sessions
	c.Groups += v.Groups
	c.Conversations += v.Conversations
	c.Messages += v.Messages
	c.Bytes += v.Bytes
}
