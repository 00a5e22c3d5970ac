package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

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
