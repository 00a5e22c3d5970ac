package command

import "github.com/belfry-im/belfry/shard/codec"

// A Command is one change to the state of a shard. Commands are proposed in batches
// (see AppendBatchHeader) and executed by shard.State.Apply.
//
// Every command names the user or group it is about. Values that must be the same on
// all replicas but cannot be derived, such as ids, are chosen by the proposer and are
// part of the command.
type Command interface {
	// Key returns the user or group whose slot decides the shard, or "" for a command
	// that is addressed to a shard itself.
	Key() string
	// Needs returns what the proposer must see to before it proposes the command.
	Needs() Needs

	// kind returns the command's number in the log, which no other command ever had.
	kind() Kind
	// fields writes, reads or checks all fields in the order in which they stand in the
	// log.
	fields(x *codec.Coder)
}

// A Kind is the number of a command in the log.
type Kind uint8

// GroupCommand is a Command that acts on a group.
type GroupCommand interface {
	Command
	onGroup()
}

// Needs lists what a command may use besides the record of its user or group, for the
// proposer to see to it beforehand.
type Needs struct {
	Room bool   // the command stores messages or memberships: there must be free memory and disk
	Peer UserID // the command may write a letter to this user; "" = to nobody
	// Members are users whose memberships of a group the command may change. Their
	// shards learn of it by letter, and the command's answer waits until they have.
	Members   []UserID
	AllShards bool // the command may write letters to users of any shard
}

// A Request identifies a client's request that changes something: its number within the
// session, and a hash of its content. A request that repeats both gets the answer of
// the first and changes nothing. The zero Request is not remembered.
type Request struct {
	ID   uint64
	Hash uint64
}

// Fields writes or reads the request.
func (r *Request) Fields(x *codec.Coder) {
	codec.Uint(x, &r.ID)
	codec.Uint(x, &r.Hash)
}

// Bounds of single fields. MaxBody is far above what the gateway accepts (its
// Limits), and only keeps out nonsense.
const (
	MaxName     = 64 // bytes of a user, device, platform or cid
	MaxBody     = 1 << 20
	MaxMentions = 1000
	MaxSeqs     = 1000
)

func mentions(x *codec.Coder, list *[]string) { codec.Texts(x, list, MaxMentions, MaxName) }
