package loadtest

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	r := newRecorder()
	for i := 1; i <= 1000; i++ {
		r.record(time.Duration(i) * time.Millisecond)
	}
	got := r.latency()
	near := func(name string, got, want float64) {
		if math.Abs(got-want) > want/500 {
			t.Errorf("%s = %v ms, want %v", name, got, want)
		}
	}
	near("p50", got.P50MS, 500)
	near("p99", got.P99MS, 990)
	near("p99.9", got.P999MS, 999)
	near("max", got.MaxMS, 1000)
	if got.Count != 1000 {
		t.Errorf("count = %d, want 1000", got.Count)
	}
	r.record(-time.Second) // the clocks of two cores may disagree by a little
	r.record(24 * time.Hour)
	if got := r.latency(); got.Count != 1002 {
		t.Errorf("what is out of range was not counted: %d, want 1002", got.Count)
	}
}

func TestTallyMeasuresByIntendedTime(t *testing.T) {
	tally := NewTally()
	tally.Measure(time.Second, 2*time.Second)
	for _, at := range []time.Duration{999 * time.Millisecond, time.Second, 1999 * time.Millisecond, 2 * time.Second} {
		tally.sending(at, at, 1)
		tally.sendAnswered(at, 3*time.Second)
		tally.sendDelivered(at, 4*time.Second)
	}
	if a, d := tally.ack.latency(), tally.delivery.latency(); a.Count != 2 || d.Count != 2 {
		t.Errorf("%d acks and %d deliveries were measured, want those of the 2 messages inside", a.Count, d.Count)
	}
	if n := tally.pending.Load(); n != 0 {
		t.Errorf("pending = %d, want 0", n)
	}
	select {
	case <-tally.settled:
	default:
		t.Error("settled was not told")
	}
}

func TestVerdict(t *testing.T) {
	tally := NewTally()
	if err := tally.Verdict().Err(); err != nil {
		t.Errorf("verdict of nothing = %v", err)
	}
	told := 0
	tally.failed = func(error) { told++ }
	for range keptViolations + 5 {
		tally.violated(errors.New("seq 7 came twice"))
	}
	v := tally.Verdict()
	if v.Violations != keptViolations+5 || len(v.Examples) != keptViolations || told != keptViolations+5 {
		t.Errorf("%d violations, %d kept, %d told; want %d, %d, %[4]d", v.Violations, len(v.Examples), told, keptViolations+5, keptViolations)
	}
	if v.Err() == nil {
		t.Error("no error")
	}
	for i := range 3 * maxCodes {
		tally.refused(string(rune('a' + i)))
	}
	if n := len(tally.Refused()); n > maxCodes+1 {
		t.Errorf("%d codes are told apart, want at most %d and other", n, maxCodes)
	}
}

func TestPairsReportBetween(t *testing.T) {
	var p PairsReport
	p.between(
		reading{at: time.Second, answered: 1000, delivered: 900, known: true, server: usage{cpu: time.Second}},
		reading{at: 3 * time.Second, answered: 5000, delivered: 4700, known: true, server: usage{cpu: 2 * time.Second, rss: 1 << 20}},
	)
	if p.Seconds != 2 || p.SendsPerSecond != 2000 || p.DeliveriesPerSecond != 1900 {
		t.Errorf("%v s, %v sends/s, %v deliveries/s; want 2, 2000, 1900", p.Seconds, p.SendsPerSecond, p.DeliveriesPerSecond)
	}
	if s := *p.Server; s != (Usage{CPUSeconds: 1, Cores: 0.5, CPUPerMillion: 250, RSSBytes: 1 << 20}) {
		t.Errorf("server = %+v", s)
	}
}

func TestParseStat(t *testing.T) {
	const stat = "4711 (bel) fry)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 12 0 12345\n"
	if cpu, err := parseStat([]byte(stat)); cpu != 2*time.Second || err != nil {
		t.Errorf("parseStat = %v, %v; want 2s", cpu, err)
	}
	for _, bad := range []string{"", "4711 (belfry) S 1 2", "4711 (b) S 1 2 3 4 5 6 7 8 9 10 x 50"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q): no error", bad)
		}
	}
}
