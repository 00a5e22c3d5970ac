package webhook

import "github.com/prometheus/client_golang/prometheus"

// metrics are the client's metrics. All values of labels come from this
// program, so there are few.
type metrics struct {
	attempts *prometheus.CounterVec // by type of event and outcome
	drops    *prometheus.CounterVec // by type of event and reason
	waiting  prometheus.Gauge
	bytes    prometheus.Gauge
	seconds  *prometheus.HistogramVec // by kind of request

	all        []prometheus.Collector
	registered prometheus.Registerer // nil if they are not registered
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	name := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "belfry", Subsystem: "webhook", Name: name, Help: help}
	}
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts(name("attempts_total",
			"Attempts to deliver an event, by outcome: delivered, retry, void (there was nothing to tell any more), or why it was given up.")), []string{"event", "outcome"}),
		drops: prometheus.NewCounterVec(prometheus.CounterOpts(name("dropped_total",
			"Events given up, by reason.")), []string{"event", "reason"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts(name("waiting",
			"Events that wait to be delivered, those under way included."))),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts(name("queue_bytes",
			"Bytes of the events in the queue."))),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "belfry", Subsystem: "webhook", Name: "seconds", Help: "Time of a request, by kind: event or ask.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{"kind"}),
	}
	m.all = []prometheus.Collector{m.attempts, m.drops, m.waiting, m.bytes, m.seconds}
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

func (m *metrics) unregister() {
	if m.registered == nil {
		return
	}
	for _, c := range m.all {
		m.registered.Unregister(c)
	}
}
