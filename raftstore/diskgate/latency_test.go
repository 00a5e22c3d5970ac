package diskgate

import (
	"testing"
	"time"
)

func TestP99(t *testing.T) {
	var l Latencies
	if got := l.P99(); got != 0 {
		t.Errorf("p99 of nothing = %v", got)
	}
	l.Add(time.Hour)
	if got := l.P99(); got != time.Hour {
		t.Errorf("p99 of one = %v, want 1h", got)
	}
	for range 50 {
		l.Add(time.Hour)
	}
	for n := range latencySamples {
		l.Add(time.Duration(latencySamples - n))
	}
	if got := l.P99(); got != 253 {
		t.Errorf("p99 of 1 to 256 ns = %d, want 253", got)
	}
}
