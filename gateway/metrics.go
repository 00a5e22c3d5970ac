package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the gateway's metrics. All values of labels come from this package,
// never from a client, so there are few.
type metrics struct {
	sessions    prometheus.Gauge       // logged in
	connections prometheus.Gauge       // open, logged in or not
	accepts     *prometheus.CounterVec // by outcome
	closes      *prometheus.CounterVec // by code and reason
	logins      *prometheus.CounterVec // by outcome
	returns     prometheus.Counter     // sessions that were logged in again, see Gone

	framesIn    prometheus.Counter
	framesOut   prometheus.Counter
	bytesIn     prometheus.Counter
	bytesOut    prometheus.Counter
	messagesIn  prometheus.Counter     // sends that were answered ok, duplicates included
	messagesOut prometheus.Counter     // messages in onNewMessage, repeats included
	refusals    *prometheus.CounterVec // error replies by code
	drops       *prometheus.CounterVec // dropped signals and notices, by reason

	sendSeconds   prometheus.Histogram
	pushSeconds   prometheus.Histogram
	windowSeconds prometheus.Counter

	feeds      prometheus.Gauge   // groups that sessions of this node are subscribed to
	feedReads  prometheus.Counter // chunks read and encoded for all sessions of a group
	feedMisses prometheus.Counter // reads that a session made itself
	deliveries prometheus.Counter // messages of groups in onNewMessage
	skipped    prometheus.Counter // signals to groups that a session lost
}

// newMetrics registers and returns the metrics. queued returns how many bytes wait to
// be written to clients, and cached how many the feeds hold.
func newMetrics(r prometheus.Registerer, queued, cached func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "belfry", Subsystem: "gateway", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "belfry", Subsystem: "gateway", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "gateway", Name: name, Help: help})
		r.MustRegister(g)
		return g
	}
	latency := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "belfry", Subsystem: "gateway", Name: name, Help: help,
			// 100 µs to 13 s, doubling.
			Buckets: prometheus.ExponentialBuckets(100e-6, 2, 18),
		})
		r.MustRegister(h)
		return h
	}
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "belfry", Subsystem: "gateway", Name: "queue_bytes", Help: "Bytes of frames that wait to be written.",
	}, queued))
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "belfry", Subsystem: "gateway", Name: "feed_bytes", Help: "Bytes of messages of groups that are kept encoded.",
	}, cached))
	return &metrics{
		sessions:    gauge("sessions", "Sessions that are logged in."),
		connections: gauge("connections", "WebSocket connections, logged in or not."),
		accepts:     counters("accepts_total", "Requests for a WebSocket, by outcome.", "outcome"),
		closes:      counters("closes_total", "Ended connections, by close code and reason.", "code", "reason"),
		returns:     counter("returns_total", "Sessions that the store had lost, and that were logged in again unnoticed."),
		logins:      counters("logins_total", "Login requests, by outcome: ok or the error code.", "outcome"),

		framesIn:    counter("frames_in_total", "Frames received."),
		framesOut:   counter("frames_out_total", "Replies and pushes queued."),
		bytesIn:     counter("bytes_in_total", "Payload bytes received."),
		bytesOut:    counter("bytes_out_total", "Bytes written to sockets, frame headers included."),
		messagesIn:  counter("messages_in_total", "Sends answered ok."),
		messagesOut: counter("messages_out_total", "Messages pushed, repeats included."),
		refusals:    counters("refusals_total", "Error replies, by code.", "code"),
		drops:       counters("drops_total", "Signals and notices not passed on, by reason.", "reason"),

		sendSeconds:   latency("send_seconds", "Time from reading a send to queueing its reply."),
		pushSeconds:   latency("push_seconds", "Time from the store's wake-up to the written frame."),
		windowSeconds: counter("window_full_seconds_total", "Time that sessions spent with a full window."),

		feeds:      gauge("feeds", "Groups that sessions of this node are told of."),
		feedReads:  counter("feed_reads_total", "Pieces of a group's order read and encoded for all its sessions."),
		feedMisses: counter("feed_misses_total", "Pieces read and encoded for one session, which was behind the others."),
		deliveries: counter("group_messages_out_total", "Messages of groups pushed, repeats included."),
		skipped:    counter("group_messages_skipped_total", "Messages of groups that nobody stores and a session was too slow for."),
	}
}

func (m *metrics) closed(c closing) {
	m.closes.WithLabelValues(strconv.Itoa(int(c.code)), c.reason).Inc()
}
