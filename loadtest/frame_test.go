package loadtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// unmasked undoes what a client's frame has that a server's has not.
func unmasked(t *testing.T, frame []byte) []byte {
	t.Helper()
	if frame[1]&0x80 == 0 {
		t.Fatal("the frame is not masked")
	}
	header := 2
	switch frame[1] & 0x7f {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	plain := bytes.Clone(frame)
	plain[1] &^= 0x80
	applyMask(plain[header+4:], binary.LittleEndian.Uint32(plain[header:]))
	return append(plain[:header], plain[header+4:]...)
}

func TestFrameRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, 7, 8, 125, 126, 127, 1000, 0xffff, 0x10000, 200_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			want := bytes.Repeat([]byte("belfry"), size/6+1)[:size]
			before := []byte("before")
			out := appendFrame(bytes.Clone(before), opBinary, func(b []byte) []byte { return append(b, want...) })
			if !bytes.HasPrefix(out, before) {
				t.Fatalf("the bytes before the frame became %q", out[:len(before)])
			}
			frame := unmasked(t, out[len(before):])
			opcode, got, n, _, err := splitFrame(append(frame, "after"...))
			if err != nil || opcode != opBinary || n != len(frame) || !bytes.Equal(got, want) {
				t.Fatalf("splitFrame = opcode %d, %d bytes, n %d, %v; want opcode %d, %d bytes, n %d", opcode, len(got), n, err, opBinary, size, len(frame))
			}
			for cut := 0; cut < len(frame); cut += len(frame)/50 + 1 {
				_, _, n, need, err := splitFrame(frame[:cut])
				if n != 0 || err != nil || need <= cut || need > len(frame) {
					t.Fatalf("splitFrame of the first %d of %d bytes = n %d, need %d, %v; want n 0 and to need more", cut, len(frame), n, need, err)
				}
			}
		})
	}
}

func TestFrameRefusals(t *testing.T) {
	for name, frame := range map[string][]byte{
		"reserved bit":  {0xc2, 0},
		"fragment":      {0x02, 0},
		"continuation":  {0x80, 0},
		"masked":        {0x82, 0x80, 0, 0, 0, 0},
		"too large":     {0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 1},
		"large control": {0x89, 126, 0, 126},
	} {
		if _, _, _, _, err := splitFrame(frame); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzSplitFrame(f *testing.F) {
	f.Add([]byte{0x82, 1, 'x'})
	f.Add([]byte{0x82, 126, 0, 200})
	f.Add([]byte{0x88, 2, 3, 0xe8})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, payload, n, need, err := splitFrame(b)
		if err != nil {
			return
		}
		if n > len(b) || len(payload) > n || n == 0 && need <= len(b) {
			t.Fatalf("splitFrame of %d bytes = %d of payload, n %d, need %d", len(b), len(payload), n, need)
		}
	})
}
