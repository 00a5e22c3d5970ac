package gateway

import (
	"context"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Backend is what the gateway needs of the store; *raftstore.Store is one.
//
// Errors other than a *shard.RefusedError: store.ErrUnavailable (nothing
// happened, retry later) and store.ErrUnknown (it may have happened, a
// repeat is safe), both tested with errors.Is; store.RetryAfter(err) returns
// the time to wait.
type Backend interface {
	// Submit proposes cmd to the shard of its key and calls done exactly once,
	// with the result of the command once it is committed, or an error. done
	// runs on a goroutine of the store and must not block. Commands that one
	// goroutine submits for one key are applied in that order. cmd and all it
	// refers to are the caller's again when Submit returns.
	Submit(cmd command.Command, done func(command.Result, error))
	// Propose is Submit that waits. A refusal is in the Result, not the error.
	Propose(ctx context.Context, cmd command.Command) (command.Result, error)

	// Login commits cmd and, in the same step of the shard, registers w and returns
	// the sync: nothing is missed between the sync and the first Wake.
	Login(ctx context.Context, cmd *command.Login, recents query.RecentsMode, w store.Watcher) (*query.Sync, error)
	// Unwatch removes the watcher. It does not end the session: Logout does.
	Unwatch(user command.UserID, session command.SessionID)
	// SetBackground says whether somebody looks at the device of a session. It
	// lasts as long as the watcher.
	SetBackground(user command.UserID, session command.SessionID, background bool)
	// SetStalled says whether the app of a session answers what it is pushed; seen is
	// when it last did, ms. It lasts as long as the watcher.
	SetStalled(user command.UserID, session command.SessionID, stalled bool, seen int64)
	// NextSync reads the next part of a sync: messages, and at the end the
	// changes that a device with a cursor missed. b.More says whether to call again.
	NextSync(user command.UserID, sync *query.Sync, b *query.Updates, maxMessages, maxBytes int) error
	// Read answers a query about one user or group from the leader's memory.
	Read(q query.Query) error
	// Since reads what came after an arrival number, without what the session itself
	// did.
	Since(user command.UserID, session command.SessionID, after uint64, b *query.Updates, maxMessages, maxBytes int) error

	// Recents is linearizable. The list has about so many bytes of messages at most.
	Recents(ctx context.Context, user command.UserID, maxBytes int) (query.ConversationList, error)
	// Conversations reads the leader's memory: one-to-one conversations in the order of
	// query.Conversation.Place, from above behind on.
	Conversations(user command.UserID, behind uint64, limit, maxBytes int) (query.ConversationList, error)
	// History reads the leader's memory. That of a group is refused to users who are not
	// members.
	History(q query.HistoryQuery, page *query.Page) error
	Blocked(ctx context.Context, user command.UserID) ([]command.UserID, error)

	// SendEphemeral passes a message of ttl 0 to the sessions that are
	// connected now, except the sending one. A repeat goes to nobody: it has the
	// first's ID and Time, and is marked as a Duplicate.
	SendEphemeral(m *command.Send) (command.Result, error)
	// Typing is dropped silently when the receiver must not see it.
	Typing(from, to command.UserID)
	// TypingGroup is Typing to the members of a group, unless they are many. It is
	// refused to users who are not members.
	TypingGroup(from command.UserID, group command.GroupID) error
	// Presence answers for those of users that asker shares a conversation
	// or a group with and that have not blocked them; the others are left out.
	Presence(asker command.UserID, users []command.UserID) (map[command.UserID]store.Presence, error)
	// SubscribePresence is Presence, and calls w.Signal with each change from then on,
	// until UnsubscribePresence.
	SubscribePresence(asker command.UserID, users []command.UserID, w store.Watcher) (map[command.UserID]store.Presence, error)
	UnsubscribePresence(w store.Watcher)

	// Exists reports whether the user ever logged in (for --open-users=false).
	Exists(user command.UserID) (bool, error)
	// Knows reports whether the user has a conversation with peer.
	Knows(user, peer command.UserID) (bool, error)
	// Eligibility returns what matters of users, result i of users[i], before they come
	// to a group that asker adds them to.
	Eligibility(asker command.UserID, users []command.UserID) []store.Eligibility
	// WatchGroup registers w until UnwatchGroup. It does not call Wake for what came
	// before.
	WatchGroup(group command.GroupID, w store.GroupWatcher)
	UnwatchGroup(group command.GroupID, w store.GroupWatcher)
	// SyncGroups returns views of groups, and in left those that are not available now;
	// groups that the user is not in are in neither. It is linearizable if the caller
	// has just logged the user in or called GroupsOf. At most backlog messages of a
	// group are to be pushed. The views are read in parts of about most messages.
	SyncGroups(ctx context.Context, user command.UserID, asks []query.GroupSyncQuery, backlog, most int) (views []query.GroupSyncItem, left []query.GroupSyncQuery)
	// GroupSince reads what came after a point in a group's order, the same for
	// all members.
	GroupSince(group command.GroupID, after uint64, b *query.Updates, maxMessages, maxBytes int) error
	// GroupMessages reads messages by seq, without those that the member may not see.
	GroupMessages(user command.UserID, group command.GroupID, seqs []uint64, b *query.Updates) error
	// MemberChanges reads what a member's other sessions changed in their own view.
	MemberChanges(group command.GroupID, user command.UserID, session command.SessionID, after uint64) ([]query.Change, error)
	GroupCursor(group command.GroupID, arrival uint64) string
	Group(group command.GroupID, asker command.UserID) (info query.GroupInfo, exists bool, err error)
	// Members lists in order of name, from the first one above after.
	Members(group command.GroupID, after command.UserID, limit int) (members []query.Member, more bool, err error)
	// JoinRequests lists the oldest first.
	Bans(group command.GroupID, after command.UserID, limit int) (bans []query.Ban, more bool, err error)
	JoinRequests(group command.GroupID) ([]query.JoinRequest, error)
	GroupsOf(ctx context.Context, user command.UserID) ([]query.GroupRef, error)
	// SendLive passes a message to the sessions that are in a group now, with
	// repeats as in SendEphemeral.
	SendLive(m *command.SendGroup) (command.Result, error)

	// Ready is nil when every shard of this node serves.
	Ready() error
	// Now is the store's clock, ms.
	Now() int64
}
