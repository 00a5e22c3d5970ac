package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func someEntries() *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("replica"), Addr: []byte("address")},
		Term:      7, PrevLogEntry: 41, PrevLogTerm: 6, LeaderCommitIndex: math.MaxUint64,
		Entries: []*raft.Log{
			{Index: 42, Term: 7, Type: raft.LogNoop},
			{Index: 43, Term: 7, Data: bytes.Repeat([]byte("x"), 1<<20), Extensions: []byte("term"), AppendedAt: time.Unix(12, 34)},
			{Index: 44, Term: 7, Type: raft.LogConfiguration, Data: []byte("y"), AppendedAt: time.Unix(-12, 34)},
		},
	}
}

// What a request carries arrives, and nothing that is cut short or too long does.
func TestEntriesOnTheWire(t *testing.T) {
	for name, want := range map[string]*raft.AppendEntriesRequest{
		"entries": someEntries(),
		"none":    {RPCHeader: raft.RPCHeader{ID: []byte("r"), Addr: []byte("a")}, Term: 1, Entries: []*raft.Log{}},
	} {
		b, err := appendEntries([]byte("before"), want)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b = b[len("before"):]
		got, err := parseEntries(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s arrive as %+v, %v, want %+v", name, got, err, want)
		}
		for n := 0; n < len(b); n += 1 + n/3 {
			if _, err := parseEntries(b[:n]); !errors.Is(err, errFrame) {
				t.Errorf("the first %d of %d bytes of %s are read: %v, want errFrame", n, len(b), name, err)
			}
		}
		if _, err := parseEntries(append(b, 0)); !errors.Is(err, errFrame) {
			t.Errorf("%s with a byte more are read: %v, want errFrame", name, err)
		}
	}
	bad := &raft.AppendEntriesRequest{Entries: []*raft.Log{{Type: raft.LogConfiguration + 1}}}
	if b, _ := appendEntries(nil, bad); b != nil {
		if _, err := parseEntries(b); !errors.Is(err, errFrame) {
			t.Errorf("an entry of a type that Raft does not know is read: %v, want errFrame", err)
		}
	}
}

// A body of any size is read whole, and one that is announced too large is not waited for.
func TestReadBody(t *testing.T) {
	for _, n := range []int{0, 1, keptAppend - 1, keptAppend, keptAppend + 1, 5*keptAppend + 7} {
		want := bytes.Repeat([]byte{byte(n)}, n)
		b := append(binary.BigEndian.AppendUint32(nil, uint32(n)), want...)
		got, err := readBody(bytes.NewReader(b), maxAppend)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("a body of %d bytes arrives with %d, %v", n, len(got), err)
		}
		if _, err := readBody(bytes.NewReader(b[:len(b)-min(n, 1)]), maxAppend); n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("a body of %d bytes, one of them missing: %v", n, err)
		}
	}
	if _, err := readBody(bytes.NewReader(binary.BigEndian.AppendUint32(nil, 101)), 100); !errors.Is(err, errFrame) {
		t.Errorf("a body of 101 bytes, at most 100: %v, want errFrame", err)
	}
}

func FuzzEntries(f *testing.F) {
	a := someEntries()
	a.Entries = a.Entries[:1]
	b, err := appendEntries(nil, a)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseEntries(b)
		if err != nil {
			return
		}
		again, err := appendEntries(nil, a)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseEntries(again); err != nil || !reflect.DeepEqual(back, a) {
			t.Errorf("%+v comes back as %+v, %v", a, back, err)
		}
	})
}

// A replica that takes nothing, as while its disk hangs, is not waited for longer than its
// leader waits: else each attempt would keep its entries in memory.
func TestEntriesThatAreNotTaken(t *testing.T) {
	noLeak(t)
	n := newTestNode(t, "a", func(c *Config) { c.RPC = 20 * time.Millisecond })
	tr, err := n.Transport("g", "r", locateAll)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	leader, far := net.Pipe()
	defer leader.Close()
	s, ok := tr.track(far)
	if !ok || !n.spawn(func() { tr.serveEntries(s, "b") }) {
		t.Fatal("the transport has ended")
	}
	b, err := appendEntries(make([]byte, 4), someEntries())
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	leader.SetDeadline(time.Now().Add(patience))
	if _, err := leader.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("Read = %v, want that the connection has ended", err)
	}
}
