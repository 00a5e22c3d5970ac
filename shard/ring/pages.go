package ring

import "math/bits"

const (
	pagesPerBlock = blockSize / pageSize
	allFree       = 1<<pagesPerBlock - 1
)

// A pagePool knows which pages of an arena's blocks belong to no span.
type pagePool struct {
	free     []uint16 // by block; each bit that is set is a free page
	low      int      // no block below this one has a free page
	empty    int      // number of blocks all of whose pages are free
	holes    int      // number of places in the block table that have no memory, except place 0
	reserved int      // bytes of all blocks
}

// newSpan makes a span of class c, links it into the list of spans with a free piece,
// and returns its first page.
func (a *Arena) newSpan(c int) uint32 {
	n := classes[c].pages
	p := a.allocPages(n)
	for i := range n {
		a.spans[p+uint32(i)] = span{class: uint8(c), pagesBack: uint8(i)}
	}
	a.link(p)
	return p
}

// link inserts the span at page p into the list of its class, behind the first span.
// Alloc goes on filling the first, so that spans behind it can become empty meanwhile.
func (a *Arena) link(p uint32) {
	s := &a.spans[p]
	head := a.partial[s.class]
	if head == 0 {
		s.prev, s.next = 0, 0
		a.partial[s.class] = p
		return
	}
	s.prev, s.next = head, a.spans[head].next
	a.spans[head].next = p
	if s.next != 0 {
		a.spans[s.next].prev = p
	}
}

// unlink removes the span at page p from the list of its class.
func (a *Arena) unlink(p uint32) {
	s := &a.spans[p]
	if s.prev != 0 {
		a.spans[s.prev].next = s.next
	} else {
		a.partial[s.class] = s.next
	}
	if s.next != 0 {
		a.spans[s.next].prev = s.prev
	}
}

// allocPages claims n adjacent free pages of one block and returns the first. It
// chooses the lowest, so that high blocks can become empty.
func (a *Arena) allocPages(n int) uint32 {
	pool := &a.pages
	for i := pool.low; i < len(pool.free); i++ {
		starts := pool.free[i] // pages at which a run of n begins
		for k := 1; k < n && starts != 0; k++ {
			starts &= pool.free[i] >> k
		}
		if starts != 0 {
			return a.claimPages(i, bits.TrailingZeros16(starts), n)
		}
		if pool.free[i] == 0 && i == pool.low {
			pool.low++
		}
	}
	i := a.reserve(1)
	a.blocks[i] = make([]byte, blockSize)
	pool.reserved += blockSize
	pool.free[i] = allFree
	pool.low = min(pool.low, i)
	pool.empty++
	return a.claimPages(i, 0, n)
}

// claimPages marks n pages of block i, from page on, as used and returns the number of
// the first.
func (a *Arena) claimPages(i, page, n int) uint32 {
	pool := &a.pages
	if pool.free[i] == allFree {
		pool.empty--
	}
	pool.free[i] &^= (1<<n - 1) << page
	return uint32(i*pagesPerBlock + page)
}

// freePages marks n pages from p on as free. It gives up their block if no page of it
// is used and enough such blocks are kept.
func (a *Arena) freePages(p uint32, n int) {
	pool := &a.pages
	i, page := int(p)/pagesPerBlock, int(p)%pagesPerBlock
	pool.free[i] |= (1<<n - 1) << page
	pool.low = min(pool.low, i)
	if pool.free[i] != allFree {
		return
	}
	pool.empty++
	// Some empty blocks are kept, because a new one costs the zeroing of its memory.
	if pool.empty > 1+len(a.blocks)/8 {
		pool.empty--
		pool.free[i] = 0
		pool.reserved -= blockSize
		a.blocks[i] = nil
		pool.holes++
	}
}

// reserve finds n adjacent places in the block table that have no memory, or appends
// them, and returns the first. The caller puts memory there.
func (a *Arena) reserve(n int) int {
	if a.pages.holes >= n {
		run := 0
		for i := 1; i < len(a.blocks); i++ {
			run++
			if a.blocks[i] != nil {
				run = 0
			}
			if run == n {
				a.pages.holes -= n
				return i - n + 1
			}
		}
	}
	i := len(a.blocks)
	if i+n > maxBlocks {
		panic("ring: arena is beyond 64 GiB")
	}
	a.blocks = append(a.blocks, make([]block, n)...)
	a.spans = append(a.spans, make([]span, n*pagesPerBlock)...)
	a.pages.free = append(a.pages.free, make([]uint16, n)...)
	return i
}

// allocHuge allocates a piece larger than a block. The piece gets memory apart from all
// blocks, and takes the places in the block table that this much memory would need.
func (a *Arena) allocHuge(n int) Ref {
	n = SizeClass(n)
	i := a.reserve((n + blockSize - 1) / blockSize)
	a.pages.reserved += n
	mem := make([]byte, n)
	for k := 0; k*blockSize < n; k++ {
		a.blocks[i+k] = mem[k*blockSize:]
	}
	a.spans[i*pagesPerBlock] = span{class: hugeClass, used: 1}
	a.used += n
	return Ref(i) * unitsPerBlock
}

// freeHuge frees the piece that allocHuge put at page p, and returns its size.
func (a *Arena) freeHuge(p uint32) int {
	i := int(p) / pagesPerBlock
	n := len(a.blocks[i])
	a.pages.reserved -= n
	a.spans[p] = span{}
	for k := 0; k*blockSize < n; k++ {
		a.blocks[i+k] = nil
		a.pages.holes++
	}
	return n
}
