package shard

import (
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// BenchmarkHooks is the send of BenchmarkSend with room, without hooks and with
// them, whose queue is always full.
func BenchmarkHooks(b *testing.B) {
	for _, c := range []struct {
		name  string
		bytes int
	}{{"off", 0}, {"on", 1 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			bench := newBench(b, command.Limits{
				UserBytes: 64 << 10, OfflineMaxMessages: -1, OfflineMaxBytes: -1, NewConversations: -1, DedupWindow: 1,
			})
			bench.now++
			bench.s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, bench.now), &command.Configure{Version: 2, Limits: bench.s.limits, HookBytes: c.bytes}), &bench.out)
			run := bench.sender(100, 1, true)
			for range 2 * (64 << 10) / 170 * 100 / 64 {
				run()
			}
			b.ReportAllocs()
			taken := time.Duration(0)
			for b.Loop() {
				taken += run()
			}
			b.ReportMetric(float64(taken.Nanoseconds())/float64(b.N)/64, "ns/message")
		})
	}
}
