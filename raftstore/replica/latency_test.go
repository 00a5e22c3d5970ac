package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

func TestP99(t *testing.T) {
	var l latencies
	if got := l.p99(); got != 0 {
		t.Errorf("p99 of nothing = %v", got)
	}
	l.add(time.Hour)
	if got := l.p99(); got != time.Hour {
		t.Errorf("p99 of one = %v, want 1h", got)
	}
	for range 50 {
		l.add(time.Hour)
	}
	for n := range latencySamples {
		l.add(time.Duration(latencySamples - n))
	}
	if got := l.p99(); got != 253 {
		t.Errorf("p99 of 1 to 256 ns = %d, want 253", got)
	}
}

// A slowLog takes its time to append.
type slowLog struct {
	raft.LogStore
	takes time.Duration
}

func (l slowLog) StoreLogs([]*raft.Log) error {
	time.Sleep(l.takes)
	return nil
}

func TestAppendStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(testConfig(t, 0))
		if r.AppendP99() != 0 {
			t.Error("a closed replica appends")
		}
		log := &logStore{LogStore: slowLog{takes: 3 * time.Second}}
		r.instance.Store(&instance{logs: log})
		if log.appending() {
			t.Error("an append is out before the first")
		}
		done := make(chan error)
		go func() { done <- log.StoreLog(&raft.Log{Index: 1}) }()
		time.Sleep(2 * time.Second)
		if !log.appending() {
			t.Error("no append is out while the disk hangs")
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if log.appending() {
			t.Error("an append is out after its end")
		}
		if got := r.AppendP99(); got != 3*time.Second {
			t.Errorf("p99 = %v, want 3s", got)
		}
	})
}
