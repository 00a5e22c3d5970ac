package loadtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// stormPatience bounds the wait for the server to go, to come back, and for all
// clients to have everything.
const stormPatience = 5 * time.Minute

// A Loss describes how all sessions are lost at once.
type Loss struct {
	// Drop makes the clients hang up, all at once, and come back after Away.
	// Without it they wait until the server goes.
	Drop bool
	Away time.Duration
	// Lose, if set, is called once all clients are there and wait for the server
	// to go: it may restart the server. An error ends the run. It must return
	// soon after its context has ended. Not with Drop.
	Lose func(ctx context.Context) error
	// NewPID, if set, returns the server's process id once the server answers
	// again. Without it the report leaves out what the server uses after a
	// restart. Not with Drop.
	NewPID func(ctx context.Context) (int, error)
}

func (l *Loss) check() error {
	switch {
	case l.Away < 0:
		return fmt.Errorf("loadtest: Loss.Away %v: want at least 0", l.Away)
	case l.Drop && (l.Lose != nil || l.NewPID != nil):
		return fmt.Errorf("loadtest: Loss.Lose, NewPID: want neither with Drop")
	}
	return nil
}

// A Storm is how all sessions came back and what that took.
type Storm struct {
	Restarted       bool    `json:"restarted"`   // the server was; else the clients hung up
	AwaySeconds     float64 `json:"awaySeconds"` // from the first connection lost until the server answered again
	Seconds         float64 `json:"seconds"`     // from then until all had everything
	LoginsPerSecond float64 `json:"loginsPerSecond"`
	// Answer, Login and Complete run from the time when the server answered
	// again, over all failed attempts: to the reply to login, to onSynced, and,
	// in scenarios that fetch more after that, until all is fetched.
	Answer    Latency          `json:"toReply"`
	Login     Latency          `json:"toSynced"`
	Complete  Latency          `json:"toComplete,omitzero"`
	Attempts  int64            `json:"attempts"`         // to connect
	Errors    map[string]int64 `json:"errors,omitempty"` // of failed attempts, by kind
	RSSBefore int64            `json:"rssBeforeBytes,omitempty"`
	Server    *Usage           `json:"server,omitempty"` // from the first attempt until all had everything
	Generator *Usage           `json:"generator,omitempty"`
	// CPUPerLoginMS is what a client's return costs the server.
	CPUPerLoginMS float64 `json:"serverCpuPerLoginMs,omitempty"`
}

// A storm is a loss of all sessions of a run, and their return.
type storm struct {
	*run
	loss Loss
	// writers stay connected through a Drop. After any other loss they come back
	// first, so that the others miss more.
	writers, others []*Client
	parallel        int // connections that are being opened at a time; 0 = all
	// fetchRest, if set, fetches for a client that is synced what the sync has left
	// out.
	fetchRest func(context.Context, *Client) error
}

// pass waits for the loss, and then until all clients have come back.
func (s *storm) pass(ctx context.Context, report *Storm) error {
	report.Restarted = !s.loss.Drop
	before, err := s.reading()
	if err != nil {
		return err
	}
	report.RSSBefore = before.server.rss
	ctx, cancel := context.WithTimeoutCause(ctx, stormPatience, fmt.Errorf("loadtest: the clients were not all back within %v", stormPatience))
	defer cancel()
	lost, err := s.lose(ctx)
	if err != nil {
		return err
	}
	if s.loss.NewPID != nil {
		pid, err := s.loss.NewPID(ctx)
		if err != nil {
			return err
		}
		s.config.ServerPIDs = []int{pid}
	} else if !s.loss.Drop {
		s.config.ServerPIDs = nil // that process has gone
	}
	return s.comeBack(ctx, lost, report)
}

// lose waits until every connection is lost, or hangs them all up, and then until
// the server answers. It returns when the first was lost.
func (s *storm) lose(ctx context.Context) (first time.Duration, err error) {
	var gone atomic.Int64
	if s.loss.Drop {
		s.enter("hang up", gone.Load, int64(len(s.others)))
		first = s.tally.Now()
		err := each(ctx, s.others, len(s.others), func(_ context.Context, c *Client) error {
			c.Cut()
			gone.Add(1)
			return nil
		})
		if err != nil {
			return 0, err
		}
		s.enter("stay away", s.secondsSince(first), int64(s.loss.Away.Seconds()))
		return first, s.sleepUntil(ctx, first+s.loss.Away)
	}
	s.enter("restart the server now", gone.Load, int64(len(s.clients)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var losing sync.WaitGroup
	defer losing.Wait()
	if s.loss.Lose != nil {
		losing.Go(func() {
			if err := s.loss.Lose(ctx); err != nil {
				cancel(err)
			}
		})
	}
	var earliest atomic.Int64
	err = each(ctx, s.clients, len(s.clients), func(ctx context.Context, c *Client) error {
		if err := c.awaitLoss(ctx); err != nil {
			return err
		}
		earliest.CompareAndSwap(0, int64(s.tally.Now()))
		gone.Add(1)
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.enter("wait for the server", nil, 0)
	if err := s.config.Server.answers(ctx); err != nil {
		return 0, err
	}
	losing.Wait()
	return time.Duration(earliest.Load()), context.Cause(ctx)
}

// comeBack lets all clients connect again at once and waits until they have
// everything.
func (s *storm) comeBack(ctx context.Context, lost time.Duration, report *Storm) error {
	before, err := s.reading()
	if err != nil {
		return err
	}
	report.AwaySeconds = (before.at - lost).Seconds()
	coming := s.others
	if !s.loss.Drop {
		coming = slices.Concat(s.writers, s.others)
	}
	atOnce := len(coming)
	if s.parallel > 0 {
		atOnce = s.parallel
	}
	var done, attempts, last atomic.Int64
	answers, logins, completes := newRecorder(), newRecorder(), newRecorder()
	var failures counts
	s.enter("come back", done.Load, int64(len(coming)))
	err = each(ctx, coming, atOnce, func(ctx context.Context, c *Client) error {
		for attempt := 0; ; attempt++ {
			attempts.Add(1)
			answered, synced, err := c.reconnect(ctx)
			complete := synced
			if err == nil && s.fetchRest != nil {
				if err = s.fetchRest(ctx, c); err == nil {
					complete = s.tally.Now()
					completes.record(complete - before.at)
				} else {
					c.Cut()
				}
			}
			if err == nil {
				answers.record(answered - before.at)
				logins.record(synced - before.at)
				raise(&last, int64(complete))
				done.Add(1)
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			failures.add(failureKind(err))
			if err := backOff(ctx, attempt); err != nil {
				return err
			}
		}
	})
	report.Attempts, report.Errors = attempts.Load(), failures.all()
	if err != nil {
		return err
	}
	after, err := s.reading()
	if err != nil {
		return err
	}
	report.Seconds = (time.Duration(last.Load()) - before.at).Seconds()
	report.LoginsPerSecond = float64(len(coming)) / report.Seconds
	report.Answer, report.Login, report.Complete = answers.latency(), logins.latency(), completes.latency()
	if after.known {
		report.Server = usageBetween(before.server, after.server, after.at-before.at, 0)
		report.Generator = usageBetween(before.self, after.self, after.at-before.at, 0)
		report.CPUPerLoginMS = report.Server.CPUSeconds * 1000 / float64(len(coming))
	}
	return nil
}

// raise sets a to v if that is greater.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); v > old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}
