package replica

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the Prometheus metrics of a node's replicas, with the label
// shard.
type Metrics struct {
	commit       *prometheus.HistogramVec
	append       *prometheus.HistogramVec
	apply        *prometheus.HistogramVec
	batch        *prometheus.HistogramVec
	queued       *prometheus.GaugeVec
	snapshots    *prometheus.CounterVec
	snapshotFail *prometheus.GaugeVec
	stateBytes   *prometheus.GaugeVec
	stopped      *prometheus.GaugeVec
	serving      *prometheus.GaugeVec
	restoring    *prometheus.GaugeVec
	logFailures  *prometheus.CounterVec
	gated        *prometheus.CounterVec
	rescues      *prometheus.CounterVec
	handovers    *prometheus.CounterVec
}

// NewMetrics makes the metrics. They are not registered.
func NewMetrics() *Metrics {
	label := []string{"shard"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "belfry", Subsystem: "shard", Name: name, Help: help}, label)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "shard", Name: name, Help: help}, label)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "belfry", Subsystem: "shard", Name: name, Help: help, Buckets: buckets}, label)
	}
	seconds := prometheus.ExponentialBuckets(0.0001, 2, 16)
	return &Metrics{
		commit:       histogram("commit_seconds", "Time from proposing a batch until it was applied.", seconds),
		append:       histogram("log_append_seconds", "Time to append to the Raft log, fsync included.", seconds),
		apply:        histogram("apply_seconds", "Time the shard was locked to apply a batch.", seconds),
		batch:        histogram("batch_commands", "Commands in one log entry.", prometheus.ExponentialBuckets(1, 2, 13)),
		queued:       gauge("queued_bytes", "Bytes of commands that wait to be proposed."),
		snapshots:    counter("snapshots_total", "Snapshots taken."),
		snapshotFail: gauge("snapshot_failed", "1 while the newest attempt to take a snapshot failed."),
		stateBytes:   gauge("state_bytes", "Bytes that the state takes in memory, estimated."),
		stopped:      gauge("stopped", "1 if the shard met a broken invariant and serves no more."),
		serving:      gauge("serving", "1 while the shard serves."),
		restoring:    gauge("restoring", "1 while the state is read from a snapshot."),
		logFailures:  counter("log_failures_total", "Times the log failed and was opened again."),
		gated:        counter("disk_hangs_total", "Times an append took so long that this node stopped leading the shard."),
		rescues:      counter("stuck_followers_total", "Times a follower got nothing of the log, so that the shard was handed over or opened again."),
		handovers:    counter("handovers_total", "Times that this node has given the leadership up to another one on purpose."),
	}
}

// Collectors lists the metrics for a registry.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.commit, m.append, m.apply, m.batch, m.queued, m.snapshots, m.snapshotFail,
		m.stateBytes, m.stopped, m.serving, m.restoring, m.logFailures,
		m.gated, m.rescues, m.handovers,
	}
}

// shardMetrics are the metrics of one shard, looked up once.
type shardMetrics struct {
	commit, append, apply, batch     prometheus.Observer
	queued, stateBytes               prometheus.Gauge
	stopped, serving, snapshotFailed prometheus.Gauge
	restoring                        prometheus.Gauge
	snapshots, failures              prometheus.Counter
	gated, rescues, handovers        prometheus.Counter
}

func (m *Metrics) shard(id uint32) *shardMetrics {
	l := strconv.Itoa(int(id))
	return &shardMetrics{
		commit: m.commit.WithLabelValues(l), append: m.append.WithLabelValues(l),
		apply: m.apply.WithLabelValues(l), batch: m.batch.WithLabelValues(l),
		queued:     m.queued.WithLabelValues(l),
		stateBytes: m.stateBytes.WithLabelValues(l), stopped: m.stopped.WithLabelValues(l),
		serving: m.serving.WithLabelValues(l), snapshotFailed: m.snapshotFail.WithLabelValues(l),
		restoring: m.restoring.WithLabelValues(l),
		snapshots: m.snapshots.WithLabelValues(l), failures: m.logFailures.WithLabelValues(l),
		gated: m.gated.WithLabelValues(l), rescues: m.rescues.WithLabelValues(l),
		handovers: m.handovers.WithLabelValues(l),
	}
}

func observe(o prometheus.Observer, since time.Time) { o.Observe(time.Since(since).Seconds()) }
