package gateway

import (
	"testing"
	"time"
	"unicode/utf8"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ws"
)

// FuzzFrame has a session handle any bytes. A request is answered exactly once,
// a notice never, and what is neither ends the session.
func FuzzFrame(f *testing.F) {
	for op := range ops {
		f.Add(false, []byte(`{"id":1,"op":"`+op+`"}`))
		f.Add(false, []byte(`{"id":1,"op":"`+op+`","args":{"conv":"u:alice","seq":1,"seqs":[1],"users":["alice"],"user":"alice","d":1,`+
			`"cid":"1","body":{"a":[1,2.5,null,{"$bin":"AA=="}]},"background":true,"token":"x","device":"d"}}`))
		f.Add(true, []byte("\x82\xa2id\x01\xa2op"+string([]byte{0xa0 | byte(len(op))})+op))
	}
	f.Add(false, []byte(`{"op":"send","args":{"conv":"u:alice","cid":"1","body":1,"ttl":0}}`))
	f.Add(false, []byte(`{"id":1,"op":"getMessage","args":{"conv":"u:alice","range":[1,2],"limit":1}}`))

	store := newTestStore(f)
	g := newBareGateway(f, store)
	f.Fuzz(func(t *testing.T, binary bool, frame []byte) {
		codec, opcode := protocol.JSON, byte(ws.OpText)
		if binary {
			codec, opcode = protocol.Msgpack, ws.OpBinary
		}
		s := bareSession(g, codec)
		out := new(captured)
		s.conn = newConn(g, out)
		defer store.UnsubscribePresence(s)
		s.handleRequest(opcode, frame)
		s.submits.Wait()

		if !binary && !utf8.Valid(frame) {
			if !s.ended || s.closing != closedBadText {
				t.Fatalf("text that is not UTF-8: the session ended with %v", s.closing)
			}
			return
		}
		request, err := protocol.DecodeRequest(codec, frame)
		if err != nil {
			if !s.ended || s.closing != closedMalformed {
				t.Fatalf("%v: the session ended with %v", err, s.closing)
			}
			return
		}
		if len(s.pending) != 0 {
			t.Fatalf("requests %v are in flight after their outcome", s.pending)
		}
		replies := s.queuedFrames(t, out)
		if request.ID == 0 {
			if len(replies) != 0 {
				t.Fatalf("a notice got %d replies", len(replies))
			}
			return
		}
		if len(replies) != 1 || replies[0].ID != request.ID {
			t.Fatalf("replies to request %d: %+v", request.ID, replies)
		}
		if e := replies[0].Err; e != nil && (e.Code == protocol.CodeInternal || e.Message == "") {
			t.Fatalf("refused with %v", e)
		}
	})
}

// A captured socket keeps what is written.
type captured struct {
	nowhere
	bytes []byte
}

func (c *captured) Write(b []byte) (int, error) {
	c.bytes = append(c.bytes, b...)
	return len(b), nil
}

// queuedFrames decodes what waits to be written to out.
func (s *session) queuedFrames(t testing.TB, out *captured) []protocol.ServerFrame {
	t.Helper()
	if _, err := s.conn.Flush(time.Second, nil); err != nil {
		t.Fatal(err)
	}
	var frames []protocol.ServerFrame
	for b := out.bytes; len(b) > 0; {
		size, header := int(b[1]), 2
		if size == 126 {
			size, header = int(b[2])<<8|int(b[3]), 4
		}
		frame, err := protocol.DecodeServerFrame(s.codec, b[header:header+size])
		if err != nil {
			t.Fatalf("the session queued %q: %v", b[header:header+size], err)
		}
		frames = append(frames, frame)
		b = b[header+size:]
	}
	return frames
}
