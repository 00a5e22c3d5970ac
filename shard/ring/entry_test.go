package ring

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

// full has every field; plain is an ordinary message of the owner's.
var (
	full = Entry{
		Flags: Own | Expired, Time: -1, Arrival: math.MaxUint64, Peer: 1, Session: 1 << 40, TTL: math.MaxUint32,
		ID: [16]byte{0: 1, 15: 2}, From: []byte("alice"), CID: []byte("c"), Mentions: []byte{1}, Body: make([]byte, 20000),
	}
	plain = Entry{
		Flags: Own, Time: 1795400000123, Arrival: 1000, Session: 3, ID: [16]byte{0: 1},
		CID: []byte("0123456789ab"), Body: make([]byte, 128),
	}
)

func TestEntryRoundTrip(t *testing.T) {
	for name, want := range map[string]*Entry{"zero": {}, "plain": &plain, "full": &full} {
		b := AppendEntry([]byte("before"), want)[len("before"):]
		if len(b) != EntrySize(want) {
			t.Errorf("%s: %d bytes, EntrySize = %d", name, len(b), EntrySize(want))
		}
		if got := int(sizeAt(b)); got != len(b) {
			t.Errorf("%s: sizeAt = %d, want %d", name, got, len(b))
		}
		if got := int(sizeBefore(b)); got != len(b) {
			t.Errorf("%s: sizeBefore = %d, want %d", name, got, len(b))
		}
		if got := arrivalAt(b); got != want.Arrival {
			t.Errorf("%s: arrivalAt = %d, want %d", name, got, want.Arrival)
		}
		if got := timeAt(b); got != want.Time {
			t.Errorf("%s: timeAt = %d, want %d", name, got, want.Time)
		}
		got := Entry{Seq: 7, Peer: 9, From: b, Mentions: b}
		n, err := DecodeEntry(append(b, "behind"...), &got)
		if err != nil || n != len(b) {
			t.Fatalf("%s: DecodeEntry = %d, %v, want %d", name, n, err, len(b))
		}
		if got.Seq != 7 {
			t.Errorf("%s: DecodeEntry set Seq to %d", name, got.Seq)
		}
		got.Seq = 0
		if !equal(&got, want) {
			t.Errorf("%s: DecodeEntry gave %v", name, got)
		}
	}
}

func TestEntryOverhead(t *testing.T) {
	if got := EntrySize(&plain) - len(plain.Body); got > 48 {
		t.Errorf("an own message with a cid of 12 bytes takes %d bytes beside its body, want at most 48", got)
	}
}

func TestDecodeEntryDoesNotAllocate(t *testing.T) {
	b := AppendEntry(nil, &full)
	var e Entry
	if n := testing.AllocsPerRun(100, func() {
		if _, err := DecodeEntry(b, &e); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("DecodeEntry allocates %v times", n)
	}
}

// enclose puts the size of content before and behind it.
func enclose(content ...byte) []byte {
	n := byte(len(content))
	return append(append([]byte{n}, content...), n)
}

func TestDecodeEntryRefuses(t *testing.T) {
	id := make([]byte, 16)
	with := func(flags byte, fields ...byte) []byte { // arrival 1, time 2, then the fields
		return enclose(append([]byte{flags, 1, 2}, fields...)...)
	}
	cid := append(id, 0) // no cid
	for _, c := range []struct {
		field, rule string
		b           []byte
	}{
		{"size", ruleCut, nil},
		{"size", ruleCut, []byte{0x80}},
		{"size", ruleMinimal, []byte{0x80, 0x00}},
		{"size", ruleMinimal, bytes.Repeat([]byte{0xff}, 11)},
		{"size", "goes beyond the input", []byte{5, 0, 0}},
		{"size", "goes beyond the input", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}},
		{"size", "is not repeated in reverse at the end", []byte{1, 0, 2}},
		{"flags", ruleCut, enclose()},
		{"more flags", ruleCut, enclose(moreFlags)},
		{"more flags", ruleEmpty, enclose(moreFlags, 0)},
		{"more flags", "has an unknown bit", enclose(moreFlags, 1)},
		{"arrival", ruleCut, enclose(0)},
		{"arrival", ruleMinimal, enclose(0, 0x81, 0x00)},
		{"time", ruleCut, enclose(0, 1, 0x80)},
		{"session", ruleEmpty, with(hasSession, 0)},
		{"peer", ruleEmpty, with(hasPeer, 0)},
		{"peer", ruleCut, with(hasPeer)},
		{"ttl", ruleEmpty, with(hasTTL, 0)},
		{"ttl", "is beyond its range", with(hasTTL, 0x80, 0x80, 0x80, 0x80, 0x10)},
		{"id", ruleCut, with(0, id[1:]...)},
		{"cid", ruleCut, with(0, id...)},
		{"cid", "is longer than the entry", with(0, append(id, 2, 'c')...)},
		{"from", ruleEmpty, with(hasFrom, append(cid, 0)...)},
		{"from", "is longer than the entry", with(hasFrom, append(cid, 1)...)},
		{"mentions", ruleCut, with(hasMentions, cid...)},
		{"mentions", ruleEmpty, with(hasMentions, append(cid, 0)...)},
	} {
		t.Run(c.field+" "+c.rule, func(t *testing.T) {
			var e Entry
			n, err := DecodeEntry(c.b, &e)
			got, ok := errors.AsType[*EntryError](err)
			if !ok || *got != (EntryError{c.field, c.rule}) || n != 0 {
				t.Errorf("DecodeEntry(%x) = %d, %v, want %s %s", c.b, n, err, c.field, c.rule)
			}
		})
	}
}

// FuzzDecodeEntry expects that whatever is accepted is the one encoding of what
// was read.
func FuzzDecodeEntry(f *testing.F) {
	small := full
	small.Body = []byte("body")
	for _, e := range []*Entry{{}, &plain, &small} {
		b := AppendEntry(nil, e)
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Entry
		n, err := DecodeEntry(b, &e)
		if err != nil {
			if _, ok := errors.AsType[*EntryError](err); !ok || n != 0 {
				t.Fatalf("DecodeEntry = %d, %v", n, err)
			}
			return
		}
		if again := AppendEntry(nil, &e); !bytes.Equal(again, b[:n]) {
			t.Fatalf("read %x as %+v, which encodes as %x", b[:n], e, again)
		}
		if EntrySize(&e) != n {
			t.Fatalf("EntrySize = %d, want %d", EntrySize(&e), n)
		}
	})
}
