package loadtest

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept to three digits, from a microsecond to five minutes, which
// is longer than anything here waits.
const (
	maxLatency       = 5 * time.Minute
	latencyDigits    = 3
	latencyPrecision = time.Microsecond
)

// A recorder gathers latencies from many goroutines in bounded memory.
type recorder struct {
	mu   sync.Mutex
	hist *hdrhistogram.Histogram
}

func newRecorder() *recorder {
	return &recorder{hist: hdrhistogram.New(1, int64(maxLatency/latencyPrecision), latencyDigits)}
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hist.Reset()
}

// record adds one latency. What is out of range counts as the end of the range.
func (r *recorder) record(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(d)
}

// add is record for callers that hold mu.
func (r *recorder) add(d time.Duration) {
	v := int64(min(max(d, latencyPrecision), maxLatency) / latencyPrecision)
	_ = r.hist.RecordValue(v) // fails only out of range
}

// latency returns the percentiles of what was recorded.
func (r *recorder) latency() Latency {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := func(percent float64) float64 { return milliseconds(r.hist.ValueAtPercentile(percent)) }
	return Latency{
		Count: r.hist.TotalCount(),
		P50MS: at(50), P99MS: at(99), P999MS: at(99.9), MaxMS: milliseconds(r.hist.Max()),
	}
}

func milliseconds(v int64) float64 {
	return float64(time.Duration(v)*latencyPrecision) / float64(time.Millisecond)
}

// Latency is how long something took, over the Count times that it happened.
// Values are good to three digits.
type Latency struct {
	Count  int64   `json:"count"`
	P50MS  float64 `json:"p50Ms"`
	P99MS  float64 `json:"p99Ms"`
	P999MS float64 `json:"p999Ms"`
	MaxMS  float64 `json:"maxMs"`
}
