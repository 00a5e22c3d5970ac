//go:build unix

package sharedlog

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// A writers group has the entries of one group written: what its writers submit while one
// entry is being written is the next one, as a proposer does it.
type writers struct {
	mu      sync.Mutex
	waiting []chan struct{}
	wake    chan struct{}
}

func (w *writers) submit(done chan struct{}) {
	w.mu.Lock()
	w.waiting = append(w.waiting, done)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

const commandBytes = 256

// run stores entries until stop is closed, and compacts the log now and then.
func (w *writers) run(b *testing.B, store raft.LogStore, stop chan struct{}) {
	var data []byte
	for index := uint64(1); ; {
		w.mu.Lock()
		taken := w.waiting
		w.waiting = nil
		w.mu.Unlock()
		if len(taken) == 0 {
			select {
			case <-w.wake:
				continue
			case <-stop:
				return
			}
		}
		if n := len(taken) * commandBytes; n > len(data) {
			data = make([]byte, n)
		}
		if err := store.StoreLog(&raft.Log{Index: index, Term: 1, Data: data[:len(taken)*commandBytes]}); err != nil {
			b.Error(err)
			return
		}
		if index%4096 == 0 {
			if err := store.DeleteRange(1, index-1024); err != nil {
				b.Error(err)
				return
			}
		}
		index++
		for _, done := range taken {
			done <- struct{}{}
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkGroups has some writers, spread over groups, submit commands one after the other:
// to logs of raft-wal of their own, and to one shared log. An operation is a command.
func BenchmarkGroups(b *testing.B) {
	for _, count := range []int{64, 512} {
		for _, groups := range []int{1, 2, 4, 8} {
			for _, kind := range []string{"wal", "shared"} {
				b.Run(fmt.Sprintf("%s/writers=%d/groups=%d", kind, count, groups), func(b *testing.B) {
					benchmarkGroups(b, kind, count, groups)
				})
			}
		}
	}
}

func benchmarkGroups(b *testing.B, kind string, count, groups int) {
	dir := b.TempDir()
	var stores []raft.LogStore
	if kind == "shared" {
		l, err := Open(Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		for i := range groups {
			stores = append(stores, group(b, l, fmt.Sprint(i)))
		}
	} else {
		for i := range groups {
			path := filepath.Join(dir, fmt.Sprint(i))
			if err := os.MkdirAll(path, dirMode); err != nil {
				b.Fatal(err)
			}
			l, err := wal.Open(path, wal.WithSegmentSize(DefaultSegmentBytes))
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			stores = append(stores, l)
		}
	}
	stop := make(chan struct{})
	var running, writing sync.WaitGroup
	var all []*writers
	for _, store := range stores {
		w := &writers{wake: make(chan struct{}, 1)}
		all = append(all, w)
		running.Go(func() { w.run(b, store, stop) })
	}
	cpu, start := cpuTime(), time.Now()
	b.ResetTimer()
	for i := range count {
		writing.Go(func() {
			done := make(chan struct{}, 1)
			for range b.N / count {
				all[i%groups].submit(done)
				<-done
			}
		})
	}
	writing.Wait()
	b.StopTimer()
	commands := float64(max(1, b.N/count*count))
	b.ReportMetric(commands/time.Since(start).Seconds(), "commands/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/commands, "cpu-µs/command")
	close(stop)
	running.Wait()
}
