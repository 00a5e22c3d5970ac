package replica

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/hashicorp/raft"
)

// snapshotBytes returns a snapshot of a state.
func snapshotBytes(s *shard.State) (data []byte) {
	w := s.Snapshot()
	defer w.Release()
	for more := true; more; {
		data, more = w.Next(data)
	}
	return data
}

// A replica that got a snapshot catches up until it applies what is new.
func TestCatchingUp(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		snapshot := snapshotBytes(shard.NewState(0))
		for name, alone := range map[string]bool{"one of several": false, "alone": true} {
			cfg := testConfig(t, 0)
			if !alone {
				cfg.Transport = func() (raft.ServerAddress, raft.Transport, io.Closer) { return "", nil, nil }
			}
			r := New(cfg)
			f := fsm{r, &instance{replica: r}}
			index := uint64(0)
			apply := func(age time.Duration) {
				index++
				f.Apply(&raft.Log{Index: index, Term: 1, Data: command.AppendBatchHeader(nil, time.Now().Add(-age).UnixMilli())})
			}
			install := func() {
				t.Helper()
				during := false
				data := &readHook{Reader: bytes.NewReader(snapshot), before: func() { during = r.CatchingUp() }}
				if err := f.Restore(data); err != nil {
					t.Fatal(err)
				}
				if !during {
					t.Errorf("%s: not catching up while a snapshot is read", name)
				}
			}
			check := func(when string, want bool) {
				t.Helper()
				if got := r.CatchingUp(); got != (want && !alone) {
					t.Errorf("%s, %s: catching up = %t", name, when, got)
				}
			}
			apply(time.Hour)
			check("never away", false)
			install()
			check("installed", true)
			apply(time.Hour)
			check("old entry", true)
			apply(time.Second)
			check("new entry", false)
			apply(0)
			install()
			check("installed again", true)
			time.Sleep(catchUpMost)
			check("without entries", false)
		}
	})
}
