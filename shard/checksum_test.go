package shard

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

// checksums walks a state with Checksum commands.
func (b *bench) checksums(maxBytes uint32) (sums []Checksum) {
	b.t.Helper()
	for at := (command.Place{}); ; {
		b.do(&command.Checksum{From: at, MaxBytes: maxBytes})
		c := b.out.Checksums[0]
		sums = append(sums, c)
		if c.From != at || !c.Done && c.To == at {
			b.t.Fatalf("a Checksum from %+v = %+v", at, c)
		}
		if c.Done {
			return sums
		}
		at = c.To
	}
}

// TestChecksumFindsWhatDiffers has one of two replicas change a user and a setting on
// its own.
func TestChecksumFindsWhatDiffers(t *testing.T) {
	replica := func() *bench {
		b := newBench(t, command.Limits{})
		for i := range 50 {
			b.send(loadUser(i), loadUser((i+1)%50), fmt.Sprint(i))
		}
		return b
	}
	for _, maxBytes := range []uint32{0, 1, 1000, 1 << 20} {
		one, other := replica(), replica()
		sums := one.checksums(maxBytes)
		if maxBytes < 2 && len(sums) != 51 || maxBytes == 1000 && (len(sums) < 3 || len(sums) > 40) || maxBytes == 1<<20 && len(sums) != 1 {
			t.Errorf("%d commands of up to %d bytes", len(sums), maxBytes)
		}
		equal := func() (n int) {
			for i, c := range other.checksums(maxBytes) {
				if c == sums[i] {
					n++
				}
			}
			return n
		}
		if n := equal(); n != len(sums) {
			t.Errorf("%d of %d checksums are equal between replicas, want all", n, len(sums))
		}
		other.s.lookup(loadUser(7)).lastSeen++
		if n := equal(); n != len(sums)-1 {
			t.Errorf("%d of %d checksums are equal though a user differs, want all but one", n, len(sums))
		}
		other.s.limits.Recents++
		if n := equal(); n != 0 {
			t.Errorf("%d of %d checksums are equal though a limit differs, want none", n, len(sums))
		}
	}
}

// BenchmarkChecksum applies one Checksum command of 1 MiB to a shard of 100 MiB and of
// users with 60 messages each: it holds the shard for so long.
func BenchmarkChecksum(b *testing.B) {
	bench := load{users: 10_000, views: 20, messages: 3}.fill(b)
	var at command.Place
	b.ReportAllocs()
	for b.Loop() {
		bench.do(&command.Checksum{From: at, MaxBytes: 1 << 20})
		c := bench.out.Checksums[0]
		if at = c.To; c.Done {
			at = command.Place{}
		}
	}
}
