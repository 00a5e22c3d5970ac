package command

import (
	"bytes"
	"strings"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/cespare/xxhash/v2"
)

// A UserID names a user: 1-64 bytes of printable ASCII without spaces, neither "." nor
// "..".
type UserID string

// A GroupID names a group: 1-48 bytes of printable ASCII without spaces, neither "."
// nor "..".
type GroupID string

// MaxGroup bounds the bytes of a GroupID.
const MaxGroup = 48

// Key returns the name of the group's record, whose slot decides the shard. No user has
// such a name, because it contains a space.
func (g GroupID) Key() UserID { return GroupPrefix + UserID(g) }

// GroupPrefix begins the key of every group.
const GroupPrefix = "group "

// A MsgID is a ULID. The proposer makes it and it is part of the command, so that it is
// the same on all replicas and after a replay of the log.
type MsgID [16]byte

// A SessionID is the number that the user's shard gives a session at login. The numbers
// of one user rise, so that of two sessions of a device the higher number is the newer
// session. 0 is no session: the server itself or an administrator acts.
type SessionID uint64

// Slots is the number of slots that keys are hashed to. A slot moves between shards as
// a whole.
const Slots = 16384

// SlotOf returns the slot of a user's name or of a group's key.
func SlotOf(key string) uint16 { return uint16(xxhash.Sum64String(key) % Slots) }

// Slot writes or reads the number of a slot.
func Slot(x *codec.Coder, slot *uint16) { codec.UintMax(x, slot, Slots-1) }

// Key writes or reads the name of a user or the key of a group, and reports whether it
// is a group's.
func Key(x *codec.Coder, name *UserID) (group bool) {
	if x.Writing() {
		codec.Text(x, name, MaxName)
		return strings.HasPrefix(string(*name), GroupPrefix)
	}
	v := x.Decoder.Text(MaxName)
	if group = bytes.HasPrefix(v, []byte(GroupPrefix)); group && len(v) == len(GroupPrefix) {
		x.Fail(codec.ErrMalformed)
	}
	if !x.Checking() {
		*name = UserID(v)
	}
	return group
}

// Fields writes or reads the name of a user.
func (u *UserID) Fields(x *codec.Coder) {
	if x.Writing() {
		codec.Text(x, u, MaxName)
	} else if Key(x, u) {
		x.Fail(codec.ErrMalformed)
	}
}

// Fields writes or reads the name of a group.
func (g *GroupID) Fields(x *codec.Coder) { codec.Text(x, g, MaxGroup) }

// Time returns when the id was made, in ms.
func (id MsgID) Time() int64 {
	ms := int64(0)
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return ms
}

// Fields writes or reads the id.
func (id *MsgID) Fields(x *codec.Coder) { codec.Fixed(x, id[:]) }

// MaxUsers bounds a list of users. The gateway's bounds, for the members of a new group
// and the users of one request, are far lower.
const MaxUsers = 10_000

// Users writes or reads a list of users.
func Users(x *codec.Coder, list *[]UserID) {
	codec.List(x, list, 1, MaxUsers, (*UserID).Fields)
}
