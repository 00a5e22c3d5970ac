package raftstore

import (
	runtimemetrics "runtime/metrics"

	"github.com/belfry-im/belfry/shard"
	"github.com/prometheus/client_golang/prometheus"
)

// readMemory asks the runtime. Garbage does not count: it goes when the heap
// comes near the limit that debug.SetMemoryLimit has set.
func readMemory() memoryReading {
	samples := []runtimemetrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	runtimemetrics.Read(samples)
	value := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	mapped := value(2) - value(3)
	return memoryReading{
		collections: samples[0].Value.Uint64(),
		live:        value(1),
		beside:      mapped - value(4) - value(5) - value(6),
		mapped:      mapped,
	}
}

// budgetMetrics tell about the memory of the process.
type budgetMetrics struct {
	limit, soft, full, mapped prometheus.Gauge
	used                      *prometheus.GaugeVec
	retention                 *prometheus.GaugeVec // by shard
}

func newBudgetMetrics() *budgetMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "memory", Name: name, Help: help})
	}
	return &budgetMetrics{
		limit:  gauge("limit_bytes", "Memory that the process may take; 0 = no limit."),
		soft:   gauge("soft_limit_bytes", "Memory in use past which messages are kept for less time."),
		full:   gauge("full", "1 while sends are refused because too much memory is in use."),
		mapped: gauge("mapped_bytes", "Memory the runtime has from the system, garbage included."),
		used: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "belfry", Subsystem: "memory", Name: "used_bytes", Help: "Memory in use, garbage excluded, by what takes it.",
		}, []string{"part"}),
		retention: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "belfry", Subsystem: "shard", Name: "retention_seconds",
			Help: "How long the shard keeps messages: history-ttl, or less when memory was short.",
		}, []string{"shard"}),
	}
}

func (m *budgetMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.limit, m.soft, m.full, m.mapped, m.used, m.retention}
}

func (m *budgetMetrics) show(u *shard.Usage, other, mapped int64) {
	m.mapped.Set(float64(mapped))
	for _, p := range []struct {
		name  string
		bytes int
	}{
		{"messages", u.Arena}, {"free_for_messages", u.Free}, {"kept_for_snapshot", u.Deferred},
		{"users", u.Views}, {"dedupe", u.Dedupe}, {"letters", u.Letters}, {"other", int(other)},
	} {
		m.used.WithLabelValues(p.name).Set(float64(p.bytes))
	}
}
