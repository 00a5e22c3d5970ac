package raftstore

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the store tells about itself. Vectors have the label shard.
type metrics struct {
	commit       *prometheus.HistogramVec
	append       *prometheus.HistogramVec
	apply        *prometheus.HistogramVec
	batch        *prometheus.HistogramVec
	queued       *prometheus.GaugeVec
	outbox       *prometheus.GaugeVec
	gaps         *prometheus.CounterVec
	undelivered  *prometheus.CounterVec
	snapshots    *prometheus.CounterVec
	snapshotFail *prometheus.GaugeVec
	stateBytes   *prometheus.GaugeVec
	stopped      *prometheus.GaugeVec
	serving      *prometheus.GaugeVec
	logFailures  *prometheus.CounterVec
	hooks        *prometheus.GaugeVec
	diskFree     prometheus.Gauge
	diskLow      prometheus.Gauge
	watchers     prometheus.Gauge
	budget       *budgetMetrics

	all        []prometheus.Collector
	registered prometheus.Registerer // nil if they are not
}

// newMetrics makes the metrics and registers them, unless reg is nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
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
	node := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "node", Name: name, Help: help})
	}
	seconds := prometheus.ExponentialBuckets(0.0001, 2, 16)
	m := &metrics{
		commit:       histogram("commit_seconds", "Time from proposing a batch until it was applied.", seconds),
		append:       histogram("log_append_seconds", "Time to append to the Raft log, fsync included.", seconds),
		apply:        histogram("apply_seconds", "Time the shard was locked to apply a batch.", seconds),
		batch:        histogram("batch_commands", "Commands in one log entry.", prometheus.ExponentialBuckets(1, 2, 13)),
		queued:       gauge("queued_bytes", "Bytes of commands that wait to be proposed."),
		outbox:       gauge("outbox_bytes", "Bytes of letters of this node that wait for the shard."),
		gaps:         counter("letter_gaps_total", "Letters the shard refused because an earlier one was missing."),
		undelivered:  counter("letter_refusals_total", "Letters that a shard refused for another reason; they are retried."),
		snapshots:    counter("snapshots_total", "Snapshots taken."),
		snapshotFail: gauge("snapshot_failed", "1 while the newest attempt to take a snapshot failed."),
		stateBytes:   gauge("state_bytes", "Bytes that the state takes in memory, estimated."),
		stopped:      gauge("stopped", "1 if the shard met a broken invariant and serves no more."),
		serving:      gauge("serving", "1 while the shard serves."),
		logFailures:  counter("log_failures_total", "Times the log failed and was opened again."),
		hooks:        gauge("hooks_waiting", "Stored messages that hooks are still to be told of."),
		diskFree:     node("disk_free_bytes", "Bytes free where the data lies."),
		diskLow:      node("disk_low", "1 while sends are refused because the disk is nearly full."),
		watchers:     node("watchers", "Sessions that listen to their shard."),
		budget:       newBudgetMetrics(),
	}
	m.all = []prometheus.Collector{
		m.commit, m.append, m.apply, m.batch, m.queued, m.outbox, m.gaps, m.undelivered, m.snapshots, m.snapshotFail,
		m.stateBytes, m.stopped, m.serving, m.logFailures, m.hooks, m.diskFree, m.diskLow, m.watchers,
	}
	m.all = append(m.all, m.budget.all()...)
	if reg == nil {
		return m, nil
	}
	m.registered = reg
	for i, c := range m.all {
		if err := reg.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, err
		}
	}
	return m, nil
}

// unregister lets another store of this process register its own.
func (m *metrics) unregister() {
	if m.registered == nil {
		return
	}
	for _, c := range m.all {
		m.registered.Unregister(c)
	}
}

// shardMetrics are those of one shard, looked up once.
type shardMetrics struct {
	commit, append, apply, batch       prometheus.Observer
	queued, outbox, stateBytes         prometheus.Gauge
	retention, hooks                   prometheus.Gauge
	stopped, serving, snapshotFailed   prometheus.Gauge
	gaps, undelivered, snapshots, fail prometheus.Counter
}

func (m *metrics) shard(id uint32) *shardMetrics {
	l := strconv.Itoa(int(id))
	return &shardMetrics{
		commit: m.commit.WithLabelValues(l), append: m.append.WithLabelValues(l),
		apply: m.apply.WithLabelValues(l), batch: m.batch.WithLabelValues(l),
		queued: m.queued.WithLabelValues(l), outbox: m.outbox.WithLabelValues(l),
		stateBytes: m.stateBytes.WithLabelValues(l), stopped: m.stopped.WithLabelValues(l),
		serving: m.serving.WithLabelValues(l), snapshotFailed: m.snapshotFail.WithLabelValues(l),
		gaps: m.gaps.WithLabelValues(l), undelivered: m.undelivered.WithLabelValues(l),
		hooks:     m.hooks.WithLabelValues(l),
		retention: m.budget.retention.WithLabelValues(l),
		snapshots: m.snapshots.WithLabelValues(l), fail: m.logFailures.WithLabelValues(l),
	}
}

func observe(o prometheus.Observer, since time.Time) { o.Observe(time.Since(since).Seconds()) }
