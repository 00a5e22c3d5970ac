package store

import (
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// MaxOpenQueued bounds the messages of one shard that Hooks have been told of and
// have not dealt with.
const MaxOpenQueued = 256

// Hooks act on what happens. The methods must not block.
type Hooks interface {
	// WantsQueued reports whether Queued is to be called at all. It is asked when a
	// store is opened.
	WantsQueued() bool
	// Queued is called for each message that was stored for a user and that none of
	// their sessions in the foreground has acked, at least once: at once when there
	// is no such session, else when the last one ends, goes to the background or
	// stalls, and at the latest after a time that the store is configured with. It
	// calls done exactly once, maybe before it returns: with true when it has dealt
	// with the message, with false when it is to be asked again after a restart. m
	// is the callee's. At most MaxOpenQueued of each shard are open at a time.
	Queued(m *QueuedMessage, done func(over bool))
	// Presence tells that a user came online, or is no more, at most once.
	Presence(user command.UserID, online bool, now int64)
	// GroupEvent tells of what changed in a group, at most once.
	GroupEvent(e *query.GroupEvent)
	// WantsChange reports whether Change is to be called for changes of a kind. It is
	// asked when this node takes the lead of a shard.
	WantsChange(kind query.ChangeKind) bool
	// Change tells of a change of a read cursor, a recall or a deletion, at most once.
	// Of reads of one conversation that wait to be told, the newest counts for all.
	// unread adds up what the user has unread now; it fails when their shard does not
	// serve, and must not be called after Change has returned.
	Change(c *shard.HookChange, unread func() (query.UnreadSum, error))
	// QueuedLost says that n messages were dropped before their turn came, because
	// too many waited.
	QueuedLost(n int)
	// GroupEventsLost says the same of events.
	GroupEventsLost(n int)
	// ChangesLost says the same of changes.
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
	Message *query.Message // as the user sees it; the caller's
	Sum     query.UnreadSum
	query.QueuedInfo
	Order uint64 // what order returned in the moment of the reading
}

// Read reads the message anew. It fails with ErrNotQueued if the message has been
// read, acked by a session in the foreground, recalled or deleted, or has expired,
// or if the user is suspended, is no member any more or has blocked the sender.
// Other errors mean that a shard does not serve now. order is called in the moment
// of the reading.
func (m *QueuedMessage) Read(order func(now int64) uint64) (*QueuedReading, error) {
	return m.Source.ReadQueued(m, order)
}
