package raftstore

import (
	"context"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// exportConversations, exportMessages and exportBytes bound what Export holds.
const (
	exportConversations = 100
	exportMessages      = 100
	exportBytes         = 256 << 10
)

// Export calls yield with each row of the data that is kept for a user, and stops
// with the error that yield returns. UserInfo comes first, then the users whom they
// have blocked, then conversations, each followed by its messages in order of seq,
// then groups, each followed by the messages that the user sent there; of a group
// that they have left, those messages alone. A row is valid only during the call of
// yield. Export holds one page at a time; changes made meanwhile may be in it or not.
func (s *Store) Export(ctx context.Context, user command.UserID, yield func(*store.ExportRow) error) error {
	info, _, err := s.User(ctx, user)
	if err != nil {
		return err
	}
	if err := yield(&store.ExportRow{User: &info}); err != nil {
		return err
	}
	blocked, err := s.Blocked(ctx, user)
	if err != nil {
		return err
	}
	for i := range blocked {
		if err := yield(&store.ExportRow{Blocked: &blocked[i]}); err != nil {
			return err
		}
	}
	if err := s.exportConversations(ctx, user, yield); err != nil {
		return err
	}
	groups, err := s.Traces(ctx, user)
	if err != nil {
		return err
	}
	var page query.Page
	for _, id := range groups {
		g, m := query.Group{Group: id, Asker: user}, query.Membership{Group: id, User: user}
		err := s.shardOf(id.Key()).read(&g, &m)
		if err == nil && m.IsMember {
			err = yield(&store.ExportRow{Group: &store.ExportedGroup{Info: g.Info, Member: m.Member}})
		}
		if err == nil && g.Exists {
			err = s.exportMessages(ctx, query.HistoryQuery{Group: id, Admin: true}, user, &page, yield)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) exportConversations(ctx context.Context, user command.UserID, yield func(*store.ExportRow) error) error {
	var page query.Page
	all := query.AllConversations{User: user, Limit: exportConversations}
	for {
		if err := s.read(&all); err != nil {
			return err
		}
		for i := range all.Conversations {
			c := &all.Conversations[i]
			if err := yield(&store.ExportRow{Conversation: c}); err != nil {
				return err
			}
			if err := s.exportMessages(ctx, query.HistoryQuery{User: user, Peer: c.Peer}, "", &page, yield); err != nil {
				return err
			}
		}
		if all.From = all.Next; all.From == 0 {
			return nil
		}
	}
}

// exportMessages exports the messages of a conversation: all of them or, if from is
// set, those from one sender.
func (s *Store) exportMessages(ctx context.Context, q query.HistoryQuery, from command.UserID, page *query.Page, yield func(*store.ExportRow) error) error {
	q.HasAfter, q.Limit, q.MaxBytes = true, exportMessages, exportBytes
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.History(q, page); err != nil {
			return err
		}
		for i := range page.Updates.Messages {
			m := &page.Updates.Messages[i]
			if from != "" && m.From != from {
				continue
			}
			if err := yield(&store.ExportRow{Message: m}); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
		q.After = page.To
	}
}
