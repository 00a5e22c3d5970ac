package raftstore

import (
	"fmt"
	"os"
	runtimemetrics "runtime/metrics"
	"sync"

	"github.com/belfry-im/belfry/shard"
	"github.com/prometheus/client_golang/prometheus"
)

// readMemory reads the process's memory from the runtime. Garbage does not
// count as live: it is collected when the heap comes near the limit that
// debug.SetMemoryLimit has set.
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
	resident := value(2) - value(3) + programBytes()
	return memoryReading{
		collections: samples[0].Value.Uint64(),
		live:        value(1),
		beside:      resident - value(4) - value(5) - value(6),
		resident:    resident,
	}
}

// programFile is the size of the program's file.
var programFile = sync.OnceValue(func() int64 {
	path, err := os.Executable()
	if err != nil {
		return 0
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
})

// programBytes returns how many bytes of the program's file lie in memory:
// the system counts them as the process's, the runtime does not. It returns 0
// where the system does not tell. Other mapped files, such as those of bbolt,
// do not count: they are cache that the system may take back.
func programBytes() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	var size, resident, file int64
	if _, bad := fmt.Sscan(string(text), &size, &resident, &file); err != nil || bad != nil {
		return 0
	}
	return min(file*int64(os.Getpagesize()), programFile())
}

// budgetMetrics are the metrics of the process's memory.
type budgetMetrics struct {
	limit, soft, full, resident prometheus.Gauge
	used                        *prometheus.GaugeVec
	retention                   *prometheus.GaugeVec // by shard
}

func newBudgetMetrics() *budgetMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "memory", Name: name, Help: help})
	}
	return &budgetMetrics{
		limit:    gauge("limit_bytes", "Memory that the process may take; 0 = no limit."),
		soft:     gauge("soft_limit_bytes", "Memory in use past which messages are kept for less time."),
		full:     gauge("full", "1 while sends are refused because too much memory is in use."),
		resident: gauge("resident_bytes", "Memory the process has from the system, garbage included."),
		used: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "belfry", Subsystem: "memory", Name: "used_bytes", Help: "Memory in use, garbage excluded, by what takes it.",
		}, []string{"part"}),
		retention: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "belfry", Subsystem: "shard", Name: "retention_seconds",
			Help: "How long the shard keeps messages, those that it keeps longest (of groups, of users for whom more is set), or less when memory was short.",
		}, []string{"shard"}),
	}
}

func (m *budgetMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.limit, m.soft, m.full, m.resident, m.used, m.retention}
}

func (m *budgetMetrics) show(u *shard.Usage, other, resident int64) {
	m.resident.Set(float64(resident))
	for _, p := range []struct {
		name  string
		bytes int
	}{
		{"messages", u.Messages}, {"users", u.Views}, {"dedupe", u.Dedupe}, {"letters", u.Letters},
		{"free", u.Free}, {"kept_for_snapshot", u.Deferred}, {"other", int(other)},
	} {
		m.used.WithLabelValues(p.name).Set(float64(p.bytes))
	}
}
