package loadtest

import (
	"bytes"
	"encoding/binary"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A frameShape is the form in which this server writes an onNewMessage with
// messages of one group. A generator that shares a machine with its server cannot
// decode all that a thousand members get. So one client decodes and checks a
// message, and the others compare their bytes with it. A frame of any other form
// is right as well; it is decoded.
type frameShape struct {
	codec    protocol.Codec
	begin    []byte // to the args; in JSON also the key d
	messages []byte // from behind d's value to the first message
	tail     []byte // from behind the last message to the cursor
	cut      int    // bytes before the message in a frame with one message and d 1
	end      int    // bytes behind it
}

const jsonFrameEnd = `}}`

func newFrameShape(codec protocol.Codec, group string) frameShape {
	empty := protocol.AppendNewMessage(nil, codec, &protocol.NewMessage{D: 1})
	f := frameShape{codec: codec}
	if codec == protocol.Msgpack {
		d := bytes.Index(empty, []byte("\xa1d\x01"))
		f.begin = empty[:d-1] // what follows is the map's header, which counts keys
		f.messages = []byte("\xa8messages\xdc")
		f.tail = append([]byte("\xacgroupCursors\x81"), msgpackText(group)...)
		f.cut = len(empty)
		return f
	}
	f.begin = empty[:bytes.Index(empty, []byte(`:1,`))+1]
	f.messages = []byte(`,"messages":[`)
	f.tail = []byte(`],"groupCursors":{"` + group + `":`)
	f.end = len(`]` + jsonFrameEnd)
	f.cut = len(empty) - f.end
	return f
}

// msgpackText returns the encoding of a text of at most 255 bytes.
func msgpackText(s string) []byte {
	if len(s) < 32 {
		return append([]byte{0xa0 | byte(len(s))}, s...)
	}
	return append([]byte{0xd9, byte(len(s))}, s...)
}

// element returns the bytes of a message inside a frame.
func (f *frameShape) element(m *protocol.Message) []byte {
	frame := protocol.AppendNewMessage(nil, f.codec, &protocol.NewMessage{D: 1, Messages: []protocol.Message{*m}})
	return frame[f.cut : len(frame)-f.end]
}

// A knownFrame is a frame that holds only messages that other clients have
// checked.
type knownFrame struct {
	d        uint64
	messages []*groupMessage
	cursor   []byte // nil = none
}

// match reads a frame that holds nothing but the messages after number, each
// known and equal to the byte; ok is false for any other frame. Such a frame is
// right if the messages are. They are appended to known.
func (g *group) match(b []byte, number uint64, known []*groupMessage) (f knownFrame, ok bool) {
	if b, ok = bytes.CutPrefix(b, g.shape.begin); !ok {
		return f, false
	}
	if g.codec == protocol.Msgpack {
		return g.matchMsgpack(b, number, known)
	}
	return g.matchJSON(b, number, known)
}

func (g *group) matchMsgpack(b []byte, number uint64, known []*groupMessage) (f knownFrame, ok bool) {
	const bare, withCursor = 0x82, 0x83 // keys of args
	if len(b) < 4 || b[0] != bare && b[0] != withCursor || b[1] != 0xa1 || b[2] != 'd' {
		return f, false
	}
	cursor := b[0] == withCursor
	if f.d, b, ok = cutMsgpackUint(b[3:]); !ok {
		return f, false
	}
	if b, ok = bytes.CutPrefix(b, g.shape.messages); !ok || len(b) < 2 {
		return f, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n == 0 {
		return f, false
	}
	for range n {
		number++
		m := g.known(number)
		if m == nil || m.raw == nil {
			return f, false
		}
		if b, ok = bytes.CutPrefix(b, m.raw); !ok {
			return f, false
		}
		known = append(known, m)
	}
	f.messages = known
	if !cursor {
		return f, len(b) == 0
	}
	if b, ok = bytes.CutPrefix(b, g.shape.tail); !ok || len(b) == 0 {
		return f, false
	}
	switch size := int(b[0]); {
	case size&0xe0 == 0xa0:
		f.cursor = b[1:]
		return f, len(f.cursor) == size&0x1f
	case size == 0xd9 && len(b) > 1:
		f.cursor = b[2:]
		return f, len(f.cursor) == int(b[1])
	}
	return f, false
}

func cutMsgpackUint(b []byte) (v uint64, rest []byte, ok bool) {
	size := 0
	switch {
	case b[0] < 0x80:
		return uint64(b[0]), b[1:], true
	case b[0] >= 0xcc && b[0] <= 0xcf:
		size = 1 << (b[0] - 0xcc)
	}
	if size == 0 || len(b) <= size {
		return 0, nil, false
	}
	for _, c := range b[1 : 1+size] {
		v = v<<8 | uint64(c)
	}
	return v, b[1+size:], true
}

func (g *group) matchJSON(b []byte, number uint64, known []*groupMessage) (f knownFrame, ok bool) {
	digits := 0
	for ; digits < len(b) && digits < 16 && b[digits] >= '0' && b[digits] <= '9'; digits++ {
		f.d = f.d*10 + uint64(b[digits]-'0')
	}
	if b, ok = bytes.CutPrefix(b[digits:], g.shape.messages); !ok {
		return f, false
	}
	for {
		number++
		m := g.known(number)
		if m == nil || m.raw == nil {
			return f, false
		}
		if b, ok = bytes.CutPrefix(b, m.raw); !ok || len(b) == 0 {
			return f, false
		}
		known = append(known, m)
		if b[0] != ',' {
			break
		}
		b = b[1:]
	}
	f.messages = known
	if string(b) == `]`+jsonFrameEnd {
		return f, true
	}
	if b, ok = bytes.CutPrefix(b, g.shape.tail); !ok {
		return f, false
	}
	if b, ok = bytes.CutSuffix(b, []byte(`"}`+jsonFrameEnd)); !ok || len(b) == 0 || b[0] != '"' {
		return f, false
	}
	f.cursor = b[1:]
	return f, !bytes.ContainsAny(f.cursor, `"\`)
}
