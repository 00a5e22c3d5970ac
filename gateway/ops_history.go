package gateway

import (
	"sync"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard"
)

// pages are large, and few are read at a time.
var pages = sync.Pool{New: func() any { return new(shard.Page) }}

func (s *session) getMessage(r request) error {
	var args protocol.GetMessageArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	q := shard.HistoryQuery{
		User: s.user, Before: args.Before, After: args.After, HasAfter: args.HasAfter,
		From: args.From, To: args.To, Limit: args.Limit, MaxBytes: protocol.MaxPage,
	}
	if args.Conv.Group {
		if q.Group = shard.GroupID(args.Conv.ID); s.inLive(q.Group) {
			s.reply(r, &protocol.PageOK{}) // there is no history
			return nil
		}
	} else {
		q.Peer = shard.UserID(args.Conv.ID)
	}
	page := pages.Get().(*shard.Page)
	defer pages.Put(page)
	if err := s.gateway.backend.History(q, page); err != nil {
		return err
	}
	reply := &protocol.PageOK{
		Messages: wireMessages(page.Batch.Messages), From: page.From, To: page.To,
		Gaps: make([]protocol.Gap, len(page.Gaps)), More: page.More,
	}
	for i, g := range page.Gaps {
		reply.Gaps[i] = protocol.Gap{From: g.From, To: g.To, Reason: string(g.Reason)}
	}
	s.reply(r, reply)
	return nil
}

func (s *session) getRecents(r request) error {
	if err := new(protocol.NoArgs).Decode(r.Args); err != nil {
		return err
	}
	ctx, cancel := s.requestContext()
	defer cancel()
	conversations, last, err := s.gateway.backend.Recents(ctx, s.user)
	if err != nil {
		return err
	}
	reply := &protocol.RecentsOK{Conversations: wireConversations(conversations)}
	messages := wireMessages(last)
	for i := range min(len(messages), len(reply.Conversations)) {
		reply.Conversations[i].Last = &messages[i]
	}
	s.reply(r, reply)
	return nil
}

func wireMessages(messages []shard.Message) []protocol.Message {
	wire := make([]protocol.Message, len(messages))
	for i := range messages {
		wire[i] = wireMessage(&messages[i])
	}
	return wire
}

// wireMessage gives a message as the wire has it. Its bytes stay where they are.
func wireMessage(m *shard.Message) protocol.Message {
	conv := protocol.UserConv(string(m.Peer))
	if m.Group != "" {
		conv = protocol.GroupConv(string(m.Group))
	}
	return protocol.Message{
		ID: protocol.ID(m.ID), Conv: conv, From: string(m.From), Seq: m.Seq, Time: m.Time,
		CID: m.CID, Body: m.Body, TTL: m.TTL, Mentions: m.Mentions,
	}
}

// wireConversations is nil for nil: recents that were not asked for.
func wireConversations(conversations []shard.Conversation) []protocol.Conversation {
	if conversations == nil {
		return nil
	}
	wire := make([]protocol.Conversation, len(conversations))
	for i, c := range conversations {
		wire[i] = protocol.Conversation{
			Conv: protocol.UserConv(string(c.Peer)), LastSeq: c.LastSeq, Time: c.Time,
			ReadSeq: c.ReadSeq, Unread: c.Unread, PeerReadSeq: c.PeerReadSeq, Muted: c.Muted, Pinned: c.Pinned,
		}
	}
	return wire
}
