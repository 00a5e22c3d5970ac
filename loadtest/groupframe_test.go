package loadtest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A memberTest plays the server to a member of a group, frame by frame.
type memberTest struct {
	group   *group
	sender  *groupSender
	codec   protocol.Codec
	members []*Client
	tally   *Tally
}

func newMemberTest(t testing.TB, codec protocol.Codec, members int) *memberTest {
	m := &memberTest{codec: codec, tally: NewTally(), group: newGroup("room", false, codec, members, knownMessages)}
	m.sender = m.group.sender("alice", 128, 0)
	server := newFakeTarget(codec)
	for i := range members {
		c, err := NewClient(ClientConfig{Server: &server, Tally: m.tally, User: fmt.Sprint("m", i)})
		if err != nil {
			t.Fatal(err)
		}
		c.join(m.group)
		m.members = append(m.members, c)
	}
	return m
}

func newFakeTarget(codec protocol.Codec) Server {
	return Server{URLs: []string{"ws://127.0.0.1:1"}, Codec: codec, Token: func(string) (string, error) { return "", nil }}
}

// messages makes the next ones of the log.
func (m *memberTest) messages(n int) (messages []protocol.Message) {
	for range n {
		counter := m.sender.stream.take()
		messages = append(messages, protocol.Message{
			ID: protocol.ID{1, byte(counter >> 8), byte(counter)}, Conv: protocol.GroupConv("room"), From: "alice",
			Seq: counter, Time: 1795400000000 + int64(counter), CID: []byte(cidOf(counter)),
			Body: appendBody(nil, m.sender.stream.id, counter, 0, 128),
		})
	}
	m.tally.pending.Add(int64(n * len(m.members)))
	return messages
}

func (m *memberTest) frame(d uint64, messages []protocol.Message) []byte {
	last := messages[len(messages)-1]
	return protocol.AppendNewMessage(nil, m.codec, &protocol.NewMessage{
		D: d, Messages: messages, GroupCursors: []protocol.GroupCursor{{Group: "room", Cursor: fmt.Sprint("0.", last.Seq)}},
	})
}

// session is one in which a member has got everything up to d.
func (m *memberTest) session(d uint64) *session {
	conn, _ := net.Pipe()
	return &session{socket: newSocket(conn, m.codec, nil), lastD: d, acked: d}
}

// TestKnownFrames gives members the same messages in frames of all kinds: the
// first has to decode them, the others do not.
func TestKnownFrames(t *testing.T) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		t.Run(codec.Name(), func(t *testing.T) {
			m := newMemberTest(t, codec, 2)
			first, second := m.session(0), m.session(0)
			for d, n := range []int{1, 2, 100, 15, 16, 100, 100, 100, 100, 100} {
				frame := m.frame(uint64(d+1), m.messages(n))
				if m.members[0].knownFrame(first, frame, 0) {
					t.Fatalf("a frame of %d new messages passed for known", n)
				}
				if err := m.members[0].frame(first, frame, 0); err != nil {
					t.Fatal(err)
				}
				if !m.members[1].knownFrame(second, frame, 0) {
					t.Fatalf("a frame of %d known messages was not known: %q", n, frame)
				}
			}
			bare := protocol.AppendNewMessage(nil, codec, &protocol.NewMessage{D: 11, Messages: m.messages(1)})
			if err := m.members[0].frame(first, bare, 0); err != nil || !m.members[1].knownFrame(second, bare, 0) {
				t.Errorf("a frame without cursor: %v, or not known", err)
			}
			for i, c := range m.members {
				if v := c.onlyGroup; v.held.floor != 635 || string(v.group.cursor) != "0.634" || v.lastIn != 635 || v.lastTime != 1795400000635 {
					t.Errorf("member %d is at seq %d, cursor %s, time %d", i, v.held.floor, v.group.cursor, v.lastTime)
				}
			}
			if v := m.tally.Verdict(); v.Violations > 0 || m.tally.delivered.Load() != 2*635 {
				t.Errorf("%d delivered, %v", m.tally.delivered.Load(), v.Examples)
			}
		})
	}
}

// TestKnownFramesAltered changes each byte of a frame in turn: it must not pass for
// known, unless the byte is one of those that nothing is compared with.
func TestKnownFramesAltered(t *testing.T) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		m := newMemberTest(t, codec, 2)
		frame := m.frame(1, m.messages(3))
		if err := m.members[0].frame(m.session(0), frame, 0); err != nil {
			t.Fatal(err)
		}
		free := strings.Index(string(frame), "0.3") // the cursor is opaque
		for i := range frame {
			for _, flip := range []byte{1, 0x10, 0x80} {
				frame[i] ^= flip
				f, ok := m.group.match(frame, 0, nil)
				frame[i] ^= flip
				if ok && f.d == 1 && (i < free || i >= free+3) {
					t.Errorf("%s: byte %d of %q was changed by %#x, and the frame passed for known", codec.Name(), i, frame, flip)
				}
			}
		}
		for n := range frame {
			if _, ok := m.group.match(frame[:n], 0, nil); ok {
				t.Errorf("%s: the first %d of %d bytes passed for a known frame", codec.Name(), n, len(frame))
			}
		}
		if _, ok := m.group.match(frame, 0, nil); !ok {
			t.Errorf("%s: the frame itself is not known", codec.Name())
		}
		if _, ok := m.group.match(frame, 1, nil); ok {
			t.Errorf("%s: a frame of the messages before passed for known", codec.Name())
		}
	}
}

// BenchmarkKnownFrame is what a delivery costs the generator, beside its system
// calls.
func BenchmarkKnownFrame(b *testing.B) {
	for _, codec := range []protocol.Codec{protocol.Msgpack, protocol.JSON} {
		for _, perFrame := range []int{1, 32, 100} {
			b.Run(fmt.Sprintf("%s/%d", codec.Name(), perFrame), func(b *testing.B) {
				m := newMemberTest(b, codec, 1)
				m.tally.Measure(0, time.Hour)
				c, v := m.members[0], m.members[0].onlyGroup
				frame := m.frame(1, m.messages(perFrame))
				if err := c.frame(m.session(0), frame, 0); err != nil {
					b.Fatal(err)
				}
				s := m.session(0)
				b.ReportAllocs()
				for b.Loop() {
					s.lastD, v.held = 0, seqSet{}
					if !c.knownFrame(s, frame, time.Millisecond) {
						b.Fatal("not known")
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*perFrame), "ns/delivery")
			})
		}
	}
}
