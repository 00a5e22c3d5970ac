package command

import "github.com/belfry-im/belfry/shard/codec"

// A Command is one change to the state of a shard. Commands are proposed in
// batches (see AppendBatchHeader) and executed by State.Apply.
//
// Every command names its subject; a proposer fills in what must be the same
// on all replicas (ids) and never reads it back from the state.
type Command interface {
	// Key is the user or group whose slot decides the shard, "" for commands that
	// are addressed to a shard.
	Key() string
	// Needs returns what must be there before the command is proposed.
	Needs() Needs

	// kind is the command's number in the log, which no other command ever had.
	kind() Kind
	// fields writes, reads or checks all fields, in the order of the log.
	fields(x *codec.Coder)
}

// A Kind is the number of a command in the log.
type Kind uint8

// GroupCommand is a Command on a group.
type GroupCommand interface {
	Command
	onGroup()
}

// A Needs says what a command may use besides its user or group.
type Needs struct {
	Room bool   // it stores messages or memberships, which takes memory and disk
	Peer UserID // it may write a letter to this user; "" = to nobody
	// Members are users whose shards are told by letter that they are, or are no
	// longer, members of a group. The answer waits until those shards know.
	Members []UserID
	All     bool // it may write letters to users of any shard
}

// A Request is the client's number of a changing request within its session, and a
// hash of what it asks. A repeat of both gets the answer of the first and changes
// nothing. The zero Request is never remembered.
type Request struct {
	ID   uint64
	Hash uint64
}

// Fields writes or reads the request.
func (r *Request) Fields(x *codec.Coder) {
	codec.Uint(x, &r.ID)
	codec.Uint(x, &r.Hash)
}

// Bounds of single fields. Bodies are bounded by the edge (Limits of the
// gateway) and here only against nonsense.
const (
	MaxName     = 64 // bytes of a user, device, platform or cid
	MaxBody     = 1 << 20
	MaxMentions = 1000
	MaxSeqs     = 1000
)

func mentions(x *codec.Coder, list *[]string) { codec.Texts(x, list, MaxMentions, MaxName) }
