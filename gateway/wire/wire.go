// Package wire converts what the store returns to the protocol's types.
package wire

import (
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Conv returns the conversation with peer or, if group is not "", of that group.
func Conv(peer command.UserID, group command.GroupID) protocol.Conv {
	if group != "" {
		return protocol.GroupConv(string(group))
	}
	return protocol.UserConv(string(peer))
}

// Messages converts messages to the protocol's type.
func Messages(messages []query.Message) []protocol.Message {
	wire := make([]protocol.Message, len(messages))
	for i := range messages {
		wire[i] = Message(&messages[i])
	}
	return wire
}

// Message converts a message to the protocol's type. The result shares bytes
// with m.
func Message(m *query.Message) protocol.Message {
	return protocol.Message{
		ID: protocol.ID(m.ID), Conv: Conv(m.Peer, m.Group), From: string(m.From), Seq: m.Seq, Time: m.Time,
		CID: m.CID, Body: m.Body, TTL: m.TTL, Mentions: m.Mentions,
	}
}

// Conversation converts a one-to-one conversation to an entry of a list of
// conversations.
func Conversation(c *query.Conversation) protocol.Conversation {
	return protocol.Conversation{
		Conv: protocol.UserConv(string(c.Peer)), LastSeq: c.LastSeq, Time: c.Time,
		ReadSeq: c.ReadSeq, Unread: c.Unread, PeerReadSeq: c.PeerReadSeq, Muted: c.Muted, Pinned: c.Pinned, Marked: c.MarkedUnread,
	}
}

// GroupConversation converts a user's view of a group to an entry of a list of
// conversations.
func GroupConversation(v *query.GroupSyncItem) protocol.Conversation {
	return protocol.Conversation{
		Conv: protocol.GroupConv(string(v.Group)), LastSeq: v.LastSeq, Time: v.Time, ReadSeq: v.Read,
		Unread: v.Unread, Cursor: v.Cursor, Muted: v.Muted, Pinned: v.Pinned, Marked: v.MarkedUnread,
		Uncounted: !v.CountsUnread,
	}
}
