package diskgate

import (
	"slices"
	"sync"
	"time"
)

// latencySamples is from how many of the last samples a quantile is computed.
const latencySamples = 256

// Latencies are the last latencySamples of some latency.
type Latencies struct {
	mu    sync.Mutex
	last  [latencySamples]time.Duration
	count int // of all samples
}

// Add adds a sample.
func (l *Latencies) Add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[l.count%latencySamples] = d
	l.count++
}

// P99 returns what 99 of 100 samples do not exceed, 0 without samples.
func (l *Latencies) P99() time.Duration {
	_, p99 := l.Quantiles()
	return p99
}

// Quantiles returns what half of the samples do not exceed, and 99 of 100; 0 without
// samples.
func (l *Latencies) Quantiles() (p50, p99 time.Duration) {
	l.mu.Lock()
	sorted := slices.Clone(l.last[:min(l.count, latencySamples)])
	l.mu.Unlock()
	if len(sorted) == 0 {
		return 0, 0
	}
	slices.Sort(sorted)
	return sorted[(len(sorted)-1)/2], sorted[(len(sorted)-1)*99/100]
}
