package replica

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// sums returns what Checksums returns at each replica.
func (g *trio) sums() map[string][]Checksum {
	of := make(map[string][]Checksum)
	for i, r := range g.replicas {
		of[trioID(i)] = r.Checksums()
	}
	return of
}

// common returns how many of the entries at which replica i has a checksum are ones at
// which all have.
func (g *trio) common(i int) (n int) {
	for _, c := range g.replicas[i].Checksums() {
		all := true
		for _, r := range g.replicas {
			all = all && slices.ContainsFunc(r.Checksums(), func(d Checksum) bool { return d.Index == c.Index })
		}
		if all {
			n++
		}
	}
	return n
}

func (g *trio) sameSums() {
	g.t.Helper()
	if odd, err := Diverged(g.sums()); len(odd) > 0 || err != nil {
		g.t.Fatalf("replicas %v have other checksums, %v: %v", odd, err, g.sums())
	}
}

// Replicas have the same checksums at the same entries, also after a restart and behind
// another leader. One whose state was changed has others.
func TestChecksums(t *testing.T) { inBubble(testChecksums)(t) }

func testChecksums(t *testing.T) {
	g := newTrio(t, func(_ int, cfg *Config) { cfg.ChecksumEvery = 10 * time.Second })
	body := append([]byte{0xc5, 0x20, 0}, bytes.Repeat([]byte("x"), 8<<10)...)
	for n := range 80 {
		id := command.MsgID{14: byte(n >> 8), 15: byte(n)}
		from := command.UserID(fmt.Sprint("user-", n%16))
		cmd := &command.Send{User: from, To: from + "-friend", ID: id, CID: fmt.Sprint(n), Body: body}
		if err := propose(g.replicas[g.leader()], cmd); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "several slots are summed up", func() bool { return g.common(0) >= 4 })
	g.sameSums()
	slots := map[uint16]bool{}
	for _, c := range g.replicas[0].Checksums() {
		slots[c.Slot/checksumSlots] = true
	}
	if len(slots) < 4 {
		t.Errorf("checksums of %d parts of the slots, want several: %v", len(slots), g.replicas[0].Checksums())
	}

	follower := (g.leader() + 1) % 3
	g.stop[follower]()
	g.start(follower)
	eventually(t, "the sums go on after a restart", func() bool { return g.common(follower) >= 4 })
	g.sameSums()

	old := g.leader()
	g.cut(old, true)
	g.send(1000)
	g.cut(old, false)
	before := g.replicas[follower].Checksums()
	newest := before[len(before)-1].Index
	eventually(t, "the sums go on behind another leader", func() bool {
		sums := g.replicas[old].Checksums()
		return g.common(old) >= 4 && sums[len(sums)-1].Index > newest
	})
	g.sameSums()

	odd := (g.leader() + 1) % 3
	r := g.replicas[odd]
	r.mu.Lock()
	batch := command.AppendCommand(command.AppendBatchHeader(nil, r.state.Now()), message(2000))
	r.state.Apply(batch, new(shard.Outcome))
	r.mu.Unlock()
	eventually(t, "the odd one is found out", func() bool {
		found, err := Diverged(g.sums())
		return err == nil && slices.Equal(found, []string{trioID(odd)})
	})
}

func TestDiverged(t *testing.T) {
	sums := func(pairs ...uint64) (s []Checksum) {
		for i := 0; i < len(pairs); i += 2 {
			s = append(s, Checksum{Index: pairs[i], Sum: pairs[i+1]})
		}
		return s
	}
	for name, c := range map[string]struct {
		of     map[string][]Checksum
		odd    []string
		untold bool
	}{
		"none":                 {nil, nil, false},
		"one":                  {map[string][]Checksum{"a": sums(1, 5)}, nil, false},
		"equal":                {map[string][]Checksum{"a": sums(1, 5), "b": sums(1, 5, 2, 6), "c": sums(2, 6)}, nil, false},
		"nothing in common":    {map[string][]Checksum{"a": sums(1, 5), "b": sums(2, 5), "c": sums(3, 6)}, nil, false},
		"one of three differs": {map[string][]Checksum{"a": sums(1, 5), "b": sums(1, 7), "c": sums(1, 5)}, []string{"b"}, false},
		"one of two differs":   {map[string][]Checksum{"a": sums(1, 5), "b": sums(1, 7), "c": nil}, nil, true},
		"all differ":           {map[string][]Checksum{"a": sums(1, 5), "b": sums(1, 7), "c": sums(1, 8)}, nil, true},
		"later it is told":     {map[string][]Checksum{"a": sums(1, 5, 2, 5), "b": sums(1, 7, 2, 7), "c": sums(2, 5)}, []string{"b"}, true},
	} {
		odd, err := Diverged(c.of)
		if !slices.Equal(odd, c.odd) || (err != nil) != c.untold {
			t.Errorf("%s: Diverged = %v, %v; want %v, error %t", name, odd, err, c.odd, c.untold)
		}
	}
}
