package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What follows the hello on a control connection, in both directions, is frames:
//
//	0  length of what follows, 4 bytes, big-endian, 1 … maxFrame
//	4  type, 1 byte
//	5  fields
//
// Numbers in fields are varints but where said otherwise; words have their length
// before them. A frame of a type that is not known is passed over, so that a later
// version may say more; a known one that does not end with its fields ends the connection.
const (
	frameAlive    = 1 // three times, 8 bytes each: see alive
	frameStatus   = 2 // the status
	frameBeats    = 3 // beats, one after the other
	frameBeatAcks = 4 // beatAcks, one after the other
)

const (
	maxFrame = 128 << 10
	// fillFrame is the size from which on further beats go into the next frame.
	fillFrame = 32 << 10
)

// alive keeps a connection and carries what clocks are compared by, in nanoseconds of
// Unix time, as in RFC 5905: when this one left, and which of the other side's frames
// was the last before, by when it left there and when it arrived here; 0 if none was.
type alive struct {
	sent, echo, received int64
}

// A beat is a heartbeat of a leader's replica: an AppendEntries request that carries
// nothing but its term.
type beat struct {
	call     uint64 // names the answer
	group    string
	replica  string // that it is for
	term     uint64
	version  uint64 // of hashicorp/raft's protocol
	from     []byte // server ID of the leader, and its address
	fromAddr []byte
}

// A beatAck is the answer of the group's own handler, or why there is none.
type beatAck struct {
	call     uint64
	failed   string // "" = what follows is valid
	term     uint64
	lastLog  uint64
	success  bool
	noWait   bool // AppendEntriesResponse.NoRetryBackoff
	version  uint64
	from     []byte
	fromAddr []byte
}

var errFrame = errors.New("link: malformed frame")

func appendWord[T string | []byte](b []byte, word T) []byte {
	word = word[:min(len(word), maxWord)]
	return append(append(b, byte(len(word))), word...)
}

func appendAlive(b []byte, a alive) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, frameAlive)
	for _, t := range [...]int64{a.sent, a.echo, a.received} {
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	return endFrame(b, start)
}

func appendStatus(b, status []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, frameStatus)
	return endFrame(append(b, status...), start)
}

// endFrame writes the length of the frame that begins at start.
func endFrame(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// appendItems appends as many frames of a type as items need.
func appendItems[T any](b []byte, frameType byte, items []T, appendItem func([]byte, T) []byte) []byte {
	for len(items) > 0 {
		start := len(b)
		b = append(b, 0, 0, 0, 0, frameType)
		for len(items) > 0 && len(b)-start < fillFrame {
			b = appendItem(b, items[0])
			items = items[1:]
		}
		b = endFrame(b, start)
	}
	return b
}

func appendBeat(b []byte, h beat) []byte {
	b = binary.AppendUvarint(b, h.call)
	b = appendWord(b, h.group)
	b = appendWord(b, h.replica)
	b = binary.AppendUvarint(b, h.term)
	b = binary.AppendUvarint(b, h.version)
	b = appendWord(b, h.from)
	return appendWord(b, h.fromAddr)
}

func appendBeatAck(b []byte, a beatAck) []byte {
	b = binary.AppendUvarint(b, a.call)
	b = appendWord(b, a.failed)
	if a.failed != "" {
		return b
	}
	b = binary.AppendUvarint(b, a.term)
	b = binary.AppendUvarint(b, a.lastLog)
	var flags byte
	if a.success {
		flags |= 1
	}
	if a.noWait {
		flags |= 2
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, a.version)
	b = appendWord(b, a.from)
	return appendWord(b, a.fromAddr)
}

// readFrame reads one frame. What it returns lies in buf, if that is large enough.
func readFrame(r io.Reader, buf []byte) (frameType byte, fields, newBuf []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, buf, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > maxFrame {
		return 0, nil, buf, fmt.Errorf("%w: length %d", errFrame, n)
	}
	if cap(buf) < int(n-1) {
		buf = make([]byte, n-1)
	}
	buf = buf[:n-1]
	_, err = io.ReadFull(r, buf)
	return head[4], buf, buf, err
}

// fields reads the fields of a frame. After the first one that is not there it reads
// zeros, and err says so.
type fields struct {
	b   []byte
	err error
}

func (f *fields) fail() { f.b, f.err = nil, errFrame }

func (f *fields) more() bool { return f.err == nil && len(f.b) > 0 }

func (f *fields) number() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) byte() byte {
	if len(f.b) == 0 {
		f.fail()
		return 0
	}
	v := f.b[0]
	f.b = f.b[1:]
	return v
}

// word returns a part of the frame, at most maxWord bytes.
func (f *fields) word() []byte {
	n := int(f.byte())
	if n > maxWord || n > len(f.b) {
		f.fail()
		return nil
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func parseAlive(b []byte) (alive, error) {
	if len(b) != 24 {
		return alive{}, errFrame
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[i:])) }
	return alive{sent: at(0), echo: at(8), received: at(16)}, nil
}

// beat reads the next one. Its byte slices are copies.
func (f *fields) beat() beat {
	return beat{
		call: f.number(), group: string(f.word()), replica: string(f.word()), term: f.number(),
		version: f.number(), from: append([]byte(nil), f.word()...), fromAddr: append([]byte(nil), f.word()...),
	}
}

// beatAck reads the next one. Its byte slices are copies.
func (f *fields) beatAck() beatAck {
	a := beatAck{call: f.number(), failed: string(f.word())}
	if a.failed != "" {
		return a
	}
	a.term, a.lastLog = f.number(), f.number()
	flags := f.byte()
	a.success, a.noWait = flags&1 != 0, flags&2 != 0
	a.version = f.number()
	a.from, a.fromAddr = append([]byte(nil), f.word()...), append([]byte(nil), f.word()...)
	return a
}
