package command

import (
	"encoding/binary"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/cespare/xxhash/v2"
)

// An Origin is the device of a message and which of its logins it was sent after. Once a
// message with Fence was stored, those of earlier logins of the device are refused with
// CodeOvertaken, in all conversations of a user or in one group, for as long as repeats
// are known: they were sent before it, and have waited somewhere on a way that the device
// does not use any more. The zero Origin, of administrators, is never refused so.
type Origin struct {
	Device DeviceHash
	Login  SessionID // number that the session had after its client's login; 0 = no device
	Fence  bool      // messages of earlier logins may still be on their way
}

// A DeviceHash tells the devices of one user apart.
type DeviceHash uint64

// HashDevice returns the hash of a device's name.
func HashDevice(name string) DeviceHash { return DeviceHash(xxhash.Sum64String(name)) }

func (o *Origin) fields(x *codec.Coder) {
	codec.Uint(x, &o.Login)
	if o.Login == 0 {
		return
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(o.Device))
	codec.Fixed(x, b[:])
	o.Device = DeviceHash(binary.LittleEndian.Uint64(b[:]))
	codec.Bool(x, &o.Fence)
}
