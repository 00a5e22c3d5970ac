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
// Numbers in fields are varints but where said otherwise; words, asks and replies have
// their length before them. Package versions says how frames may change. A frame that
// lacks a field, or of an unknown type that is not optional, ends the connection.
const (
	frameAlive   = 1 // three times, 8 bytes each: see alive
	frameStatus  = 2 // the status
	frameAsks    = 3 // asks
	frameReplies = 4 // replies
)

const (
	maxFrame = 128 << 10
	// fillFrame is the size from which on further items go into the next frame.
	fillFrame = 32 << 10
)

// alive keeps a connection and carries what clocks are compared by, in nanoseconds of
// Unix time, as in RFC 5905: when this one left, and which of the other side's frames
// was the last before, by when it left there and when it arrived here; 0 if none was.
type alive struct {
	sent, echo, received int64
}

// An askKind says which small RPC of Raft a question is.
type askKind byte

const (
	askBeat    askKind = iota // a heartbeat: an AppendEntries that carries nothing but its term
	askVote                   // RequestVote
	askPreVote                // RequestPreVote
	askTimeout                // TimeoutNow
	askKinds
)

// An ask is a question of one replica to another.
type ask struct {
	call      uint64 // names the reply
	kind      askKind
	group     string
	replica   string // that it is for
	term      uint64
	lastIndex uint64 // of votes, as the next two
	lastTerm  uint64
	transfer  bool
	version   uint64 // of hashicorp/raft's protocol
	from      []byte // server ID of who asks, and its address
	fromAddr  []byte
}

// A reply is what the replica itself says, or why it says nothing.
type reply struct {
	call     uint64
	failed   string // "" = what follows is valid
	term     uint64
	lastLog  uint64 // of heartbeats
	yes      bool   // a success, a vote
	noWait   bool   // AppendEntriesResponse.NoRetryBackoff
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

// appendItems appends as many frames of a type as items need, each item with its length.
func appendItems[T any](b []byte, frameType byte, items []T, appendItem func([]byte, T) []byte) []byte {
	var one []byte
	for len(items) > 0 {
		start := len(b)
		b = append(b, 0, 0, 0, 0, frameType)
		for len(items) > 0 && len(b)-start < fillFrame {
			one = appendItem(one[:0], items[0])
			b = append(binary.AppendUvarint(b, uint64(len(one))), one...)
			items = items[1:]
		}
		b = endFrame(b, start)
	}
	return b
}

func appendAsk(b []byte, a ask) []byte {
	b = binary.AppendUvarint(b, a.call)
	b = append(b, byte(a.kind))
	b = appendWord(b, a.group)
	b = appendWord(b, a.replica)
	b = binary.AppendUvarint(b, a.term)
	if a.kind == askVote || a.kind == askPreVote {
		b = binary.AppendUvarint(b, a.lastIndex)
		b = binary.AppendUvarint(b, a.lastTerm)
		b = append(b, flags(a.transfer, false))
	}
	b = binary.AppendUvarint(b, a.version)
	b = appendWord(b, a.from)
	return appendWord(b, a.fromAddr)
}

func appendReply(b []byte, r reply) []byte {
	b = binary.AppendUvarint(b, r.call)
	b = appendWord(b, r.failed)
	if r.failed != "" {
		return b
	}
	b = binary.AppendUvarint(b, r.term)
	b = binary.AppendUvarint(b, r.lastLog)
	b = append(b, flags(r.yes, r.noWait))
	b = binary.AppendUvarint(b, r.version)
	b = appendWord(b, r.from)
	return appendWord(b, r.fromAddr)
}

func flags(first, second bool) (b byte) {
	if first {
		b |= 1
	}
	if second {
		b |= 2
	}
	return b
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

// next returns the fields of the next item.
func (f *fields) next() fields {
	b := f.part()
	return fields{b: b, err: f.err}
}

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
	if len(b) < 24 {
		return alive{}, errFrame
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[i:])) }
	return alive{sent: at(0), echo: at(8), received: at(16)}, nil
}

func (f *fields) flags() (first, second bool) {
	b := f.byte()
	if b > 3 {
		f.fail()
	}
	return b&1 != 0, b&2 != 0
}

// copied returns a word that outlives the frame, nil if it is empty.
func (f *fields) copied() []byte { return append([]byte(nil), f.word()...) }

// ask reads one. Of a kind that is not known it reads only what all have in common.
func (f *fields) ask() ask {
	a := ask{call: f.number(), kind: askKind(f.byte()), group: string(f.word()), replica: string(f.word()), term: f.number()}
	if a.kind >= askKinds {
		return a
	}
	if a.kind == askVote || a.kind == askPreVote {
		a.lastIndex, a.lastTerm = f.number(), f.number()
		a.transfer, _ = f.flags()
	}
	a.version, a.from, a.fromAddr = f.number(), f.copied(), f.copied()
	return a
}

// reply reads one.
func (f *fields) reply() reply {
	r := reply{call: f.number(), failed: string(f.word())}
	if r.failed != "" {
		return r
	}
	r.term, r.lastLog = f.number(), f.number()
	r.yes, r.noWait = f.flags()
	r.version, r.from, r.fromAddr = f.number(), f.copied(), f.copied()
	return r
}
