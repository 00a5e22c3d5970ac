package shard

const (
	agesSeconds = 5 * 60      // kept apart by the second
	agesMinutes = 8 * 24 * 60 // kept apart by the minute: as long as messages live by default
)

// An ages holds the bytes of a shard's logs by the messages' time, so that a
// cutoff can be found that frees so many. It is derived from the logs.
type ages struct {
	total   int
	seconds histogram
	minutes histogram
}

func newAges() ages {
	return ages{
		seconds: histogram{width: 1000, buckets: make([]int, agesSeconds)},
		minutes: histogram{width: 60_000, buckets: make([]int, agesMinutes)},
	}
}

// add counts n bytes of a message of a time, in ms; n is negative when it goes.
func (a *ages) add(at int64, n int) {
	a.total += n
	a.seconds.add(at, n)
	a.minutes.add(at, n)
}

// cutoff gives a time at or below which messages of about n bytes lie, above
// the cutoff that is in force; nothing is held below that.
func (a *ages) cutoff(n int, inForce, now int64) int64 {
	if n > *a.seconds.bucket(a.seconds.oldest()) {
		return a.seconds.cutoff(n, inForce, now)
	}
	return a.minutes.cutoff(n, inForce, now)
}

// A histogram sums what is of a time, for as many steps back from the newest as
// it has buckets. What is older counts in the oldest of them.
type histogram struct {
	width   int64 // of a step, ms
	newest  int64 // step of the newest time ever added
	buckets []int // in a circle, by step
}

func (h *histogram) oldest() int64 { return h.newest - int64(len(h.buckets)) + 1 }

func (h *histogram) bucket(step int64) *int {
	n := int64(len(h.buckets))
	return &h.buckets[(step%n+n)%n]
}

func (h *histogram) add(at int64, n int) {
	step := at / h.width
	if step > h.newest {
		h.advance(step)
	}
	*h.bucket(max(step, h.oldest())) += n
}

// advance makes room for a newer step: what leaves the range at its end is
// counted in the oldest step that is left.
func (h *histogram) advance(step int64) {
	folded := 0
	for range min(step-h.newest, int64(len(h.buckets))) {
		old := h.bucket(h.oldest())
		folded += *old
		*old = 0
		h.newest++
	}
	h.newest = step
	*h.bucket(h.oldest()) += folded
}

// cutoff is ages.cutoff. Within a step its sum counts as spread evenly over what
// lies between the cutoff in force and now.
func (h *histogram) cutoff(n int, inForce, now int64) int64 {
	for step := h.oldest(); step <= h.newest; step++ {
		held := *h.bucket(step)
		if held < n {
			n -= held
			continue
		}
		from := max(step*h.width, inForce+1)
		to := max(min((step+1)*h.width-1, now), from)
		return from + int64(float64(to-from)*float64(n)/float64(max(held, 1)))
	}
	return now
}
