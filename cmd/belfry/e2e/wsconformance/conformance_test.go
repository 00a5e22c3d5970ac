package wsconformance

// A conformance suite after RFC 6455, against the real binary, over a socket
// that no WebSocket library is behind: plain and with TLS, JSON and msgpack.
// wsconformance_cases_test.go has the cases; here is the peer that runs them
// and holds all that the server sends to the RFC.

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// A rawFrame is a frame of a client, right or wrong.
type rawFrame struct {
	first     byte // FIN, reserved bits and opcode
	payload   string
	mask      uint32
	unmasked  bool
	extended  int    // bytes of the extended length: 0 = the fewest that do, 2 or 8
	announced uint64 // the length that it gives itself, where that is not the payload's
}

const (
	fin        = 0x80
	opContinue = 0
	opText     = 1
	opBinary   = 2
	opClose    = 8
	opPing     = 9
	opPong     = 10
)

func (f rawFrame) append(b []byte) []byte {
	size := uint64(len(f.payload))
	if f.announced != 0 {
		size = f.announced
	}
	if f.extended == 0 && size > 125 {
		f.extended = 2
	}
	if f.extended == 2 && size > 0xffff {
		f.extended = 8
	}
	masked := byte(0x80)
	if f.unmasked {
		masked = 0
	}
	switch f.extended {
	case 0:
		b = append(b, f.first, masked|byte(size))
	case 2:
		b = binary.BigEndian.AppendUint16(append(b, f.first, masked|126), uint16(size))
	default:
		b = binary.BigEndian.AppendUint64(append(b, f.first, masked|127), size)
	}
	if f.unmasked {
		return append(b, f.payload...)
	}
	mask := binary.BigEndian.AppendUint32(nil, f.mask)
	b = append(b, mask...)
	for i := range len(f.payload) {
		b = append(b, f.payload[i]^mask[i%4])
	}
	return b
}

func appendFrames(frames ...rawFrame) (b []byte) {
	for _, f := range frames {
		b = f.append(b)
	}
	return b
}

// closePayload is what a close frame says.
func closePayload(code int, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

// A transport is a server that is reached in one way.
type transport struct {
	name   string
	server *harness.Server
	tls    *tls.Config // nil: plain
}

func (tr transport) dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", tr.server.Listen, wstest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	if tr.tls != nil {
		conn = tls.Client(conn, tr.tls)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(wstest.Patience))
	return conn
}

// A rawWS is a WebSocket that somebody else has to keep the rules of: what is
// written goes out as it is.
type rawWS struct {
	t     testing.TB
	conn  net.Conn
	r     *bufio.Reader
	codec *wstest.Codec
}

// openRaw shakes hands. The extension that it offers must not be taken.
func openRaw(t testing.TB, tr transport, c *wstest.Codec) *rawWS {
	t.Helper()
	w := &rawWS{t: t, conn: tr.dial(t), codec: c}
	w.r = bufio.NewReader(w.conn)
	nonce := make([]byte, 16)
	rand.Read(nonce)
	key := base64.StdEncoding.EncodeToString(nonce)
	w.write(fmt.Appendf(nil, "GET /v1/ws HTTP/1.1\r\nhOST: %s\r\nuPGRADE: WebSocket\r\ncONNECTION: keep-alive, upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: unknown, %s\r\n"+
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n", tr.server.Listen, key, c.Subprotocol))
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		t.Fatalf("handshake: %v", err)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	for header, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Protocol": c.Subprotocol, "Sec-WebSocket-Extensions": "",
		"Sec-WebSocket-Accept": base64.StdEncoding.EncodeToString(sum[:]),
	} {
		if got := resp.Header.Get(header); resp.StatusCode != http.StatusSwitchingProtocols || got != want {
			t.Fatalf("handshake: status %d, %s: %q, want 101, %q", resp.StatusCode, header, got, want)
		}
	}
	return w
}

// write does not mind that the server may have closed by now: what it said
// before is read then.
func (w *rawWS) write(b []byte) { _, _ = w.conn.Write(b) }

// requestFrame is a frame with a request of the codec's kind.
func requestFrame(t testing.TB, c *wstest.Codec, id int, op string, args obj) string {
	t.Helper()
	b, err := c.Encode(obj{"id": id, "op": op, "args": args})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// opcodeOf is that of the codec's frames.
func opcodeOf(c *wstest.Codec) byte { return byte(c.Frame) }

// read reads one frame, which has to be one that a server may send. Its error is
// that of the socket.
func (w *rawWS) read() (opcode byte, payload []byte, err error) {
	w.t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(w.r, head[:]); err != nil {
		return 0, nil, err
	}
	opcode = head[0] & 0x0f
	size, least := uint64(head[1]&0x7f), uint64(0)
	switch size {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(w.r, b[:])
		size, least = uint64(binary.BigEndian.Uint16(b[:])), 126
	case 127:
		var b [8]byte
		_, err = io.ReadFull(w.r, b[:])
		size, least = binary.BigEndian.Uint64(b[:]), 1<<16
	}
	if err != nil {
		return 0, nil, err
	}
	switch {
	case head[0]&0x70 != 0:
		w.t.Fatalf("5.2: the server sets reserved bits: %x", head)
	case head[1]&0x80 != 0:
		w.t.Fatalf("5.1: the server masks: %x", head)
	case head[0]&fin == 0:
		w.t.Fatalf("the server sends fragments, which nothing asks of it: %x", head)
	case size < least:
		w.t.Fatalf("5.2: the server does not give a length of %d in the fewest bytes", size)
	case opcode >= opClose && size > 125:
		w.t.Fatalf("5.5: a control frame of %d bytes", size)
	case size > 1<<20:
		w.t.Fatalf("a frame of %d bytes", size)
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(w.r, payload); err != nil {
		return 0, nil, err
	}
	switch {
	case opcode == opText || opcode == opBinary:
		if opcode != opcodeOf(w.codec) {
			w.t.Fatalf("a frame of type %d in %v", opcode, w.codec)
		}
		if opcode == opText && !utf8.Valid(payload) {
			w.t.Fatalf("5.6: text that is not UTF-8: %q", payload)
		}
	case opcode == opClose && len(payload) == 1,
		opcode == opClose && len(payload) > 2 && !utf8.Valid(payload[2:]):
		w.t.Fatalf("5.5.1: close frame %q", payload)
	case opcode == opClose || opcode == opPing || opcode == opPong:
	default:
		w.t.Fatalf("5.2: a frame of type %d", opcode)
	}
	return opcode, payload, nil
}

// awaitReply reads up to the reply to request id, which has to be ok.
func (w *rawWS) awaitReply(id int) obj {
	w.t.Helper()
	for {
		opcode, payload, err := w.read()
		if err != nil || opcode == opClose {
			w.t.Fatalf("waiting for the reply to %d: frame of type %d, %q, %v", id, opcode, payload, err)
		}
		if opcode > opBinary {
			continue
		}
		frame, err := w.codec.Decode(payload)
		if err != nil {
			w.t.Fatal(err)
		}
		if frame["id"] == int64(id) {
			ok, _ := frame["ok"].(obj)
			if ok == nil {
				w.t.Fatalf("reply to %d: %v", id, frame)
			}
			return ok
		}
	}
}

// Ids of requests that cases do not make.
const (
	loginID = 1<<20 + iota
	lookID
	aliveID
)

func (w *rawWS) login(s *harness.Server, user string) {
	w.t.Helper()
	args := obj{"token": s.Token(user), "device": "raw", "recents": "off"}
	w.write(rawFrame{first: fin | opcodeOf(w.codec), payload: requestFrame(w.t, w.codec, loginID, "login", args), mask: 0xa5a5a5a5}.append(nil))
	w.awaitReply(loginID)
}

// expect reads what a case wants: the replies in their order and then the close,
// or, where none is wanted, the last ping's pong and of the others any in order
// (5.5.3). Pushes come in between.
func (w *rawWS) expect(c conformanceCase) {
	w.t.Helper()
	var pongs []string
	var replies []int64
	ponged := func() bool { return len(c.pings) == 0 || slices.Contains(pongs, c.pings[len(c.pings)-1]) }
	for ended := false; !ended && (c.close != 0 || len(replies) < len(c.replies) || !ponged()); {
		opcode, payload, err := w.read()
		if err != nil {
			w.t.Fatalf("pongs %q, replies %v, then %v; want pings %q, replies %v, close %d", pongs, replies, err, c.pings, c.replies, c.close)
		}
		switch opcode {
		case opPing:
		case opPong:
			pongs = append(pongs, string(payload))
		case opClose:
			w.closed(c, payload)
			ended = true
		default:
			frame, err := w.codec.Decode(payload)
			if err != nil {
				w.t.Fatal(err)
			}
			if id, ok := frame["id"].(int64); ok {
				if frame["err"] != nil {
					w.t.Fatalf("reply %v", frame)
				}
				replies = append(replies, id)
			}
		}
	}
	if !slices.Equal(replies, c.replies) {
		w.t.Fatalf("replies %v, want %v", replies, c.replies)
	}
	rest := c.pings
	for _, p := range pongs {
		i := slices.Index(rest, p)
		if i < 0 {
			w.t.Fatalf("pongs %q, want those of pings %q in order", pongs, c.pings)
		}
		rest = rest[i+1:]
	}
}

// closed checks the server's close frame, answers it, and waits until the server
// has closed the connection, which is its duty (7.1.1).
func (w *rawWS) closed(c conformanceCase, payload []byte) {
	w.t.Helper()
	code, reason := noCode, ""
	if len(payload) >= 2 {
		code, reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	}
	if code != c.close {
		w.t.Fatalf("closed with %d %q, want %d", code, reason, c.close)
	}
	if !strings.Contains(reason, c.reason) {
		w.t.Errorf("reason %q, want %q in it", reason, c.reason)
	}
	w.write(rawFrame{first: fin | opClose, payload: closePayload(1000, "")}.append(nil))
	if opcode, payload, err := w.read(); err == nil {
		w.t.Fatalf("after its close frame the server sends one of type %d: %q", opcode, payload)
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		w.t.Fatal("7.1.1: the server leaves the connection open after the closing handshake")
	}
}

// run runs a case on a connection of its own. chunk is how many bytes are
// written at once.
func (c conformanceCase) run(t *testing.T, tr transport, codec *wstest.Codec, user string, loggedIn bool, chunk int) {
	t.Helper()
	w := openRaw(t, tr, codec)
	if loggedIn {
		w.login(tr.server, user)
	}
	for piece := range slices.Chunk(appendFrames(c.frames...), chunk) {
		w.write(piece)
	}
	w.expect(c)
	if c.close != 0 {
		return
	}
	if c.stored != nil {
		w.write(rawFrame{first: fin | opcodeOf(codec), payload: requestFrame(t, codec, lookID, "getMessage", obj{"conv": "u:" + user, "limit": 1})}.append(nil))
		messages, err := wstest.ParseMessages(w.awaitReply(lookID)["messages"])
		if err != nil || len(messages) != 1 || !reflect.DeepEqual(messages[0].Body, c.stored) {
			t.Fatalf("stored %.100v, %v, want %.100v", messages, err, c.stored)
		}
	}
	// The connection has to be as good as before, and to close as it should.
	w.write(appendFrames(rawFrame{first: fin | opcodeOf(codec), payload: requestFrame(t, codec, aliveID, "ping", nil)}))
	w.awaitReply(aliveID)
	w.write(appendFrames(rawFrame{first: fin | opClose, payload: closePayload(1001, "")}))
	w.expect(conformanceCase{close: 1001})
}

// transports starts the servers of the suite.
func transports(t *testing.T) []transport {
	certFile, keyFile, _ := harness.Certificate(t)
	const logins = "--login-rate=0"
	return []transport{
		{"plain", harness.Start(t, logins), nil},
		{"tls", harness.Start(t, logins, "--tls-cert="+certFile, "--tls-key="+keyFile),
			&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}},
	}
}

func TestWebSocketConformance(t *testing.T) {
	t.Parallel()
	for _, tr := range transports(t) {
		for _, codec := range wstest.Codecs {
			t.Run(tr.name+"/"+codec.Name(), func(t *testing.T) {
				t.Parallel()
				user := "raw." + codec.Name()
				for _, c := range conformanceCases(t, codec, user) {
					t.Run(c.section+" "+c.name, func(t *testing.T) {
						size := len(appendFrames(c.frames...))
						c.run(t, tr, codec, user, true, 1<<20)
						if size <= bytewise && !c.whole {
							c.run(t, tr, codec, user, true, 1)
						}
						if c.early() {
							c.run(t, tr, codec, user, false, 1<<20)
						}
					})
				}
			})
		}
	}
}

// bytewise is the length of a stream up to which it is also sent byte by byte.
const bytewise = 1 << 10

// TestWebSocketSplits cuts a stream of all kinds of frames in two, at each byte
// in turn.
func TestWebSocketSplits(t *testing.T) {
	t.Parallel()
	for _, tr := range transports(t) {
		for _, codec := range wstest.Codecs {
			t.Run(tr.name+"/"+codec.Name(), func(t *testing.T) {
				t.Parallel()
				w := openRaw(t, tr, codec)
				w.login(tr.server, "raw."+codec.Name())
				stream := func(i int) []byte {
					first, second := requestFrame(t, codec, 2*i+1, "ping", nil), requestFrame(t, codec, 2*i+2, "ping", obj{"fill": strings.Repeat("é", 70)})
					return appendFrames(
						rawFrame{first: opcodeOf(codec), payload: first[:5], mask: 0x01020304},
						rawFrame{first: fin | opPing, payload: fmt.Sprint(i), mask: 0xfffefdfc},
						rawFrame{first: opContinue, mask: 0x80},
						rawFrame{first: fin | opContinue, payload: first[5:], mask: 0xdeadbeef},
						rawFrame{first: fin | opPong, payload: "unasked"},
						rawFrame{first: fin | opcodeOf(codec), payload: second, mask: 0x00ff00ff},
					)
				}
				for i := 0; ; i++ {
					b := stream(i)
					if i == len(b) {
						break
					}
					w.write(b[:i])
					w.write(b[i:])
					w.expect(conformanceCase{pings: []string{fmt.Sprint(i)}, replies: []int64{int64(2*i + 1), int64(2*i + 2)}})
				}
			})
		}
	}
}

// TestWebSocketPingWithinMessage waits for the pong before it ends the message.
func TestWebSocketPingWithinMessage(t *testing.T) {
	t.Parallel()
	for _, tr := range transports(t) {
		for _, codec := range wstest.Codecs {
			w := openRaw(t, tr, codec)
			w.login(tr.server, "raw."+codec.Name())
			request := requestFrame(t, codec, 1, "ping", nil)
			w.write(appendFrames(rawFrame{first: opcodeOf(codec), payload: request[:9]}, rawFrame{first: fin | opPing, payload: "now"}))
			w.expect(conformanceCase{pings: []string{"now"}})
			w.write(appendFrames(rawFrame{first: fin, payload: request[9:]}))
			w.expect(conformanceCase{replies: []int64{1}})
		}
	}
}

// TestWebSocketBeforeLogin looks at what is narrower there.
func TestWebSocketBeforeLogin(t *testing.T) {
	t.Parallel()
	const limit = 32 << 10
	for _, tr := range transports(t) {
		for _, codec := range wstest.Codecs {
			data := opcodeOf(codec)
			largest := rawFrame{first: fin | data, payload: string(wstest.FrameOfSize(t, codec, 1, limit)), mask: 0x01020304}
			for _, c := range []conformanceCase{
				{frames: []rawFrame{largest}, replies: []int64{1}},
				{frames: []rawFrame{{first: fin | data, announced: limit + 1}}, close: 1009, reason: fmt.Sprint(limit)},
				{frames: []rawFrame{{first: data, payload: "{"}, {first: fin, payload: "}"}}, close: 4400},
			} {
				c.run(t, tr, codec, "", false, 1<<20)
			}
		}
	}
}

// TestWebSocketServerCloses has the server begin the closing handshake, and
// looks at what it says.
func TestWebSocketServerCloses(t *testing.T) {
	t.Parallel()
	for _, tr := range transports(t) {
		for _, codec := range wstest.Codecs {
			t.Run(tr.name+"/"+codec.Name(), func(t *testing.T) {
				user := "raw." + codec.Name()
				w := openRaw(t, tr, codec)
				w.login(tr.server, user)
				w.write(appendFrames(rawFrame{first: fin | opcodeOf(codec), payload: requestFrame(t, codec, 1, "logout", nil)}))
				w.expect(conformanceCase{replies: []int64{1}, close: 1000})

				w = openRaw(t, tr, codec)
				w.login(tr.server, user)
				if status, _ := tr.server.Admin("DELETE", "/v1/users/"+user+"/sessions", nil); status/100 != 2 {
					t.Fatalf("kick: status %d", status)
				}
				w.expect(conformanceCase{close: 4403})
			})
		}
		w := openRaw(t, tr, wstest.JSON)
		w.login(tr.server, "raw")
		done := make(chan struct{})
		go func() {
			defer close(done)
			tr.server.Stop()
		}()
		w.expect(conformanceCase{close: 1001})
		<-done
	}
}

// TestWebSocketRubbish sends what are no frames, and more of it than the server
// reads at once: its close frame has to come through all the same.
func TestWebSocketRubbish(t *testing.T) {
	t.Parallel()
	for _, tr := range transports(t) {
		w := openRaw(t, tr, wstest.JSON)
		w.login(tr.server, "raw")
		for range 20 {
			if _, err := w.conn.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 1<<10)); err != nil {
				t.Fatalf("%s: the server stops reading before its close frame can be read: %v", tr.name, err)
			}
		}
		opcode, payload, err := w.read()
		for err == nil && opcode != opClose {
			opcode, payload, err = w.read() // pushes
		}
		if err != nil || !strings.HasPrefix(string(payload), closePayload(1002, "")) {
			t.Fatalf("%s: close frame %q, %v, want 1002", tr.name, payload, err)
		}
		// A reset would throw away what the client has not read yet.
		if _, _, err := w.read(); err != io.EOF {
			t.Fatalf("%s: after the close frame: %v, want the end of the stream", tr.name, err)
		}
	}
}
