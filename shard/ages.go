package shard

const (
	secondBuckets = 5 * 60      // kept apart by the second
	minuteBuckets = 8 * 24 * 60 // by the minute: as long as messages live by default
	hourBuckets   = 400 * 24    // by the hour: as long as anybody is likely to keep them
)

// An ageIndex holds the bytes of a shard's logs by the messages' time, so that a
// cutoff can be found that frees so many. It is derived from the logs.
type ageIndex struct {
	total      int
	minute     int64        // of the shard's time
	histograms [3]histogram // from fine to coarse

	// ahead holds what is of a later minute, by the second: other shards' clocks
	// may be ahead of this one's. There is a sum for each second that messages
	// are held of, so no more than those.
	ahead map[int64]int
}

func newAgeIndex() ageIndex {
	return ageIndex{
		histograms: [...]histogram{
			{width: 1000, buckets: make([]int, secondBuckets)},
			{width: 60_000, buckets: make([]int, minuteBuckets)},
			{width: 3_600_000, buckets: make([]int, hourBuckets)},
		},
		ahead: map[int64]int{},
	}
}

// add counts n bytes of a message of a time, in ms; n is negative when it goes.
func (a *ageIndex) add(at int64, n int) {
	a.total += n
	if at/60_000 <= a.minute {
		a.addNotAhead(at, n)
		return
	}
	second := at / 1000
	if a.ahead[second] += n; a.ahead[second] == 0 {
		delete(a.ahead, second)
	}
}

func (a *ageIndex) addNotAhead(at int64, n int) {
	for i := range a.histograms {
		a.histograms[i].add(at, n)
	}
}

// advance follows the shard's time, which never falls.
func (a *ageIndex) advance(now int64) {
	if now/60_000 <= a.minute {
		return
	}
	a.minute = now / 60_000
	for i := range a.histograms {
		// Up to the end of the minute, so that a message falls into the same step
		// whenever it is looked for.
		a.histograms[i].advance((a.minute*60_000 + 59_999) / a.histograms[i].width)
	}
	for second, n := range a.ahead {
		if second/60 <= a.minute {
			delete(a.ahead, second)
			a.addNotAhead(second*1000, n)
		}
	}
}

// cutoffFor gives a time at or below which messages of about n bytes lie, above
// one below which nothing is held.
func (a *ageIndex) cutoffFor(n int, above, now int64) int64 {
	coarsest := len(a.histograms) - 1
	for i := range a.histograms[:coarsest] {
		if h := &a.histograms[i]; n > *h.bucket(h.oldest()) {
			return h.cutoffFor(n, above, now)
		}
	}
	return a.histograms[coarsest].cutoffFor(n, above, now)
}

// A histogram sums what is of a time, for as many steps back from the newest as
// it has buckets. What is older counts in the oldest of them.
type histogram struct {
	width   int64 // of a step, ms
	newest  int64 // step up to which times may be added
	buckets []int // in a circle, by step
}

func (h *histogram) oldest() int64 { return h.newest - int64(len(h.buckets)) + 1 }

func (h *histogram) bucket(step int64) *int {
	n := int64(len(h.buckets))
	return &h.buckets[(step%n+n)%n]
}

func (h *histogram) add(at int64, n int) {
	*h.bucket(max(at/h.width, h.oldest())) += n
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

// cutoffFor is ages.cutoff. Within a step its sum counts as spread evenly, that of
// the oldest over all from above to its end.
func (h *histogram) cutoffFor(n int, above, now int64) int64 {
	for step := h.oldest(); step <= now/h.width && step <= h.newest; step++ {
		held := *h.bucket(step)
		if held < n {
			n -= held
			continue
		}
		from := max(step*h.width, above+1)
		if step == h.oldest() {
			from = above + 1
		}
		to := max(min((step+1)*h.width-1, now), from)
		return from + int64(float64(to-from)*float64(n)/float64(max(held, 1)))
	}
	return now
}
