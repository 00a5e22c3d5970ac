package loadtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// ownedGroups is how many groups one owner makes. A server lets a user own 100.
	ownedGroups = 100
	// backlogMessages and backlogBytes bound what a server pushes of groups in
	// one login; backlogOverhead is about what a message counts for beside its
	// body.
	backlogMessages = 1000
	backlogBytes    = 1 << 20
	backlogOverhead = 300
	// joinedEvery is the time between two reads of a user's list of groups, until
	// it has all.
	joinedEvery = 20 * time.Millisecond
)

// GroupLoginConfig describes users who log in and are members of many groups.
// Users, Groups, Unread, Body and Rounds are needed.
type GroupLoginConfig struct {
	Config
	Users   int // each a member of all groups
	Groups  int
	Unread  int // messages in each group
	Body    int // bytes of each message's body as stored, MinBody to MaxBody
	Rounds  int // logins of each user as a new device, and as many as a returning one
	Backlog int // messages of each group that a login asks for, 0-100
}

// GroupLoginReport is the outcome of GroupLogin. Latencies run from the login
// request to onSynced, on an open connection.
type GroupLoginReport struct {
	Scenario        string  `json:"scenario"`
	Codec           string  `json:"codec"`
	Users           int     `json:"users"`
	Groups          int     `json:"groups"`
	Unread          int     `json:"unread"`
	Backlog         int     `json:"backlog"`
	Body            int     `json:"body"`
	PrepareSeconds  float64 `json:"prepareSeconds"`
	NewDevice       Latency `json:"newDevice"` // without cursors
	NewDevicePushed int     `json:"newDevicePushed"`
	// Returning logins have the cursors that the login before returned, for as
	// many groups as a login may name.
	Returning       Latency `json:"returning"`
	ReturningPushed int     `json:"returningPushed"`
	Server          *Usage  `json:"server,omitempty"` // per million logins
	CPUPerLoginMS   float64 `json:"serverCpuPerLoginMs,omitempty"`
	Verdict
}

func (c *GroupLoginConfig) check() error {
	switch {
	case c.Users < 1 || c.Users > MaxUsers:
		return fmt.Errorf("loadtest: GroupLoginConfig.Users %d: want 1 to %d", c.Users, MaxUsers)
	case c.Groups < 1 || c.Groups > MaxUsers:
		return fmt.Errorf("loadtest: GroupLoginConfig.Groups %d: want 1 to %d", c.Groups, MaxUsers)
	case c.Unread < 1 || c.Unread > 1e6:
		return fmt.Errorf("loadtest: GroupLoginConfig.Unread %d: want 1 to 1000000", c.Unread)
	case c.Body < MinBody || c.Body > MaxBody:
		return fmt.Errorf("loadtest: GroupLoginConfig.Body %d: want %d to %d bytes", c.Body, MinBody, MaxBody)
	case c.Rounds < 1:
		return fmt.Errorf("loadtest: GroupLoginConfig.Rounds %d: want at least 1", c.Rounds)
	case c.Backlog < 0 || c.Backlog > protocol.MaxGroupBacklog:
		return fmt.Errorf("loadtest: GroupLoginConfig.Backlog %d: want 0 to %d", c.Backlog, protocol.MaxGroupBacklog)
	}
	return nil
}

// A groupLoginRun is a run of GroupLogin.
type groupLoginRun struct {
	*run
	config GroupLoginConfig
	owners []*Client
	ready  []atomic.Bool // owners whose groups are made
	legs   [][]leg       // what each owner sends once ready
	groups map[string]*groupSender
	users  []string
	body   []byte // memory for parseBody
}

// GroupLogin makes groups with unread messages and logs in their members, one
// after the other. Violations are in the report; an error means that there is
// none.
func GroupLogin(ctx context.Context, config GroupLoginConfig) (*GroupLoginReport, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	owners := (config.Groups + ownedGroups - 1) / ownedGroups
	ctx, common, end, err := begin(ctx, config.Config, owners+1)
	if err != nil {
		return nil, err
	}
	defer end()
	common.receivers = 0 // nobody is logged in whom the owners' messages are pushed to
	r := &groupLoginRun{run: common, config: config, groups: map[string]*groupSender{},
		ready: make([]atomic.Bool, owners), legs: make([][]leg, owners), body: make([]byte, 0, bodySize(config.Body))}
	for i := range owners {
		next := roundRobin(&r.legs[i])
		c, err := r.client("o", i, ClientConfig{Window: prepareWindow, Next: func(now time.Duration) (protocol.Conv, time.Duration, bool) {
			if !r.ready[i].Load() {
				return protocol.Conv{}, 0, false
			}
			return next(now)
		}})
		if err != nil {
			return nil, err
		}
		r.owners = append(r.owners, c)
	}
	for i := range config.Users {
		r.users = append(r.users, fmt.Sprintf("%su%d", common.config.Prefix, i))
	}
	report := &GroupLoginReport{
		Scenario: "login", Codec: config.Server.Codec.Name(), Users: config.Users, Groups: config.Groups,
		Unread: config.Unread, Backlog: config.Backlog, Body: bodySize(config.Body),
	}
	err = r.work(ctx, report)
	if report.Verdict, err = r.verdict(err); err != nil {
		return nil, err
	}
	return report, nil
}

func (r *groupLoginRun) work(ctx context.Context, report *GroupLoginReport) error {
	began := r.tally.Now()
	if err := r.fill(ctx); err != nil {
		return err
	}
	for _, user := range r.users {
		if err := r.joined(ctx, user); err != nil {
			return err
		}
	}
	report.PrepareSeconds = (r.tally.Now() - began).Seconds()
	if err := r.logins(ctx, report); err != nil {
		return err
	}
	return r.audit(ctx)
}

// fill makes the groups and sends the messages that are to be unread.
func (r *groupLoginRun) fill(ctx context.Context) error {
	err := r.connectAll(ctx, r.owners)
	if err != nil {
		return err
	}
	var made atomic.Int64
	r.enter("make groups", made.Load, int64(r.config.Groups))
	for i := range r.config.Groups {
		n := i / ownedGroups
		owner := r.owners[n]
		id, err := r.createGroup(ctx, owner, protocol.KindPublic, r.users)
		if err != nil {
			return err
		}
		g := newGroup(id, false, r.run.config.Server.Codec, 0, 1)
		r.groups[id] = g.sender(owner.User(), r.config.Body, 0)
		owner.join(g)
		r.legs[n] = append(r.legs[n], leg{protocol.GroupConv(id), r.config.Unread})
		made.Add(1)
	}
	total := int64(r.config.Groups * r.config.Unread)
	r.enter("fill groups", r.tally.answered.Load, total)
	for i, owner := range r.owners {
		r.ready[i].Store(true)
		owner.Pump()
	}
	return r.until(ctx, r.tally.answered.Load, total)
}

// joined waits until a user's list has all groups: their shard learns of them by letter.
func (r *groupLoginRun) joined(ctx context.Context, user string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settlePatience, fmt.Errorf("loadtest: %s was not in all groups within %v", user, settlePatience))
	defer cancel()
	for {
		v, err := r.login(ctx, user, protocol.LoginArgs{Recents: protocol.RecentsOff})
		if err != nil {
			return err
		}
		var list protocol.GroupsOK
		var args protocol.GetGroupsArgs
		groups := 0
		for more := true; more && err == nil; more = list.More {
			err = v.call(protocol.OpGetGroups, &args, &list)
			if n := len(list.Groups); n > 0 {
				groups, args.After = groups+n, list.Groups[n-1].Group
			}
		}
		v.socket.close()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", user, err)
		case groups == r.config.Groups:
			return nil
		}
		select {
		case <-time.After(joinedEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// logins logs in each user several times, by turns as a new device and as one
// that returns, and measures it.
func (r *groupLoginRun) logins(ctx context.Context, report *GroupLoginReport) error {
	before, err := r.reading()
	if err != nil {
		return err
	}
	var done atomic.Int64
	r.enter("login", done.Load, int64(2*r.config.Rounds*len(r.users)))
	fresh, returning := newRecorder(), newRecorder()
	for range r.config.Rounds {
		for _, user := range r.users {
			// Last messages of recents are unread here, so that the backlog holds them.
			args := protocol.LoginArgs{Recents: protocol.RecentsQuiet, GroupBacklog: r.config.Backlog}
			v, err := r.checked(ctx, user, args)
			if err != nil {
				return err
			}
			fresh.record(v.took)
			report.NewDevicePushed = v.count
			done.Add(1)

			args.HasSince, args.Since, args.Groups = true, v.synced.Cursor, v.groupCursors()
			if v, err = r.checked(ctx, user, args); err != nil {
				return err
			}
			returning.record(v.took)
			report.ReturningPushed = v.count
			done.Add(1)
		}
	}
	report.NewDevice, report.Returning = fresh.latency(), returning.latency()
	after, err := r.reading()
	if err != nil {
		return err
	}
	if after.known {
		report.Server = usageBetween(before.server, after.server, after.at-before.at, done.Load())
		report.CPUPerLoginMS = report.Server.CPUSeconds * 1000 / float64(done.Load())
	}
	return nil
}
