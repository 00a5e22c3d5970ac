package loadtest

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// MaxChatroom is how many members a chatroom has room for.
const MaxChatroom = 10_000

// ChatroomConfig describes a chatroom that loses all its sessions at once.
// Members, Online, Body and Rate are needed.
type ChatroomConfig struct {
	Config
	Members int
	Online  int // members with a session, the one who sends included
	Body    int // bytes of each message's body as stored, MinBody to MaxBody
	Rate    int // messages per second
	// Lead is how long messages flow before the loss, and Trail after all are
	// back.
	Lead, Trail time.Duration
	Loss
}

// ChatroomReport is the outcome of Chatroom.
type ChatroomReport struct {
	Scenario     string  `json:"scenario"`
	Codec        string  `json:"codec"`
	Members      int     `json:"members"`
	Online       int     `json:"online"`
	Body         int     `json:"body"`
	Rate         int     `json:"rate"`
	SetupSeconds float64 `json:"setupSeconds"` // until the group was made and all had logged in
	Storm
	Ack       Latency          `json:"sendToAck"` // from the first message to the last
	Delivery  Latency          `json:"sendToDelivered"`
	Sent      int64            `json:"sent"`
	Delivered int64            `json:"delivered"`
	Missed    int64            `json:"missed"`  // of those delivered: came with a sync after the loss
	Fetched   int64            `json:"fetched"` // of those delivered: left out by the sync
	Refused   map[string]int64 `json:"refused,omitempty"`
	Verdict
}

func (c *ChatroomConfig) check() error {
	switch {
	case c.Members < 2 || c.Members > MaxChatroom:
		return fmt.Errorf("loadtest: ChatroomConfig.Members %d: want 2 to %d", c.Members, MaxChatroom)
	case c.Online < 2 || c.Online > c.Members:
		return fmt.Errorf("loadtest: ChatroomConfig.Online %d: want 2 to %d, all of them members", c.Online, c.Members)
	case c.Body < MinBody || c.Body > MaxBody:
		return fmt.Errorf("loadtest: ChatroomConfig.Body %d: want %d to %d bytes", c.Body, MinBody, MaxBody)
	case c.Rate < 1 || c.Rate > 1e6:
		return fmt.Errorf("loadtest: ChatroomConfig.Rate %d: want 1 to 1000000", c.Rate)
	case c.Lead < 0 || c.Trail < 0:
		return fmt.Errorf("loadtest: ChatroomConfig.Lead, Trail: %v, %v: want at least 0", c.Lead, c.Trail)
	}
	return c.Loss.check()
}

// A chatroomRun is a run of Chatroom.
type chatroomRun struct {
	*run
	config   ChatroomConfig
	schedule atomic.Pointer[schedule] // nil until sending begins
	group    *group                   // set before that
	halt     atomic.Bool              // sending is over
}

// Chatroom runs the chatroom scenario: one member sends, while all members lose
// their sessions at once and come back at once with their cursors. All have to
// get every message. Violations are in the report; an error means that there is
// none.
func Chatroom(ctx context.Context, config ChatroomConfig) (*ChatroomReport, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	ctx, common, end, err := begin(ctx, config.Config, config.Online)
	if err != nil {
		return nil, err
	}
	defer end()
	r := &chatroomRun{run: common, config: config}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	report := &ChatroomReport{
		Scenario: "chatroom", Codec: config.Server.Codec.Name(), Members: config.Members, Online: config.Online,
		Body: bodySize(config.Body), Rate: config.Rate,
	}
	err = r.work(ctx, report)
	report.Ack, report.Delivery = r.tally.ack.latency(), r.tally.delivery.latency()
	report.Sent, report.Delivered, report.Refused = r.tally.sent.Load(), r.tally.delivered.Load(), r.tally.Refused()
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *chatroomRun) prepare() error {
	for i := range r.config.Online {
		config := ClientConfig{Recents: protocol.RecentsQuiet, AckEvery: groupAckEvery, Resume: true}
		if i == 0 {
			var turn position
			config.Window = MaxWindow
			config.Next = func(now time.Duration) (to protocol.Conv, at time.Duration, ok bool) {
				s := r.schedule.Load()
				if s == nil || r.halt.Load() {
					return protocol.Conv{}, 0, false
				}
				at, ok = turn.next(s, 0, now)
				return protocol.GroupConv(r.group.id), at, ok
			}
		}
		if _, err := r.client("m", i, config); err != nil {
			return err
		}
	}
	return nil
}

func (r *chatroomRun) work(ctx context.Context, report *ChatroomReport) error {
	began := r.tally.Now()
	if err := r.gather(ctx); err != nil {
		return err
	}
	begin := r.tally.Now()
	report.SetupSeconds = (begin - began).Seconds()

	r.tally.Measure(begin, math.MaxInt64)
	s := &schedule{begin: begin, end: math.MaxInt64, rate: r.config.Rate, clients: 1}
	r.schedule.Store(s)
	sending, stop := context.WithCancel(ctx)
	var pace sync.WaitGroup
	defer pace.Wait()
	defer stop()
	pace.Go(func() { s.run(sending, r.tally.Now, func(int) { r.clients[0].Pump() }) })

	r.enter("all there", r.secondsSince(begin), int64(r.config.Lead.Seconds()))
	if err := r.sleepUntil(ctx, begin+r.config.Lead); err != nil {
		return err
	}
	storm := storm{run: r.run, loss: r.config.Loss, writers: r.clients[:1], others: r.clients[1:], parallel: r.config.Parallel,
		fetchRest: func(ctx context.Context, c *Client) error { return c.catchUp(ctx) }}
	if err := storm.pass(ctx, &report.Storm); err != nil {
		return err
	}
	back := r.tally.Now()
	r.enter("all back", r.secondsSince(back), int64(r.config.Trail.Seconds()))
	if err := r.sleepUntil(ctx, back+r.config.Trail); err != nil {
		return err
	}
	r.halt.Store(true)
	stop()
	pace.Wait()
	if err := r.settle(ctx, settlePatience); err != nil {
		return err
	}
	for _, c := range r.clients {
		report.Missed += c.caughtUp()
	}
	report.Fetched = r.group.fetched.Load()
	return r.audit(ctx)
}

// gather makes the group and logs in the members who are online.
func (r *chatroomRun) gather(ctx context.Context) error {
	var users []string
	for _, c := range r.clients[1:] {
		users = append(users, c.User())
	}
	for i := r.config.Online; i < r.config.Members; i++ {
		users = append(users, r.run.config.Prefix+"x"+strconv.Itoa(i))
	}
	id, err := r.createGroup(ctx, r.clients[0], protocol.KindChatroom, users)
	if err != nil {
		return err
	}
	receivers := r.config.Online - 1
	r.group, r.receivers = newGroup(id, false, r.run.config.Server.Codec, receivers, knownMessages), int64(receivers)
	r.group.sender(r.clients[0].User(), r.config.Body, 0)
	for _, c := range r.clients {
		c.join(r.group)
	}
	return r.connectAll(ctx, r.clients[1:])
}
