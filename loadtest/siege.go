package loadtest

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// healthEvery is the time between two health checks, and between the logins
	// of two newcomers.
	healthEvery = 250 * time.Millisecond
	// vitalsEvery is the time between two reads of the server's vitals.
	vitalsEvery = time.Second
	// askPatience bounds one health check, one read of the vitals and one
	// newcomer's login.
	askPatience = 5 * time.Second
	// absentPatience bounds the logins of the absent users after an attack.
	absentPatience = time.Minute
	// newcomers is the number of users who log in one after the other, and leave.
	newcomers = 20
)

// A SiegeConfig describes users who chat in pairs, first by themselves, then
// while the server is attacked. Users, Body, Rate, Absent, Backlog, Duration,
// Prepare, Vitals and Health are needed.
type SiegeConfig struct {
	Config
	Users   int // who chat in pairs, an even number
	Body    int // bytes of each message's body as stored, MinBody to MaxBody
	Rate    int // messages per second of all pairs together
	Absent  int // users who are away and come back after the attack
	Backlog int // messages that wait for each of them
	// Duration is how long is measured before the attack, and again during it.
	// Warmup comes before each, since an attack takes a while to unfold.
	Duration, Warmup time.Duration
	// Prepare returns the attack, ready to run.
	Prepare func(ctx context.Context) (Besieger, error)
	// Vitals returns what the server reports of itself; Health returns an error
	// if it does not answer.
	Vitals func(ctx context.Context) (Vitals, error)
	Health func(ctx context.Context) error
}

// A Besieger is a prepared attack.
type Besieger interface {
	// Run attacks until ctx ends.
	Run(ctx context.Context) (*AttackReport, error)
	Close()
}

// Vitals are what a server reports of itself.
type Vitals struct {
	Retention float64 `json:"retentionSeconds"` // the shortest of all shards
	Heap      int64   `json:"heapBytes"`        // objects, garbage included
	Users     int64   `json:"usersBytes"`       // what is kept of users beside messages
	Full      bool    `json:"full"`             // sends are refused for want of memory
}

// SiegeReport is the outcome of Siege.
type SiegeReport struct {
	Scenario string        `json:"scenario"`
	Codec    string        `json:"codec"`
	TLS      bool          `json:"tls"`
	Users    int           `json:"users"`
	Body     int           `json:"body"`
	Rate     int           `json:"rate"`
	Absent   int           `json:"absent"`
	Calm     SiegePhase    `json:"calm"`
	Siege    SiegePhase    `json:"siege"`
	Attack   *AttackReport `json:"attack"`

	Sent            int64            `json:"sent"` // by the pairs
	Delivered       int64            `json:"delivered"`
	Refused         map[string]int64 `json:"refused,omitempty"`
	Losses          map[string]int64 `json:"losses,omitempty"` // of the pairs' connections
	AbsentSent      int64            `json:"absentSent"`
	AbsentDelivered int64            `json:"absentDelivered"`
	Verdict
}

// A SiegePhase is what was measured in one phase of Siege.
type SiegePhase struct {
	Phase
	Retention float64 `json:"retentionSeconds"` // the shortest seen
	Heap      int64   `json:"heapBytes"`        // the most seen
	UsersKept int64   `json:"usersBytes"`       // the last seen
	Full      bool    `json:"full"`             // at least once
	// Health is how long health checks took that were answered, each on a
	// connection of its own.
	Health  Latency          `json:"health"`
	Unwell  map[string]int64 `json:"unwell,omitempty"` // health checks and reads of vitals that failed, by kind
	Login   Latency          `json:"newcomerLogin"`    // from dialing to the reply
	Refused map[string]int64 `json:"newcomersRefused,omitempty"`
}

func (c SiegeConfig) check() error {
	switch {
	case c.Rate < 1:
		return fmt.Errorf("loadtest: SiegeConfig.Rate %d: want at least 1", c.Rate)
	case c.Absent < 1 || c.Absent > MaxUsers:
		return fmt.Errorf("loadtest: SiegeConfig.Absent %d: want 1 to %d", c.Absent, MaxUsers)
	case c.Backlog < 1 || c.Backlog > 1e6:
		return fmt.Errorf("loadtest: SiegeConfig.Backlog %d: want 1 to 1000000", c.Backlog)
	case c.Prepare == nil || c.Vitals == nil || c.Health == nil:
		return fmt.Errorf("loadtest: SiegeConfig.Prepare, Vitals, Health: want all three")
	}
	return nil
}

// A siegeRun is a run of Siege.
type siegeRun struct {
	*pairsRun
	config SiegeConfig
	absent *loginRun
}

// Siege runs the siege scenario: users chat in pairs, first by themselves, then
// while the server is attacked. All along newcomers log in and the server's
// health is checked. In the end users who were away log in and have to get
// everything. Violations are in the report; an error means that there is none.
func Siege(ctx context.Context, config SiegeConfig) (*SiegeReport, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	pairs, err := PairsConfig{
		Config: config.Config, Users: config.Users, Body: config.Body, Window: MaxWindow,
		Rate: config.Rate, Duration: config.Duration, Warmup: config.Warmup, Resume: true,
	}.withDefaults()
	if err != nil {
		return nil, err
	}
	absent := LoginConfig{Config: config.Config, Users: config.Absent, Backlog: config.Backlog, Body: config.Body}
	ctx, common, end, err := begin(ctx, config.Config, config.Users+config.Absent+absent.senders())
	if err != nil {
		return nil, err
	}
	defer end()
	aside := NewTally()
	aside.epoch, aside.failed = common.tally.epoch, common.tally.violated
	common.tally.failed = nil // a violation does not end the run: what an attack has cost is known at its end
	r := &siegeRun{
		pairsRun: &pairsRun{run: common, config: pairs}, config: config,
		absent: &loginRun{run: common, config: absent, atOnce: config.Absent, kinds: [2]string{"w", "a"}, count: aside},
	}
	report := &SiegeReport{
		Scenario: "siege", Codec: config.Server.Codec.Name(), Users: config.Users, Body: bodySize(config.Body),
		Rate: config.Rate, Absent: config.Absent,
	}
	err = r.work(ctx, report)
	report.Sent, report.Delivered, report.Refused = r.tally.sent.Load(), r.tally.delivered.Load(), r.tally.Refused()
	report.Losses = r.tally.losses.all()
	report.AbsentSent, report.AbsentDelivered = aside.sent.Load(), aside.delivered.Load()
	if after, before := report.Siege.Retention, report.Calm.Retention; after < before {
		r.tally.violated(fmt.Errorf("messages are kept for %.0f s, because of the attack; want %.0f s", after, before))
	}
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *siegeRun) work(ctx context.Context, report *SiegeReport) error {
	if err := r.prepare(); err != nil {
		return err
	}
	pairs := r.streams
	r.streams = nil // those to absent users are settled later
	if err := r.absent.prepare(); err != nil {
		return err
	}
	toAbsent := r.streams
	r.streams = pairs
	if err := r.absent.fill(ctx, new(LoginReport)); err != nil {
		return err
	}
	chatting := r.clients[:r.config.Users]
	if err := r.connectAll(ctx, chatting); err != nil {
		return err
	}
	defer r.keepConnected(ctx, chatting)()

	r.enter("prepare the attack", nil, 0)
	besieger, err := r.config.Prepare(ctx)
	if err != nil {
		return err
	}
	defer besieger.Close()
	if err := r.watchedPhase(ctx, "calm", nil, &report.Calm); err != nil {
		return err
	}
	if err := r.attackPhase(ctx, besieger, report); err != nil {
		return err
	}
	r.streams = append(r.streams, toAbsent...)
	if err := r.comeBack(ctx); err != nil {
		return err
	}
	return r.audit(ctx)
}

// comeBack logs in the users who were absent. It is a violation if they do not
// get everything.
func (r *siegeRun) comeBack(ctx context.Context) error {
	patient, cancel := context.WithTimeoutCause(ctx, absentPatience, fmt.Errorf("those who were absent do not have everything after %v", absentPatience))
	defer cancel()
	err := r.absent.storm(patient, new(LoginReport))
	if err != nil && ctx.Err() == nil {
		r.tally.violated(err)
		return nil
	}
	return err
}

// attackPhase runs the phase with the attack.
func (r *siegeRun) attackPhase(ctx context.Context, besieger Besieger, report *SiegeReport) error {
	attacking, stop := context.WithCancel(ctx)
	var attack sync.WaitGroup
	var failed error
	attack.Go(func() { report.Attack, failed = besieger.Run(attacking) })
	over := func() { stop(); attack.Wait() }
	defer over()
	if err := r.watchedPhase(ctx, "attack", over, &report.Siege); err != nil {
		return err
	}
	return failed
}

// watchedPhase runs a phase. Meanwhile it reads the server's vitals, checks its health
// and logs in newcomers. over, unless nil, ends what goes on beside the pairs.
func (r *siegeRun) watchedPhase(ctx context.Context, name string, over func(), phase *SiegePhase) error {
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer stop()
	phase.Retention = math.MaxInt64
	var unwell, refused counts
	health, logins := newRecorder(), newRecorder()
	watch.Go(func() {
		every(watching, vitalsEvery, func(ctx context.Context) {
			v, err := r.config.Vitals(ctx)
			if err != nil {
				if watching.Err() == nil {
					unwell.add("metrics: " + failureKind(err))
				}
				return
			}
			phase.UsersKept = v.Users
			phase.Retention, phase.Heap, phase.Full = min(phase.Retention, v.Retention), max(phase.Heap, v.Heap), phase.Full || v.Full
		})
	})
	watch.Go(func() { r.probe(watching, r.config.Health, health, &unwell) })
	n := 0
	watch.Go(func() {
		r.probe(watching, func(ctx context.Context) error { n++; return r.newcomer(ctx, n%newcomers) }, logins, &refused)
	})
	err := r.phase(ctx, name, r.config.Duration, sideLoad{over: over}, &phase.Phase)
	stop()
	watch.Wait()
	phase.Health, phase.Unwell = health.latency(), unwell.all()
	phase.Login, phase.Refused = logins.latency(), refused.all()
	return err
}

// probe calls do again and again until ctx ends, and records how long it took, or
// how it failed.
func (r *siegeRun) probe(ctx context.Context, do func(context.Context) error, took *recorder, failed *counts) {
	every(ctx, healthEvery, func(inner context.Context) {
		began := time.Now()
		err := do(inner)
		switch {
		case err == nil:
			took.record(time.Since(began))
		case ctx.Err() == nil:
			failed.add(failureKind(err))
		}
	})
}

// every calls do at once and then once in each pause, until ctx ends. The context
// that do gets ends after askPatience.
func every(ctx context.Context, pause time.Duration, do func(context.Context)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		inner, cancel := context.WithTimeout(ctx, askPatience)
		do(inner)
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// newcomer logs in as newcomer n, waits for the answer, and leaves.
func (r *siegeRun) newcomer(ctx context.Context, n int) error {
	user := fmt.Sprintf("%sn%d", r.run.config.Prefix, n)
	token, err := r.run.config.Server.Token(user)
	if err != nil {
		return err
	}
	socket, err := dial(ctx, &r.run.config.Server, 0, 0)
	if err != nil {
		return err
	}
	defer socket.close()
	if deadline, ok := ctx.Deadline(); ok {
		socket.conn.SetDeadline(deadline)
	}
	login := protocol.LoginArgs{Token: token, Device: "phone", Recents: protocol.RecentsOff}
	return (&reader{socket: socket}).call(protocol.OpLogin, &login, new(protocol.LoginOK))
}
