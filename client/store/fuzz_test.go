package store

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// samples has one of each value, with all fields set.
func samples() []value {
	conv := protocol.GroupConv("team")
	n, s := number(7), text("cursor")
	return []value{
		&record{protocol.Message{
			ID: protocol.ID{1, 2}, From: "bob", Time: -5, CID: []byte("c"), Body: []byte{0xc0}, TTL: 60, Mentions: []string{"al", "bo"},
		}, 3},
		&Run{From: 0, To: 9, Kind: Evicted},
		&Entry{1, 2, 3, 4, 5, 6, 7, true, false, true, true, true},
		&Outgoing{Conv: conv, CID: "c", Body: []byte{1}, TTL: 1, Mentions: []string{"x"}, Queued: 9},
		&delivery{[]Ref{{conv, 1, 1}, {protocol.UserConv("bob"), 2, 9}}},
		&cursor{4, "there"},
		&identity{1, "host", "alice", "phone", -3, 2},
		&n, &s,
	}
}

func TestValuesComeBack(t *testing.T) {
	for _, v := range samples() {
		b := encode(v)
		back := reflect.New(reflect.TypeOf(v).Elem()).Interface().(value)
		if err := decode(b, back); err != nil || !reflect.DeepEqual(back, v) {
			t.Errorf("%T %+v came back as %+v, %v", v, v, back, err)
		}
		for n := range len(b) {
			if err := decode(b[:n], back); err == nil {
				t.Errorf("%T: the first %d bytes of %d decode", v, n, len(b))
			}
		}
		if err := decode(append(b, 0), back); err == nil {
			t.Errorf("%T: a byte too many decodes", v)
		}
	}
}

// FuzzDecode: no bytes make a decoder panic or allocate without end, and what it accepts is
// written back as values that are equal.
func FuzzDecode(f *testing.F) {
	for kind, v := range samples() {
		f.Add(kind, encode(v))
	}
	f.Fuzz(func(t *testing.T, kind int, b []byte) {
		all := samples()
		if kind < 0 || kind >= len(all) {
			return
		}
		v := reflect.New(reflect.TypeOf(all[kind]).Elem()).Interface().(value)
		if decode(b, v) != nil {
			return
		}
		again := reflect.New(reflect.TypeOf(v).Elem()).Interface().(value)
		if err := decode(encode(v), again); err != nil || !bytes.Equal(encode(again), encode(v)) {
			t.Errorf("%T %+v came back as %+v, %v", v, v, again, err)
		}
	})
}
