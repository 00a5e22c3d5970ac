package replica

import (
	"slices"
	"sync"
	"time"
)

// latencySamples is from how many of the last samples a quantile is computed.
const latencySamples = 256

// latencies are the last latencySamples of some latency.
type latencies struct {
	mu    sync.Mutex
	last  [latencySamples]time.Duration
	count int // of all samples
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[l.count%latencySamples] = d
	l.count++
}

// p99 returns what 99 of 100 samples do not exceed, 0 without samples.
func (l *latencies) p99() time.Duration {
	l.mu.Lock()
	sorted := slices.Clone(l.last[:min(l.count, latencySamples)])
	l.mu.Unlock()
	if len(sorted) == 0 {
		return 0
	}
	slices.Sort(sorted)
	return sorted[(len(sorted)-1)*99/100]
}

// AppendP99 returns how long 99 of 100 appends to the log take at most, of the last ones
// since the replica was opened: with an fsync each. It is 0 before there was one.
func (r *Replica) AppendP99() time.Duration {
	if in := r.instance.Load(); in != nil {
		return in.logs.took.p99()
	}
	return 0
}
