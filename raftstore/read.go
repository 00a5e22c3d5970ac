package raftstore

import (
	"context"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// read runs f on the state that holds a user, without waiting for what is on
// its way there.
func (s *Store) read(user command.UserID, f func(st *shard.State, now int64)) error {
	moved := false
	err := s.shardOf(user).replica.Read(func(st *shard.State, now int64) {
		if moved = !st.Owns(command.SlotOf(string(user))); !moved {
			f(st, now)
		}
	})
	if err == nil && moved {
		return errMoving
	}
	return err
}

// errMoving answers reads of a slot that is frozen or gone.
var errMoving = store.Unavailable(movedMost, "the slot is on its way to another shard")

// NextSync reads the next part of a sync that Login began; b.More tells whether
// to call again.
func (s *Store) NextSync(user command.UserID, sync *query.Sync, b *query.Updates, maxMessages, maxBytes int) error {
	return s.read(user, func(st *shard.State, now int64) {
		st.NextSync(user, sync, b, maxMessages, maxBytes, now)
	})
}

// Since reads what came after an arrival number, without what the session
// itself did.
func (s *Store) Since(user command.UserID, session command.SessionID, after uint64, b *query.Updates, maxMessages, maxBytes int) error {
	return s.read(user, func(st *shard.State, now int64) {
		st.UpdatesAfter(user, session, after, b, maxMessages, maxBytes, now)
	})
}

// Cursor is the text of an arrival number. It is empty, which a device gives
// back as no cursor, while the shard does not serve.
func (s *Store) Cursor(user command.UserID, arrival uint64) string {
	var cursor string
	if err := s.read(user, func(st *shard.State, _ int64) { cursor = st.Cursor(user, arrival) }); err != nil {
		return ""
	}
	return cursor
}

// History reads the leader's memory, which after a change of leaders may be
// stale for as long as an election takes. That of a group is refused, with a
// *command.RefusedError, to who is no member of it.
func (s *Store) History(q query.HistoryQuery, page *query.Page) error {
	if q.Group != "" {
		return s.groupHistory(q, page)
	}
	return s.read(q.User, func(st *shard.State, now int64) { st.History(q, page, now) })
}

// Exists tells whether the account ever logged in.
func (s *Store) Exists(user command.UserID) (exists bool, err error) {
	err = s.read(user, func(st *shard.State, _ int64) { exists = st.Exists(user) })
	return exists, err
}

// Knows tells whether the user has a conversation with peer.
func (s *Store) Knows(user, peer command.UserID) (knows bool, err error) {
	err = s.read(user, func(st *shard.State, _ int64) { knows = st.HasConversation(user, peer) })
	return knows, err
}

// Recents lists the recent conversations, newest first, as of now, with about so
// many bytes of messages at most.
func (s *Store) Recents(ctx context.Context, user command.UserID, maxBytes int) (query.ConversationList, error) {
	return readCommitted(ctx, s, user, func(st *shard.State, now int64) query.ConversationList {
		return st.Recents(user, maxBytes, now)
	})
}

// Conversations lists one-to-one conversations of a user from behind a place on,
// see shard.State.Conversations.
func (s *Store) Conversations(user command.UserID, behind uint64, limit, maxBytes int) (list query.ConversationList, err error) {
	err = s.read(user, func(st *shard.State, now int64) { list = st.Conversations(user, behind, limit, maxBytes, now) })
	return list, err
}

// Blocked lists whom the user has blocked, as of now.
func (s *Store) Blocked(ctx context.Context, user command.UserID) ([]command.UserID, error) {
	return readCommitted(ctx, s, user, func(st *shard.State, _ int64) []command.UserID { return st.Blocked(user) })
}

// Sessions lists the sessions of a user in order of login, as of now.
func (s *Store) Sessions(ctx context.Context, user command.UserID) ([]query.SessionInfo, error) {
	return readCommitted(ctx, s, user, func(st *shard.State, _ int64) []query.SessionInfo { return st.Sessions(user) })
}

// readCommitted runs f on the state that holds a user, after all that was proposed
// before. It is linearizable.
func readCommitted[T any](ctx context.Context, s *Store, user command.UserID, f func(st *shard.State, now int64) T) (T, error) {
	var value, zero T
	moved := false
	err := s.shardOf(user).replica.ReadCommitted(ctx, func(st *shard.State, now int64) {
		if moved = !st.Owns(command.SlotOf(string(user))); !moved {
			value = f(st, now)
		}
	})
	switch {
	case err != nil:
		return zero, err // f may still run
	case moved:
		return zero, errMoving
	}
	return value, nil
}
