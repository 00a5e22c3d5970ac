package loadtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// IdleConfig describes sessions that are held and do nothing. Connections is
// needed.
type IdleConfig struct {
	Config
	Connections int
	Hold        time.Duration // how long they are left alone
}

// IdleReport is the outcome of Idle.
type IdleReport struct {
	Scenario        string  `json:"scenario"`
	Codec           string  `json:"codec"`
	Connections     int     `json:"connections"`
	OpenSeconds     float64 `json:"openSeconds"` // until all were logged in and synced
	LoginsPerSecond float64 `json:"loginsPerSecond"`
	Login           Latency `json:"login"` // from dialing to onSynced
	HoldSeconds     float64 `json:"holdSeconds"`
	Alive           int64   `json:"alive"` // answered a ping after that
	Ping            Latency `json:"ping"`
	RSSBefore       int64   `json:"rssBeforeBytes,omitempty"`
	RSSAfter        int64   `json:"rssAfterBytes,omitempty"` // at the end of the hold
	RSSPerSession   int64   `json:"rssPerConnectionBytes,omitempty"`
	Opening         *Usage  `json:"serverOpening,omitempty"`
	Holding         *Usage  `json:"serverHolding,omitempty"`
	Verdict
}

// Idle opens sessions, leaves them alone, and checks that all are still there.
// Violations are in the report; an error means that there is none.
func Idle(ctx context.Context, config IdleConfig) (*IdleReport, error) {
	switch {
	case config.Connections < 1 || config.Connections > MaxUsers:
		return nil, fmt.Errorf("loadtest: IdleConfig.Connections %d: want 1 to %d", config.Connections, MaxUsers)
	case config.Hold < 0:
		return nil, fmt.Errorf("loadtest: IdleConfig.Hold %v: want at least 0", config.Hold)
	}
	ctx, r, end, err := begin(ctx, config.Config, config.Connections)
	if err != nil {
		return nil, err
	}
	defer end()
	for i := range config.Connections {
		if _, err := r.client("i", i, ClientConfig{}); err != nil {
			return nil, err
		}
	}
	report := &IdleReport{Scenario: "idle", Codec: config.Server.Codec.Name(), Connections: config.Connections}
	err = r.idle(ctx, config.Hold, report)
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *run) idle(ctx context.Context, hold time.Duration, report *IdleReport) error {
	start, err := r.reading()
	if err != nil {
		return err
	}
	var open, alive atomic.Int64
	logins, pings := newRecorder(), newRecorder()
	r.enter("connect", open.Load, int64(len(r.clients)))
	err = each(ctx, r.clients, r.config.Parallel, func(ctx context.Context, c *Client) error {
		began := r.tally.Now()
		if err := c.Connect(ctx); err != nil {
			return err
		}
		at, err := c.Synced(ctx)
		if err == nil {
			logins.record(at - began)
			open.Add(1)
		}
		return err
	})
	if err != nil {
		return err
	}
	opened, err := r.reading()
	if err != nil {
		return err
	}
	report.OpenSeconds = (opened.at - start.at).Seconds()
	report.LoginsPerSecond = float64(open.Load()) / report.OpenSeconds
	report.Login = logins.latency()

	r.enter("hold", r.secondsSince(opened.at), int64(hold.Seconds()))
	if err := r.sleepUntil(ctx, opened.at+hold); err != nil {
		return err
	}
	held, err := r.reading()
	if err != nil {
		return err
	}
	report.HoldSeconds = (held.at - opened.at).Seconds()
	if held.known {
		report.RSSBefore, report.RSSAfter = start.server.rss, held.server.rss
		report.RSSPerSession = (report.RSSAfter - report.RSSBefore) / int64(len(r.clients))
		report.Opening = usageBetween(start.server, opened.server, opened.at-start.at, open.Load())
		report.Holding = usageBetween(opened.server, held.server, held.at-opened.at, 0)
	}

	r.enter("ping", alive.Load, int64(len(r.clients)))
	err = each(ctx, r.clients, r.config.Parallel, func(ctx context.Context, c *Client) error {
		ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("%s: no answer to a ping within %v", c.User(), connectTimeout))
		defer cancel()
		began := r.tally.Now()
		if err := c.Ping(ctx); err != nil {
			r.tally.violated(fmt.Errorf("%s: ping: %w", c.User(), err))
			return nil
		}
		pings.record(r.tally.Now() - began)
		alive.Add(1)
		return nil
	})
	report.Alive, report.Ping = alive.Load(), pings.latency()
	return err
}
