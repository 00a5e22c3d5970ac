package loadtest

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// probeEvery is the time between two requests to a server that has gone,
	// which find out whether it is back.
	probeEvery = 10 * time.Millisecond
	// probeTimeout bounds one such request.
	probeTimeout = time.Second
)

// awaitLoss waits until the present session, if there is one, has ended.
func (c *Client) awaitLoss(ctx context.Context) error {
	s, err := c.present()
	if err != nil {
		return nil // it is already
	}
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reconnect connects and waits for the end of the sync. It returns when the login
// was answered and when the sync ended.
func (c *Client) reconnect(ctx context.Context) (answered, synced time.Duration, err error) {
	if err := c.Connect(ctx); err != nil {
		return 0, 0, err
	}
	answered = c.tally.Now()
	synced, err = c.Synced(ctx)
	return answered, synced, err
}

// caughtUp returns how many messages came with the syncs of all sessions but the
// first.
func (c *Client) caughtUp() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.caughtUpMessages
}

// backOff waits for a random time before attempt n+1 of one client: clients that
// failed together must not try again together. It returns an error if ctx ends
// first.
func backOff(ctx context.Context, n int) error {
	select {
	case <-time.After(rand.N(min(maxBackoff, minBackoff<<min(n, 10)))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answers waits until one of the server's addresses answers an HTTP request, with
// whatever status: a port may be open before anything serves it.
func (s *Server) answers(ctx context.Context) error {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: tlsOrDefault(s.TLS)}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: probeTimeout}
	for attempt := 0; ; attempt++ {
		u, err := parseURL(s.at(0, attempt))
		if err != nil {
			return err
		}
		u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-time.After(probeEvery):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

func tlsOrDefault(config *tls.Config) *tls.Config {
	if config == nil {
		return &tls.Config{}
	}
	return config.Clone()
}

// failureKind returns a few words for why a login failed or a connection ended,
// to be counted by.
func failureKind(err error) string {
	if reply, ok := errors.AsType[*protocol.ReplyError](err); ok {
		return "login " + reply.Code
	}
	if closed, ok := errors.AsType[*CloseError](err); ok {
		return "closed " + strconv.Itoa(closed.Code)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "timeout"
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no free port here"
	}
	return "connection lost"
}

// counts has a count for each name. Names beyond the first maxCodes count as
// "other".
type counts struct {
	mu sync.Mutex
	n  map[string]int64
}

func (c *counts) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int64{}
	}
	if _, known := c.n[name]; !known && len(c.n) >= maxCodes {
		name = "other"
	}
	c.n[name]++
}

func (c *counts) all() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}
