package loadtest

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// writtenTo says how many of the clients are written to while all are away: one
// in so many.
const writtenTo = 10

// ReconnectConfig describes sessions that are lost at once and come back at once.
// Clients and Body are needed.
type ReconnectConfig struct {
	Config
	Clients int
	Body    int // bytes of each message's body as stored, MinBody to MaxBody
	// Rate is the messages per second that others write to every tenth client,
	// from before the loss until all are back; 0 = 200.
	Rate int
	Loss
}

// ReconnectReport is the outcome of Reconnect.
type ReconnectReport struct {
	Scenario string `json:"scenario"`
	Codec    string `json:"codec"`
	Clients  int    `json:"clients"`
	Storm
	Sent      int64 `json:"sent"`
	Delivered int64 `json:"delivered"`
	Missed    int64 `json:"missed"`   // of those delivered: came with a sync after the loss
	Repeated  int64 `json:"repeated"` // pushed again
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
	}
	return c, c.check()
}

// A reconnectRun is a run of Reconnect.
type reconnectRun struct {
	*run
	config         ReconnectConfig
	quiet          []*Client // those that are lost and come back
	writers        []*Client
	schedule       atomic.Pointer[schedule] // of the writers; nil until they begin
	writersStopped atomic.Bool              // they are done
}

// Reconnect runs the reconnect scenario: sessions are lost all at once and come
// back all at once, while others write to some of them. Violations are in the
// report; an error means that there is none.
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
	report := &ReconnectReport{Scenario: "reconnect", Codec: config.Server.Codec.Name(), Clients: config.Clients}
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
				if r.writersStopped.Load() {
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
	stopped := r.write(ctx)
	defer stopped()
	storm := storm{run: r.run, loss: r.config.Loss, writers: r.writers, others: r.quiet, parallel: r.config.Parallel}
	if err := storm.pass(ctx, &report.Storm); err != nil {
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

// write makes the writers write until the function that it returns is called.
func (r *reconnectRun) write(ctx context.Context) (stopped func()) {
	ctx, stop := context.WithCancel(ctx)
	var pace sync.WaitGroup
	s := &schedule{begin: r.tally.Now(), end: math.MaxInt64, rate: r.config.Rate, clients: len(r.writers)}
	r.schedule.Store(s)
	pace.Go(func() { s.run(ctx, r.tally.Now, func(i int) { r.writers[i].Pump() }) })
	return func() {
		r.writersStopped.Store(true)
		stop()
		pace.Wait()
	}
}
