package wsconformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// A conformanceCase is what a client sends on one connection and what the server
// has to make of it.
type conformanceCase struct {
	section string // of RFC 6455
	name    string
	frames  []rawFrame
	whole   bool // written at once only: what follows a close may come too late

	pings   []string // whose pongs may come; the last one's has to, unless the case closes
	replies []int64
	close   int    // its code; noCode = a close frame without one, 0 = the connection stays
	reason  string // a part of it
	stored  any    // the body of the newest note to oneself
}

// noCode stands for a close frame that has no code. No peer can send it.
const noCode = 1005

// early reports whether the case goes for a connection without login, too, where
// frames are small and whole.
func (c conformanceCase) early() bool {
	if c.stored != nil {
		return false
	}
	for _, f := range c.frames {
		size := max(uint64(len(f.payload)), f.announced)
		if size > 4<<10 || f.first&0x0f < opClose && (f.first&fin == 0 || f.first&0x0f == opContinue) {
			return false
		}
	}
	return true
}

// conformanceCases are the cases for a session of user.
func conformanceCases(t testing.TB, c *wstest.Codec, user string) (cases []conformanceCase) {
	data := opcodeOf(c)
	add := func(section, name string, want conformanceCase, frames ...rawFrame) {
		want.section, want.name, want.frames = section, name, frames
		cases = append(cases, want)
	}
	request := func(id int) string { return requestFrame(t, c, id, "ping", nil) }
	reply := func(ids ...int64) conformanceCase { return conformanceCase{replies: ids} }
	closed := func(code int) conformanceCase { return conformanceCase{close: code} }
	whole := request(1) // another time its map may have another order
	message := func(id int) rawFrame {
		return rawFrame{first: fin | data, payload: request(id), mask: 0x37fa213d}
	}
	ping := func(payload string) rawFrame {
		return rawFrame{first: fin | opPing, payload: payload, mask: 0x11223344}
	}

	// Framing.
	add("5.2", "a message", reply(1), message(1))
	add("5.2", "messages in one piece", reply(1, 2, 3), message(1), message(2), message(3))
	add("5.2", "no payload", closed(4400), rawFrame{first: fin | data})
	for bit, name := range map[byte]string{0x40: "RSV1", 0x20: "RSV2", 0x10: "RSV3"} {
		add("5.2", name+" of a message", closed(1002), rawFrame{first: fin | bit | data, payload: request(1)})
		add("5.2", name+" of a ping", closed(1002), rawFrame{first: fin | bit | opPing})
		add("5.2", name+" of a close", closed(1002), rawFrame{first: fin | bit | opClose, payload: closePayload(1000, "")})
		add("5.2", name+" of a continuation", closed(1002), rawFrame{first: data, payload: request(1)}, rawFrame{first: fin | bit})
	}
	for _, opcode := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		add("5.2", fmt.Sprintf("opcode %d", opcode), closed(1002), rawFrame{first: fin | opcode, payload: "x"})
		add("5.2", fmt.Sprintf("opcode %d after a message", opcode), conformanceCase{replies: []int64{1}, close: 1002}, message(1), rawFrame{first: fin | opcode})
	}

	// Lengths.
	const limit = 88 << 10
	for _, size := range []int{100, 125, 126, 127, 128, 255, 256, 4095, 4096, 4097, 65535, 65536, 65537, limit - 1, limit} {
		add("5.2", fmt.Sprintf("%d bytes", size), reply(1), rawFrame{first: fin | data, payload: string(wstest.FrameOfSize(t, c, 1, size)), mask: 0x9f8e7d6c})
	}
	tooLarge := conformanceCase{close: 1009, reason: fmt.Sprint(limit)}
	add("7.4.1", "one byte over the limit", tooLarge, rawFrame{first: fin | data, payload: strings.Repeat("x", limit+1)})
	add("7.4.1", "far over the limit, announced", tooLarge, rawFrame{first: fin | data, announced: 1 << 40})
	add("7.4.1", "the longest length", tooLarge, rawFrame{first: fin | data, announced: 1 << 62})
	add("5.2", "a length of 64 bits", closed(1002), rawFrame{first: fin | data, announced: 1 << 63})
	add("5.2", "a length of all bits", closed(1002), rawFrame{first: fin | data, announced: 1<<64 - 1})
	add("5.2", "16 bits for a short length", closed(1002), rawFrame{first: fin | data, payload: request(1), extended: 2})
	add("5.2", "64 bits for a short length", closed(1002), rawFrame{first: fin | data, payload: request(1), extended: 8})
	add("5.2", "64 bits for a length of 16", closed(1002), rawFrame{first: fin | data, payload: string(wstest.FrameOfSize(t, c, 1, 65535)), extended: 8})
	add("5.2", "16 bits for the length of a ping", closed(1002), rawFrame{first: fin | opPing, payload: "x", extended: 2})

	// Masks.
	for _, mask := range []uint32{0, 1, 0x80000000, 0xffffffff, 0x00ff00ff, 0x22222222, 0xdeadbeef} {
		add("5.3", fmt.Sprintf("mask %08x", mask), reply(1), rawFrame{first: fin | data, payload: string(wstest.FrameOfSize(t, c, 1, 133)), mask: mask})
	}
	add("5.3", "a mask for each frame", conformanceCase{replies: []int64{1, 2}, pings: []string{"masked"}},
		rawFrame{first: data, payload: whole[:7], mask: 1}, rawFrame{first: fin | opPing, payload: "masked", mask: 0x10203040},
		rawFrame{first: fin, payload: whole[7:], mask: 0xfedcba98}, rawFrame{first: fin | data, payload: request(2), mask: 2})
	add("5.1", "no mask", closed(1002), rawFrame{first: fin | data, payload: request(1), unmasked: true})
	add("5.1", "no mask, no payload", closed(1002), rawFrame{first: fin | data, unmasked: true})
	add("5.1", "no mask of a ping", closed(1002), rawFrame{first: fin | opPing, payload: "x", unmasked: true})
	add("5.1", "no mask of a close", closed(1002), rawFrame{first: fin | opClose, payload: closePayload(1000, ""), unmasked: true})
	add("5.1", "no mask of a continuation", closed(1002), rawFrame{first: data, payload: whole[:3]}, rawFrame{first: fin, payload: whole[3:], unmasked: true})

	// Fragments.
	fragments := func(size int) (frames []rawFrame) {
		first := data
		for at := 0; at < len(whole); at += size {
			frames = append(frames, rawFrame{first: first, payload: whole[at:min(at+size, len(whole))], mask: uint32(at)})
			first = opContinue
		}
		frames[len(frames)-1].first |= fin
		return frames
	}
	for _, size := range []int{1, 2, 3, 7, len(whole) - 1} {
		add("5.4", fmt.Sprintf("fragments of %d", size), reply(1), fragments(size)...)
	}
	add("5.4", "empty fragments", reply(1), rawFrame{first: data}, rawFrame{}, rawFrame{payload: whole}, rawFrame{}, rawFrame{first: fin})
	add("5.4", "fragments of nothing", closed(4400), rawFrame{first: data}, rawFrame{}, rawFrame{first: fin})
	add("5.4", "two messages of fragments", reply(1, 1), append(fragments(5), fragments(4)...)...)
	add("5.4", "pings between fragments", conformanceCase{replies: []int64{1}, pings: []string{"a", "b", ""}},
		rawFrame{first: data, payload: whole[:2]}, ping("a"), rawFrame{payload: whole[2:4]}, ping("b"), ping(""),
		rawFrame{first: fin, payload: whole[4:]})
	add("5.4", "a pong between fragments", reply(1),
		rawFrame{first: data, payload: whole[:2]}, rawFrame{first: fin | opPong, payload: "unasked"}, rawFrame{first: fin, payload: whole[2:]})
	add("5.4", "a close between fragments", closed(1000), rawFrame{first: data, payload: whole[:2]}, rawFrame{first: fin | opClose, payload: closePayload(1000, "")})
	add("5.4", "a continuation of nothing", closed(1002), rawFrame{first: fin, payload: whole})
	add("5.4", "a continuation of nothing that goes on", closed(1002), rawFrame{payload: whole})
	add("5.4", "a continuation after the last", conformanceCase{replies: []int64{1}, close: 1002}, message(1), rawFrame{first: fin, payload: whole})
	add("5.4", "a message within a message", closed(1002), rawFrame{first: data, payload: whole[:2]}, message(2))
	add("5.4", "a fragment within a message", closed(1002), rawFrame{first: data, payload: whole[:2]}, rawFrame{first: data, payload: whole[2:]})
	half := strings.Repeat("x", limit/2)
	add("7.4.1", "fragments over the limit", tooLarge, rawFrame{first: data, payload: half}, rawFrame{payload: half}, rawFrame{first: fin, payload: "x"})
	add("7.4.1", "a fragment announced that is over the limit", tooLarge, rawFrame{first: data, payload: half}, rawFrame{first: fin, announced: limit/2 + 1})

	// Control frames.
	for _, size := range []int{0, 1, 2, 124, 125} {
		payload := strings.Repeat("\xffp", size)[:size]
		add("5.5.2", fmt.Sprintf("a ping of %d bytes", size), conformanceCase{pings: []string{payload}}, ping(payload))
	}
	add("5.5.2", "pings in a row", conformanceCase{pings: []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}},
		ping("1"), ping("2"), ping("3"), ping("4"), ping("5"), ping("6"), ping("7"), ping("8"), ping("9"), ping("10"))
	add("5.5.2", "a ping and a message", conformanceCase{pings: []string{"p"}, replies: []int64{1}}, ping("p"), message(1))
	add("5.5.3", "a pong that nobody asked for", reply(1), rawFrame{first: fin | opPong, payload: "unasked"}, rawFrame{first: fin | opPong}, message(1))
	for _, opcode := range []byte{opPing, opPong, opClose} {
		add("5.5", fmt.Sprintf("126 bytes of type %d", opcode), closed(1002), rawFrame{first: fin | opcode, payload: strings.Repeat("\x03\xe8", 63)})
		add("5.5", fmt.Sprintf("70,000 bytes of type %d", opcode), closed(1002), rawFrame{first: fin | opcode, payload: strings.Repeat("\x03\xe8", 35000)})
		add("5.5", fmt.Sprintf("a fragment of type %d", opcode), closed(1002), rawFrame{first: opcode}, rawFrame{first: fin})
	}

	// Closing.
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4401, 4999} {
		add("7.4", fmt.Sprintf("code %d", code), closed(code), rawFrame{first: fin | opClose, payload: closePayload(code, "")})
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		add("7.4", fmt.Sprintf("code %d, which nobody may send", code), closed(1002), rawFrame{first: fin | opClose, payload: closePayload(code, "")})
	}
	add("5.5.1", "no code", closed(noCode), rawFrame{first: fin | opClose})
	add("5.5.1", "half a code", closed(1002), rawFrame{first: fin | opClose, payload: "\x03"})
	add("5.5.1", "a reason", closed(1000), rawFrame{first: fin | opClose, payload: closePayload(1000, "Grüße")})
	add("5.5.1", "the longest reason", closed(1000), rawFrame{first: fin | opClose, payload: closePayload(1000, strings.Repeat("x", 123))})
	for name, bad := range notUTF8 {
		add("5.5.1", "a reason that is not UTF-8: "+name, closed(1007), rawFrame{first: fin | opClose, payload: closePayload(1000, "bye "+bad)})
	}
	afterClose := closed(1000)
	afterClose.whole = true
	add("5.5.1", "a message after the close", afterClose, rawFrame{first: fin | opClose, payload: closePayload(1000, "")}, message(1))
	add("5.5.1", "a ping after the close", afterClose, rawFrame{first: fin | opClose, payload: closePayload(1000, "")}, ping("late"))
	add("5.5.1", "a second close", afterClose, rawFrame{first: fin | opClose, payload: closePayload(1000, "")}, rawFrame{first: fin | opClose, payload: closePayload(1001, "")})
	add("5.5.1", "a message and the close", conformanceCase{replies: []int64{1}, close: 1000}, message(1), rawFrame{first: fin | opClose, payload: closePayload(1000, "")})

	// Text. What is not UTF-8 is no text in a session of msgpack either.
	for name, bad := range notUTF8 {
		add("8.1", name, closed(1007), rawFrame{first: fin | opText, payload: `{"id":1,"op":"ping","x":"` + bad + `"}`})
		add("8.1", name+" in fragments", conformanceCase{close: 1007, pings: []string{"between"}}, rawFrame{first: opText, payload: `{"id":1,"op":"ping","x":"` + bad[:1]},
			ping("between"), rawFrame{payload: bad[1:]}, rawFrame{first: fin, payload: `"}`})
		add("8.1", name+" at the end", closed(1007), rawFrame{first: fin | opText, payload: `{"id":1,"op":"ping"}` + bad})
	}
	other := byte(opText + opBinary - data)
	add("5.6", "the type of the other codec", closed(4400), rawFrame{first: fin | other, payload: "{}"})
	add("5.6", "the type of the other codec, in fragments", closed(4400), rawFrame{first: other, payload: "{"}, rawFrame{first: fin, payload: "}"})
	texts := []string{
		"Grüße, κόσμε, 世界, 👋🏽", "\u007f\u0080\u07ff\u0800\ud7ff\ue000\ufffd\ufffe\uffff\U00010000\U0010ffff", "\ufeffwith a BOM", "\u202emixed\u202c",
	}
	for i, text := range texts {
		frame := requestFrame(t, c, 1, "send", obj{"conv": "u:" + user, "cid": fmt.Sprintf("%s%d", c.Name(), i), "body": text})
		want := conformanceCase{replies: []int64{1}, stored: text}
		add("8.1", fmt.Sprintf("text %d", i), want, rawFrame{first: fin | data, payload: frame, mask: 0x01020304})
		var frames []rawFrame
		for at := range len(frame) {
			frames = append(frames, rawFrame{first: opContinue, payload: frame[at : at+1], mask: uint32(at) * 0x01010101})
		}
		frames[0].first, frames[len(frames)-1].first = data, fin
		add("8.1", fmt.Sprintf("text %d in fragments of one byte", i), want, frames...)
	}
	if c == wstest.Msgpack {
		add("5.6", "binary need not be UTF-8", conformanceCase{replies: []int64{1}, stored: []byte("\xff\xfe\x00\xc0")},
			rawFrame{first: fin | data, payload: requestFrame(t, c, 1, "send", obj{"conv": "u:" + user, "cid": "bin", "body": []byte("\xff\xfe\x00\xc0")})})
	}
	return cases
}

// notUTF8 is what RFC 3629 forbids.
var notUTF8 = map[string]string{
	"a continuation byte alone":      "\x80",
	"the last continuation byte":     "\xbf",
	"overlong in two bytes":          "\xc0\xaf",
	"the largest overlong of two":    "\xc1\xbf",
	"overlong in three bytes":        "\xe0\x80\xaf",
	"the largest overlong of three":  "\xe0\x9f\xbf",
	"overlong in four bytes":         "\xf0\x80\x80\xaf",
	"overlong in six bytes":          "\xfc\x80\x80\x80\x80\xaf",
	"the first surrogate":            "\xed\xa0\x80",
	"the last surrogate":             "\xed\xbf\xbf",
	"a pair of surrogates":           "\xed\xa0\x80\xed\xb0\x80",
	"beyond U+10FFFF":                "\xf4\x90\x80\x80",
	"five bytes":                     "\xf8\x88\x80\x80\x80",
	"fe":                             "\xfe",
	"ff":                             "\xff",
	"two bytes cut short":            "\xc3",
	"three bytes cut short":          "\xe2\x82",
	"four bytes cut short":           "\xf0\x9f\x91",
	"a start within a code point":    "\xe2\xe2\x82\xac",
	"Latin-1 after good text":        "Gr\xc3\xbc\xdfe",
	"a good text with one bad bytes": "κόσμε\xed\xa0\x80edited",
}
