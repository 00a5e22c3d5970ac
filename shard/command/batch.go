package command

import (
	"fmt"

	"github.com/belfry-im/belfry/shard/codec"
)

// BatchVersion is the version of batches. A batch is what one log entry holds:
//
//	offset  field
//	0       version, 3
//	1       time, zigzag varint, Unix milliseconds
//	…       commands, each: length of the rest (uvarint), kind (1 byte), fields
//
// Fields are varints, length-prefixed bytes and single-byte booleans in the order of
// the commands' fields methods. Bytes of a command after its fields are malformed: a
// new field needs a new kind or version. All replicas of a shard apply what is in its
// log, so neither is written before all nodes of the cluster know it.
const BatchVersion = 3

// AppendBatchHeader begins a batch whose commands are applied as of atMS.
func AppendBatchHeader(dst []byte, atMS int64) []byte {
	return codec.AppendInt(append(dst, BatchVersion), atMS)
}

// An Encoder appends commands to batches. The zero Encoder is ready for use. It
// allocates nothing but room in the batch, and is for one goroutine at a time.
type Encoder struct{ x codec.Coder }

// Append appends one command to a batch.
func (e *Encoder) Append(dst []byte, cmd Command) []byte {
	// Most commands are shorter than 128 bytes: reserve one byte for the length,
	// and move the body if it needs more.
	e.x = codec.NewWriter(append(dst, 0, byte(cmd.kind())))
	cmd.fields(&e.x)
	b := e.x.B
	e.x.B = nil
	return closeCommand(b, len(dst))
}

// AppendCommand is Encoder.Append for callers to whom an allocation does not matter.
func AppendCommand(dst []byte, cmd Command) []byte { return new(Encoder).Append(dst, cmd) }

// AppendDeliver appends a Deliver command whose letter is already encoded, by
// AppendLetter.
func AppendDeliver(dst, letter []byte) []byte {
	b := append(dst, 0, byte((*Deliver).kind(nil)))
	return closeCommand(append(b, letter...), len(dst))
}

// closeCommand writes the length of the command that begins at start, where one byte is
// reserved for it, and makes room if the length takes more.
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

// A Set decodes batches. It keeps one value of each kind of command to decode into, so
// that applying a batch allocates only what its strings and lists need.
type Set struct {
	make     func(Kind) Command
	commands [256]Command // by kind; each is made when its kind first occurs
	x        codec.Coder  // decodes the current command
}

// NewSet returns a Set. make must return a zero command of a kind, or nil if there is
// no such kind.
func NewSet(make func(Kind) Command) *Set { return &Set{make: make} }

// WalkBatch decodes a batch. It calls begin with the batch's time, then visit with each
// command. A command is valid only during its visit; its byte slices alias b.
func (s *Set) WalkBatch(b []byte, begin func(atMS int64), visit func(Kind, Command)) error {
	d := codec.Decoder{B: b}
	if v := d.Byte(); d.Err == nil && v != BatchVersion {
		return fmt.Errorf("batch of version %d, this binary knows %d", v, BatchVersion)
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

// next decodes the next command of d, or only checks it.
func (s *Set) next(d *codec.Decoder, check bool) (Kind, Command, error) {
	s.x = codec.NewReader(d.Bytes())
	if check {
		s.x = codec.NewChecker(s.x.B)
	}
	k := Kind(s.x.Decoder.Byte())
	cmd := s.commands[k]
	if cmd == nil {
		cmd = s.make(k)
		s.commands[k] = cmd
	}
	if d.Err == nil && s.x.Err == nil && cmd == nil {
		return 0, nil, fmt.Errorf("command of kind %d is not known: this binary is older than its writer: %w", k, codec.ErrMalformed)
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

// Check checks that b is one command as Encoder.Append appends it. It allocates only
// for an error. A Set that checks must not decode batches, because checking leaves some
// fields of its commands unset.
func (s *Set) Check(b []byte) error {
	d := codec.Decoder{B: b}
	if _, _, err := s.next(&d, true); err != nil {
		return err
	}
	return d.End()
}

// Decode returns the one command that Encoder.Append has appended to b. It is valid
// until the next call, and its byte slices alias b.
func (s *Set) Decode(b []byte) (Command, error) {
	d := codec.Decoder{B: b}
	_, cmd, err := s.next(&d, false)
	if err != nil {
		return nil, err
	}
	return cmd, d.End()
}
