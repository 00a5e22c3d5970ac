package replica

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
)

// What recent gives back is what was added last at an index, whatever became of the
// buffers since, and it holds no more than its bounds.
func TestRecent(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			var r recent
			want := make(map[uint64]raft.Log)
			last := uint64(0)
			for range 100 {
				switch rng.IntN(20) {
				case 0:
					r.forget()
					last -= min(last, uint64(rng.IntN(5))) // a tail that is written anew
				case 1:
					last += uint64(rng.IntN(100)) // a snapshot was installed
				}
				var entries []*raft.Log
				for range 1 + rng.IntN(3) {
					last++
					size := rng.IntN(100)
					if rng.IntN(10) == 0 {
						size = rng.IntN(recentBytes + 100)
					}
					entries = append(entries, &raft.Log{Index: last, Term: rng.Uint64(), Data: bytes.Repeat([]byte{byte(rng.Int())}, size), Extensions: []byte(fmt.Sprint("of ", last))})
				}
				r.add(entries)
				for _, e := range entries {
					want[e.Index] = raft.Log{Index: e.Index, Term: e.Term, Data: bytes.Clone(e.Data), Extensions: bytes.Clone(e.Extensions)}
					clear(e.Data)
					clear(e.Extensions)
				}
				held, size := 0, 0
				for i := last + 1; i > 0 && i+2*recentEntries > last; i-- {
					var got raft.Log
					if !r.get(i, &got) {
						continue
					}
					held++
					size += len(got.Data)
					if w := want[i]; i > last || got.Index != i || got.Term != w.Term || !bytes.Equal(got.Data, w.Data) || !bytes.Equal(got.Extensions, w.Extensions) {
						t.Fatalf("entry %d of %d is not the one that was added last", i, last)
					}
				}
				if held > recentEntries || size > recentBytes {
					t.Fatalf("recent holds %d entries of %d bytes, want at most %d of %d", held, size, recentEntries, recentBytes)
				}
				if e := want[last]; len(e.Data) <= recentBytes && held == 0 {
					t.Fatalf("entry %d of %d bytes is not held", last, len(e.Data))
				}
			}
		})
	}
}
