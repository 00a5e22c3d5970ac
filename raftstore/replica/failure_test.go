package replica

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A term that cannot be stored holds its replica back, and the end does not wait for
// it. Another replica goes on.
func TestStableStoreFails(t *testing.T) {
	cfg := testConfig(t, 0)
	var lines syncBuffer
	cfg.Log = slog.New(slog.NewTextHandler(&lines, nil))
	r, _ := start(t, cfg)
	other, _ := start(t, testConfig(t, 1))
	in := r.leadership.Load().instance
	if err := in.stable.stableFiles.Close(); err != nil { // every write fails from here on
		t.Fatal(err)
	}
	in.logs.broken.Store(true) // makes the leader step down, and want a new term
	if err := propose(r, message(1)); err == nil {
		t.Error("send without log succeeded")
	}
	eventually(t, "Raft is held", func() bool { return strings.Contains(lines.String(), "cannot be stored") })
	if r.Ready() == nil {
		t.Error("ready without a leader")
	}
	send(t, other, 1)
}

// Rewriting leaves a log as it was.
func TestRewriteLog(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(t, 0)
			cfg.RaftLog = kind
			r, stop := start(t, cfg)
			for n := range 10 {
				send(t, r, n)
			}
			sum := checksum(r)
			stop()
			if err := probeDisk(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			if err := rewriteLog(kind, cfg.Dir); err != nil {
				t.Fatal(err)
			}
			r, _ = start(t, cfg)
			if checksum(r) != sum {
				t.Error("state differs")
			}
		})
	}
}
