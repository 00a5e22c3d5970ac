package harness

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// Metrics reads /metrics of the admin listener.
func (s *Server) Metrics(t testing.TB) string {
	t.Helper()
	status, text := s.Call(t, "GET", "/metrics", s.AdminToken)
	if status != http.StatusOK {
		t.Fatalf("/metrics: status %d", status)
	}
	return text
}

// Call asks the admin listener and gives the reply as text; token "" sends none.
func (s *Server) Call(t testing.TB, method, path, token string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.AdminListen+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Timeout: wstest.Patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Metric sums the samples of a metric over its labels.
func (s *Server) Metric(name string) (sum float64) {
	s.T.Helper()
	req, err := http.NewRequest("GET", "http://"+s.AdminListen+"/metrics", nil)
	if err != nil {
		s.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.AdminToken)
	client := http.Client{Timeout: wstest.Patience}
	resp, err := client.Do(req)
	if err != nil {
		s.T.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(text)) {
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

// MetricOf adds up the samples of a metric that have these labels.
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
