package raftstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// BenchmarkPropose has 64 writers send 256 B messages within their own shard,
// each waiting for its answer, with fsync. It reports messages/s and the median
// of an append to the log.
func BenchmarkPropose(b *testing.B) {
	for _, shards := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			benchmarkSends(b, shards, func(s *Store, w int) (from, to command.UserID) {
				return userIn(s, w%shards, 2*(w/shards)), userIn(s, w%shards, 2*(w/shards)+1)
			})
		})
	}
}

// BenchmarkProposeAcross is BenchmarkPropose between two shards: each message
// is a letter as well, and is confirmed.
func BenchmarkProposeAcross(b *testing.B) {
	for _, shards := range []int{2, 4} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			benchmarkSends(b, shards, func(s *Store, w int) (from, to command.UserID) {
				return userIn(s, w%shards, w/shards), userIn(s, (w+1)%shards, w/shards)
			})
		})
	}
}

func benchmarkSends(b *testing.B, shards int, pair func(s *Store, w int) (from, to command.UserID)) {
	const writers = 64
	cfg := testConfig(b)
	cfg.Shards = shards
	reg := prometheus.NewRegistry()
	cfg.Registerer = reg
	s := open(b, cfg)
	body := make([]byte, 256)
	body[0], body[1] = 0xc4, 254
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	pairs := make([][2]command.UserID, writers)
	for w := range pairs {
		pairs[w][0], pairs[w][1] = pair(s, w)
	}
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	for w, p := range pairs {
		all.Go(func() {
			for n := 0; left.Add(-1) >= 0; n++ {
				r, err := s.Propose(context.Background(), &command.Send{
					User: p[0], To: p[1], ID: msgID(uint64(w)<<32 | uint64(n)), CID: fmt.Sprint(n), Body: body,
				})
				if err == nil {
					err = r.Err()
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	eventually(b, "all letters are confirmed", func() bool {
		waiting := int64(0)
		for i := range s.shards() {
			waiting += s.shards()[i].outbox.Load()
		}
		return waiting == 0
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "messages/s")
	b.ReportMetric(float64(median(b, reg, "belfry_shard_log_append_seconds").Microseconds()), "fsync-p50-µs")
	b.ReportMetric(mean(b, reg, "belfry_shard_batch_commands"), "commands/batch")
}

func histogram(b *testing.B, reg *prometheus.Registry, name string) (h []*dto.Histogram) {
	families, err := reg.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				h = append(h, m.GetHistogram())
			}
		}
	}
	return h
}

// median is interpolated within the bucket it falls into.
func median(b *testing.B, reg *prometheus.Registry, name string) time.Duration {
	var total uint64
	at := map[float64]uint64{}
	var bounds []float64
	for _, h := range histogram(b, reg, name) {
		total += h.GetSampleCount()
		for i, bucket := range h.GetBucket() {
			if len(bounds) <= i {
				bounds = append(bounds, bucket.GetUpperBound())
			}
			at[bucket.GetUpperBound()] += bucket.GetCumulativeCount()
		}
	}
	lower, below := 0.0, uint64(0)
	for _, upper := range bounds {
		if n := at[upper]; n*2 >= total && n > below {
			share := (float64(total)/2 - float64(below)) / float64(n-below)
			return time.Duration((lower + share*(upper-lower)) * float64(time.Second))
		}
		lower, below = upper, at[upper]
	}
	return 0
}

func mean(b *testing.B, reg *prometheus.Registry, name string) float64 {
	var sum float64
	var n uint64
	for _, h := range histogram(b, reg, name) {
		sum += h.GetSampleSum()
		n += h.GetSampleCount()
	}
	return sum / float64(max(n, 1))
}
