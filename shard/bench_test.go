package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// BenchmarkSend applies batches of 64 sends of 128 bytes between users of one
// shard: one append in each of two views and, where the logs are full, one
// eviction. In those named read the receiver has acked what came before.
func BenchmarkSend(b *testing.B) {
	for _, c := range []struct {
		name           string
		senders, peers int // each sender has conversations with that many
		kept           int // bytes of history
		read           bool
		queue          int // messages
	}{
		{"full", 100, 1, 64 << 10, false, -1},
		{"full,read", 100, 1, 64 << 10, true, -1},
		{"fullQueue", 100, 1, 64 << 10, false, 200},
		{"full,conversations=100", 10, 100, 64 << 10, true, -1},
		{"full,conversations=2000", 1, 2000, 512 << 10, true, -1},
		{"room", 100, 1, -1, true, -1},
	} {
		b.Run(c.name, func(b *testing.B) {
			bench := newBench(b, command.Limits{
				UserBytes: c.kept, OfflineMaxMessages: c.queue, OfflineMaxBytes: -1, NewConversations: -1, DedupWindow: 1,
			})
			run := bench.sender(c.senders, c.peers, c.read)
			for range 2 * max(c.kept, 64<<10) / 170 * c.senders / 64 {
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

// sender returns a function that applies a batch and tells how long that took.
func (b *bench) sender(senders, peers int, read bool) func() time.Duration {
	body := make([]byte, 128)
	n := 0
	var data, reads []byte
	var encoder command.Encoder
	return func() time.Duration {
		b.now++
		data, reads = command.AppendBatchHeader(data[:0], b.now), command.AppendBatchHeader(reads[:0], b.now)
		for range 64 {
			n++
			from, to := loadUser(n%senders), command.UserID(fmt.Sprint("peer", n%senders, "-", n/senders%peers))
			data = encoder.Append(data, &command.Send{
				User: from, To: to, CID: fmt.Sprint("cid-", n),
				ID: command.MsgID{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, Body: body,
			})
			reads = encoder.Append(reads, &command.ReadReport{User: to, Peer: from, Seq: 1 << 40, Auto: true})
		}
		began := time.Now()
		b.s.Apply(data, &b.out)
		taken := time.Since(began)
		if read {
			b.s.Apply(reads, &b.out)
		}
		return taken
	}
}
