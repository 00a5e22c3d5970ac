package harness

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Metrics returns /metrics of the admin listener.
func (s *Server) Metrics(t testing.TB) string {
	t.Helper()
	status, text := s.Call(t, "GET", "/metrics", s.AdminToken)
	if status != http.StatusOK {
		t.Fatalf("/metrics: status %d", status)
	}
	return text
}

// Metric returns the sum of a metric's samples, and ends the test if there are
// none.
func (s *Server) Metric(name string) (sum float64) {
	s.T.Helper()
	found := false
	for line := range strings.Lines(s.Metrics(s.T)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:]), 64)
		if err != nil {
			s.T.Fatal(err)
		}
		sum, found = sum+v, true
	}
	if !found {
		s.T.Fatalf("no metric %s", name)
	}
	return sum
}

// MetricOf returns the sum of those of a metric's samples that have labels, 0 if
// there are none.
func (s *Server) MetricOf(name, labels string) (sum float64) {
	s.T.Helper()
	for line := range strings.Lines(s.Metrics(s.T)) {
		sample, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		family, _, _ := strings.Cut(sample, "{")
		if !ok || family != name || !strings.Contains(sample, labels) {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(value, &v); err != nil {
			s.T.Fatal(err)
		}
		sum += v
	}
	return sum
}

// LiveBytes makes the server collect garbage, and returns the size of its heap
// after that. Unlike the resident memory, that does not depend on when the last
// collection was, nor on the race detector.
func (s *Server) LiveBytes() int64 {
	s.T.Helper()
	if status, _ := s.Call(s.T, "GET", "/debug/pprof/heap?gc=1", s.AdminToken); status != http.StatusOK {
		s.T.Fatalf("/debug/pprof/heap: status %d", status)
	}
	for line := range strings.Lines(s.Metrics(s.T)) {
		var bytes float64
		if _, err := fmt.Sscanf(line, "go_memstats_heap_alloc_bytes %g", &bytes); err == nil {
			return int64(bytes)
		}
	}
	s.T.Fatal("no go_memstats_heap_alloc_bytes in /metrics")
	return 0
}
