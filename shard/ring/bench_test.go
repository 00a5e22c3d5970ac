package ring

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

func message(body int) Entry {
	return Entry{Flags: Own, Time: 1795400000123, Session: 3, ID: [16]byte{1, 2, 3}, CID: make([]byte, 12), Body: make([]byte, body, 240)}
}

func BenchmarkAppendEvict(b *testing.B) {
	for _, held := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			a := NewArena()
			var r Ring
			fill(a, &r, held, 128)
			e := message(128)
			b.ReportAllocs()
			for b.Loop() {
				e.Arrival = r.Next()
				r.Append(a, &e)
				r.Truncate(a, r.First())
			}
		})
	}
}

// BenchmarkMemory reports what a message takes of the arena's blocks, all
// counted, beside its body; mixed bodies have 16 to 240 bytes.
func BenchmarkMemory(b *testing.B) {
	for _, c := range []struct {
		rings, each int
		bodies      string
	}{
		{1_000_000, 1, "128"}, {300_000, 3, "128"}, {10_000, 100, "128"},
		{1_000_000, 1, "mixed"}, {300_000, 3, "mixed"}, {10_000, 100, "mixed"},
	} {
		b.Run(fmt.Sprintf("rings=%d/each=%d/bodies=%s", c.rings, c.each, c.bodies), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rnd := rand.New(rand.NewPCG(1, 5))
				a := NewArena()
				rings := make([]Ring, c.rings)
				e := message(128)
				bodies := 0
				for n := range c.rings * c.each { // the rings grow side by side
					r := &rings[n%c.rings]
					e.Arrival = r.Next()
					if c.bodies == "mixed" {
						e.Body = e.Body[:cap(e.Body)][:16+rnd.IntN(112)*2]
					}
					bodies += len(e.Body)
					r.Append(a, &e)
				}
				messages := float64(c.rings * c.each)
				b.ReportMetric(float64(a.Stats().Blocks)/messages, "bytes/message")
				b.ReportMetric(float64(a.Stats().Blocks-bodies)/messages, "overhead/message")
				b.ReportMetric(float64(a.Stats().Used-bodies)/messages, "used-overhead/message")
				runtime.KeepAlive(rings)
			}
		})
	}
}

// BenchmarkFreeHeld carries out frees that waited for a snapshot.
func BenchmarkFreeHeld(b *testing.B) {
	const pieces = 100_000
	a := NewArena()
	refs := make([]Ref, pieces)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range refs {
			refs[i] = a.Alloc(1 << 10)
		}
		var held Held
		a.HoldIn(&held)
		for _, r := range refs {
			a.Free(r, 1<<10)
		}
		a.HoldIn(nil)
		b.StartTimer()
		a.Release(&held)
		a.release(pieces)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/pieces, "ns/piece")
}

func BenchmarkRead(b *testing.B) {
	a := NewArena()
	var r Ring
	fill(a, &r, 20_000, 160) // 4 MiB: the largest group
	var e Entry
	b.Run("cursor", func(b *testing.B) {
		b.ReportAllocs()
		c := r.Ascend(a, 0)
		for b.Loop() {
			if !c.Next(&e) {
				c = r.Ascend(a, 0)
			}
		}
	})
	b.Run("descending", func(b *testing.B) {
		b.ReportAllocs()
		c := r.Descend(a, r.Next())
		for b.Loop() {
			if !c.Next(&e) {
				c = r.Descend(a, r.Next())
			}
		}
	})
	b.Run("at", func(b *testing.B) {
		b.ReportAllocs()
		seq := uint64(1)
		for b.Loop() {
			seq = (seq*7919)%20_000 + 1
			r.At(a, seq, &e)
		}
	})
	b.Run("newest", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.At(a, r.FirstAfterArrival(a, r.Next()-2), &e)
		}
	})
}
