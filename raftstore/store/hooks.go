package store

import (
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// MaxOpenQueued bounds the calls of Hooks.Queued for one shard that are not done.
const MaxOpenQueued = 256

// Hooks are told what happens in a store. The methods must not block.
type Hooks interface {
	// WantsQueued reports whether Queued is to be called at all. It is asked when a
	// store is opened.
	WantsQueued() bool
	// Queued is called at least once for each message that was stored for a user and
	// that none of their sessions in the foreground has acked: at once if there is no
	// such session, else when the last one ends, goes to the background or stalls, and
	// at the latest after a time that the store is configured with. It calls done
	// exactly once, maybe before it returns: with true when it has dealt with the
	// message, with false when it is to be called again after a restart. It may keep
	// m. At most MaxOpenQueued calls for each shard are not done at a time.
	Queued(m *QueuedMessage, done func(over bool))
	// Presence is called when a user came online or went offline, at most once for
	// each change.
	Presence(user command.UserID, online bool, now int64)
	// GroupEvent is called for each event of a group, at most once.
	GroupEvent(e *query.GroupEvent)
	// WantsChange reports whether Change is to be called for changes of a kind. It is
	// asked when this node takes the lead of a shard.
	WantsChange(kind query.ChangeKind) bool
	// Change is called for each move of a read cursor, recall or deletion, at most
	// once. If several reads of one conversation wait for the call, it is made for the
	// newest alone. unread returns the sum of the user's unread at present; it fails
	// when their shard does not serve, and must not be called after Change has
	// returned.
	Change(c *shard.HookChange, unread func() (query.UnreadSum, error))
	// QueuedLost is called when n messages were dropped before Queued was called for
	// them, because too many waited.
	QueuedLost(n int)
	// GroupEventsLost is QueuedLost for events of groups.
	GroupEventsLost(n int)
	// ChangesLost is QueuedLost for changes.
	ChangesLost(n int)
}

// A QueuedMessage names a message that was stored for a user who is away.
type QueuedMessage struct {
	User    command.UserID
	Peer    command.UserID
	Group   command.GroupID // instead of Peer
	Seq     uint64
	ID      command.MsgID
	Time    int64        // ms, of the message
	Arrival uint64       // its place in the order of Group or User
	Source  QueuedSource // where the message is read
}

// A QueuedSource reads queued messages.
type QueuedSource interface {
	// ReadQueued is QueuedMessage.Read.
	ReadQueued(m *QueuedMessage, order func(now int64) uint64) (*QueuedReading, error)
}

// A QueuedReading is a queued message as of one moment.
type QueuedReading struct {
	Message *query.Message // as the user sees it; the caller may keep it
	Sum     query.UnreadSum
	query.QueuedInfo
	Order uint64 // what order returned, see QueuedMessage.Read
}

// Read reads the message anew. It fails with ErrNotQueued if the message has been
// read, acked by a session in the foreground, recalled or deleted, or has expired,
// or if the user is suspended, is no member any more or has blocked the sender.
// Other errors mean that a shard does not serve now. order is called while the
// message is read, with the shard's time; of two readings the later one has the
// later call.
func (m *QueuedMessage) Read(order func(now int64) uint64) (*QueuedReading, error) {
	return m.Source.ReadQueued(m, order)
}
