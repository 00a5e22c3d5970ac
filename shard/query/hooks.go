package query

import "github.com/belfry-im/belfry/shard/command"

// A HookRef names a message in the queue for webhooks.
type HookRef struct {
	Number uint64
	User   command.UserID
	Peer   command.UserID
	Group  command.GroupID // instead of User and Peer
	Seq    uint64
}

// A QueuedHeader holds the fields of an unread message by which it is decided whether
// webhooks are told of it.
type QueuedHeader struct {
	ID      command.MsgID
	Time    int64
	Arrival uint64 // arrival number in the order of the user or group
}

// A QueuedInfo is what a push service needs besides an unread message.
type QueuedInfo struct {
	Unread int // number of unread messages in the conversation
	Muted  bool
}
