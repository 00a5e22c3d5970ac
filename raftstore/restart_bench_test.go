package raftstore

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard/command"
)

// BenchmarkRestart5M opens a store of one shard that holds 5 million messages
// of 128 B: 250 for each of 20,000 users, in ten conversations. It needs a
// minute, 3 GiB of memory and as much disk; run it with -benchtime 1x. It
// reports the seconds until the store serves
//
//	log       from the log alone, with the sends/s replayed
//	worst     killed just before the next snapshot
//	snapshot  from a snapshot alone
//
// and the peak of the process's memory in each (RSS), with the garbage
// collector paced as the server does.
func BenchmarkRestart5M(b *testing.B) {
	for range b.N {
		benchmarkRestart(b, 5_000_000)
	}
}

func benchmarkRestart(b *testing.B, messages int) {
	defer debug.SetGCPercent(debug.SetGCPercent(16))
	cfg := testConfig(b)
	cfg.Shards = 1
	cfg.SnapshotBytes = 1 << 40 // none but those taken here
	var s *Store
	start := func() {
		var err error
		if s, err = Open(cfg); err != nil {
			b.Fatal(err)
		}
	}
	start()
	// Nothing of the store before may keep its memory.
	defer func() { s.Close() }()
	reopen := func(phase string) (took time.Duration) {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		s = nil
		debug.FreeOSMemory()
		resetPeak(b)
		began := time.Now()
		start()
		took = time.Since(began)
		b.ReportMetric(took.Seconds(), phase+"-s")
		b.ReportMetric(peakMiB(b), phase+"-peak-MiB")
		return took
	}
	users := messages / 250
	body := append([]byte{0xc4, 126}, make([]byte, 126)...)
	// Each send is kept in two views. User i writes to the ten next to him.
	sent := 0
	sendUntil := func(done func() bool) {
		var waiting sync.WaitGroup
		slots := make(chan struct{}, 4096)
		for ; !done(); sent++ {
			from := sent % users
			to := (from + 1 + sent/users%10) % users
			slots <- struct{}{}
			waiting.Add(1)
			s.Submit(&command.Send{
				User: command.UserID(fmt.Sprint("user", from)), To: command.UserID(fmt.Sprint("user", to)),
				ID: msgID(uint64(sent)), CID: fmt.Sprint(sent), Body: body,
			}, func(r command.Result, err error) {
				if err != nil || r.Code != command.OK {
					b.Errorf("send: %+v, %v", r, err)
				}
				<-slots
				waiting.Done()
			})
		}
		waiting.Wait()
	}

	// What a send takes of log and state, to know where a snapshot would be due.
	sendUntil(func() bool { return sent*2 >= messages/2 })
	logged, took := s.shards()[0].here().local.Backlog()
	perSend := float64(logged) / float64(sent)
	size := float64(stateSize(s.shards()[0])) * 2
	tail := int(min(
		float64(sent)*float64(replica.ReplayMost)/float64(took), // by time
		size/perSend, // by bytes
	))
	b.ReportMetric(perSend, "log-bytes/send")
	b.ReportMetric(size/float64(messages), "state-bytes/message")
	sendUntil(func() bool { return sent*2 >= messages-2*tail })
	b.ReportMetric(float64(sent)/reopen("log").Seconds(), "log-sends/s")
	began := time.Now()
	if err := s.shards()[0].here().local.Snapshot(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "snapshot-write-s")
	sendUntil(func() bool { return sent*2 >= messages })
	b.ReportMetric(float64(tail), "tail-sends")
	b.ReportMetric(float64(stateSize(s.shards()[0]))/(1<<20), "state-MiB")
	reopen("worst")
	if err := s.shards()[0].here().local.Snapshot(); err != nil {
		b.Fatal(err)
	}
	reopen("snapshot")
	want := (messages/2/users + 9) / 10
	if got := len(cids(b, s, "user0", "user1")); got != want {
		b.Fatalf("user0 has %d messages with user1, want %d", got, want)
	}
}

// resetPeak begins anew to measure the peak of memory, where that is possible.
func resetPeak(b *testing.B) {
	runtime.GC()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Log(err)
	}
}

func peakMiB(b *testing.B) float64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		b.Log(err)
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(n) / 1024
		}
	}
	return 0
}
