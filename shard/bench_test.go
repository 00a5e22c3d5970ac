package shard

import (
	"fmt"
	"testing"
)

// BenchmarkSend applies batches of 64 sends of 128 bytes between users of one
// shard whose logs are full: one append and one eviction in each of two views.
func BenchmarkSend(b *testing.B) {
	const batch = 64
	bench := newBench(b, Limits{UserBytes: 64 << 10, DedupWindow: 1})
	body := make([]byte, 128)
	users := make([]UserID, 100)
	for i := range users {
		users[i] = UserID(fmt.Sprint("user", i))
	}
	n := 0
	run := func() {
		bench.now++
		data := AppendBatchHeader(nil, bench.now)
		for range batch {
			n++
			cmd := &Send{
				User: users[n%len(users)], To: users[(n+1)%len(users)], CID: fmt.Sprint("cid-", n),
				ID: MsgID{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, Body: body,
			}
			data = AppendCommand(data, cmd)
		}
		bench.s.Apply(data, &bench.out)
	}
	for range 64_000 / batch * 2 {
		run()
	}
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/message")
}
