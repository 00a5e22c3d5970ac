package loadtest

import (
	"os"
	"testing"
)

func TestFsync(t *testing.T) {
	dir := t.TempDir()
	latency, err := Fsync(dir, 10)
	if err != nil || latency.Count != 10 || latency.P99MS <= 0 {
		t.Errorf("Fsync = %+v, %v; want 10 latencies", latency, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("Fsync left %v, %v", left, err)
	}
	for _, appends := range []int{0, MaxFsyncs + 1} {
		if _, err := Fsync(dir, appends); err == nil {
			t.Errorf("Fsync of %d appends: no error", appends)
		}
	}
	if _, err := Fsync(dir+"/missing", 1); err == nil {
		t.Error("Fsync in a folder that is not there: no error")
	}
}
