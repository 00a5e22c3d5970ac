package ring

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestSizeClass(t *testing.T) {
	for i, c := range classes {
		if c.size%unit != 0 || c.pages > pagesPerBlock || c.pieces < 1 || c.pieces*c.size > c.pages*pageSize {
			t.Errorf("class %d = %+v does not fit its span", i, c)
		}
		if got := classOf(c.size); got != i {
			t.Errorf("classOf(%d) = %d, want %d", c.size, got, i)
		}
		if got := classOf(c.size + 1); got != i+1 {
			t.Errorf("classOf(%d) = %d, want %d", c.size+1, got, i+1)
		}
		if unused := c.pages*pageSize - c.pieces*c.size; unused*8 > c.pages*pageSize {
			t.Errorf("class %d leaves %d bytes of a span of %d unused", i, unused, c.pages*pageSize)
		}
	}
	for n := 0; n <= 3*blockSize; n += 1 + n/200 {
		if got := SizeClass(n); got < n || got%unit != 0 || got > n+max(unit, n/8) {
			t.Fatalf("SizeClass(%d) = %d", n, got)
		}
	}
}

// piece is the model of one allocation: its bytes are all of one random value.
type piece struct {
	ref  Ref
	n    int
	fill byte
}

func (p piece) check(t *testing.T, a *Arena) {
	t.Helper()
	b := a.Bytes(p.ref, p.n)
	if len(b) != p.n || cap(b) != p.n {
		t.Fatalf("Bytes(%d, %d): len %d, cap %d", p.ref, p.n, len(b), cap(b))
	}
	if bytes.Count(b, []byte{p.fill}) != p.n {
		t.Fatalf("piece %d of %d bytes was overwritten", p.ref, p.n)
	}
}

// settle has all frees carried out that waited.
func settle(a *Arena, held *Held) {
	a.HoldIn(nil)
	a.Release(held)
	for a.Stats().Deferred > 0 {
		a.Free(a.Alloc(1), 1)
	}
}

func TestArena(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { testArena(t, seed) })
	}
}

// testArena allocates and frees at random, some of it into a Held, and expects
// that no piece changes while it is held, be it by its user or by the list.
func testArena(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	a := NewArena()
	var held, kept []piece // kept are freed and in list
	var list Held
	holding := false
	used := 0
	alloc := func() {
		n := 1 + rnd.IntN(1<<rnd.IntN(17))
		if rnd.IntN(2000) == 0 {
			n = rnd.IntN(3 * blockSize)
		}
		p := piece{a.Alloc(n), n, byte(rnd.Uint32())}
		for i, b := 0, a.Bytes(p.ref, SizeClass(n)); i < len(b); i++ {
			b[i] = p.fill
		}
		held = append(held, p)
		used += SizeClass(n)
	}
	free := func() {
		i := rnd.IntN(len(held))
		p := held[i]
		p.check(t, a)
		held[i] = held[len(held)-1]
		held = held[:len(held)-1]
		a.Free(p.ref, p.n)
		used -= SizeClass(p.n)
		if holding {
			kept = append(kept, p)
		}
	}
	for step := range 20000 {
		growing := step/2000%2 == 0
		switch k := rnd.IntN(1000); {
		case k <= 1: // frees of one owner and of others may alternate
			if holding = !holding; holding {
				a.HoldIn(&list)
			} else {
				a.HoldIn(nil)
			}
		case k == 2:
			for _, p := range kept {
				p.check(t, a)
			}
			kept = nil
			a.Release(&list)
		case len(held) == 0 || (k < 700) == growing:
			alloc()
		default:
			free()
		}
		if got := a.Stats(); got.Used != used || got.Blocks < used+got.Deferred {
			t.Fatalf("step %d: Stats() = %+v, want %d bytes used", step, got, used)
		}
	}
	for len(held) > 0 {
		free()
	}
	settle(a, &list)
	got := a.Stats()
	if keep := (2 + len(a.blocks)/8) * blockSize; got.Used != 0 || got.Deferred != 0 || got.Blocks > keep {
		t.Errorf("all freed: Stats() = %+v, want nothing used and at most %d bytes of blocks", got, keep)
	}
	for c, p := range a.partial {
		if p != 0 {
			t.Errorf("all freed: class %d still has span %d", c, p)
		}
	}
}

func TestArenaGivesSpansToOtherClasses(t *testing.T) {
	a := NewArena()
	sizes := []int{16, 48, 208, 1000, 5000, 16 << 10, 100 << 10}
	const total = 8 * blockSize
	for _, n := range sizes {
		var refs []Ref
		for range total / SizeClass(n) {
			refs = append(refs, a.Alloc(n))
		}
		if got, most := a.Stats().Blocks, total*9/8+blockSize; got > most {
			t.Errorf("pieces of %d: %d bytes reserved for %d, want at most %d", n, got, total, most)
		}
		for _, r := range refs {
			a.Free(r, n)
		}
	}
}

func TestArenaHeld(t *testing.T) {
	a := NewArena()
	r := a.Alloc(100)
	copy(a.Bytes(r, 100), "kept")
	var held Held
	a.HoldIn(&held)
	a.Free(r, 100)
	a.HoldIn(nil)
	if got, want := a.Stats(), (Stats{Blocks: blockSize, Deferred: 112}); got != want {
		t.Errorf("held: Stats() = %+v, want %+v", got, want)
	}
	if got := a.Bytes(r, 4); string(got) != "kept" {
		t.Errorf("held: Bytes = %q", got)
	}
	if other := a.Alloc(100); other == r {
		t.Error("a piece was handed out again while held")
	}
	a.Release(&held)
	if got, want := a.Stats(), (Stats{Blocks: blockSize, Used: 112}); got != want {
		t.Errorf("released: Stats() = %+v, want %+v", got, want)
	}
	if other := a.Alloc(100); other != r {
		t.Error("a piece was not handed out again once released")
	}
}

func TestArenaSpreadsTheFreesOfALongList(t *testing.T) {
	a := NewArena()
	refs := make([]Ref, 8*freesPerRelease)
	for i := range refs {
		refs[i] = a.Alloc(64)
	}
	var held Held
	a.HoldIn(&held)
	for _, r := range refs {
		a.Free(r, 64)
	}
	a.HoldIn(nil)
	a.Release(&held)
	for left := len(refs) - freesPerRelease; left > 0; left -= freesPerAlloc {
		if got := a.Stats().Deferred; got != left*64 {
			t.Fatalf("Stats().Deferred = %d, want %d", got, left*64)
		}
		a.Free(a.Alloc(64), 64)
	}
	if got := a.Stats(); got.Used != 0 || got.Deferred != 0 {
		t.Errorf("Stats() = %+v, want nothing used or deferred", got)
	}
}

func TestArenaUsesFreedPiecesAgain(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 6))
	a := NewArena()
	refs := make([]Ref, 4*blockSize/256)
	for i := range refs {
		refs[i] = a.Alloc(256)
	}
	want := a.Stats()
	for range 20 {
		rnd.Shuffle(len(refs), func(i, k int) { refs[i], refs[k] = refs[k], refs[i] })
		part := refs[:rnd.IntN(len(refs))]
		for _, r := range part {
			a.Free(r, 256)
		}
		for i := range part {
			part[i] = a.Alloc(256)
		}
		if got := a.Stats(); got != want {
			t.Fatalf("Stats() = %+v, want %+v", got, want)
		}
	}
}

func TestArenaHuge(t *testing.T) {
	a := NewArena()
	n := 2*blockSize + 1
	for range 3 { // the places in the block table are used again
		r, s := a.Alloc(n), a.Alloc(3*blockSize)
		b := a.Bytes(r, n)
		b[0], b[n-1] = 1, 2
		var held Held
		a.HoldIn(&held)
		a.Free(r, n)
		a.Free(s, 3*blockSize)
		a.HoldIn(nil)
		if got := a.Bytes(r, n); got[0] != 1 || got[n-1] != 2 {
			t.Error("a held piece larger than a block was lost")
		}
		a.Release(&held)
	}
	if got := a.Stats(); got != (Stats{}) {
		t.Errorf("all freed: Stats() = %+v, want zero", got)
	}
	if got := len(a.blocks); got != 7 {
		t.Errorf("%d places in the block table, want 7", got)
	}
}

func TestArenaMisuse(t *testing.T) {
	a := NewArena()
	r := a.Alloc(100)
	a.Free(0, 100)
	for name, f := range map[string]func(){
		"free of another size":   func() { a.Free(r, 10) },
		"free twice":             func() { a.Free(r, 100); a.Free(r, 100) },
		"piece before the first": func() { a.Bytes(0, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("did not panic")
				}
			}()
			f()
		})
	}
}
