package gateway

import (
	"context"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
)

// Backend is what the gateway needs of the store; *raftstore.Store is one.
//
// Errors other than a *shard.RefusedError: store.ErrUnavailable (nothing
// happened, retry later) and store.ErrUnknown (it may have happened, a
// repeat is safe), both tested with errors.Is; store.RetryAfter(err) gives
// the time to wait.
type Backend interface {
	// Submit proposes cmd to the shard of its key and calls done exactly once,
	// with the result of the command once it is committed, or an error. done
	// runs on a goroutine of the store and must not block. Commands that one
	// goroutine submits for one key are applied in that order. cmd and all it
	// refers to are the caller's again when Submit returns.
	Submit(cmd shard.Command, done func(shard.Result, error))
	// Propose is Submit that waits. A refusal is in the Result, not the error.
	Propose(ctx context.Context, cmd shard.Command) (shard.Result, error)

	// Login commits cmd and, in the same step of the shard, registers w and
	// takes the sync: nothing is missed between the sync and the first Wake.
	Login(ctx context.Context, cmd *shard.Login, recents shard.RecentsMode, w store.Watcher) (*shard.Sync, error)
	// Unwatch forgets the watcher. It does not end the session: Logout does.
	Unwatch(user shard.UserID, session shard.SessionID)
	// SetBackground says whether somebody looks at the device of a session. It
	// lasts as long as the watcher.
	SetBackground(user shard.UserID, session shard.SessionID, background bool)
	// SetStalled says whether the app of a session answers what it is pushed; seen is
	// when it last did, ms. It lasts as long as the watcher.
	SetStalled(user shard.UserID, session shard.SessionID, stalled bool, seen int64)
	// NextSync reads the next part of a sync: messages, and at the end the
	// changes that a device with a cursor missed. b.More tells whether to call again.
	NextSync(user shard.UserID, sync *shard.Sync, b *shard.Batch, maxMessages, maxBytes int) error
	// Since reads what came after an arrival number, without what the session
	// itself did.
	Since(user shard.UserID, session shard.SessionID, after uint64, b *shard.Batch, maxMessages, maxBytes int) error
	// Cursor is the text of an arrival number, for the client to give back.
	Cursor(user shard.UserID, arrival uint64) string

	// Recents is linearizable. The list has about so many bytes of messages at most.
	Recents(ctx context.Context, user shard.UserID, maxBytes int) (shard.ConversationList, error)
	// Conversations reads the leader's memory: one-to-one conversations from behind
	// a place on, see shard.State.Conversations.
	Conversations(user shard.UserID, behind uint64, limit, maxBytes int) (shard.ConversationList, error)
	// History reads the leader's memory. That of a group is refused to who is no
	// member of it.
	History(q shard.HistoryQuery, page *shard.Page) error
	Blocked(ctx context.Context, user shard.UserID) ([]shard.UserID, error)

	// SendEphemeral passes a message of ttl 0 to the sessions that are
	// connected now, except the sending one. A repeat goes to nobody: it has the
	// first's ID and Time, and is marked as a Duplicate.
	SendEphemeral(m *shard.Send) (shard.Result, error)
	// Typing is dropped silently when the receiver must not see it.
	Typing(from, to shard.UserID)
	// TypingGroup is Typing to the members of a group, unless they are many. Who
	// is no member gets a refusal.
	TypingGroup(from shard.UserID, group shard.GroupID) error
	// Presence answers for those of users that asker shares a conversation
	// or a group with and that have not blocked him; the others are left out.
	Presence(asker shard.UserID, users []shard.UserID) (map[shard.UserID]store.Presence, error)
	// SubscribePresence is Presence, and from then on w.Signal tells each
	// change until UnsubscribePresence.
	SubscribePresence(asker shard.UserID, users []shard.UserID, w store.Watcher) (map[shard.UserID]store.Presence, error)
	UnsubscribePresence(w store.Watcher)

	// Exists tells whether the account ever logged in (for --open-users=false).
	Exists(user shard.UserID) (bool, error)
	// Knows tells whether the user has a conversation with peer.
	Knows(user, peer shard.UserID) (bool, error)
	// Eligibility returns what matters of users, result i of users[i], before they come
	// to a group that asker adds them to.
	Eligibility(asker shard.UserID, users []shard.UserID) []store.Eligibility
	// WatchGroup registers w until UnwatchGroup. What came before, w has to read.
	WatchGroup(group shard.GroupID, w store.GroupWatcher)
	UnwatchGroup(group shard.GroupID, w store.GroupWatcher)
	// SyncGroups is linearizable if the caller has just logged the user in, or
	// called GroupsOf. At most backlog messages of a group are to be pushed; the
	// views come in parts, of which each has about most in all. Of shards that do
	// not serve now, the groups are in left; groups whose member the user is not
	// are in neither.
	SyncGroups(ctx context.Context, user shard.UserID, asks []shard.GroupAsk, backlog, most int) (views []shard.GroupView, left []shard.GroupAsk)
	// GroupSince reads what came after a point in a group's order, the same for
	// all members.
	GroupSince(group shard.GroupID, after uint64, b *shard.Batch, maxMessages, maxBytes int) error
	// GroupMessages reads messages by seq; those that cannot be shown to the
	// member are left out.
	GroupMessages(user shard.UserID, group shard.GroupID, seqs []uint64, b *shard.Batch) error
	// MemberChanges reads what a member's other sessions changed in his own view.
	MemberChanges(group shard.GroupID, user shard.UserID, session shard.SessionID, after uint64) ([]shard.Change, error)
	JoinedAt(group shard.GroupID, user shard.UserID) (arrival uint64, member bool, err error)
	Member(group shard.GroupID, user shard.UserID) (m shard.Member, member bool, err error)
	// LastStay tells of the newest membership of who is no member any more; false:
	// that is not known.
	LastStay(group shard.GroupID, user shard.UserID) (stay shard.Stay, known bool, err error)
	GroupCursor(group shard.GroupID, arrival uint64) string
	Group(group shard.GroupID, asker shard.UserID) (info shard.GroupInfo, exists bool, err error)
	// Members lists in order of name, from the first one above after.
	Members(group shard.GroupID, after shard.UserID, limit int) (members []shard.Member, more bool, err error)
	// JoinRequests lists the oldest first.
	Bans(group shard.GroupID, after shard.UserID, limit int) (bans []shard.Ban, more bool, err error)
	JoinRequests(group shard.GroupID) ([]shard.JoinRequest, error)
	GroupsOf(ctx context.Context, user shard.UserID) ([]shard.GroupRef, error)
	// SendLive passes a message to the sessions that are in a group now, with
	// repeats as in SendEphemeral.
	SendLive(m *shard.SendGroup) (shard.Result, error)

	// Ready is nil when every shard of this node serves.
	Ready() error
	// Now is the store's clock, ms.
	Now() int64
}
