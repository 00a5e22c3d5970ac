package loadtest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// writtenTo is how many clients there are for each one who is written to
	// while all are away.
	writtenTo = 10
	// reconnectPatience bounds the wait for the server to go, to come back, and
	// for all clients to be synced.
	reconnectPatience = 5 * time.Minute
)

// ReconnectConfig says how many sessions are lost at once and come back at once.
// Clients and Body are needed.
type ReconnectConfig struct {
	Config
	Clients int
	Body    int // bytes of each message's body as stored, MinBody to MaxBody
	// Rate is the messages per second that others write to every tenth client,
	// from before the loss until all are back; 0 = 200.
	Rate int
	// Drop has the clients hang up by themselves, all at once, and come back
	// after Away. Without it they wait until the server goes.
	Drop bool
	Away time.Duration
	// Lose, if set, runs once all clients are there and are waiting to lose the
	// server: it may restart it. An error ends the run. It must return soon
	// after the end of its context. Not with Drop.
	Lose func(ctx context.Context) error
	// NewPID, if set, gives the server's process once it answers again; else
	// what it uses after a restart is left out of the report. Not with Drop.
	NewPID func(ctx context.Context) (int, error)
}

// ReconnectReport is the outcome of Reconnect.
type ReconnectReport struct {
	Scenario        string  `json:"scenario"`
	Codec           string  `json:"codec"`
	Clients         int     `json:"clients"`
	Restarted       bool    `json:"restarted"`   // the server was; else the clients hung up
	AwaySeconds     float64 `json:"awaySeconds"` // from the first connection lost until the server answered again
	Seconds         float64 `json:"seconds"`     // from then until all were synced
	LoginsPerSecond float64 `json:"loginsPerSecond"`
	// Answer and Login count from the time the server answered again, failed
	// attempts included: to the reply to login, and to onSynced.
	Answer    Latency          `json:"toReply"`
	Login     Latency          `json:"toSynced"`
	Attempts  int64            `json:"attempts"`         // to connect
	Errors    map[string]int64 `json:"errors,omitempty"` // of failed attempts, by kind
	Sent      int64            `json:"sent"`
	Delivered int64            `json:"delivered"`
	Missed    int64            `json:"missed"`   // of them, those that came with a sync after the loss
	Repeated  int64            `json:"repeated"` // pushed again
	RSSBefore int64            `json:"rssBeforeBytes,omitempty"`
	Server    *Usage           `json:"server,omitempty"` // from the first attempt until all were synced
	Generator *Usage           `json:"generator,omitempty"`
	// CPUPerLoginMS is what a client's return costs the server.
	CPUPerLoginMS float64 `json:"serverCpuPerLoginMs,omitempty"`
	Verdict
}

func (c ReconnectConfig) withDefaults() (ReconnectConfig, error) {
	if c.Rate == 0 {
		c.Rate = 200
	}
	switch {
	case c.Clients < 1 || c.Clients > MaxUsers:
		return c, fmt.Errorf("loadtest: ReconnectConfig.Clients %d: want 1 to %d", c.Clients, MaxUsers)
	case c.Body < MinBody || c.Body > MaxBody:
		return c, fmt.Errorf("loadtest: ReconnectConfig.Body %d: want %d to %d bytes", c.Body, MinBody, MaxBody)
	case c.Rate < 1 || c.Rate > 1e6:
		return c, fmt.Errorf("loadtest: ReconnectConfig.Rate %d: want 1 to 1000000", c.Rate)
	case c.Away < 0:
		return c, fmt.Errorf("loadtest: ReconnectConfig.Away %v: want at least 0", c.Away)
	case c.Drop && (c.Lose != nil || c.NewPID != nil):
		return c, fmt.Errorf("loadtest: ReconnectConfig.Lose, NewPID: want neither with Drop")
	}
	return c, nil
}

// A reconnectRun is a run of sessions that are lost and come back.
type reconnectRun struct {
	*run
	config   ReconnectConfig
	quiet    []*Client // those that are lost and come back
	writers  []*Client
	schedule atomic.Pointer[schedule] // of the writers; nil until they begin
	halt     atomic.Bool              // they are done
}

// Reconnect has sessions lost all at once and come back all at once, while
// others write to some of them. Its error says why there is no report.
func Reconnect(ctx context.Context, config ReconnectConfig) (*ReconnectReport, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	receivers := (config.Clients + writtenTo - 1) / writtenTo
	writers := (receivers + senderConversations - 1) / senderConversations
	ctx, common, end, err := begin(ctx, config.Config, config.Clients+writers)
	if err != nil {
		return nil, err
	}
	defer end()
	r := &reconnectRun{run: common, config: config}
	if err := r.prepare(writers); err != nil {
		return nil, err
	}
	report := &ReconnectReport{Scenario: "reconnect", Codec: config.Server.Codec.Name(), Clients: config.Clients, Restarted: !config.Drop}
	err = r.work(ctx, report)
	report.Sent, report.Delivered, report.Repeated = r.tally.sent.Load(), r.tally.delivered.Load(), r.tally.repeated.Load()
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *reconnectRun) prepare(writers int) error {
	for i := range r.config.Clients {
		c, err := r.client("r", i, ClientConfig{Resume: true, Recents: protocol.RecentsQuiet})
		if err != nil {
			return err
		}
		r.quiet = append(r.quiet, c)
	}
	receivers := make([][]protocol.Conv, writers)
	for i := range writers {
		var turn position
		next := 0
		w, err := r.client("w", i, ClientConfig{
			Window: MaxWindow, Resume: true, Recents: protocol.RecentsQuiet,
			Next: func(now time.Duration) (to protocol.Conv, at time.Duration, ok bool) {
				if r.halt.Load() {
					return protocol.Conv{}, 0, false
				}
				if at, ok = turn.next(r.schedule.Load(), i, now); !ok {
					return protocol.Conv{}, 0, false
				}
				to = receivers[i][next%len(receivers[i])]
				next++
				return to, at, true
			},
		})
		if err != nil {
			return err
		}
		r.writers = append(r.writers, w)
	}
	for i := 0; i < len(r.quiet); i += writtenTo {
		n := i / writtenTo % writers
		w, c := r.writers[n], r.quiet[i]
		s := r.stream(w, c, r.config.Body)
		w.Converse(c.User(), s, nil)
		c.Converse(w.User(), nil, s)
		receivers[n] = append(receivers[n], protocol.UserConv(c.User()))
	}
	return nil
}

func (r *reconnectRun) work(ctx context.Context, report *ReconnectReport) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	before, err := r.reading()
	if err != nil {
		return err
	}
	report.RSSBefore = before.server.rss

	stopped := r.write(ctx)
	defer stopped()
	limited, cancel := context.WithTimeoutCause(ctx, reconnectPatience, fmt.Errorf("loadtest: the clients were not all back within %v", reconnectPatience))
	defer cancel()
	lost, err := r.lose(limited)
	if err != nil {
		return err
	}
	if r.config.NewPID != nil {
		if r.run.config.ServerPID, err = r.config.NewPID(limited); err != nil {
			return err
		}
	} else if !r.config.Drop {
		r.run.config.ServerPID = 0 // that process has gone
	}
	if err := r.storm(limited, lost, report); err != nil {
		return err
	}
	stopped()
	if err := r.settle(ctx, settlePatience); err != nil {
		return err
	}
	for _, c := range r.quiet {
		report.Missed += c.caughtUp()
	}
	return r.audit(ctx)
}

// settlePatience is how long the end of a run waits for what is under way.
const settlePatience = 30 * time.Second

// write has the writers write until the returned function is called.
func (r *reconnectRun) write(ctx context.Context) (stopped func()) {
	ctx, stop := context.WithCancel(ctx)
	var pace sync.WaitGroup
	s := &schedule{begin: r.tally.Now(), end: math.MaxInt64, rate: r.config.Rate, clients: len(r.writers)}
	r.schedule.Store(s)
	pace.Go(func() { s.run(ctx, r.tally.Now, func(i int) { r.writers[i].Pump() }) })
	return func() {
		r.halt.Store(true)
		stop()
		pace.Wait()
	}
}

// lose waits until every connection is lost, or hangs them all up, and then
// until the server answers. It tells when the first was lost.
func (r *reconnectRun) lose(ctx context.Context) (first time.Duration, err error) {
	var gone atomic.Int64
	if r.config.Drop {
		r.enter("hang up", gone.Load, int64(len(r.quiet)))
		first = r.tally.Now()
		err := each(ctx, r.quiet, len(r.quiet), func(_ context.Context, c *Client) error {
			c.Cut()
			gone.Add(1)
			return nil
		})
		if err != nil {
			return 0, err
		}
		r.enter("stay away", r.seconds(first), int64(r.config.Away.Seconds()))
		return first, r.sleepUntil(ctx, first+r.config.Away)
	}
	r.enter("restart the server now", gone.Load, int64(len(r.clients)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var losing sync.WaitGroup
	defer losing.Wait()
	if r.config.Lose != nil {
		losing.Go(func() {
			if err := r.config.Lose(ctx); err != nil {
				cancel(err)
			}
		})
	}
	var earliest atomic.Int64
	err = each(ctx, r.clients, len(r.clients), func(ctx context.Context, c *Client) error {
		if err := c.gone(ctx); err != nil {
			return err
		}
		earliest.CompareAndSwap(0, int64(r.tally.Now()))
		gone.Add(1)
		return nil
	})
	if err != nil {
		return 0, err
	}
	r.enter("wait for the server", nil, 0)
	if err := r.config.Server.answers(ctx); err != nil {
		return 0, err
	}
	losing.Wait()
	return time.Duration(earliest.Load()), context.Cause(ctx)
}

// storm has all clients come back at once and waits until they are synced.
func (r *reconnectRun) storm(ctx context.Context, lost time.Duration, report *ReconnectReport) error {
	before, err := r.reading()
	if err != nil {
		return err
	}
	report.AwaySeconds = (before.at - lost).Seconds()
	coming := r.quiet
	if !r.config.Drop {
		// The writers were lost too. They go first, so that the others miss more.
		coming = slices.Concat(r.writers, r.quiet)
	}
	atOnce := len(coming)
	if r.config.Parallel > 0 {
		atOnce = r.config.Parallel
	}
	var done, attempts, last atomic.Int64
	answers, logins := newRecorder(), newRecorder()
	var failures counts
	r.enter("come back", done.Load, int64(len(coming)))
	err = each(ctx, coming, atOnce, func(ctx context.Context, c *Client) error {
		for attempt := 0; ; attempt++ {
			attempts.Add(1)
			answered, synced, err := c.comeBack(ctx)
			if err == nil {
				answers.record(answered - before.at)
				logins.record(synced - before.at)
				raise(&last, int64(synced))
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
	after, err := r.reading()
	if err != nil {
		return err
	}
	report.Seconds = (time.Duration(last.Load()) - before.at).Seconds()
	report.LoginsPerSecond = float64(len(coming)) / report.Seconds
	report.Answer, report.Login = answers.latency(), logins.latency()
	if after.known {
		report.Server = usageBetween(before.server, after.server, after.at-before.at, 0)
		report.Generator = usageBetween(before.self, after.self, after.at-before.at, 0)
		report.CPUPerLoginMS = report.Server.CPUSeconds * 1000 / float64(len(coming))
	}
	return nil
}

// raise sets a to v if that is more.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); v > old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}
