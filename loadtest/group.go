package loadtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// groupAckEvery is how many frames a member acks at once. A server's window
	// holds 256.
	groupAckEvery = 16
	// MaxGroupSenders bounds those who send in one group.
	MaxGroupSenders = 1000
)

// GroupConfig describes a group and how it is written to. Kind, Members, Senders,
// Body and Duration are needed.
type GroupConfig struct {
	Config
	Kind    string // one of the protocol's
	Members int    // all online, senders included
	Senders int
	Body    int // bytes of each message's body as stored, MinBody to MaxBody
	// Window bounds, without a rate, the messages of one sender that have not
	// reached all members; 0 = 64.
	Window int
	// Rate is the messages meant to be sent per second, by all senders together.
	// 0 = as fast as the windows allow.
	Rate     int
	Duration time.Duration // of measuring
	Warmup   time.Duration // before it
	Drain    time.Duration // after it, for what is under way; 0 = 30s
}

// GroupReport is the outcome of Group. Rates and latencies are those of the
// measured time; Sent and Delivered count from the first message to the last.
type GroupReport struct {
	Scenario            string  `json:"scenario"`
	Codec               string  `json:"codec"`
	Kind                string  `json:"kind"`
	Members             int     `json:"members"`
	Senders             int     `json:"senders"`
	Body                int     `json:"body"`
	Window              int     `json:"window,omitempty"`
	Rate                int     `json:"rate,omitempty"` // offered
	SetupSeconds        float64 `json:"setupSeconds"`   // until all members had logged in
	Seconds             float64 `json:"seconds"`        // measured
	SendsPerSecond      float64 `json:"sendsPerSecond"`
	DeliveriesPerSecond float64 `json:"deliveriesPerSecond"`
	MessagesPerFrame    float64 `json:"messagesPerFrame"` // of onNewMessage
	Ack                 Latency `json:"sendToAck"`
	Delivery            Latency `json:"sendToDelivered"`
	Late                Latency `json:"late"` // how late messages were sent
	Sent                int64   `json:"sent"`
	Delivered           int64   `json:"delivered"`
	Skipped             int64   `json:"skipped,omitempty"` // by the server, which may do so in a live group
	Unsent              int64   `json:"unsent,omitempty"`  // due, but the windows were full to the end
	// Decoded are the deliveries that were decoded and checked one by one; the
	// others were equal to one of these.
	Decoded   int64            `json:"decoded"`
	Refused   map[string]int64 `json:"refused,omitempty"`
	Server    *Usage           `json:"server,omitempty"` // per million deliveries: µs each
	Generator *Usage           `json:"generator,omitempty"`
	Verdict
}

func (c GroupConfig) withDefaults() (GroupConfig, error) {
	if c.Window == 0 {
		c.Window = 64
	}
	if c.Drain == 0 {
		c.Drain = settlePatience
	}
	switch {
	case !slices.Contains(GroupKinds, c.Kind):
		return c, fmt.Errorf("loadtest: GroupConfig.Kind %q: want one of %v", c.Kind, GroupKinds)
	case c.Members < 2 || c.Members > MaxUsers:
		return c, fmt.Errorf("loadtest: GroupConfig.Members %d: want 2 to %d", c.Members, MaxUsers)
	case c.Senders < 1 || c.Senders > min(c.Members, MaxGroupSenders):
		return c, fmt.Errorf("loadtest: GroupConfig.Senders %d: want 1 to %d, all of them members", c.Senders, MaxGroupSenders)
	case c.Body < MinBody || c.Body > MaxBody:
		return c, fmt.Errorf("loadtest: GroupConfig.Body %d: want %d to %d bytes", c.Body, MinBody, MaxBody)
	case c.Window < 1 || c.Window > MaxWindow:
		return c, fmt.Errorf("loadtest: GroupConfig.Window %d: want 1 to %d", c.Window, MaxWindow)
	case c.Rate < 0 || c.Rate > 1e7:
		return c, fmt.Errorf("loadtest: GroupConfig.Rate %d: want 0 to 10000000", c.Rate)
	case c.Duration <= 0:
		return c, fmt.Errorf("loadtest: GroupConfig.Duration %v: want more than 0", c.Duration)
	case c.Warmup < 0:
		return c, fmt.Errorf("loadtest: GroupConfig.Warmup %v: want at least 0", c.Warmup)
	case c.Drain < 0:
		return c, fmt.Errorf("loadtest: GroupConfig.Drain %v: want at least 0", c.Drain)
	}
	if c.Rate > 0 {
		c.Window = 0
	}
	return c, nil
}

// GroupKinds are the kinds of groups.
var GroupKinds = []string{protocol.KindChatroom, protocol.KindLive, protocol.KindPrivate, protocol.KindPublic}

// A groupRun is a run of Group.
type groupRun struct {
	*run
	config   GroupConfig
	schedule atomic.Pointer[schedule] // nil until sending begins
	group    *group                   // set before that, with its senders
	senders  []*groupSender
	halt     atomic.Bool // sending is over
}

// Group runs the group scenario: some members of one group send, and all receive.
// Violations are in the report; an error means that there is none.
func Group(ctx context.Context, config GroupConfig) (*GroupReport, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, common, end, err := begin(ctx, config.Config, config.Members)
	if err != nil {
		return nil, err
	}
	defer end()
	r := &groupRun{run: common, config: config}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	report := &GroupReport{
		Scenario: "group", Codec: config.Server.Codec.Name(), Kind: config.Kind, Members: config.Members, Senders: config.Senders,
		Body: bodySize(config.Body), Window: config.Window, Rate: config.Rate,
	}
	err = r.work(ctx, report)
	report.Ack, report.Delivery, report.Late = r.tally.ack.latency(), r.tally.delivery.latency(), r.tally.late.latency()
	report.Sent, report.Delivered, report.Skipped = r.tally.sent.Load(), r.tally.delivered.Load(), r.tally.skipped.Load()
	if r.group != nil {
		report.Decoded = r.group.checked.Load()
		report.MessagesPerFrame = r.group.messagesPerFrame()
	}
	report.Refused = r.tally.Refused()
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *groupRun) prepare() error {
	for i := range r.config.Members {
		config := ClientConfig{Recents: protocol.RecentsQuiet, AckEvery: groupAckEvery}
		if i < r.config.Senders {
			var turn position
			config.Window = MaxWindow
			config.Refused = r.refused
			config.Next = func(now time.Duration) (to protocol.Conv, at time.Duration, ok bool) {
				s := r.schedule.Load()
				if s == nil || r.halt.Load() || !r.senders[i].room() {
					return protocol.Conv{}, 0, false
				}
				at, ok = turn.next(s, i, now)
				return protocol.GroupConv(r.group.id), at, ok
			}
		}
		if _, err := r.client("m", i, config); err != nil {
			return err
		}
	}
	return nil
}

// refused ends the run when the server limits the rate of the group, since the
// run is to measure it without limits.
func (r *groupRun) refused(err *protocol.ReplyError) {
	if err.Code == protocol.CodeRateLimited {
		r.tally.failed(errGroupRate)
	}
}

var errGroupRate = fmt.Errorf("loadtest: %s: the server limits the rate of a group; start it with --group-rate 0", protocol.CodeRateLimited)

func (r *groupRun) work(ctx context.Context, report *GroupReport) error {
	began := r.tally.Now()
	if err := r.gather(ctx); err != nil {
		return err
	}
	report.SetupSeconds = (r.tally.Now() - began).Seconds()
	if err := r.send(ctx, report); err != nil {
		return err
	}
	if err := r.settle(ctx, r.config.Drain); err != nil {
		return err
	}
	return r.audit(ctx)
}

// gather makes the group and logs in all members.
func (r *groupRun) gather(ctx context.Context) error {
	var users []string
	for _, c := range r.clients[1:] {
		users = append(users, c.User())
	}
	live := r.config.Kind == protocol.KindLive
	if live {
		users = nil // each session joins for itself
	}
	id, err := r.createGroup(ctx, r.clients[0], r.config.Kind, users)
	if err != nil {
		return err
	}
	receivers := r.config.Members - 1
	r.group, r.receivers = newGroup(id, live, r.run.config.Server.Codec, receivers, knownMessages), int64(receivers)
	for _, c := range r.clients[:r.config.Senders] {
		r.senders = append(r.senders, r.group.sender(c.User(), r.config.Body, r.config.Window))
	}
	for _, c := range r.clients {
		c.join(r.group)
	}
	if err := r.connectAll(ctx, r.clients[1:]); err != nil || !live {
		return err
	}
	return each(ctx, r.clients, r.run.config.Parallel, func(ctx context.Context, c *Client) error {
		return c.request(ctx, protocol.OpJoinGroup, &protocol.GroupArgs{Group: id}, new(protocol.JoinGroupOK))
	})
}

// send lets the senders send for the warm-up and the time to be measured, and
// measures.
func (r *groupRun) send(ctx context.Context, report *GroupReport) error {
	begin := r.tally.Now()
	to := begin + r.config.Warmup + r.config.Duration
	s := &schedule{begin: begin, end: to, rate: r.config.Rate, clients: r.config.Senders}
	r.tally.Measure(to-r.config.Duration, to)
	r.schedule.Store(s)
	defer r.halt.Store(true)

	sending, stop := context.WithCancel(ctx)
	var pace sync.WaitGroup
	defer pace.Wait()
	defer stop()
	pace.Go(func() { s.run(sending, r.tally.Now, func(i int) { r.clients[i].Pump() }) })
	if r.config.Rate == 0 {
		for i, sender := range r.senders {
			pace.Go(func() { sender.pace(sending, r.clients[i].Pump) })
		}
	}
	before, after, err := r.measured(ctx, begin, r.config.Warmup, r.config.Duration)
	if err != nil {
		return err
	}
	report.between(before, after)
	if r.config.Rate == 0 {
		stop()
	}
	pace.Wait() // whoever is woken late still sends what was due
	report.Unsent = max(0, s.total()-r.tally.sent.Load())
	return nil
}

// pace calls pump at first and whenever the window has moved on, until ctx ends.
func (s *groupSender) pace(ctx context.Context, pump func()) {
	for {
		pump()
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// between fills in what was done and used between two readings.
func (p *GroupReport) between(before, after reading) {
	elapsed, sends, deliveries := after.at-before.at, after.answered-before.answered, after.delivered-before.delivered
	p.Seconds = elapsed.Seconds()
	p.SendsPerSecond = float64(sends) / p.Seconds
	p.DeliveriesPerSecond = float64(deliveries) / p.Seconds
	if after.known {
		p.Server = usageBetween(before.server, after.server, elapsed, deliveries)
		p.Generator = usageBetween(before.self, after.self, elapsed, deliveries)
	}
}
