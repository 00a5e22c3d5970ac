package query

import "github.com/belfry-im/belfry/shard/command"

// A HookRef names a message that waits for hooks.
type HookRef struct {
	Number uint64
	User   command.UserID
	Peer   command.UserID
	Group  command.GroupID // instead of User and Peer
	Seq    uint64
}

// A QueuedHeader is what decides, beside being unread, whether hooks are told of a
// message.
type QueuedHeader struct {
	ID      command.MsgID
	Time    int64
	Arrival uint64 // its place in the order of the user, or of the group
}

// A QueuedInfo is what a push service needs beside a message.
type QueuedInfo struct {
	Unread int // of the conversation
	Muted  bool
}
