package replica

import (
	"bytes"
	"fmt"
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

// A replica that got a snapshot catches up for a while, unless it has no others to catch up
// with.
func TestCatchingUp(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		snapshot := snapshotBytes(shard.NewState(0))
		for name, alone := range map[string]bool{"one of several": false, "alone": true} {
			cfg := testConfig(t, 0)
			if !alone {
				cfg.Transport = func() (raft.ServerAddress, raft.Transport, io.Closer) { return "", nil, nil }
			}
			r := New(cfg)
			check := func(when string, want bool) {
				t.Helper()
				if got := r.CatchingUp(); got != want {
					t.Errorf("%s, %s: CatchingUp = %t, want %t", name, when, got, want)
				}
			}
			check("never away", false)
			for range 2 {
				data := &readHook{Reader: bytes.NewReader(snapshot), before: func() { check("while a snapshot is read", true) }}
				if err := (fsm{r, &instance{replica: r}}).Restore(data); err != nil {
					t.Fatal(err)
				}
				check("after that", !alone)
				time.Sleep(catchUpTime)
				check("later", false)
			}
		}
	})
}

// A heapMeter notes the size of the live heap each time that so many bytes were read.
type heapMeter struct {
	io.Reader
	every, read int
	most        int64
}

func (m *heapMeter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if m.read += n; m.read >= m.every {
		m.read = 0
		m.most = max(m.most, liveBytes())
	}
	return n, err
}

func (*heapMeter) Close() error { return nil }

// A replica that has a state needs memory for one while it gets another.
func TestInstallHoldsOneState(t *testing.T) {
	const messages, body = 2400, 10 << 10 // each in two views
	s := shard.NewState(0)
	var out shard.Outcome
	now := int64(1_790_000_000_000)
	apply := func(c command.Command) {
		t.Helper()
		out.Results = out.Results[:0]
		s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, now), c), &out)
		for _, r := range out.Results {
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	apply(&command.OpenSlots{Epoch: 1, Slots: []command.SlotRange{{Last: command.Slots - 1}}})
	for n := range messages {
		apply(&command.Send{
			User: command.UserID(fmt.Sprint("from-", n%40)), To: command.UserID(fmt.Sprint("to-", n%40)), CID: fmt.Sprint(n),
			ID: command.MsgID{1, byte(n), byte(n >> 8)}, Body: make([]byte, body),
		})
	}
	snapshot, size := snapshotBytes(s), int64(s.Size())
	if size < collectFrom {
		t.Fatalf("a state of %d bytes, want at least %d", size, collectFrom)
	}
	s = nil

	r := New(testConfig(t, 0))
	before := liveBytes()
	for _, what := range []string{"first", "second"} {
		m := &heapMeter{Reader: bytes.NewReader(snapshot), every: 2 << 20}
		if err := (fsm{r, &instance{replica: r}}).Restore(m); err != nil {
			t.Fatal(err)
		}
		if grown, most := m.most-before, size+size/8+4<<20; grown > most || grown < size/2 {
			t.Errorf("%s installation of a state of %d MiB: %d MiB live at most, want at most %d", what, size>>20, grown>>20, most>>20)
		}
	}
}
