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

// PairsConfig describes users who chat in pairs, both sides at once. Users, Body
// and Duration are needed.
type PairsConfig struct {
	Config
	Users int // an even number
	Body  int // bytes of each message's body as stored, MinBody to MaxBody
	// Window bounds the sends of one client that have no answer yet, also when
	// there is a rate; 0 = 16.
	Window int
	// Rate is the messages meant to be sent per second, by all together. 0 = as
	// fast as the windows allow.
	Rate     int
	Duration time.Duration // of measuring
	Warmup   time.Duration // before it
	Drain    time.Duration // after it, for what is under way; 0 = 30s
	// Resume lets clients that lose their connection come back. Without it a lost
	// connection is a violation.
	Resume bool
	// Disturb, if set, is called when sending begins. Sending goes on until it
	// has returned, however long after Duration. It may Cut clients, and do to
	// the server what that has to bear. Its context ends when the run has failed.
	// It needs Resume.
	Disturb func(ctx context.Context, clients []*Client, silences *Silences)
	// Ordered has messages that were sent again only because a connection broke be
	// stored in the order sent, too: a server of one order for each device owes
	// that. It needs Resume.
	Ordered bool
	// MaxSilence is how long a client with open sends bears that nothing comes,
	// before it connects anew, to the next of several servers; 0 = for ever. It
	// needs Resume.
	MaxSilence time.Duration
	// ReadBack compares, at the end, the whole history of each user with what was
	// sent.
	ReadBack bool
	// ManualRead keeps acks from being read reports.
	ManualRead bool
}

// PairsReport is the outcome of Pairs. Rates and latencies are those of the
// measured time; Sent counts from the first message to the last.
type PairsReport struct {
	Scenario            string  `json:"scenario"`
	Codec               string  `json:"codec"`
	Users               int     `json:"users"`
	Body                int     `json:"body"`
	Window              int     `json:"window"`
	Rate                int     `json:"rate,omitempty"` // offered
	Seconds             float64 `json:"seconds"`        // measured
	SendsPerSecond      float64 `json:"sendsPerSecond"`
	DeliveriesPerSecond float64 `json:"deliveriesPerSecond"`
	Ack                 Latency `json:"sendToAck"`
	Delivery            Latency `json:"sendToDelivered"`
	Late                Latency `json:"late"` // how late messages were sent
	// SilenceMS is the longest time in which sends waited and no client got an
	// answer, UserSilenceMS the longest of one client.
	SilenceMS     float64          `json:"longestSilenceMs"`
	UserSilenceMS float64          `json:"longestUserSilenceMs"`
	Sent          int64            `json:"sent"`
	Delivered     int64            `json:"delivered"`
	Unsent        int64            `json:"unsent,omitempty"` // due, but the windows were full to the end
	Refused       map[string]int64 `json:"refused,omitempty"`
	Reconnects    int64            `json:"reconnects,omitempty"`
	Repeated      int64            `json:"repeated,omitempty"` // pushed again after a reconnect
	Server        *Usage           `json:"server,omitempty"`
	Generator     *Usage           `json:"generator,omitempty"`
	Verdict
}

func (c PairsConfig) withDefaults() (PairsConfig, error) {
	if c.Window == 0 {
		c.Window = defaultWindow
	}
	if c.Drain == 0 {
		c.Drain = 30 * time.Second
	}
	switch {
	case c.Users < 2 || c.Users > MaxUsers || c.Users%2 != 0:
		return c, fmt.Errorf("loadtest: PairsConfig.Users %d: want an even number from 2 to %d", c.Users, MaxUsers)
	case c.Body < MinBody || c.Body > MaxBody:
		return c, fmt.Errorf("loadtest: PairsConfig.Body %d: want %d to %d bytes", c.Body, MinBody, MaxBody)
	case c.Window < 1 || c.Window > MaxWindow:
		return c, fmt.Errorf("loadtest: PairsConfig.Window %d: want 1 to %d", c.Window, MaxWindow)
	case c.Rate < 0 || c.Rate > 1e7:
		return c, fmt.Errorf("loadtest: PairsConfig.Rate %d: want 0 to 10000000", c.Rate)
	case c.Duration <= 0:
		return c, fmt.Errorf("loadtest: PairsConfig.Duration %v: want more than 0", c.Duration)
	case c.Warmup < 0:
		return c, fmt.Errorf("loadtest: PairsConfig.Warmup %v: want at least 0", c.Warmup)
	case c.Drain < 0:
		return c, fmt.Errorf("loadtest: PairsConfig.Drain %v: want at least 0", c.Drain)
	case c.MaxSilence < 0:
		return c, fmt.Errorf("loadtest: PairsConfig.MaxSilence %v: want at least 0", c.MaxSilence)
	case (c.Disturb != nil || c.Ordered || c.MaxSilence > 0) && !c.Resume:
		return c, fmt.Errorf("loadtest: PairsConfig.Disturb, Ordered, MaxSilence: want Resume with it")
	}
	return c, nil
}

// A pairsRun is a run of Pairs.
type pairsRun struct {
	*run
	config   PairsConfig
	schedule atomic.Pointer[schedule] // nil until sending begins
	halt     atomic.Bool              // sending is over
}

// Pairs runs the pairs scenario: users chat in pairs. Violations are in the
// report, see its Err; an error means that there is none.
func Pairs(ctx context.Context, config PairsConfig) (*PairsReport, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, common, end, err := begin(ctx, config.Config, config.Users)
	if err != nil {
		return nil, err
	}
	defer end()
	common.tally.silences = newSilences(common.tally.Now)
	r := &pairsRun{run: common, config: config}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	report := &PairsReport{
		Scenario: "pairs", Codec: config.Server.Codec.Name(),
		Users: config.Users, Body: bodySize(config.Body), Window: config.Window, Rate: config.Rate,
	}
	err = r.work(ctx, report)
	report.Ack, report.Delivery, report.Late = r.tally.ack.latency(), r.tally.delivery.latency(), r.tally.late.latency()
	report.Sent, report.Delivered = r.tally.sent.Load(), r.tally.delivered.Load()
	report.Refused = r.tally.Refused()
	report.Reconnects, report.Repeated = r.tally.reconnects.Load(), r.tally.repeated.Load()
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *pairsRun) prepare() error {
	for i := range r.config.Users {
		var turn position
		_, err := r.client("u", i, ClientConfig{
			Window: r.config.Window, Resume: r.config.Resume, ManualRead: r.config.ManualRead,
			Ordered: r.config.Ordered, MaxSilence: r.config.MaxSilence,
			Recents: protocol.RecentsQuiet, // there is one conversation, and all of it is pushed
			Next: func(now time.Duration) (to protocol.Conv, at time.Duration, ok bool) {
				if r.halt.Load() {
					return protocol.Conv{}, 0, false
				}
				at, ok = turn.next(r.schedule.Load(), i, now)
				return protocol.UserConv(r.clients[i^1].User()), at, ok
			},
		})
		if err != nil {
			return err
		}
	}
	for i := 0; i < len(r.clients); i += 2 {
		a, b := r.clients[i], r.clients[i+1]
		there, back := r.stream(a, b, r.config.Body), r.stream(b, a, r.config.Body)
		a.Converse(b.User(), there, back)
		b.Converse(a.User(), back, there)
	}
	return nil
}

// work runs the scenario from the first connection to the last check.
func (r *pairsRun) work(ctx context.Context, report *PairsReport) error {
	if err := r.connect(ctx); err != nil {
		return err
	}

	if r.config.Resume {
		defer r.keepConnected(ctx, r.clients)()
	}
	if err := r.send(ctx, report); err != nil {
		return err
	}
	if err := r.settle(ctx, r.config.Drain); err != nil {
		return err
	}
	if r.config.Resume {
		if err := r.awaitBack(ctx, r.config.Drain); err != nil {
			return err
		}
	}
	if err := r.audit(ctx); err != nil || !r.config.ReadBack {
		return err
	}
	return r.readBack(ctx)
}

// awaitBack waits until each client has a session that answers. One that has none
// after patience is a violation.
func (r *run) awaitBack(ctx context.Context, patience time.Duration) error {
	until := r.tally.Now() + patience
	return each(ctx, r.clients, len(r.clients), func(ctx context.Context, c *Client) error {
		for {
			asked, cancel := context.WithTimeout(ctx, pingPatience)
			err := c.Ping(asked)
			cancel()
			switch {
			case err == nil:
				return nil
			case r.tally.Now() > until:
				r.tally.violated(fmt.Errorf("%s has no session that answers after %v: %w", c.User(), patience, err))
				return nil
			}
			if err := backOff(ctx, 0); err != nil {
				return err
			}
		}
	})
}

// pingPatience bounds one ping: a session whose node is frozen answers none.
const pingPatience = 3 * time.Second

// readBack compares the history of all clients with what was sent.
func (r *run) readBack(ctx context.Context) error {
	var read atomic.Int64
	r.enter("read back", read.Load, int64(len(r.clients)))
	return each(ctx, r.clients, r.config.Parallel, func(ctx context.Context, c *Client) error {
		_, wrong, err := c.Readback(ctx, readbackDevice)
		for _, w := range wrong {
			r.tally.violated(w)
		}
		read.Add(1)
		return err
	})
}

// readbackDevice is the device that reads history at the end of a run.
const readbackDevice = "readback"

// keepConnected lets clients connect again when they have lost their connections, until
// the function that it returns is called.
func (r *run) keepConnected(ctx context.Context, clients []*Client) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	var stays sync.WaitGroup
	for _, c := range clients {
		stays.Go(func() {
			if err := c.Stay(ctx); err != nil && ctx.Err() == nil {
				r.tally.violated(err)
			}
		})
	}
	return func() { cancel(); stays.Wait() }
}

// send lets the clients send for the warm-up and the time to be measured, and
// measures.
func (r *pairsRun) send(ctx context.Context, report *PairsReport) error {
	begin := r.tally.Now()
	from := begin + r.config.Warmup
	to := from + r.config.Duration
	planned := schedule{begin: begin, end: to, rate: r.config.Rate, clients: len(r.clients)}
	s := planned
	if r.config.Disturb != nil {
		s.end = math.MaxInt64
	}
	r.tally.Measure(from, to)
	r.tally.silences.measure(from, to)
	r.schedule.Store(&s)
	defer r.halt.Store(true)

	var disturb, pace sync.WaitGroup
	defer disturb.Wait()
	if r.config.Disturb != nil {
		disturb.Go(func() { r.config.Disturb(ctx, r.clients, r.tally.silences) })
	}
	sending, stop := context.WithCancel(ctx)
	defer pace.Wait()
	defer stop()
	pace.Go(func() { s.run(sending, r.tally.Now, func(client int) { r.clients[client].Pump() }) })
	if r.config.Rate == 0 {
		for _, c := range r.clients {
			c.Pump()
		}
	}

	before, after, err := r.measured(ctx, begin, r.config.Warmup, r.config.Duration)
	if err != nil {
		return err
	}
	report.between(before, after)
	all, user := r.tally.silences.longest()
	report.SilenceMS, report.UserSilenceMS = milliseconds(int64(all/latencyPrecision)), milliseconds(int64(user/latencyPrecision))
	if disturb.Wait(); r.config.Disturb != nil {
		stop()
	}
	// Clients may be woken late, and still send what was due. What is not sent
	// after that had no room in a window.
	pace.Wait()
	report.Unsent = max(0, planned.total()-r.tally.sent.Load())
	return nil
}

// A reading is the counters of a run at one time.
type reading struct {
	at                  time.Duration
	answered, delivered int64
	known               bool // whether server and self are known
	server, self        usage
}

func (r *run) reading() (reading, error) {
	server, self, err := r.usages()
	return reading{
		at: r.tally.Now(), answered: r.tally.answered.Load(), delivered: r.tally.delivered.Load(),
		known: len(r.config.ServerPIDs) > 0, server: server, self: self,
	}, err
}

// between fills in what was done and used between two readings.
func (p *PairsReport) between(before, after reading) {
	elapsed := after.at - before.at
	sends := after.answered - before.answered
	p.Seconds = elapsed.Seconds()
	if p.Seconds > 0 {
		p.SendsPerSecond = float64(sends) / p.Seconds
		p.DeliveriesPerSecond = float64(after.delivered-before.delivered) / p.Seconds
	}
	if after.known {
		p.Server = usageBetween(before.server, after.server, elapsed, sends)
		p.Generator = usageBetween(before.self, after.self, elapsed, sends)
	}
}
