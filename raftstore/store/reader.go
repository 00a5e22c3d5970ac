package store

import (
	"context"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A Place is one of a few at which callers work. A read that has to ask another node
// leaves its caller's place to others meanwhile.
type Place interface {
	// Leave gives up the place, for at most a time if that is not zero: a read that takes
	// longer fails with an ErrUnavailable. Leave may refuse with an ErrUnavailable, when
	// too many of its kind wait already: then the caller keeps the place and must not
	// wait.
	Leave() (atMost time.Duration, err error)
	// Return takes a place again after Leave. It may wait until one is free.
	Return()
}

// A Reader reads a store for a caller at a Place. What this node's memory answers leaves
// the place alone. A refusal is a *command.RefusedError; of the other errors
// ErrUnavailable says to ask again later.
type Reader interface {
	// Read answers a query about one user or group from the leader's state.
	Read(q query.Query) error
	// Since reads into b what came for the user after an arrival number, except what the
	// session itself did.
	Since(user command.UserID, session command.SessionID, after uint64, b *query.Updates, maxMessages, maxBytes int) error
	// NextSync reads the next part of a sync into b: messages, and at the end the
	// changes that a device with a cursor has missed. b.More says whether to call it
	// again.
	NextSync(user command.UserID, sync *query.Sync, b *query.Updates, maxMessages, maxBytes int) error

	// Recents returns the recent conversations, linearizably. Their last messages take
	// about maxBytes at most.
	Recents(ctx context.Context, user command.UserID, maxBytes int) (query.ConversationList, error)
	// Conversations returns one-to-one conversations from the leader's state, in the
	// order of query.Conversation.Place: those behind the place behind (0 for the first
	// ones).
	Conversations(user command.UserID, behind uint64, limit, maxBytes int) (query.ConversationList, error)
	// History reads a page from the leader's state. For a group, users who are not
	// members are refused.
	History(q query.HistoryQuery, page *query.Page) error
	Blocked(ctx context.Context, user command.UserID) ([]command.UserID, error)

	// SyncGroups returns the user's views of groups and, in left, the groups that are
	// not available now. Groups that the user is not in are in neither. It is
	// linearizable if the caller has just logged the user in or called GroupsOf. A view
	// lists at most backlog messages to push; views are read in parts of about most
	// messages.
	SyncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncAsk, backlog, most int) (views []query.GroupSyncItem, left []query.GroupSyncAsk)
	// GroupSince reads into b what came after a point in a group's order. That is the
	// same for all members.
	GroupSince(group command.GroupID, after uint64, b *query.Updates, maxMessages, maxBytes int) error
	// GroupMessages reads messages by seq into b, except those that the user may not
	// see.
	GroupMessages(user command.UserID, group command.GroupID, seqs []uint64, b *query.Updates) error
	// MemberChanges returns what the user's other sessions changed in the user's view of
	// a group.
	MemberChanges(group command.GroupID, user command.UserID, session command.SessionID, after uint64) ([]query.Change, error)
	Group(group command.GroupID, asker command.UserID) (info query.GroupInfo, exists bool, err error)
	// Members returns members in the order of their names, from the first one behind
	// after.
	Members(group command.GroupID, after command.UserID, limit int) (members []query.Member, more bool, err error)
	// JoinRequests returns the requests to join, oldest first.
	JoinRequests(group command.GroupID) ([]query.JoinRequest, error)
	GroupsOf(ctx context.Context, user command.UserID) ([]query.GroupRef, error)
}
