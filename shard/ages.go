package shard

// Numbers of buckets, from the finest histogram to the coarsest.
const (
	secondBuckets = 5 * 60      // five minutes by the second
	minuteBuckets = 8 * 24 * 60 // eight days by the minute, about as long as messages are kept by default
	hourBuckets   = 400 * 24    // 400 days by the hour, as long as anybody is likely to keep them
)

// An ageIndex counts the bytes of all messages of a shard by the messages' times, to
// find the cutoff that frees a given number of bytes. It is derived from the logs.
type ageIndex struct {
	total      int          // bytes of all messages
	minute     int64        // minute of the shard's time, since 1970
	histograms [3]histogram // from fine to coarse

	// future counts the bytes of messages of a later minute, by second: clocks of other
	// shards may be ahead of this shard's. It never has more sums than there are such
	// messages.
	future map[int64]int
}

func newAgeIndex() ageIndex {
	return ageIndex{
		histograms: [...]histogram{
			{width: 1000, buckets: make([]int, secondBuckets)},
			{width: 60_000, buckets: make([]int, minuteBuckets)},
			{width: 3_600_000, buckets: make([]int, hourBuckets)},
		},
		future: map[int64]int{},
	}
}

// add counts n bytes for a message's time (ms). When a message is removed, n is
// negative.
func (a *ageIndex) add(at int64, n int) {
	a.total += n
	if at/60_000 <= a.minute {
		a.addToHistograms(at, n)
		return
	}
	second := at / 1000
	if a.future[second] += n; a.future[second] == 0 {
		delete(a.future, second)
	}
}

// addToHistograms is add for a time that is not beyond the current minute.
func (a *ageIndex) addToHistograms(at int64, n int) {
	for i := range a.histograms {
		a.histograms[i].add(at, n)
	}
}

// advance tells the index that the shard's time is now (ms). A lower time has no
// effect.
func (a *ageIndex) advance(now int64) {
	if now/60_000 <= a.minute {
		return
	}
	a.minute = now / 60_000
	for i := range a.histograms {
		// Up to the last step of the minute: every message that add puts into the
		// histograms has a bucket for its step then.
		a.histograms[i].advance((a.minute*60_000 + 59_999) / a.histograms[i].width)
	}
	for second, n := range a.future {
		if second/60 <= a.minute {
			delete(a.future, second)
			a.addToHistograms(second*1000, n)
		}
	}
}

// cutoffFor returns a time such that messages of about n bytes are at or below it.
// above is a time at or below which there are no messages.
func (a *ageIndex) cutoffFor(n int, above, now int64) int64 {
	coarsest := len(a.histograms) - 1
	for i := range a.histograms[:coarsest] {
		if h := &a.histograms[i]; n > *h.bucket(h.oldest()) {
			return h.cutoffFor(n, above, now)
		}
	}
	return a.histograms[coarsest].cutoffFor(n, above, now)
}

// A histogram counts bytes by time. It has one bucket for each of the newest steps,
// which are width long; the oldest bucket also counts everything older.
type histogram struct {
	width   int64 // length of a step, ms
	newest  int64 // newest step that has a bucket
	buckets []int // bytes of each step, at index step modulo their number
}

func (h *histogram) oldest() int64 { return h.newest - int64(len(h.buckets)) + 1 }

func (h *histogram) bucket(step int64) *int {
	n := int64(len(h.buckets))
	return &h.buckets[(step%n+n)%n]
}

func (h *histogram) add(at int64, n int) {
	*h.bucket(max(at/h.width, h.oldest())) += n
}

// advance makes step the newest one with a bucket. Bytes of steps that lose theirs are
// added to the oldest bucket that is left.
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

// cutoffFor is ageIndex.cutoffFor for one histogram. It takes the bytes of a step as
// spread evenly over the step, and those of the oldest step as spread over all the time
// after above.
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
