package gateway

import (
	"context"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Backend is what the gateway needs of the store; *raftstore.Store is one.
//
// An error is a *command.RefusedError, or errors.Is finds store.ErrUnavailable (nothing
// happened, retry later) or store.ErrUnknown (it may have happened, a repeat is safe);
// store.RetryAfter returns the time to wait.
type Backend interface {
	// The Backend itself reads for callers without a place, ReaderAt for those at p.
	store.Reader
	ReaderAt(p store.Place) store.Reader

	// Submit proposes cmd to the shard of its key and calls done exactly once: with the
	// result once cmd is committed and applied, or with an error. done runs on a
	// goroutine of the store and must not block. Commands that one goroutine submits for
	// one key are applied in that order. After Submit has returned, the caller may
	// change cmd and everything it refers to.
	Submit(cmd command.Command, done func(command.Result, error))
	// Propose is Submit, but waits for the result. A refusal is in the Result, not in
	// the error.
	Propose(ctx context.Context, cmd command.Command) (command.Result, error)

	// Login commits cmd and returns what to sync. It registers w so that nothing is missed
	// between the sync and the first Wake.
	Login(ctx context.Context, cmd *command.Login, recents query.RecentsMode, w store.Watcher) (*query.Sync, error)
	// Unwatch removes the watcher of a session. Only Logout ends the session.
	Unwatch(user command.UserID, session command.SessionID)
	// SetBackground sets whether the app of a session is in the background, so that
	// nobody looks at it. The state ends with the watcher.
	SetBackground(user command.UserID, session command.SessionID, background bool)
	// SetStalled sets whether the app of a session has stopped to ack what it is pushed;
	// seen is the time of its last sign of life, in ms. The state ends with the watcher.
	SetStalled(user command.UserID, session command.SessionID, stalled bool, seen int64)
	// Acked notes that what Watcher.Acks returns has grown.
	Acked(user command.UserID, session command.SessionID)
	// SendEphemeral passes a message of ttl 0 to the sessions that are connected now,
	// except the sending one. A repeat is not passed on: its result has the first
	// message's ID and Time, and is marked as a Duplicate.
	SendEphemeral(m *command.Send) (command.Result, error)
	// Typing tells the sessions of to that from types. It does nothing if to must not
	// learn that.
	Typing(from, to command.UserID)
	// TypingGroup tells the members of a group that from types, unless the group is
	// large. Users who are not members are refused.
	TypingGroup(from command.UserID, group command.GroupID) error
	// Presence returns the presence of those users who share a conversation or a group
	// with asker and have not blocked them.
	Presence(asker command.UserID, users []command.UserID) (map[command.UserID]store.Presence, error)
	// SubscribePresence returns what Presence does. From then on, until
	// UnsubscribePresence, it calls w.Signal with each change.
	SubscribePresence(asker command.UserID, users []command.UserID, w store.Watcher) (map[command.UserID]store.Presence, error)
	UnsubscribePresence(w store.Watcher)

	// Exists reports whether the user has ever logged in. It serves
	// Config.KnownUsersOnly.
	Exists(user command.UserID) (bool, error)
	// Knows reports whether the user has a conversation with peer.
	Knows(user, peer command.UserID) (bool, error)
	// Eligibility returns, for each of users, what decides whether asker may add them to
	// a group. Result i is about users[i].
	Eligibility(asker command.UserID, users []command.UserID) []store.Eligibility
	// Reserve counts groups against the limits of users, for all gateways, until Unreserve
	// or store.ReservedFor has passed. Result i is about list[i].
	Reserve(list []store.Reservation) []store.Reserved
	// Unreserve ends reservations. It does not block.
	Unreserve(list []store.Reservation)
	// WatchGroup registers w until UnwatchGroup. Nothing that came before makes it call
	// Wake.
	WatchGroup(group command.GroupID, w store.GroupWatcher)
	UnwatchGroup(group command.GroupID, w store.GroupWatcher)
	// Cursor returns the device cursor for a point in the order of a user or of a group,
	// which its key names. It does not block.
	Cursor(key command.UserID, arrival uint64) string
	Bans(group command.GroupID, after command.UserID, limit int) (bans []query.Ban, more bool, err error)
	// SendLive passes a message to the sessions that are in a group now. Repeats are
	// answered as by SendEphemeral.
	SendLive(m *command.SendGroup) (command.Result, error)

	// Ready returns nil if every shard has a leader that this node reaches, else an error.
	Ready() error
	// Now returns the time of the store's clock, in ms.
	Now() int64
}
