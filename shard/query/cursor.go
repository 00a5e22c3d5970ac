package query

import (
	"encoding/base64"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/cespare/xxhash/v2"
)

// A cursor is version (1 byte), epoch and arrival number (uvarints), and four bytes
// that bind it to its user or group, in base64url without padding. Clients treat it as
// opaque text.
const cursorVersion = 1

// cursorTag returns the four bytes that bind a cursor to its user or group.
func cursorTag(user command.UserID) uint32 {
	return uint32(xxhash.Sum64String("cursor " + string(user)))
}

// Cursor returns an arrival number in the order of a user, or of a group given by its
// key, as a cursor.
func Cursor(epoch uint64, user command.UserID, arrival uint64) string {
	var buf [32]byte
	b := append(buf[:0], cursorVersion)
	b = codec.AppendUint(b, epoch)
	b = codec.AppendUint(b, arrival)
	tag := cursorTag(user)
	b = append(b, byte(tag), byte(tag>>8), byte(tag>>16), byte(tag>>24))
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor returns the arrival number of a cursor. It returns false if the cursor is
// malformed, or belongs to another user or epoch.
func ParseCursor(epoch uint64, user command.UserID, text string) (arrival uint64, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return 0, false
	}
	d := codec.Decoder{B: b}
	version, of, arrival := d.Byte(), d.Uint(), d.Uint()
	tag := d.Take(4)
	if d.End() != nil || version != cursorVersion || of != epoch {
		return 0, false
	}
	want := cursorTag(user)
	got := uint32(tag[0]) | uint32(tag[1])<<8 | uint32(tag[2])<<16 | uint32(tag[3])<<24
	return arrival, got == want
}
