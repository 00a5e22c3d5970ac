package store

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

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
		&Entry{1, 2, 3, 4, 5, 6, 7, true, false, true, true, true, true},
		&Outgoing{Conv: conv, CID: "c", Body: []byte{1}, TTL: 1, Mentions: []string{"x"}, Queued: 9},
		&delivery{[]Ref{{conv, 1, 1}, {protocol.UserConv("bob"), 2, 9}}},
		&cursor{4, "there"},
		&identity{1, "host", "alice", "phone", -3, 2},
		&n, &s,
	}
}

func mustEncode(t interface{ Fatalf(string, ...any) }, v value) []byte {
	b, err := encode(nil, v)
	if err != nil {
		t.Fatalf("%T %+v: %v", v, v, err)
	}
	return b
}

func TestValuesComeBack(t *testing.T) {
	for _, v := range samples() {
		b := mustEncode(t, v)
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

// drawn draws one of each value, whose fields may break rules.
func drawn(t *rapid.T) []value {
	seq := rapid.Uint64()
	raw := rapid.SliceOfN(rapid.Byte(), 0, 4)
	words := rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 9).Draw(t, "broken") == 0 {
			return string(raw.Draw(t, "bytes"))
		}
		return rapid.StringN(0, 5, -1).Draw(t, "text")
	})
	texts := rapid.Custom(func(t *rapid.T) []string {
		if rapid.IntRange(0, 9).Draw(t, "many") == 0 {
			return make([]string, rapid.IntRange(99, 102).Draw(t, "count"))
		}
		return rapid.SliceOfN(words, 0, 3).Draw(t, "texts")
	})
	ttl := rapid.OneOf(rapid.Uint32Range(0, protocol.MaxTTL+1), rapid.Uint32())
	conv := rapid.Custom(func(t *rapid.T) protocol.Conv {
		id := rapid.OneOf(rapid.StringMatching(`[a-z]{1,49}`), words).Draw(t, "id")
		return protocol.Conv{Group: rapid.Bool().Draw(t, "group"), ID: id}
	})
	ref := rapid.Custom(func(t *rapid.T) Ref {
		from := seq.Draw(t, "from")
		return Ref{conv.Draw(t, "conv"), from, from + rapid.Uint64Range(0, protocol.MaxMessages).Draw(t, "more")}
	})
	flag := rapid.Bool()
	n, s := number(seq.Draw(t, "number")), text(words.Draw(t, "text"))
	return []value{
		&record{protocol.Message{
			ID: protocol.ID{1, 2}, From: words.Draw(t, "from"), Time: rapid.Int64().Draw(t, "time"), CID: raw.Draw(t, "cid"),
			Body: raw.Draw(t, "body"), TTL: ttl.Draw(t, "ttl"), Mentions: texts.Draw(t, "mentions"),
		}, seq.Draw(t, "login")},
		&Run{To: seq.Draw(t, "to"), Kind: Kind(rapid.IntRange(0, len(reasons)).Draw(t, "kind"))},
		&Entry{
			seq.Draw(t, "end"), seq.Draw(t, "last"), rapid.Int64().Draw(t, "time"), seq.Draw(t, "read"), seq.Draw(t, "unread"),
			seq.Draw(t, "peer"), seq.Draw(t, "floor"), flag.Draw(t, "listed"), flag.Draw(t, "muted"), flag.Draw(t, "pinned"),
			flag.Draw(t, "marked"), flag.Draw(t, "followed"), flag.Draw(t, "uncounted"),
		},
		&Outgoing{
			Conv: conv.Draw(t, "conv"), CID: words.Draw(t, "cid"), Body: raw.Draw(t, "body"), TTL: ttl.Draw(t, "ttl"),
			Mentions: texts.Draw(t, "mentions"), Queued: rapid.Int64().Draw(t, "queued"),
		},
		&delivery{rapid.SliceOfN(ref, 0, 3).Draw(t, "refs")},
		&cursor{seq.Draw(t, "moved"), words.Draw(t, "cursor")},
		&identity{
			seq.Draw(t, "format"), words.Draw(t, "service"), words.Draw(t, "user"), words.Draw(t, "device"), rapid.Int64().Draw(t, "ahead"),
			seq.Draw(t, "logins"),
		},
		&n, &s,
	}
}

// fields returns what a value holds, in which nil and empty slices are the same.
func fields(v value) string { return fmt.Sprintf("%v", reflect.ValueOf(v).Elem().Interface()) }

// TestWhatIsWrittenCanBeRead: a value is either refused, with ErrValue, or comes back as it was.
func TestWhatIsWrittenCanBeRead(t *testing.T) {
	var taken, refused int
	rapid.Check(t, func(t *rapid.T) {
		for _, v := range drawn(t) {
			b, err := encode(nil, v)
			if err != nil {
				if refused++; !errors.Is(err, ErrValue) {
					t.Errorf("%T %+v: %v, want ErrValue", v, v, err)
				}
				continue
			}
			taken++
			back := reflect.New(reflect.TypeOf(v).Elem()).Interface().(value)
			if err := decode(b, back); err != nil || !bytes.Equal(mustEncode(t, back), b) || fields(back) != fields(v) {
				t.Errorf("%T %+v came back as %+v, %v", v, v, back, err)
			}
		}
	})
	if taken == 0 || refused == 0 {
		t.Errorf("%d values were taken, %d refused, want some of both", taken, refused)
	}
}

// TestWrongValuesChangeNothing: a transaction with what could not be read again is refused
// as a whole, and the store goes on.
func TestWrongValuesChangeNothing(t *testing.T) {
	bob := protocol.UserConv("bob")
	for name, write := range map[string]func(*Tx){
		"message": func(t *Tx) { t.Import(&protocol.Message{Conv: bob, Seq: 1, Mentions: make([]string, 101)}, "alice") },
		"conversation": func(t *Tx) {
			t.Import(&protocol.Message{Conv: protocol.UserConv("a b"), Seq: 1}, "alice")
		},
		"outgoing": func(t *Tx) { t.AddOutgoing(&Outgoing{N: 1, Conv: bob, TTL: protocol.MaxTTL + 1}) },
		"delivery": func(t *Tx) { t.AddDelivery([]Ref{{bob, 1, 101}}) },
		"disabled": func(t *Tx) { t.Disable(protocol.GroupConv(""), true) },
		"cursor":   func(t *Tx) { t.MoveCursor("\xff", nil) },
	} {
		s, err := Open(Memory(), "host", "phone", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Update(func(t *Tx) { t.next("before"); write(t) }); !errors.Is(err, ErrValue) {
			t.Errorf("%s: %v, want ErrValue", name, err)
		}
		err = s.View(func(tx *Tx) {
			var n number
			if tx.name("before", &n) || len(tx.AllDisabled()) > 0 || len(tx.Outgoing()) > 0 {
				t.Errorf("%s: the transaction has left something", name)
			}
			tx.Conversations(0, 1)
		})
		if err != nil {
			t.Errorf("%s: then %v", name, err)
		}
	}
}

// FuzzDecode: no bytes make a decoder panic or allocate without end, and what it accepts is
// written back as values that are equal.
func FuzzDecode(f *testing.F) {
	for kind, v := range samples() {
		f.Add(kind, mustEncode(f, v))
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
		b = mustEncode(t, v)
		if err := decode(b, again); err != nil || !bytes.Equal(mustEncode(t, again), b) {
			t.Errorf("%T %+v came back as %+v, %v", v, v, again, err)
		}
	})
}

// TestEntryWithoutCounts: what a store has written that did not know of groups that count no
// unread is read as one that counts.
func TestEntryWithoutCounts(t *testing.T) {
	var got Entry
	if err := decode([]byte{1, 2, 6, 4, 5, 6, 7, 0b11111}, &got); err != nil {
		t.Fatal(err)
	}
	if want := (Entry{1, 2, 6, 4, 5, 6, 7, true, true, true, true, true, false}); got != want {
		t.Errorf("decoded %+v, want %+v", got, want)
	}
}
