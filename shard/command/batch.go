package command

import (
	"fmt"

	"github.com/belfry-im/belfry/shard/codec"
)

// A batch is what one log entry holds:
//
//	offset  field
//	0       version, 2
//	1       time, zigzag varint, Unix milliseconds
//	…       commands, each: length of the rest (uvarint), kind (1 byte), fields
//
// Fields are varints, length-prefixed bytes and single-byte booleans in the order of
// the commands' fields methods. Bytes of a command after its fields are malformed: a
// new field needs a new kind or version.
const batchVersion = 2

// AppendBatchHeader begins a batch that is applied as of atMS.
func AppendBatchHeader(dst []byte, atMS int64) []byte {
	return codec.AppendInt(append(dst, batchVersion), atMS)
}

// An Encoder appends commands to batches. It is ready when zero, allocates nothing
// except room in batches, and is for one goroutine at a time.
type Encoder struct{ x codec.Coder }

// Append appends one command to a batch.
func (e *Encoder) Append(dst []byte, cmd Command) []byte {
	// Most commands are shorter than 128 bytes: reserve one byte for the length,
	// and move the body if it needs more.
	e.x = codec.Writer(append(dst, 0, byte(cmd.kind())))
	cmd.fields(&e.x)
	b := e.x.B
	e.x.B = nil
	return closeCommand(b, len(dst))
}

// AppendCommand is Encoder.Append where allocations do not count.
func AppendCommand(dst []byte, cmd Command) []byte { return new(Encoder).Append(dst, cmd) }

// AppendDeliver is AppendCommand for a Deliver whose letter AppendLetter has encoded.
func AppendDeliver(dst, letter []byte) []byte {
	b := append(dst, 0, byte((*Deliver).kind(nil)))
	return closeCommand(append(b, letter...), len(dst))
}

// closeCommand puts the length before the command that begins at start, where one byte
// is reserved for it.
func closeCommand(dst []byte, start int) []byte {
	size := len(dst) - start - 1
	if size < 0x80 {
		dst[start] = byte(size)
		return dst
	}
	var head [10]byte
	n := len(codec.AppendUint(head[:0], uint64(size)))
	dst = append(dst, head[:n-1]...)
	copy(dst[start+n:], dst[start+1:start+1+size])
	copy(dst[start:], head[:n])
	return dst
}

// A Set holds one value of each command to decode into, so that applying a
// batch allocates only what its strings need.
type Set struct {
	make     func(Kind) Command
	commands [256]Command // by kind, each made when it first comes
	x        codec.Coder  // decodes the current command
}

// NewSet returns a Set for which make returns a zero command of each Kind, or nil if
// there is none.
func NewSet(make func(Kind) Command) *Set { return &Set{make: make} }

// WalkBatch decodes a batch. It calls begin with the batch's time, then visit with
// each command. The command is valid only during the call; its byte slices alias b.
func (s *Set) WalkBatch(b []byte, begin func(atMS int64), visit func(Kind, Command)) error {
	d := codec.Decoder{B: b}
	if v := d.Byte(); d.Err == nil && v != batchVersion {
		return fmt.Errorf("batch version %d, want %d", v, batchVersion)
	}
	at := d.Int()
	if d.Err != nil {
		return fmt.Errorf("batch header: %w", d.Err)
	}
	begin(at)
	for len(d.B) > 0 {
		k, cmd, err := s.next(&d, false)
		if err != nil {
			return err
		}
		visit(k, cmd)
	}
	return nil
}

// next decodes the next command of d with the coder that open returns.
func (s *Set) next(d *codec.Decoder, check bool) (Kind, Command, error) {
	s.x = codec.Reader(d.Bytes())
	if check {
		s.x = codec.Checker(s.x.B)
	}
	k := Kind(s.x.Decoder.Byte())
	cmd := s.commands[k]
	if cmd == nil {
		cmd = s.make(k)
		s.commands[k] = cmd
	}
	if d.Err != nil || cmd == nil {
		return 0, nil, fmt.Errorf("command of kind %d: %w", k, codec.ErrMalformed)
	}
	cmd.fields(&s.x)
	if err := s.x.End(); err != nil {
		return 0, nil, fmt.Errorf("command of kind %d: %w", k, err)
	}
	return k, cmd, nil
}

// Check checks what Encoder.Append has appended for one command. It allocates only for
// an error. A Set that checks must not decode batches, because it leaves commands half
// empty.
func (s *Set) Check(b []byte) error {
	d := codec.Decoder{B: b}
	if _, _, err := s.next(&d, true); err != nil {
		return err
	}
	return d.End()
}
