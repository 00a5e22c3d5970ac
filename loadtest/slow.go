package loadtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// slowStream is the number of the first stream to a slow peer, above those of the
// pairs' streams.
const slowStream = 1 << 24

// SlowConfig describes users who chat in pairs, beside slow peers: users who are
// sent messages, too, and after a while stop reading. Users, Body, Rate, Slow,
// SlowRate, Duration and SlowDuration are needed.
type SlowConfig struct {
	Config
	Users int // who chat in pairs, an even number
	Body  int // bytes of each message's body as stored, MinBody to MaxBody
	Rate  int // messages per second of all pairs together
	Slow  int // peers that stop reading
	// SlowRate is the messages per second to all slow peers together. What a
	// peer is sent while it does not read has to fit into its offline queue.
	SlowRate     int
	Duration     time.Duration // of measuring while everybody reads
	SlowDuration time.Duration // of measuring while the slow peers do not
	Warmup       time.Duration // before each
	// ClosePatience bounds the wait, once sending is over, for the server to
	// close the sessions of slow peers; 0 = 45s.
	ClosePatience time.Duration
	// Closes, if set, returns how many connections the server has closed so far
	// because the client read too slowly.
	Closes func(ctx context.Context) (int64, error)
}

// SlowReport is the outcome of Slow.
type SlowReport struct {
	Scenario string `json:"scenario"`
	Codec    string `json:"codec"`
	Users    int    `json:"users"`
	Body     int    `json:"body"`
	Rate     int    `json:"rate"`
	Slow     int    `json:"slow"`
	SlowRate int    `json:"slowRate"`
	Without  Phase  `json:"without"` // everybody reads
	With     Phase  `json:"with"`    // the slow peers do not
	// Closes counts the ends of the slow peers' sessions as those saw them, by
	// kind: "closed 4413" means that they read too slowly.
	Closes map[string]int64 `json:"closes"`
	// ServerCloses is how many closes for reading too slowly the server counted
	// meanwhile; absent if SlowConfig.Closes is not set.
	ServerCloses  *int64           `json:"serverCloses,omitempty"`
	Sent          int64            `json:"sent"` // by the pairs
	Delivered     int64            `json:"delivered"`
	SlowSent      int64            `json:"slowSent"` // to the slow peers
	SlowDelivered int64            `json:"slowDelivered"`
	Caught        int64            `json:"caughtUp"` // of those, pushed at the next login
	Login         Latency          `json:"slowLogin"`
	Refused       map[string]int64 `json:"refused,omitempty"`
	Verdict
}

func (c SlowConfig) withDefaults() (SlowConfig, error) {
	if c.ClosePatience == 0 {
		c.ClosePatience = 45 * time.Second
	}
	switch {
	case c.Slow < 1 || c.Slow > MaxUsers:
		return c, fmt.Errorf("loadtest: SlowConfig.Slow %d: want 1 to %d", c.Slow, MaxUsers)
	case c.Rate < 1:
		return c, fmt.Errorf("loadtest: SlowConfig.Rate %d: want at least 1", c.Rate)
	case c.SlowRate < 1 || c.SlowRate > 1e7:
		return c, fmt.Errorf("loadtest: SlowConfig.SlowRate %d: want 1 to 10000000", c.SlowRate)
	case c.SlowDuration <= 0:
		return c, fmt.Errorf("loadtest: SlowConfig.SlowDuration %v: want more than 0", c.SlowDuration)
	case c.ClosePatience < 0:
		return c, fmt.Errorf("loadtest: SlowConfig.ClosePatience %v: want at least 0", c.ClosePatience)
	}
	return c, nil
}

// A slowRun is a run of Slow.
type slowRun struct {
	*pairsRun
	config  SlowConfig
	writers []*Client // who write to the slow peers
	peers   []*Client // the slow peers
	streams []*Stream // to them
	aside   *Tally    // counts what both do
	writing atomic.Pointer[schedule]
}

// Slow runs the slow scenario: users chat in pairs, first while slow peers read
// what they are sent, then, under the same load, while those do not. In the end
// the slow peers log in again and have to get everything. Violations are in the
// report; an error means that there is none.
func Slow(ctx context.Context, config SlowConfig) (*SlowReport, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	pairs, err := PairsConfig{
		Config: config.Config, Users: config.Users, Body: config.Body, Window: MaxWindow,
		Rate: config.Rate, Duration: config.Duration, Warmup: config.Warmup,
	}.withDefaults()
	if err != nil {
		return nil, err
	}
	writers := (config.Slow + senderConversations - 1) / senderConversations
	ctx, common, end, err := begin(ctx, config.Config, config.Users+config.Slow+writers)
	if err != nil {
		return nil, err
	}
	defer end()
	r := &slowRun{pairsRun: &pairsRun{run: common, config: pairs}, config: config, aside: NewTally()}
	r.aside.epoch, r.aside.failed = r.tally.epoch, r.tally.violated
	if err := r.prepare(writers); err != nil {
		return nil, err
	}
	report := &SlowReport{
		Scenario: "slow", Codec: config.Server.Codec.Name(), Users: config.Users, Body: bodySize(config.Body),
		Rate: config.Rate, Slow: config.Slow, SlowRate: config.SlowRate,
	}
	err = r.work(ctx, report)
	report.Sent, report.Delivered = r.tally.sent.Load(), r.tally.delivered.Load()
	report.SlowSent, report.SlowDelivered = r.aside.sent.Load(), r.aside.delivered.Load()
	report.Refused = r.tally.Refused()
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *slowRun) prepare(writers int) error {
	if err := r.pairsRun.prepare(); err != nil {
		return err
	}
	receivers := make([][]protocol.Conv, writers)
	for i := range writers {
		var turn position
		next := 0
		w, err := r.client("w", i, ClientConfig{
			Tally: r.aside, Window: MaxWindow, Recents: protocol.RecentsQuiet,
			Next: func(now time.Duration) (to protocol.Conv, at time.Duration, ok bool) {
				if at, ok = turn.next(r.writing.Load(), i, now); !ok {
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
	for i := range r.config.Slow {
		c, err := r.client("s", i, ClientConfig{Tally: r.aside, Resume: true, Recents: protocol.RecentsQuiet})
		if err != nil {
			return err
		}
		w := i % writers
		s := NewStream(uint32(slowStream+i), r.writers[w].User(), c.User(), r.config.Body)
		r.writers[w].Converse(c.User(), s, nil)
		c.Converse(r.writers[w].User(), nil, s)
		r.peers, r.streams = append(r.peers, c), append(r.streams, s)
		receivers[w] = append(receivers[w], protocol.UserConv(c.User()))
	}
	return nil
}

func (r *slowRun) work(ctx context.Context, report *SlowReport) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	if err := r.phase(ctx, "everybody reads", r.config.Duration, r.slowLoad(), &report.Without); err != nil {
		return err
	}
	if err := r.await(ctx, r.aside.pending.Load, 0); err != nil {
		return err
	}
	closesBefore, err := r.closes(ctx)
	if err != nil {
		return err
	}
	for _, c := range r.peers {
		if err := c.stall(); err != nil {
			return err
		}
	}
	if err := r.phase(ctx, fmt.Sprintf("%d do not read", len(r.peers)), r.config.SlowDuration, r.slowLoad(), &report.With); err != nil {
		return err
	}
	if err := r.await(ctx, func() int64 { return r.aside.sent.Load() - r.aside.answered.Load() }, 0); err != nil {
		return err
	}
	if report.Closes, err = r.ends(ctx); err != nil {
		return err
	}
	if err := r.catchUp(ctx, report); err != nil {
		return err
	}
	if r.config.Closes != nil {
		counted, err := r.countCloses(ctx, closesBefore, report.Closes[closedSlow])
		if err != nil {
			return err
		}
		report.ServerCloses = &counted
	}
	for _, s := range r.streams {
		if err := s.settled(); err != nil {
			r.tally.violated(err)
		}
	}
	return r.audit(ctx)
}

func (r *slowRun) closes(ctx context.Context) (int64, error) {
	if r.config.Closes == nil {
		return 0, nil
	}
	return r.config.Closes(ctx)
}

// closedSlow is the failureKind of a connection that the server closed because
// its client read too slowly.
var closedSlow = failureKind(&CloseError{Code: protocol.CloseSlow})

// countCloses returns how many connections the server has closed as too slow
// since that number was before. The server counts one only once the closing
// handshake is over, so countCloses waits a little until it has counted all that
// the peers have seen.
func (r *slowRun) countCloses(ctx context.Context, before, seen int64) (int64, error) {
	deadline := time.After(5 * time.Second)
	for {
		after, err := r.closes(ctx)
		if err != nil || after-before >= seen {
			return after - before, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			return after - before, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// slowLoad returns the load of messages to the slow peers.
func (r *slowRun) slowLoad() sideLoad {
	return sideLoad{
		send: func(ctx context.Context, begin, end time.Duration) {
			s := &schedule{begin: begin, end: end, rate: r.config.SlowRate, clients: len(r.writers)}
			r.writing.Store(s)
			s.run(ctx, r.tally.Now, func(i int) { r.writers[i].Pump() })
		},
		sent: r.aside.answered.Load,
	}
}

// await waits until value is want, as long as a run of pairs waits at its end.
func (r *slowRun) await(ctx context.Context, value func() int64, want int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.pairsRun.config.Drain, fmt.Errorf("loadtest: messages to slow peers were still under way after %v", r.pairsRun.config.Drain))
	defer cancel()
	return r.until(ctx, value, want)
}

// ends returns how the slow peers' sessions ended, counted by kind. The peers
// read again, only to see that; it cuts sessions that the server leaves open for
// ClosePatience.
func (r *slowRun) ends(ctx context.Context) (map[string]int64, error) {
	var kinds counts
	var done atomic.Int64
	r.enter("closes", done.Load, int64(len(r.peers)))
	patience, cancel := context.WithTimeout(ctx, r.config.ClosePatience)
	defer cancel()
	err := each(ctx, r.peers, len(r.peers), func(_ context.Context, c *Client) error {
		kind := "left open"
		if err := c.drained(patience); err != nil {
			kind = failureKind(err)
		}
		kinds.add(kind)
		done.Add(1)
		return nil
	})
	return kinds.all(), err
}

// catchUp logs in the slow peers again and waits for what they missed.
func (r *slowRun) catchUp(ctx context.Context, report *SlowReport) error {
	logins := newRecorder()
	var done atomic.Int64
	r.enter("next login", done.Load, int64(len(r.peers)))
	ctx, cancel := context.WithTimeoutCause(ctx, r.pairsRun.config.Drain, fmt.Errorf("loadtest: the slow peers had not logged in again after %v", r.pairsRun.config.Drain))
	defer cancel()
	began := r.tally.Now()
	err := each(ctx, r.peers, len(r.peers), func(ctx context.Context, c *Client) error {
		_, at, err := c.reconnect(ctx)
		if err != nil {
			return err
		}
		logins.record(at - began)
		done.Add(1)
		return nil
	})
	for _, c := range r.peers {
		report.Caught += c.caughtUp()
	}
	report.Login = logins.latency()
	return err
}
