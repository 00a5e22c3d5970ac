package sharedlog

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// FuzzFrame decodes what may be in a segment. What decodes encodes to the same bytes.
func FuzzFrame(f *testing.F) {
	s := newSeed([8]byte{1}, 2)
	for _, b := range [][]byte{
		appendEntry(nil, kindEntry, 1, &raft.Log{Index: 1, Term: 2, Type: raft.LogBarrier, Data: []byte("data"), Extensions: []byte("x"), AppendedAt: time.Unix(1, 2)}),
		appendEntry(nil, kindCopy, 1, &raft.Log{Index: 1}),
		appendRecord(nil, &record{kind: kindDelete, group: 1, first: 1, last: 2}),
		appendRecord(nil, &record{kind: kindSet, group: 1, key: "term", value: []byte("value")}),
		appendRecord(nil, &record{kind: kindSet, group: 1, key: strings.Repeat("k", maxKey)}),
		appendRecord(nil, &record{kind: kindMake, group: 1, name: "group"}),
		appendRecord(nil, &record{kind: kindDrop, group: 1}),
		appendRecord(nil, &record{kind: kindSeal}),
		appendCheckpoint(nil, 3, []groupState{{1, "a", bounds{}, map[string][]byte{"k": []byte("v"), "l": nil}}, {2, "b", bounds{3, 9}, nil}}),
	} {
		stamp(b, s, 32)
		if _, err := decodeFrame(s, b); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := decodeFrame(s, b)
		if err == nil && fr.size() > len(b) {
			t.Fatalf("a frame of %d bytes in %d", fr.size(), len(b))
		}
		// A change of a byte ends at the checksum: what is behind it is tried without.
		for _, k := range []kind{kindEntry, kindDelete, kindSet, kindMake, kindDrop, kindCheckpoint, kindSeal} {
			payload := b[:min(len(b), 1<<16)]
			want := append(beginFrame(nil), payload...)
			want = endFrame(want, 0, k, 1)
			stamp(want, s, 32)
			fr, err := decodeFrame(s, want)
			if err != nil || !bytes.Equal(fr.payload, payload) {
				t.Fatalf("kind %d: %v", k, err)
			}
			var got []byte
			switch k {
			case kindEntry:
				var e raft.Log
				if decodeEntry(fr.payload, &e) == nil {
					got = appendEntry(nil, k, 1, &e)
				}
			case kindCheckpoint:
				next, states, err := decodeCheckpoint(fr.payload)
				if err != nil {
					break
				}
				again := appendCheckpoint(nil, next, states) // keys may have come in another order, or twice
				stamp(again, s, 32)
				fr, err := decodeFrame(s, again)
				if err != nil {
					t.Fatal(err)
				}
				if next2, states2, err := decodeCheckpoint(fr.payload); err != nil || next2 != next || !reflect.DeepEqual(states, states2) {
					t.Fatalf("checkpoint %v became %v, %v", states, states2, err)
				}
			default:
				if r, err := decodeRecord(&fr); err == nil {
					got = appendRecord(nil, &r)
				}
			}
			if got != nil && !bytes.Equal(got[frameHeader:], want[frameHeader:]) {
				t.Fatalf("kind %d: %x became %x", k, want, got)
			}
		}
	})
}

// FuzzSegment opens a log whose only segment ends with what it is given.
func FuzzSegment(f *testing.F) {
	f.Add([]byte("x"), uint16(0))
	f.Add(make([]byte, 100), uint16(500))
	fs := newMemFS()
	l := openOn(f, fs)
	g := group(f, l, "a")
	appendTo(f, g, 1, 10, 30)
	end := int(l.current().end)
	files := fs.image()
	f.Fuzz(func(t *testing.T, tail []byte, at uint16) {
		disk := diskOf(files)
		data := disk.names[segmentName(1)].data
		from := end - int(at)%end
		copy(data[from:], tail)
		l, err := Open(Config{Dir: t.TempDir(), SegmentBytes: minSegmentBytes, FS: disk})
		if err != nil {
			return
		}
		defer l.Close()
		if !l.Has("a") {
			return
		}
		g := group(t, l, "a")
		last, _ := g.LastIndex()
		wantEntries(t, g, min(last, 1), last, 30)
		if last > 10 {
			t.Fatalf("%d entries", last)
		}
	})
}
