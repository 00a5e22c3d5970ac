package loadtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// backlogSenders is the most conversations that a backlog is spread over.
	backlogSenders = 4
	// senderConversations is the most users that one sender writes to. A server
	// lets a user begin 200 conversations in an hour.
	senderConversations = 100
	// prepareWindow bounds the sends of one sender that wait for their answers.
	prepareWindow = 64
	// loginPatience and a millisecond for each message bound the time of the run.
	loginPatience = 5 * time.Minute
)

// LoginConfig describes users who come back at once, each to a backlog. Users,
// Backlog and Body are needed.
type LoginConfig struct {
	Config
	Users   int
	Backlog int // messages that wait for each user, from up to four others
	Body    int // bytes of each message's body as stored, MinBody to MaxBody
}

// LoginReport is the outcome of Login.
type LoginReport struct {
	Scenario          string  `json:"scenario"`
	Codec             string  `json:"codec"`
	Users             int     `json:"users"`
	Backlog           int     `json:"backlog"`
	Body              int     `json:"body"`
	PrepareSeconds    float64 `json:"prepareSeconds"`
	Seconds           float64 `json:"seconds"` // until the last user had everything
	LoginsPerSecond   float64 `json:"loginsPerSecond"`
	MessagesPerSecond float64 `json:"messagesPerSecond"`
	// Answer runs from dialing to the reply to login, Login from dialing until
	// onSynced and the last message have come.
	Answer    Latency `json:"dialToReply"`
	Login     Latency `json:"dialToSynced"`
	Sent      int64   `json:"sent"`
	Delivered int64   `json:"delivered"`
	Server    *Usage  `json:"server,omitempty"` // per million messages delivered
	Generator *Usage  `json:"generator,omitempty"`
	// CPUPerLoginMS is what a login with its backlog costs the server.
	CPUPerLoginMS float64 `json:"serverCpuPerLoginMs,omitempty"`
	Verdict
}

// Login fills the offline queues of users, then logs in all of them at once.
// Violations are in the report; an error means that there is none.
func Login(ctx context.Context, config LoginConfig) (*LoginReport, error) {
	switch {
	case config.Users < 1 || config.Users > MaxUsers:
		return nil, fmt.Errorf("loadtest: LoginConfig.Users %d: want 1 to %d", config.Users, MaxUsers)
	case config.Backlog < 1 || config.Backlog > 1e6:
		return nil, fmt.Errorf("loadtest: LoginConfig.Backlog %d: want 1 to 1000000", config.Backlog)
	case config.Body < MinBody || config.Body > MaxBody:
		return nil, fmt.Errorf("loadtest: LoginConfig.Body %d: want %d to %d bytes", config.Body, MinBody, MaxBody)
	}
	atOnce := config.Parallel
	if atOnce == 0 {
		atOnce = config.Users
	}
	ctx, common, end, err := begin(ctx, config.Config, config.Users+config.senders())
	if err != nil {
		return nil, err
	}
	defer end()
	r := &loginRun{run: common, config: config, atOnce: atOnce, kinds: [2]string{"s", "u"}, count: common.tally}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	report := &LoginReport{
		Scenario: "login", Codec: config.Server.Codec.Name(),
		Users: config.Users, Backlog: config.Backlog, Body: bodySize(config.Body),
	}
	err = r.work(ctx, report)
	report.Sent, report.Delivered = r.tally.sent.Load(), r.tally.delivered.Load()
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

// spread returns how many conversations each backlog is spread over.
func (c *LoginConfig) spread() int { return min(backlogSenders, c.Backlog) }

// senders returns how many users are needed to write the backlogs.
func (c *LoginConfig) senders() int {
	return max(c.spread(), (c.Users*c.spread()+senderConversations-1)/senderConversations)
}

// A loginRun is a run of Login; Siege uses one for the users who are absent.
type loginRun struct {
	*run
	config  LoginConfig
	atOnce  int
	kinds   [2]string // kinds, in their names, of senders and users
	count   *Tally    // counts what both do
	senders []*Client
	users   []*Client
}

// A leg is what one sender still has to write to one conversation.
type leg struct {
	to       protocol.Conv
	messages int
}

func (r *loginRun) prepare() error {
	spread, senders := r.config.spread(), r.config.senders()
	legs := make([][]leg, senders)
	for i := range senders {
		c, err := r.client(r.kinds[0], i, ClientConfig{Tally: r.count, Window: prepareWindow, Next: roundRobin(&legs[i])})
		if err != nil {
			return err
		}
		r.senders = append(r.senders, c)
	}
	for i := range r.config.Users {
		c, err := r.client(r.kinds[1], i, ClientConfig{Tally: r.count})
		if err != nil {
			return err
		}
		r.users = append(r.users, c)
		for j := range spread {
			n := (i*spread + j) % senders
			s := r.stream(r.senders[n], c, r.config.Body)
			r.senders[n].Converse(c.User(), s, nil)
			c.Converse(r.senders[n].User(), nil, s)
			share := (r.config.Backlog - j + spread - 1) / spread
			legs[n] = append(legs[n], leg{protocol.UserConv(c.User()), share})
		}
	}
	return nil
}

// roundRobin returns a ClientConfig.Next that sends on all legs by turns, so that
// backlogs are interleaved as they are in life.
func roundRobin(legs *[]leg) func(time.Duration) (protocol.Conv, time.Duration, bool) {
	next := 0
	return func(now time.Duration) (protocol.Conv, time.Duration, bool) {
		for idle := 0; idle < len(*legs); idle++ {
			l := &(*legs)[next%len(*legs)]
			next++
			if l.messages > 0 {
				l.messages--
				return l.to, now, true
			}
		}
		return protocol.Conv{}, 0, false
	}
}

func (r *loginRun) work(ctx context.Context, report *LoginReport) error {
	ctx, cancel := context.WithTimeoutCause(ctx, loginPatience+time.Duration(r.config.Users*r.config.Backlog)*time.Millisecond, errLoginPatience)
	defer cancel()
	if err := r.fill(ctx, report); err != nil {
		return err
	}
	if err := r.storm(ctx, report); err != nil {
		return err
	}
	return r.audit(ctx)
}

var errLoginPatience = fmt.Errorf("loadtest: the run took longer than %v and a millisecond per message", loginPatience)

// fill sends the backlogs to users who are not logged in.
func (r *loginRun) fill(ctx context.Context, report *LoginReport) error {
	began := r.tally.Now()
	total := int64(r.config.Users * r.config.Backlog)
	r.enter("prepare", r.count.answered.Load, total)
	err := each(ctx, r.senders, r.run.config.Parallel, func(ctx context.Context, c *Client) error { return c.Connect(ctx) })
	if err != nil {
		return err
	}
	if err := r.until(ctx, r.count.answered.Load, total); err != nil {
		return err
	}
	report.PrepareSeconds = (r.tally.Now() - began).Seconds()
	return nil
}

// storm logs in all users at once and waits until they have everything.
func (r *loginRun) storm(ctx context.Context, report *LoginReport) error {
	before, err := r.reading()
	if err != nil {
		return err
	}
	var done, last atomic.Int64
	answers, logins := newRecorder(), newRecorder()
	r.enter("login", done.Load, int64(len(r.users)))
	err = each(ctx, r.users, r.atOnce, func(ctx context.Context, c *Client) error {
		began := before.at
		if r.atOnce < len(r.users) {
			began = r.tally.Now() // its turn has only come now
		}
		if err := c.Connect(ctx); err != nil {
			return err
		}
		answers.record(r.tally.Now() - began)
		synced, err := c.Synced(ctx)
		if err != nil {
			return err
		}
		arrived, err := c.Await(ctx, r.config.Backlog)
		if err != nil {
			return err
		}
		at := max(synced, arrived)
		logins.record(at - began)
		raise(&last, int64(at))
		done.Add(1)
		return nil
	})
	if err != nil {
		return err
	}
	after, err := r.reading()
	if err != nil {
		return err
	}
	elapsed := time.Duration(last.Load()) - before.at
	report.Seconds = elapsed.Seconds()
	report.LoginsPerSecond = float64(len(r.users)) / report.Seconds
	report.MessagesPerSecond = float64(after.delivered-before.delivered) / report.Seconds
	report.Answer, report.Login = answers.latency(), logins.latency()
	if after.known {
		report.Server = usageBetween(before.server, after.server, after.at-before.at, after.delivered-before.delivered)
		report.Generator = usageBetween(before.self, after.self, after.at-before.at, after.delivered-before.delivered)
		report.CPUPerLoginMS = report.Server.CPUSeconds * 1000 / float64(len(r.users))
	}
	return nil
}
