package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
)

// A clientFrame is put together by the tests as a client might send it.
func clientFrame(first byte, mask uint32, payload string) []byte {
	b := []byte{first, 0x80}
	switch n := len(payload); {
	case n < 126:
		b[1] |= byte(n)
	case n <= 0xffff:
		b[1] |= 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] |= 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, mask)
	for i := range len(payload) {
		b = append(b, payload[i]^byte(mask>>(8*(i%4))))
	}
	return b
}

// testFrame is the limit of frames in tests of an inbox.
const testFrame = 64 << 10

// taken gives what an inbox makes of stream when it comes in pieces of up to
// chunk bytes, up to its end, an error, or a close frame.
func taken(stream []byte, chunk int) (messages []string, err error) {
	in := inbox{limit: testFrame}
	goOn := true
	for len(stream) > 0 && goOn && err == nil {
		room := in.room()
		n := copy(room[:min(chunk, len(room))], stream)
		stream = stream[n:]
		in.received(n)
		err = in.drain(func(opcode byte, payload []byte) bool {
			if opcode != opContinuation && opcode < opPing {
				messages = append(messages, fmt.Sprintf("%d:%s", opcode, payload))
			}
			goOn = opcode != opClose
			return goOn
		})
	}
	return messages, err
}

func TestInbox(t *testing.T) {
	long := string(bytes.Repeat([]byte("0123456789abcdef"), testFrame/16))
	var several []byte
	for _, f := range [][]byte{
		clientFrame(0x81, 0x01020304, "one"),
		clientFrame(0x89, 0xffffffff, "ping"),
		clientFrame(0x82, 0, ""),
		clientFrame(0x01, 7, "a"),
		clientFrame(0x8a, 7, "pong between fragments"),
		clientFrame(0x00, 0xdeadbeef, "b"),
		clientFrame(0x80, 0, ""),
		clientFrame(0x81, 0x80000001, long),
		clientFrame(0x88, 3, "\x03\xe8"),
		clientFrame(0x81, 3, "after the close"),
	} {
		several = append(several, f...)
	}
	for name, tc := range map[string]struct {
		stream []byte
		want   []string
		err    error
	}{
		"several":              {several, []string{"1:one", "2:", "1:ab", "1:" + long, "8:\x03\xe8"}, nil},
		"too large":            {clientFrame(0x81, 0, long+"x"), nil, errTooLarge},
		"too large in parts":   {append(clientFrame(0x01, 0, long), clientFrame(0x80, 0, "x")...), nil, errTooLarge},
		"length of 64 bits":    {[]byte("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"), nil, errBrokenFrame},
		"no mask":              {[]byte("\x81\x02{}"), nil, errBrokenFrame},
		"reserved bit":         {clientFrame(0xc1, 0, "{}"), nil, errBrokenFrame},
		"16 bits for 125":      {[]byte("\x81\xfe\x00\x7d\x00\x00\x00\x00"), nil, errLongHeader},
		"64 bits for 65535":    {[]byte("\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00"), nil, errLongHeader},
		"unknown opcode":       {clientFrame(0x83, 0, "{}"), nil, errBrokenFrame},
		"unknown control":      {clientFrame(0x8b, 0, ""), nil, errBrokenFrame},
		"fragmented ping":      {clientFrame(0x09, 0, ""), nil, errBrokenFrame},
		"long ping":            {clientFrame(0x89, 0, long[:126]), nil, errBrokenFrame},
		"continuation of none": {clientFrame(0x80, 0, "x"), nil, errBrokenFrame},
		"message in a message": {append(clientFrame(0x01, 0, "x"), clientFrame(0x81, 0, "y")...), nil, errBrokenFrame},
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

// TestInboxHoldsNothingIdle checks that only an incomplete message takes memory.
func TestInboxHoldsNothingIdle(t *testing.T) {
	in := inbox{limit: testFrame}
	held := func() bool { return in.bytes != nil || in.message != nil }
	for _, step := range []struct {
		bytes []byte
		held  bool
	}{
		{clientFrame(0x81, 0, "whole"), false},
		{clientFrame(0x81, 0, "whole")[:4], true},
		{clientFrame(0x81, 0, "whole")[4:], false},
		{clientFrame(0x01, 0, "part"), true},
		{clientFrame(0x80, 0, "rest"), false},
	} {
		in.received(copy(in.room(), step.bytes))
		if err := in.drain(func(byte, []byte) bool { return true }); err != nil {
			t.Fatal(err)
		}
		if held() != step.held {
			t.Errorf("after %q: holds memory = %v, want %v", step.bytes, held(), step.held)
		}
	}
}

func TestClosePayload(t *testing.T) {
	for payload, want := range map[string]int{
		"": 0, "\x03\xe8": 1000, "\x03\xe9bye": 1001, "\x0b\xb8": 3000, "\x13\x87": 4999,
		"\x03": -1, "\x03\xe7": -1, "\x03\xec": -1, "\x03\xed": -1, "\x03\xee": -1, "\x03\xf7": -1, "\x13\x88": -1,
		"\x03\xe8bye \xf0\x9f\x91\x8b": 1000, "\x03\xe8bye \xf0\x9f\x91": -2, "\x03\xe7\xff": -1,
	} {
		code, err := closePayload([]byte(payload))
		switch {
		case errors.Is(err, errBrokenFrame):
			code = -1
		case errors.Is(err, errBadText):
			code = -2
		case err != nil:
			t.Errorf("closePayload(%x): %v", payload, err)
		}
		if code != want {
			t.Errorf("closePayload(%x) = %d, want %d", payload, code, want)
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

// FuzzInbox has an inbox and the WebSocket library read the same bytes, the
// inbox in pieces.
func FuzzInbox(f *testing.F) {
	f.Add(clientFrame(0x81, 0x01020304, "hello"), 3)
	f.Add(append(clientFrame(0x01, 1, "a"), clientFrame(0x80, 2, "b")...), 1)
	f.Add(append(clientFrame(0x89, 1, "ping"), clientFrame(0x82, 2, "b")...), 100)
	f.Add(append(clientFrame(0x88, 1, "\x03\xe8"), clientFrame(0x82, 2, "b")...), 100)
	f.Add([]byte("\x89\xfe\x00\x01\x00\x00\x00\x00x\x81\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00y"), 2)
	f.Fuzz(func(t *testing.T, stream []byte, chunk int) {
		got, err := taken(bytes.Clone(stream), 1+int(uint(chunk)%5000))
		if errors.Is(err, errTooLarge) {
			return // the library has no limit here
		}
		got = slices.DeleteFunc(got, func(m string) bool { return m[0] == '8' })
		want := byLibrary(t, stream)
		if errors.Is(err, errLongHeader) {
			want = want[:min(len(want), len(got))] // the library takes such a length
		}
		if !slices.Equal(got, want) {
			t.Errorf("inbox: %q, library: %q", got, want)
		}
	})
}

// Frames that get no answer count for the limit like others.
func TestFramesWithoutAnswerAreCounted(t *testing.T) {
	for name, frame := range map[string][]byte{
		"pong":     clientFrame(0x80|opPong, 1, ""),
		"fragment": clientFrame(opContinuation, 1, ""),
	} {
		s := bareSession(newBareGateway(t, newTestStore(t)), protocol.JSON)
		s.limit = ratelimit.NewFrames(1, 20)
		in := &s.conn.in
		in.whole = false
		feed := func(b []byte) {
			in.received(copy(in.room(), b))
			if err := in.drain(s.take); err != nil {
				t.Fatal(err)
			}
		}
		feed(clientFrame(opText, 1, "a")) // of a message that goes on
		for range 19 {
			feed(frame)
		}
		if s.hasEnded() {
			t.Errorf("%s: ended within the limit", name)
		}
		feed(frame)
		if !s.hasEnded() || s.why != closedFrames {
			t.Errorf("%s: ended = %t (%v), want for too many frames", name, s.hasEnded(), s.why)
		}
	}
}
