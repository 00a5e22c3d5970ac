package wire

import (
	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/query"
)

// AppendChange appends the frame of the push that tells a client of a change.
func AppendChange(b []byte, codec protocol.Codec, c *query.Change) []byte {
	conv := Conv(c.Peer, c.Group)
	switch c.Kind {
	case query.ChangeRead:
		return protocol.AppendReadReport(b, codec, &protocol.ReadReport{Conv: conv, Seq: c.Seq})
	case query.ChangeReceipt:
		return protocol.AppendReadReceipt(b, codec, &protocol.ReadReceipt{Conv: conv, Seq: c.Seq, Time: c.Time})
	case query.ChangeRecall:
		recall := &protocol.Recall{Conv: conv, By: string(c.By), Sender: string(c.Sender)}
		for _, r := range c.Ranges {
			recall.Ranges = append(recall.Ranges, protocol.Range(r))
		}
		return protocol.AppendRecall(b, codec, recall)
	case query.ChangeMessagesDeleted:
		deleted := &protocol.MessageDeleted{Conv: conv}
		for _, r := range c.Ranges {
			for seq := r.From; seq <= r.To; seq++ {
				deleted.Seqs = append(deleted.Seqs, seq)
			}
		}
		return protocol.AppendMessageDeleted(b, codec, deleted)
	case query.ChangeConversationDeleted:
		return protocol.AppendConversationDeleted(b, codec, &protocol.ConversationDeleted{Conv: conv, Messages: c.Messages, UpTo: c.Seq})
	case query.ChangeSettings:
		return protocol.AppendConversationChanged(b, codec, &protocol.ConversationChanged{
			Conv: conv, Muted: c.Settings.Muted, Pinned: c.Settings.Pinned, Unread: c.Settings.Unread,
		})
	case query.ChangeBlocked:
		return protocol.AppendBlocked(b, codec, &protocol.Blocked{User: string(c.Peer), Blocked: c.Blocked})
	}
	panic("wire: change of an unknown kind")
}

// AppendGroupEvent appends the frame of an onGroupEvent. cursor is the point in the
// group's order from which a new member reads on, "" for other users. uncounted says that
// the group counts no unread, which events of some kinds tell.
func AppendGroupEvent(dst []byte, codec protocol.Codec, e *query.GroupEvent, cursor string, uncounted bool) []byte {
	event := protocol.GroupEvent{
		Group: string(e.Group), Event: enum.GroupEvents.Word(e.Kind), By: string(e.By), Users: make([]string, len(e.Users)), Time: e.Time, Cursor: cursor,
	}
	for i, u := range e.Users {
		event.Users[i] = string(u)
	}
	switch e.Kind {
	case query.EventCreated, query.EventJoined, query.EventChanged:
		event.Uncounted = uncounted
	}
	return protocol.AppendGroupEvent(dst, codec, &event)
}
