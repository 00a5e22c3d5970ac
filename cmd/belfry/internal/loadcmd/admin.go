package loadcmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/belfry-im/belfry/loadtest"
)

// An adminClient calls a server's administration API.
type adminClient struct {
	url    string // without a path
	token  string // "" = none
	client *http.Client
}

// call sends in as JSON and returns an error unless the call succeeds.
func (a *adminClient) call(ctx context.Context, method, path string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return a.do(ctx, method, path, bytes.NewReader(body), func(reply io.Reader) error {
		_, err := io.Copy(io.Discard, reply) // the connection is used again
		return err
	})
}

func (a *adminClient) do(ctx context.Context, method, path string, body io.Reader, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		const most = 1 << 10
		text, _ := io.ReadAll(io.LimitReader(resp.Body, most))
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return read(resp.Body)
}

// health checks the server on a new connection, as a supervisor does.
func (a *adminClient) health(ctx context.Context) error {
	fresh := adminClient{url: a.url, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	return fresh.do(ctx, http.MethodGet, "/healthz", nil, func(io.Reader) error { return nil })
}

// vitals reads the figures that a siege watches from the server's metrics.
func (a *adminClient) vitals(ctx context.Context) (v loadtest.Vitals, err error) {
	err = a.do(ctx, http.MethodGet, "/metrics", nil, func(metrics io.Reader) error {
		v, err = readVitals(metrics)
		return err
	})
	return v, err
}

// readVitals reads these figures from metrics in Prometheus' text format.
func readVitals(metrics io.Reader) (v loadtest.Vitals, err error) {
	v.Retention = math.Inf(1)
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		name, number, ok := strings.Cut(lines.Text(), " ")
		var take func(float64)
		switch series, _, _ := strings.Cut(name, "{"); {
		case series == "belfry_shard_retention_seconds":
			take = func(n float64) { v.Retention = min(v.Retention, n) }
		case name == "go_memstats_heap_alloc_bytes":
			take = func(n float64) { v.Heap = int64(n) }
		case name == `belfry_memory_used_bytes{part="users"}`:
			take = func(n float64) { v.Users = int64(n) }
		case name == "belfry_memory_full":
			take = func(n float64) { v.Full = n != 0 }
		default:
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil {
			return v, fmt.Errorf("metrics: line %q: %w", lines.Text(), err)
		}
		take(n)
	}
	if err := lines.Err(); err != nil {
		return v, err
	}
	if math.IsInf(v.Retention, 1) || v.Heap == 0 {
		return v, fmt.Errorf("metrics: want belfry_shard_retention_seconds and go_memstats_heap_alloc_bytes")
	}
	return v, nil
}
