package raftstore

import (
	"strconv"
	"sync/atomic"

	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the store's Prometheus metrics. Vectors have the label shard.
type metrics struct {
	replicas    *replica.Metrics
	outbox      *prometheus.GaugeVec
	gaps        *prometheus.CounterVec
	undelivered *prometheus.CounterVec
	hooks       *prometheus.GaugeVec
	leaders     *prometheus.CounterVec
	sent        *prometheus.CounterVec
	resent      *prometheus.CounterVec
	diskFree    prometheus.Gauge
	diskLow     prometheus.Gauge
	watchers    prometheus.Gauge
	// droppedSignals counts those for other nodes that were too slow to take them.
	droppedSignals prometheus.Counter
	// retold counts how often a leader elsewhere was told all that this node watches.
	retold prometheus.Counter
	seen   *seenShards
	budget *budgetMetrics

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
	node := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "node", Name: name, Help: help})
	}
	m := &metrics{
		replicas:    replica.NewMetrics(),
		outbox:      gauge("outbox_bytes", "Bytes of letters of this node that wait for the shard."),
		gaps:        counter("letter_gaps_total", "Letters the shard refused because an earlier one was missing."),
		undelivered: counter("letter_refusals_total", "Letters that a shard refused for another reason; they are retried."),
		hooks:       gauge("hooks_waiting", "Stored messages that hooks are still to be told of."),
		leaders:     counter("leader_changes_total", "Leaderships of the shard that this node has heard of, its own included."),
		sent:        counter("operations_sent_total", "Operations, reads and calls that were sent to a leader on another node."),
		resent:      counter("operations_resent_total", "Operations that were sent once more, since a leadership or the way to it had ended."),
		diskFree:    node("disk_free_bytes", "Bytes free where the data lies."),
		diskLow:     node("disk_low", "1 while sends are refused because the disk is nearly full."),
		watchers:    node("watchers", "Sessions that listen to their shard."),
		droppedSignals: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "belfry", Subsystem: "node", Name: "signals_dropped_total", Help: "Signals that were not passed on to other nodes, which were too slow for them.",
		}),
		retold: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "belfry", Subsystem: "node", Name: "watch_subscriptions_total", Help: "Times that a leader on another node was told all that this node watches of a shard.",
		}),
		seen:   newSeenShards(),
		budget: newBudgetMetrics(),
	}
	m.all = append(m.replicas.Collectors(), m.outbox, m.gaps, m.undelivered, m.hooks, m.diskFree, m.diskLow, m.watchers, m.droppedSignals,
		m.leaders, m.sent, m.resent, m.retold, m.seen)
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

// unregister removes the metrics from their registry, so that another store of
// this process can register its own.
func (m *metrics) unregister() {
	if m.registered == nil {
		return
	}
	for _, c := range m.all {
		m.registered.Unregister(c)
	}
}

// shardMetrics are the metrics of one shard, looked up once.
type shardMetrics struct {
	outbox, retention, hooks prometheus.Gauge
	gaps, undelivered        prometheus.Counter
	leaders, sent, resent    prometheus.Counter
}

func (m *metrics) shard(id uint32) *shardMetrics {
	l := strconv.Itoa(int(id))
	return &shardMetrics{
		outbox: m.outbox.WithLabelValues(l), hooks: m.hooks.WithLabelValues(l),
		retention: m.budget.retention.WithLabelValues(l),
		gaps:      m.gaps.WithLabelValues(l), undelivered: m.undelivered.WithLabelValues(l),
		leaders: m.leaders.WithLabelValues(l), sent: m.sent.WithLabelValues(l), resent: m.resent.WithLabelValues(l),
	}
}

// seenShards collects what is looked up in the shards when it is asked for.
type seenShards struct {
	store         atomic.Pointer[Store] // nil until it is open
	leads, parked *prometheus.Desc
}

func newSeenShards() *seenShards {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("belfry_shard_"+name, help, []string{"shard"}, nil)
	}
	return &seenShards{
		leads:  desc("leads", "1 while this node leads the shard."),
		parked: desc("operations_parked", "Operations that wait for a leader of the shard."),
	}
}

func (c *seenShards) Describe(d chan<- *prometheus.Desc) {
	d <- c.leads
	d <- c.parked
}

func (c *seenShards) Collect(out chan<- prometheus.Metric) {
	s := c.store.Load()
	if s == nil {
		return
	}
	for _, sh := range s.shards() {
		leads, id := 0.0, strconv.Itoa(int(sh.id))
		if sh.leading() != nil {
			leads = 1
		}
		out <- prometheus.MustNewConstMetric(c.leads, prometheus.GaugeValue, leads, id)
		out <- prometheus.MustNewConstMetric(c.parked, prometheus.GaugeValue, float64(sh.line.parked()), id)
	}
}
