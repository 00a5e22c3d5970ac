package gateway

import "testing"

// A trim that has begun when the pumpers are closed finds nobody to end.
func TestTrimAfterClose(t *testing.T) {
	var p pumpers
	for range 3 {
		if !p.park(make(chan bool, 1)) {
			t.Fatal("a pumper may not wait")
		}
	}
	p.trim()
	p.close()
	p.trim()
	if p.park(make(chan bool, 1)) {
		t.Error("a pumper may wait after close")
	}
}
