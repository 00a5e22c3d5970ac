package shard

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// A blocker measures how long each step held the lock that Apply needs. What
// other processes of a busy machine take meanwhile counts as well.
type blocker struct{ steps []time.Duration }

func (k *blocker) step(f func()) {
	began := time.Now()
	f()
	k.steps = append(k.steps, time.Since(began))
}

func (k *blocker) report(b *testing.B, name string) {
	slices.Sort(k.steps)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(k.steps[len(k.steps)-1]), name+"-max-ms")
	b.ReportMetric(ms(k.steps[len(k.steps)*999/1000]), name+"-p99.9-ms")
}

// BenchmarkSnapshot takes a snapshot of about 1 GiB, of users of all sizes,
// while sends between them go on: a batch of 8 after each chunk. It reports the
// longest time that marking, a chunk or the release held the lock, the longest
// batch, and the peak of memory beside what it was before. It takes 3 GiB and
// ten seconds: use -benchtime 1x.
func BenchmarkSnapshot(b *testing.B) {
	for b.Loop() {
		bench := load{users: 50_000, views: 20, messages: 3}.fill(b)
		s := bench.s
		heavy(bench)
		b.ReportMetric(float64(s.Size())/(1<<30), "GiB")
		var locked, applied blocker
		reserved := s.arena.Stats().Blocks
		written := 0
		var chunk []byte
		batch := func(n int) []byte {
			bench.now++
			data := command.AppendBatchHeader(nil, bench.now)
			for i := range 8 {
				n := n*8 + i
				from := n * 7919 % 50_000
				data = command.AppendCommand(data, &command.Send{
					User: loadUser(from), To: loadUser((from + 1 + n%10) % 50_000), CID: fmt.Sprint("during-", n),
					ID: command.MsgID{byte(n), byte(n >> 8), byte(n >> 16), 1}, Body: make([]byte, 128),
				})
			}
			for _, name := range []command.UserID{"wide", "deep"} {
				data = command.AppendCommand(data, &command.Send{
					User: name, To: "somebody", CID: fmt.Sprint("during-", n), ID: command.MsgID{byte(n), byte(n >> 8), 2}, Body: make([]byte, 128),
				})
			}
			return data
		}
		var view *SnapshotWriter
		locked.step(func() { view = s.Snapshot() })
		for n, more := 0, true; more; n++ {
			locked.step(func() { chunk, more = view.Next(chunk[:0]) })
			written += len(chunk)
			data := batch(n)
			applied.step(func() { s.Apply(data, &bench.out) })
		}
		locked.step(view.Release)
		locked.report(b, "locked")
		applied.report(b, "batch")
		b.ReportMetric(float64(s.arena.Stats().Blocks)/float64(reserved), "peak/before")
		b.ReportMetric(float64(written)/(1<<20), "MiB-written")
		runtime.KeepAlive(s)
	}
}

// heavy adds users with 10,000 conversations, with a history of 1 MiB, and with
// 100,000 dedupe records.
func heavy(b *bench) {
	for name, sends := range map[command.UserID]int{"wide": 10_000, "deep": 7_000, "busy": 100_000} {
		for n := range sends {
			to := command.UserID("somebody")
			if name == "wide" {
				to = command.UserID(fmt.Sprint("peer", n))
			}
			if r := b.do(&command.Send{User: name, To: to, CID: fmt.Sprint(n), ID: command.MsgID{byte(n), byte(n >> 8)}, Body: make([]byte, 128)}); r.Err() != nil {
				b.t.Fatal(r.Err())
			}
		}
	}
}

// BenchmarkRestore reads a snapshot of 5 million messages, each in one of two
// views of 100,000 conversations. It takes 3 GiB: use -benchtime 1x.
func BenchmarkRestore(b *testing.B) {
	l := load{users: 5_000, views: 20, messages: 50}
	image := snapshot(l.fill(b).s)
	runtime.GC()
	b.SetBytes(int64(len(image)))
	for b.Loop() {
		if _, err := Restore(bytes.NewReader(image), 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(l.entries())*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(l.entries())/1e6, "million-messages")
}

// BenchmarkSnapshotWrite writes a snapshot of that many messages.
func BenchmarkSnapshotWrite(b *testing.B) {
	l := load{users: 5_000, views: 20, messages: 10}
	s := l.fill(b).s
	var chunk []byte
	for b.Loop() {
		w := s.Snapshot()
		for more := true; more; {
			chunk, more = w.Next(chunk[:0])
			if _, err := io.Discard.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
		w.Release()
	}
	b.ReportMetric(float64(l.entries())*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
