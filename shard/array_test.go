package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

// A list is compared with a slice.
func TestListIsASlice(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 9))
			a := NewState(1).arena
			var l list[lostRun]
			var model []lostRun
			for n := range uint64(5000) {
				switch op := rnd.IntN(100); {
				case op < 80:
					v, i := lostRun{from: n, arrival: n}, rnd.IntN(len(model)+1)
					l.insert(a, i, v)
					model = slices.Insert(model, i, v)
				case op < 98:
					n := rnd.IntN(min(len(model), 6) + 1)
					l.removeFirst(a, n)
					model = model[n:]
				case op == 98:
					old := l
					l.replace(a, l.items(a))
					if l.n > 0 && l.piece == old.piece {
						t.Fatal("replace kept the piece")
					}
				default:
					l.free(a)
					model = nil
				}
				if got := l.items(a); !slices.Equal(got, model) {
					t.Fatalf("after step %d the list is %v, want %v", n, got, model)
				}
			}
			l.free(a)
			if used := a.Stats().Used; used != 0 {
				t.Errorf("%d bytes in use, want none", used)
			}
		})
	}
}

// TestDropSlotFreesAll drops users who have something of everything, changed
// beside a snapshot and after it: nothing of them is left in the arena.
func TestDropSlotFreesAll(t *testing.T) {
	for _, during := range []string{"no snapshot", "a snapshot", "a snapshot given up"} {
		t.Run(during, func(t *testing.T) {
			b := newBench(t, command.Limits{OfflineMaxMessages: 10, UserBytes: 4 << 10})
			change := func() {
				for n := range 30 {
					b.now++
					r := b.send("alice", "bob", fmt.Sprint("m", n))
					b.send("bob", "alice", fmt.Sprint("m", n))
					if n%3 == 0 {
						b.do(&command.DeleteMessages{User: "alice", Peer: "bob", Seqs: []uint64{r.Seq}})
					}
				}
				b.do(&command.RaiseCutoff{Cutoff: b.now - 5, MaxWork: 1 << 30})
			}
			change()
			u := b.s.lookup("alice")
			if x := u.extraOf(&u.convs.items[0]); x.tombstones.n == 0 || x.lost.n == 0 || x.gone.n == 0 {
				t.Fatalf("%d marks, %d runs lost, %d gone: want some of each", x.tombstones.n, x.lost.n, x.gone.n)
			}
			if during != "no snapshot" {
				w := b.s.Snapshot()
				CutFine(w, 1, 64)
				w.Next(nil)
				change()
				if during == "a snapshot" {
					for more := true; more; {
						_, more = w.Next(nil)
					}
				}
				w.Release()
			}
			change()
			for slot := range uint16(command.Slots) {
				b.drop(slot, 7)
			}
			for range 10_000 {
				b.s.arena.Free(b.s.arena.Alloc(1), 1) // has what waits carried out
			}
			if got := b.s.arena.Stats(); got.Used != 0 || got.Deferred != 0 || b.s.tableBytes != 0 {
				t.Errorf("%+v and %d bytes of tables after all is dropped, want nothing used", got, b.s.tableBytes)
			}
		})
	}
}
