package shard

import "time"

// UserSettings are what SetUser sets.
type UserSettings struct {
	HistoryTTL time.Duration // 0 = the default
	Suspended  bool
	TokensFrom int64 // ms, 0 = all tokens are taken
}

// A UserInfo is what an administrator can see of a user.
type UserInfo struct {
	User          UserID
	Exists        bool // he has logged in, since he was erased if he was
	Settings      UserSettings
	Sessions      []SessionInfo // in order of login
	LastSeen      int64         // ms, when his last session ended; 0 = never
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
	User      UserID
	Exists    bool // as in UserInfo; false: others wrote to him, or an administrator set something
	Suspended bool
	Sessions  int
	LastSeen  int64 // ms, 0 = never
	Bytes     int   // of stored messages
}

// An UnreadCount is the unread of one conversation.
type UnreadCount struct {
	Peer   UserID
	Group  GroupID // instead of Peer
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
