package raftstore

import (
	"context"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Read answers a query about one user or group from the leader's memory, which after a
// change of leaders may be stale for as long as an election takes. A refusal is a
// *command.RefusedError.
func (r *storeReader) Read(q query.Query) error { return r.read(q) }

// NextSync reads the next part of a sync that Login began; up.More reports whether to
// call again.
func (r *storeReader) NextSync(user command.UserID, sync *query.Sync, up *query.Updates, maxMessages, maxBytes int) error {
	return sync.ReadNext(r.read, user, up, maxMessages, maxBytes)
}

// Since reads into up what came for a user after an arrival number, except what the
// session itself did.
func (r *storeReader) Since(user command.UserID, session command.SessionID, after uint64, up *query.Updates, maxMessages, maxBytes int) error {
	q := updatesQueries.get()
	defer updatesQueries.put(q)
	*q = query.UpdatesAfter{User: user, Session: session, After: after, MaxMessages: maxMessages, MaxBytes: maxBytes, Updates: up}
	return r.read(q)
}

// History reads a page of messages from the leader's memory, which after a change of
// leaders may be stale for as long as an election takes. If q is about a group that
// the user is no member of, it returns a *command.RefusedError.
func (r *storeReader) History(q query.HistoryQuery, page *query.Page) error {
	return r.read(&query.History{HistoryQuery: q, Page: page})
}

// Exists reports whether the account ever logged in.
func (s *Store) Exists(user command.UserID) (bool, error) {
	c, err := s.contact(user, "")
	return c.Exists, err
}

// Knows reports whether the user has a conversation with peer.
func (s *Store) Knows(user, peer command.UserID) (bool, error) {
	c, err := s.contact(user, peer)
	return c.HasConversation, err
}

// Recents lists the recent conversations, newest first, with at most about maxBytes
// bytes of messages. The read is linearizable.
func (r *storeReader) Recents(ctx context.Context, user command.UserID, maxBytes int) (query.ConversationList, error) {
	q := &query.Recents{User: user, MaxBytes: maxBytes}
	if err := r.readCommitted(ctx, q); err != nil {
		return query.ConversationList{}, err
	}
	return q.List, nil
}

// Conversations lists one-to-one conversations of a user that come behind a place, see
// query.Conversations.
func (r *storeReader) Conversations(user command.UserID, behind uint64, limit, maxBytes int) (query.ConversationList, error) {
	q := query.Conversations{User: user, AfterPlace: behind, Limit: limit, MaxBytes: maxBytes}
	err := r.read(&q)
	return q.List, err
}

// Blocked lists the users whom a user has blocked. The read is linearizable.
func (r *storeReader) Blocked(ctx context.Context, user command.UserID) ([]command.UserID, error) {
	q := &query.Blocked{User: user}
	if err := r.readCommitted(ctx, q); err != nil {
		return nil, err
	}
	return q.Users, nil
}

// Sessions lists the sessions of a user in order of login. The read is linearizable.
func (s *Store) Sessions(ctx context.Context, user command.UserID) ([]query.SessionInfo, error) {
	q := &query.Sessions{User: user}
	if err := s.readCommitted(ctx, q); err != nil {
		return nil, err
	}
	return q.Sessions, nil
}
