package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// ownedGroups is how many groups one owner makes. A server lets a user own 100.
	ownedGroups = 100
	// backlogMessages and backlogBytes are what a server pushes of groups in one
	// login, and backlogOverhead about what counts beside a body.
	backlogMessages = 1000
	backlogBytes    = 1 << 20
	backlogOverhead = 300
	// fullFrame is the size from which an onSynced may leave groups out: it has to
	// fit a frame.
	fullFrame = protocol.MaxFrame * 3 / 4
	// joinedEvery is how often a user is asked whether he is in all groups yet.
	joinedEvery = 20 * time.Millisecond
)

// GroupLoginConfig says who logs in to how many groups. Users, Groups, Unread,
// Body and Rounds are needed.
type GroupLoginConfig struct {
	Config
	Users   int // each a member of all groups
	Groups  int
	Unread  int // messages in each group
	Body    int // bytes of each message's body as stored, MinBody to MaxBody
	Rounds  int // logins of each user, of both kinds, one after the other
	Backlog int // messages of each group that a login asks for, 0-100
}

// GroupLoginReport is the outcome of GroupLogin. Latencies are from the request to
// onSynced, on a connection that is open.
type GroupLoginReport struct {
	Scenario       string  `json:"scenario"`
	Codec          string  `json:"codec"`
	Users          int     `json:"users"`
	Groups         int     `json:"groups"`
	Unread         int     `json:"unread"`
	Backlog        int     `json:"backlog"`
	Body           int     `json:"body"`
	PrepareSeconds float64 `json:"prepareSeconds"`
	New            Latency `json:"newDevice"` // without cursors
	NewPushed      int     `json:"newDevicePushed"`
	// Named is how many groups onSynced named; the others had no room in its frame.
	Named int `json:"named"`
	// Returning logins have the cursors that the login before gave them, of as
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

// A groupLoginRun is a run of logins of users with groups.
type groupLoginRun struct {
	*run
	config GroupLoginConfig
	owners []*Client
	ready  []atomic.Bool // owners whose groups are made
	legs   [][]leg       // what each sends once he is ready
	groups map[string]*groupSender
	users  []string
	body   []byte // to compare with
}

// GroupLogin makes groups with unread messages and has their members log in one
// after the other. Its error says why there is no report.
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
	common.receivers = 0 // what the owners send is pushed to nobody who stays
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

// fill makes the groups and sends what is to be unread.
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

// joined waits until a user's list has all groups: he learns of them by mail.
func (r *groupLoginRun) joined(ctx context.Context, user string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settlePatience, fmt.Errorf("loadtest: %s was not in all groups within %v", user, settlePatience))
	defer cancel()
	for {
		v, err := r.login(ctx, user, protocol.LoginArgs{Recents: protocol.RecentsOff})
		if err != nil {
			return err
		}
		var list protocol.GroupsOK
		err = v.call(protocol.OpGetGroups, nil, &list)
		v.socket.close()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", user, err)
		case len(list.Groups) == r.config.Groups:
			return nil
		}
		select {
		case <-time.After(joinedEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A visit is one login that was measured.
type visit struct {
	*reader
	took    time.Duration     // from the request to onSynced
	frames  [][]byte          // those of messages, before that
	count   int               // messages in them
	end     int               // bytes of the frame of onSynced
	cursors map[string]string // of groups, as the frames give them
}

// login opens a connection and logs in, and gives the time of the latter. What is
// pushed is decoded later: it is the server's time that counts.
func (r *groupLoginRun) login(ctx context.Context, user string, args protocol.LoginArgs) (*visit, error) {
	token, err := r.run.config.Server.Token(user)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("not through within %v", connectTimeout))
	defer cancel()
	socket, err := dial(ctx, &r.run.config.Server, len(r.owners))
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, socket.cut)()
	v := &visit{reader: &reader{socket: socket}}
	args.Token, args.Device, args.AutoRead = token, "load", true
	began := time.Now()
	err = v.call(protocol.OpLogin, &args, new(protocol.LoginOK))
	for err == nil && v.synced == nil {
		var payload []byte
		if payload, err = v.frame(); err != nil {
			break
		}
		var f protocol.ServerFrame
		f, err = protocol.DecodeServerFrame(socket.codec, payload)
		switch f.Op {
		case protocol.OpOnNewMessage:
			v.frames = append(v.frames, bytes.Clone(payload))
		case protocol.OpOnSynced:
			v.took, v.end = time.Since(began), len(payload)
			v.synced = new(protocol.Synced)
			err = f.Decode(v.synced)
		}
	}
	if err != nil {
		socket.cut()
		return nil, errors.Join(fmt.Errorf("%s: login: %w", user, err), context.Cause(ctx))
	}
	return v, nil
}

// logins has users log in, each by turns as a new device and as one that returns.
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
			report.NewPushed, report.Named = v.count, len(v.synced.Conversations)+len(v.synced.Groups)
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
	report.New, report.Returning = fresh.latency(), returning.latency()
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

// groupCursors are those that the login gave, as many as the next may name.
func (v *visit) groupCursors() (cursors []protocol.GroupCursor) {
	for _, list := range [][]protocol.Conversation{v.synced.Conversations, v.synced.Groups} {
		for i := range list {
			if c := &list[i]; c.Conv.Group && c.Cursor != "" {
				v.cursors[c.Conv.ID] = c.Cursor
			}
		}
	}
	for group, cursor := range v.cursors {
		if len(cursors) < protocol.MaxLoginGroups {
			cursors = append(cursors, protocol.GroupCursor{Group: group, Cursor: cursor})
		}
	}
	return cursors
}

// checked logs in, hangs up, and verifies what came.
func (r *groupLoginRun) checked(ctx context.Context, user string, args protocol.LoginArgs) (*visit, error) {
	v, err := r.login(ctx, user, args)
	if err != nil {
		return nil, err
	}
	v.socket.close()
	wrong := func(format string, values ...any) {
		r.tally.violated(fmt.Errorf("%s: login: %w", user, fmt.Errorf(format, values...)))
	}
	v.cursors = map[string]string{}
	last := map[string]uint64{} // seq by group
	for _, frame := range v.frames {
		f, err := protocol.DecodeServerFrame(v.socket.codec, frame)
		var p protocol.NewMessage
		if err == nil {
			err = f.Decode(&p)
		}
		if err != nil {
			wrong("onNewMessage: %w", err)
			continue
		}
		for _, c := range p.GroupCursors {
			v.cursors[c.Group] = c.Cursor
		}
		for i := range p.Messages {
			v.count++
			if err := r.message(last, &p.Messages[i]); err != nil {
				wrong("%s: seq %d: %w", p.Messages[i].Conv, p.Messages[i].Seq, err)
			}
		}
	}
	for group, seq := range last {
		if seq != uint64(r.config.Unread) {
			wrong("g:%s: what was pushed ends with seq %d, want %d", group, seq, r.config.Unread)
		}
	}
	if want, bytes := r.pushes(len(args.Groups)); bytes <= backlogBytes && v.count != want {
		wrong("%d messages were pushed, want %d", v.count, want)
	}
	r.synced(v, wrong)
	return v, nil
}

// message checks one that was pushed, after those up to last in its group.
func (r *groupLoginRun) message(last map[string]uint64, m *protocol.Message) error {
	s := r.groups[m.Conv.ID]
	if s == nil || !m.Conv.Group || m.From != s.stream.from {
		return fmt.Errorf("it is from %s, who does not write there", m.From)
	}
	counter, _, err := parseBody(m.Body, s.stream.id, s.stream.size, r.body)
	before := last[m.Conv.ID]
	last[m.Conv.ID] = m.Seq
	switch {
	case err != nil:
		return err
	case counter != m.Seq:
		return fmt.Errorf("it is message %d", counter)
	case before > 0 && m.Seq != before+1:
		return fmt.Errorf("it came after seq %d", before)
	}
	return nil
}

// synced checks what onSynced says.
func (r *groupLoginRun) synced(v *visit, wrong func(format string, values ...any)) {
	p := v.synced
	if n := len(p.Conversations) + len(p.Groups); n > r.config.Groups || n < r.config.Groups && v.end < fullFrame {
		wrong("onSynced names %d groups in %d bytes, want %d", n, v.end, r.config.Groups)
	}
	for _, list := range [][]protocol.Conversation{p.Conversations, p.Groups} {
		for i := range list {
			if c := &list[i]; r.groups[c.Conv.ID] == nil || c.LastSeq != uint64(r.config.Unread) || c.Unread != r.config.Unread {
				wrong("onSynced says of %s: last seq %d, %d unread; want %d of both", c.Conv, c.LastSeq, c.Unread, r.config.Unread)
			}
		}
	}
	if want := r.config.Groups * r.config.Unread; p.UnreadTotal != want {
		wrong("onSynced says that %d messages are unread, want %d", p.UnreadTotal, want)
	}
	if p.Reset || len(p.Lost) > 0 {
		wrong("onSynced says reset: %v, lost: %v; want neither", p.Reset, p.Lost)
	}
}

// pushes is how many messages a login with so many cursors is pushed, and about
// how many bytes that is.
func (r *groupLoginRun) pushes(cursors int) (messages, bytes int) {
	of := r.config.Groups - cursors
	messages = min(of*min(r.config.Unread, r.config.Backlog), backlogMessages)
	return messages, messages * (r.config.Body + backlogOverhead)
}
