package query

import "github.com/belfry-im/belfry/shard/command"

// A HookRef names a message that waits for webhooks.
type HookRef struct {
	Number uint64
	User   command.UserID
	Peer   command.UserID
	Group  command.GroupID // instead of User and Peer
	Seq    uint64
}

// A QueuedHeader is what decides, besides the message being unread, whether webhooks
// are told of it.
type QueuedHeader struct {
	ID      command.MsgID
	Time    int64
	Arrival uint64 // place in the order of the user, or of the group
}

// A QueuedInfo is what a push service needs besides the message.
type QueuedInfo struct {
	Unread int // number of unread messages in the conversation
	Muted  bool
}
