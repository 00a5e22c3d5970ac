package nodes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// callPatience bounds one request to a node's administration.
const callPatience = 30 * time.Second

// Call makes one request to the node's administration, on a connection of its own.
// in, unless nil, is sent as JSON; out, unless nil, takes the answer. A status other
// than 2xx is an error.
func (n *Node) Call(ctx context.Context, method, path string, in, out any) error {
	answer, err := n.request(ctx, method, path, in)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("nodes: %s: %s %s: %w", n, method, path, err)
	}
	return nil
}

func (n *Node) request(ctx context.Context, method, path string, in any) (answer []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("nodes: %s: %s %s: %w", n, method, path, err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, n.AdminURL()+path, body)
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(n.cluster.AdminTokenFile())
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	return answer, err
}

// Ready returns nil if the node says that it serves.
func (n *Node) Ready(ctx context.Context) error {
	return n.Call(ctx, http.MethodGet, "/readyz", nil, nil)
}

// Metrics returns all metrics of the node by their names and labels, as they are
// written.
func (n *Node) Metrics(ctx context.Context) (map[string]float64, error) {
	text, err := n.request(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	m := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("nodes: %s: metrics: line %q: %w", n, line, err)
		}
		m[line[:i]] = v
	}
	return m, nil
}
