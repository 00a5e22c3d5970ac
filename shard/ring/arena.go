package ring

import "encoding/binary"

// A Ref is the address of a piece of an Arena, in units of 16 bytes; 0 is nil.
type Ref uint32

const (
	unitsPerBlock = blockSize / unit
	unitsPerPage  = pageSize / unit
	maxBlocks     = MaxBytes / blockSize

	// To free a piece takes some 60 ns, most of it waiting for memory. After a long
	// snapshot a million pieces are to be freed, which must not hold up the owner at
	// once: each Alloc frees freesPerAlloc of them, each Release freesPerRelease.
	freesPerAlloc   = 16
	freesPerRelease = 256
)

// MaxBytes is the memory that an arena can address.
const MaxBytes = 64 << 30

// An Arena hands out pieces of memory, rounded up to size classes, from blocks of 1
// MiB. The garbage collector sees the blocks but looks at nothing inside them.
//
// A class takes spans, which are runs of pages, and cuts them into pieces. When all
// pieces of a span are free, its pages can be used for other spans. Of the blocks whose
// pages are all free, only a few are kept. Alloc panics if the arena would exceed
// MaxBytes; a node's memory limit is reached long before.
//
// An Arena is owned by one goroutine at a time.
type Arena struct {
	blocks  []block            // blocks[0] is never used, so that Ref 0 is nil
	spans   []span             // by page number, pagesPerBlock for each block
	partial [numClasses]uint32 // by class: first page of a span with a free piece, the head of a list; 0 = none
	pages   pagePool

	used          int   // bytes of pieces that were handed out and are not freed
	deferred      []Ref // pieces to free for good, some with each call of Alloc
	deferredBytes int   // bytes of deferred pieces and of pieces that Held lists hold
	held          *Held // where Free puts pieces; nil = they are free at once
}

// A block is the memory that belongs to one place of the block table: 1 MiB, or, for a
// piece larger than a block, the piece from there to its end. It is nil if no memory is
// reserved.
type block []byte

// A span is a run of pages that is cut into pieces of one class. The record of its
// first page describes it; those of its other pages only have pagesBack.
type span struct {
	free       Ref    // first free piece, 0 = none; each free piece begins with the Ref of the next
	prev, next uint32 // neighbours in the list of spans with a free piece, by first page
	used       uint16 // pieces handed out
	carved     uint16 // pieces ever handed out; the others lie behind them and were never used
	class      uint8
	pagesBack  uint8 // distance, in pages, to the span's first page
}

// Stats says how an arena's memory is used.
type Stats struct {
	Blocks   int // bytes reserved
	Used     int // bytes of pieces handed out, rounded up to their classes
	Deferred int // bytes of pieces that were freed, but are held or not yet free for good; not part of Used
}

// NewArena returns an arena without any reserved memory.
func NewArena() *Arena {
	return &Arena{
		blocks: make([]block, 1),
		spans:  make([]span, pagesPerBlock),
		pages:  pagePool{free: make([]uint16, 1), low: 1},
	}
}

// Alloc returns a piece of at least n bytes. Its content is undefined.
func (a *Arena) Alloc(n int) Ref {
	if len(a.deferred) > 0 {
		a.release(freesPerAlloc)
	}
	c := classOf(n)
	if c == hugeClass {
		return a.allocHuge(n)
	}
	p := a.partial[c]
	if p == 0 {
		p = a.newSpan(c)
	}
	s := &a.spans[p]
	r := s.free
	if r != 0 {
		s.free = Ref(binary.LittleEndian.Uint32(a.Bytes(r, 4)))
	} else {
		r = Ref(p)*unitsPerPage + Ref(int(s.carved)*classes[c].size/unit)
		s.carved++
	}
	s.used++
	if int(s.used) == classes[c].pieces {
		a.unlink(p)
	}
	a.used += classes[c].size
	return r
}

// Free frees a piece; n must be as given to Alloc. After HoldIn the piece keeps its
// content until its list is released. Freeing Ref 0 does nothing.
func (a *Arena) Free(r Ref, n int) {
	if r == 0 {
		return
	}
	if a.held != nil {
		size := SizeClass(n)
		a.held.refs = append(a.held.refs, r)
		a.used -= size
		a.deferredBytes += size
		return
	}
	a.used -= a.free(r, classOf(n))
}

// free gives a piece of class c back to its span at once, and returns the piece's size.
func (a *Arena) free(r Ref, c int) int {
	p := uint32(r / unitsPerPage)
	p -= uint32(a.spans[p].pagesBack)
	s := &a.spans[p]
	if int(s.class) != c || s.used == 0 {
		panic("ring: Free of what Alloc did not return for that size")
	}
	if c == hugeClass {
		return a.freeHuge(p)
	}
	if int(s.used) == classes[c].pieces {
		a.link(p)
	}
	binary.LittleEndian.PutUint32(a.Bytes(r, 4), uint32(s.free))
	s.free = r
	s.used--
	if s.used == 0 {
		a.unlink(p)
		a.freePages(p, classes[c].pages)
	}
	return classes[c].size
}

// Bytes returns the first n bytes of a piece; n is at most what was allocated. The
// slice has no further capacity and is valid until the piece is freed.
func (a *Arena) Bytes(r Ref, n int) []byte {
	return a.blocks[r/unitsPerBlock][r%unitsPerBlock*unit:][:n:n]
}

// from returns the bytes from offset off of a piece to the end of its block.
func (a *Arena) from(r Ref, off uint32) []byte {
	return a.blocks[r/unitsPerBlock][r%unitsPerBlock*unit+Ref(off):]
}

// Stats returns how the arena's memory is used now.
func (a *Arena) Stats() Stats {
	return Stats{Blocks: a.pages.reserved, Used: a.used, Deferred: a.deferredBytes}
}

// A Held list holds freed pieces, which keep their content until Release, so that an
// earlier state of their owner can still be read. The zero list is empty.
type Held struct{ refs []Ref }

// HoldIn makes Free put pieces into h from now on. With nil, Free frees them at once.
func (a *Arena) HoldIn(h *Held) { a.held = h }

// Release empties a list. It frees some of the list's pieces at once; calls of Alloc
// free the others little by little.
func (a *Arena) Release(h *Held) {
	n := len(h.refs)
	a.deferred = append(a.deferred, h.refs...)
	h.refs = nil
	a.release(min(n, freesPerRelease))
}

// release frees up to n deferred pieces for good.
func (a *Arena) release(n int) {
	rest := max(len(a.deferred)-n, 0)
	for _, r := range a.deferred[rest:] {
		p := uint32(r / unitsPerPage)
		p -= uint32(a.spans[p].pagesBack)
		a.deferredBytes -= a.free(r, int(a.spans[p].class))
	}
	a.deferred = a.deferred[:rest]
	if rest == 0 {
		a.deferred = nil
	}
}
