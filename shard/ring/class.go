package ring

import "math/bits"

const (
	unit      = 16       // bytes; the size of every piece is a multiple, and Refs count units
	pageSize  = 64 << 10 // spans are runs of pages
	blockSize = 1 << 20

	fineLimit   = 1 << 10 // classes are one unit apart up to here
	fineClasses = fineLimit / unit
	octaves     = 10 // doublings from fineLimit to blockSize
	steps       = 8  // classes of each octave
	numClasses  = fineClasses + octaves*steps
	hugeClass   = numClasses // pieces larger than a block
)

// A class is a size of pieces and the shape of the spans they are cut from.
type class struct {
	size   int // bytes of a piece
	pages  int // pages of a span
	pieces int // pieces in a span
}

var classes = makeClasses()

func makeClasses() (cs [numClasses]class) {
	for i := range cs {
		c := class{size: (i + 1) * unit}
		if i >= fineClasses {
			octave, step := (i-fineClasses)/steps, (i-fineClasses)%steps
			base := fineLimit << octave
			c.size = base + (step+1)*(base/steps)
		}
		// The shortest span that leaves at most an eighth of itself unused.
		for c.pages = 1; c.pages*pageSize%c.size > c.pages*pageSize/8; c.pages++ {
		}
		c.pieces = c.pages * pageSize / c.size
		cs[i] = c
	}
	return cs
}

// classOf returns the index of the smallest class that holds n bytes.
func classOf(n int) int {
	switch {
	case n <= unit:
		return 0
	case n <= fineLimit:
		return (n - 1) / unit
	case n > blockSize:
		return hugeClass
	}
	top := bits.Len(uint(n-1)) - 1 // n-1 has 2^top as its highest bit
	octave := top - bits.Len(uint(fineLimit)) + 1
	return fineClasses + octave*steps + (n-1-1<<top)>>(top-3)
}

// SizeClass returns the size of the piece that Alloc returns for n bytes. The caller
// may use all of it.
func SizeClass(n int) int {
	if c := classOf(n); c != hugeClass {
		return classes[c].size
	}
	return (n + pageSize - 1) / pageSize * pageSize
}
