package ring

import "encoding/binary"

// A Ref addresses a piece of an Arena in units of 16 bytes; 0 is nil.
type Ref uint32

const (
	unitsPerBlock = blockSize / unit
	unitsPerPage  = pageSize / unit
	maxBlocks     = MaxBytes / blockSize

	// A free takes some 60 ns, most of it waiting for memory. A long snapshot
	// leaves a million of them, which must not hold up the owner at once.
	freesPerAlloc   = 16
	freesPerRelease = 256
)

// MaxBytes is what an arena can address.
const MaxBytes = 64 << 30

// An Arena hands out pieces of memory in size classes, from blocks of 1 MiB. The
// garbage collector sees the blocks and nothing inside them.
//
// A class takes spans of pages and cuts them into pieces. A span whose pieces are all
// free is given back to the pages, and only a few of the blocks that are entirely free
// are kept. An arena addresses 64 GiB; the memory limit of a node is reached long
// before, and Alloc panics there.
//
// An Arena is owned by one goroutine at a time.
type Arena struct {
	blocks  []block            // blocks[0] is never used, so that Ref 0 is nil
	spans   []span             // by page, pagesPerBlock for each block
	partial [numClasses]uint32 // by class: first page of a span with a free piece, the head of a list; 0 = none
	pages   pagePool

	used          int   // bytes of pieces handed out and not freed
	deferred      []Ref // freed and held, then released; freed for good little by little
	deferredBytes int   // bytes of deferred pieces, and of pieces that are held
	held          *Held // list that takes what is freed, nil = free at once
}

// A block is the memory of one place in the block table: 1 MiB, or the rest of a piece
// that is larger, from this place on. It is nil if nothing is reserved.
type block []byte

// A span is a run of pages cut into pieces of one class. Its record is that of its
// first page; the other pages only record how far back that is.
type span struct {
	free       Ref    // first free piece, which holds the next; 0 = none
	prev, next uint32 // neighbours in the list of spans with a free piece, by first page
	used       uint16 // pieces handed out
	carved     uint16 // pieces ever handed out; later ones were never touched
	class      uint8
	pagesBack  uint8 // pages back to the first page of the span
}

// Stats are the figures of an arena's memory.
type Stats struct {
	Blocks   int // bytes reserved
	Used     int // bytes of pieces handed out, as their classes round them
	Deferred int // bytes of pieces freed but held, or not yet free for good; not part of Used
}

// NewArena returns an arena that has reserved nothing yet.
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

// Free frees a piece; n is as given to Alloc. After HoldIn the piece keeps its content
// until the list is released. Freeing Ref 0 does nothing.
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

// free returns a piece to its span, and returns the bytes that it took.
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

// from returns the bytes of a piece's block from an offset in the piece on.
func (a *Arena) from(r Ref, off uint32) []byte {
	return a.blocks[r/unitsPerBlock][r%unitsPerBlock*unit+Ref(off):]
}

// Stats returns the present figures.
func (a *Arena) Stats() Stats {
	return Stats{Blocks: a.pages.reserved, Used: a.used, Deferred: a.deferredBytes}
}

// A Held list keeps the content of freed pieces, for a reader of an earlier state of
// their owner. The zero list is empty.
type Held struct{ refs []Ref }

// HoldIn puts pieces that are freed from now on into h until Release. With nil they
// are free at once.
func (a *Arena) HoldIn(h *Held) { a.held = h }

// Release empties a list. Some of its pieces are free at once, the others little by
// little with calls of Alloc.
func (a *Arena) Release(h *Held) {
	n := len(h.refs)
	a.deferred = append(a.deferred, h.refs...)
	h.refs = nil
	a.release(min(n, freesPerRelease))
}

// release frees up to n pieces of deferred for good.
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
