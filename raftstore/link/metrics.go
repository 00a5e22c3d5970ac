package link

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are a Link's Prometheus metrics. It is a collector itself, of what is asked
// of the peers when it is collected.
type metrics struct {
	link        *Link
	connections *prometheus.GaugeVec
	refusals    *prometheus.CounterVec
	connected   *prometheus.Desc
	offset      *prometheus.Desc
	trip        *prometheus.Desc
}

func newMetrics(l *Link) *metrics {
	peer := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("belfry_link_"+name, help, []string{"peer"}, nil)
	}
	return &metrics{
		link: l,
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "belfry", Subsystem: "link", Name: "connections", Help: "Open connections with other nodes.",
		}, []string{"kind"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "belfry", Subsystem: "link", Name: "refusals_total", Help: "Connections between nodes that one side refused.",
		}, []string{"reason"}),
		connected: peer("peer_connected", "1 while there is a control connection to the node."),
		offset:    peer("clock_offset_seconds", "How far the clock of the node is ahead of this one's."),
		trip:      peer("round_trip_seconds", "Shortest of the last round trips to the node."),
	}
}

func (m *metrics) Describe(d chan<- *prometheus.Desc) {
	m.connections.Describe(d)
	m.refusals.Describe(d)
	d <- m.connected
	d <- m.offset
	d <- m.trip
}

func (m *metrics) Collect(c chan<- prometheus.Metric) {
	m.connections.Collect(c)
	m.refusals.Collect(c)
	gauge := func(d *prometheus.Desc, v float64, peer string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, peer)
	}
	seen := make(map[string]bool) // two peers of one name, while one takes the other's place
	for _, p := range m.link.allPeers() {
		p.mu.Lock()
		name, connected, offset := p.label, p.session != nil, p.offset
		p.mu.Unlock()
		if seen[name] {
			continue
		}
		seen[name] = true
		if !connected {
			gauge(m.connected, 0, name)
			continue
		}
		gauge(m.connected, 1, name)
		if best, ok := offset.best(); ok {
			gauge(m.offset, best.offset.Seconds(), name)
			gauge(m.trip, best.trip.Seconds(), name)
		}
	}
}
