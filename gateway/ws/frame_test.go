package ws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/ws/wstest"
)

// testFrame is the limit of frames in tests of an assembler.
const testFrame = 64 << 10

// taken gives what an assembler makes of stream when it comes in pieces of up to
// chunk bytes, up to its end, an error, or a close frame.
func taken(stream []byte, chunk int) (messages []string, err error) {
	in := assembler{limit: testFrame, fragments: true}
	goOn := true
	for len(stream) > 0 && goOn && err == nil {
		room := in.space()
		n := copy(room[:min(chunk, len(room))], stream)
		stream = stream[n:]
		in.received(n)
		err = in.drain(func(opcode byte, payload []byte) bool {
			if opcode != OpContinuation && opcode < OpPing {
				messages = append(messages, fmt.Sprintf("%d:%s", opcode, payload))
			}
			goOn = opcode != OpClose
			return goOn
		})
	}
	return messages, err
}

func TestAssembler(t *testing.T) {
	long := string(bytes.Repeat([]byte("0123456789abcdef"), testFrame/16))
	var several []byte
	for _, f := range [][]byte{
		wstest.Frame(0x81, 0x01020304, "one"),
		wstest.Frame(0x89, 0xffffffff, "ping"),
		wstest.Frame(0x82, 0, ""),
		wstest.Frame(0x01, 7, "a"),
		wstest.Frame(0x8a, 7, "pong between fragments"),
		wstest.Frame(0x00, 0xdeadbeef, "b"),
		wstest.Frame(0x80, 0, ""),
		wstest.Frame(0x81, 0x80000001, long),
		wstest.Frame(0x88, 3, "\x03\xe8"),
		wstest.Frame(0x81, 3, "after the close"),
	} {
		several = append(several, f...)
	}
	for name, tc := range map[string]struct {
		stream []byte
		want   []string
		err    error
	}{
		"several":              {several, []string{"1:one", "2:", "1:ab", "1:" + long, "8:\x03\xe8"}, nil},
		"too large":            {wstest.Frame(0x81, 0, long+"x"), nil, ErrTooLarge},
		"too large in parts":   {append(wstest.Frame(0x01, 0, long), wstest.Frame(0x80, 0, "x")...), nil, ErrTooLarge},
		"length of 64 bits":    {[]byte("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"), nil, ErrBrokenFrame},
		"no mask":              {[]byte("\x81\x02{}"), nil, ErrBrokenFrame},
		"reserved bit":         {wstest.Frame(0xc1, 0, "{}"), nil, ErrBrokenFrame},
		"16 bits for 125":      {[]byte("\x81\xfe\x00\x7d\x00\x00\x00\x00"), nil, errLongHeader},
		"64 bits for 65535":    {[]byte("\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00"), nil, errLongHeader},
		"unknown opcode":       {wstest.Frame(0x83, 0, "{}"), nil, ErrBrokenFrame},
		"unknown control":      {wstest.Frame(0x8b, 0, ""), nil, ErrBrokenFrame},
		"fragmented ping":      {wstest.Frame(0x09, 0, ""), nil, ErrBrokenFrame},
		"long ping":            {wstest.Frame(0x89, 0, long[:126]), nil, ErrBrokenFrame},
		"continuation of none": {wstest.Frame(0x80, 0, "x"), nil, ErrBrokenFrame},
		"message in a message": {append(wstest.Frame(0x01, 0, "x"), wstest.Frame(0x81, 0, "y")...), nil, ErrBrokenFrame},
	} {
		for _, chunk := range []int{1, 3, 4096, 1 << 20} {
			t.Run(fmt.Sprint(name, "/", chunk), func(t *testing.T) {
				got, err := taken(tc.stream, chunk)
				if !slices.Equal(got, tc.want) || !errors.Is(err, tc.err) {
					t.Errorf("%d messages %.40q, %v, want %d %.40q, %v", len(got), got, err, len(tc.want), tc.want, tc.err)
				}
			})
		}
	}
}

// TestAssemblerHoldsNothingIdle checks that only an incomplete message takes memory.
func TestAssemblerHoldsNothingIdle(t *testing.T) {
	in := assembler{limit: testFrame, fragments: true}
	held := func() bool { return in.bytes != nil || in.message != nil }
	for _, step := range []struct {
		bytes []byte
		held  bool
	}{
		{wstest.Frame(0x81, 0, "whole"), false},
		{wstest.Frame(0x81, 0, "whole")[:4], true},
		{wstest.Frame(0x81, 0, "whole")[4:], false},
		{wstest.Frame(0x01, 0, "part"), true},
		{wstest.Frame(0x80, 0, "rest"), false},
	} {
		in.received(copy(in.space(), step.bytes))
		if err := in.drain(func(byte, []byte) bool { return true }); err != nil {
			t.Fatal(err)
		}
		if held() != step.held {
			t.Errorf("after %q: holds memory = %v, want %v", step.bytes, held(), step.held)
		}
	}
}

func TestCloseCode(t *testing.T) {
	for payload, want := range map[string]int{
		"": 0, "\x03\xe8": 1000, "\x03\xe9bye": 1001, "\x0b\xb8": 3000, "\x13\x87": 4999,
		"\x03": -1, "\x03\xe7": -1, "\x03\xec": -1, "\x03\xed": -1, "\x03\xee": -1, "\x03\xf7": -1, "\x13\x88": -1,
		"\x03\xe8bye \xf0\x9f\x91\x8b": 1000, "\x03\xe8bye \xf0\x9f\x91": -2, "\x03\xe7\xff": -1,
	} {
		code, err := CloseCode([]byte(payload))
		switch {
		case errors.Is(err, ErrBrokenFrame):
			code = -1
		case errors.Is(err, ErrBadText):
			code = -2
		case err != nil:
			t.Errorf("CloseCode(%x): %v", payload, err)
		}
		if code != want {
			t.Errorf("CloseCode(%x) = %d, want %d", payload, code, want)
		}
	}
}

// A recorded socket gives what a client has sent and takes everything.
type recorded struct {
	net.Conn
	stream *bytes.Reader
}

// Read ends with an error of its own: the library takes an io.EOF within a
// message for its end.
func (r recorded) Read(b []byte) (int, error) {
	if r.stream.Len() == 0 {
		return 0, net.ErrClosed
	}
	return r.stream.Read(b)
}

func (recorded) Write(b []byte) (int, error) { return len(b), nil }
func (recorded) Close() error                { return nil }
func (recorded) SetDeadline(time.Time) error { return nil }
func (r recorded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return r, bufio.NewReadWriter(bufio.NewReader(r), bufio.NewWriter(r)), nil
}

// byLibrary gives what the WebSocket library makes of stream.
func byLibrary(t *testing.T, stream []byte) (messages []string) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(k, v)
	}
	type writer struct {
		http.ResponseWriter
		http.Hijacker
	}
	ws, err := websocket.Accept(writer{httptest.NewRecorder(), recorded{stream: bytes.NewReader(stream)}}, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	for {
		typ, b, err := ws.Read(context.Background())
		if err != nil {
			return messages
		}
		messages = append(messages, fmt.Sprintf("%d:%s", typ, b))
	}
}

// FuzzAssembler has an assembler and the WebSocket library read the same bytes, the
// assembler in pieces.
func FuzzAssembler(f *testing.F) {
	f.Add(wstest.Frame(0x81, 0x01020304, "hello"), 3)
	f.Add(append(wstest.Frame(0x01, 1, "a"), wstest.Frame(0x80, 2, "b")...), 1)
	f.Add(append(wstest.Frame(0x89, 1, "ping"), wstest.Frame(0x82, 2, "b")...), 100)
	f.Add(append(wstest.Frame(0x88, 1, "\x03\xe8"), wstest.Frame(0x82, 2, "b")...), 100)
	f.Add([]byte("\x89\xfe\x00\x01\x00\x00\x00\x00x\x81\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00y"), 2)
	f.Fuzz(func(t *testing.T, stream []byte, chunk int) {
		got, err := taken(bytes.Clone(stream), 1+int(uint(chunk)%5000))
		if errors.Is(err, ErrTooLarge) {
			return // the library has no limit here
		}
		got = slices.DeleteFunc(got, func(m string) bool { return m[0] == '8' })
		want := byLibrary(t, stream)
		if errors.Is(err, errLongHeader) {
			want = want[:min(len(want), len(got))] // the library takes such a length
		}
		if !slices.Equal(got, want) {
			t.Errorf("assembler: %q, library: %q", got, want)
		}
	})
}
