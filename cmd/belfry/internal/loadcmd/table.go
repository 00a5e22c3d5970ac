package loadcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
)

// tableCodec is the codec of all scenarios of the table.
var tableCodec = protocol.Msgpack

// tableOptions hold the flags of load table.
type tableOptions struct {
	dir         string
	shards      []int
	only        []string
	serveFlags  []string
	duration    time.Duration
	hold        time.Duration
	users       int
	connections int
	logins      int
	slow        loadtest.SlowConfig
	group       loadtest.GroupConfig
	chatroom    loadtest.ChatroomConfig
	groupLogin  loadtest.GroupLoginConfig
	siege       *siegeOptions
	fsyncs      int
	output      string
}

// tableScenarios are the parts of the table in their order.
var tableScenarios = []string{"pairs", "rate", "login", "idle", "reconnect", "slow", "group", "chatroom", "groups", siegeScenario}

// siegeScenario runs only when it is asked for: it takes longer than all other
// scenarios together.
const siegeScenario = "siege"

func tableCommand() *cobra.Command {
	var o tableOptions
	cmd := &cobra.Command{
		Use:   "table",
		Short: "All scenarios in one table, against servers of its own",
		Long: `Run all scenarios, one after the other, each against a new server that this
command starts on loopback, with limits off and its data in a temporary folder
in --dir, and print one table: the figures, the bars that Belfry is held to, and
whether they hold. The bars are for a machine with two cores, which generator
and server share. Beside it stands what an fsync takes on that disk by itself,
before and after. Attacks, as load siege makes them, are part of it only with
--only siege; their servers have their limits on.

The exit code is 1 if a run failed or its verification did; a bar that does not
hold is no failure.`,
		Example: `  belfry load table
  belfry load table --shards 1,2,4 --duration 1m
  belfry load table --only pairs,rate --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.bind(cmd.Flags())
	return cmd
}

func (o *tableOptions) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.dir, "dir", ".", "folder for temporary data; its disk is measured")
	fs.IntSliceVar(&o.shards, "shards", []int{1}, "numbers of shards to run pairs with; the other scenarios take the first")
	fs.StringSliceVar(&o.only, "only", nil, "scenarios to run: "+strings.Join(tableScenarios, ", ")+" (default all but "+siegeScenario+")")
	fs.StringArrayVar(&o.serveFlags, "serve-flag", nil, "one more flag for the servers, as --serve-flag=--raft-log=boltdb")
	o.duration, o.hold = 10*time.Second, 10*time.Second
	fs.Var(cli.Duration(&o.duration, 10*time.Millisecond), "duration", "how long to measure pairs")
	fs.Var(cli.Duration(&o.hold, 0), "hold", "how long idle sessions are left alone")
	o.users, o.connections, o.logins, o.fsyncs = 200, 10000, 1000, 1000
	fs.Var(cli.Count(&o.users, 2, loadtest.MaxUsers), "users", "users who chat, two to a pair")
	fs.Var(cli.Count(&o.connections, 1, loadtest.MaxUsers), "connections", "sessions that are idle, or reconnect")
	fs.Var(cli.Count(&o.logins, 1, loadtest.MaxUsers), "logins", "users with a backlog who log in at once")
	fs.Var(cli.Count(&o.fsyncs, 1, loadtest.MaxFsyncs), "fsyncs", "appends that measure the disk")
	o.slow = defaultSlow()
	fs.Var(cli.Count(&o.slow.Slow, 1, loadtest.MaxUsers), "slow", "peers that stop reading")
	fs.Var(cli.Duration(&o.slow.SlowDuration, time.Millisecond), "slow-duration", "how long they do not read")
	o.group, o.chatroom, o.groupLogin = defaultGroup(), defaultChatroom(), defaultGroupLogin()
	fs.Var(cli.Count(&o.group.Members, 2, loadtest.MaxUsers), "members", "members of the group, all online")
	fs.Var(cli.Count(&o.chatroom.Members, 2, loadtest.MaxChatroom), "room-members", "members of the chatroom")
	fs.Var(cli.Count(&o.chatroom.Online, 2, loadtest.MaxChatroom), "room-online", "of them, those who are online")
	fs.Var(cli.Count(&o.groupLogin.Groups, 1, loadtest.MaxUsers), "groups", "groups of those who log in with groups")
	o.siege = defaultSiege()
	o.siege.bind(fs)
	o.output = "table"
	fs.Var(cli.Choice(&o.output, "table", "json"), "output", "form of the report")
}

func (o *tableOptions) run(cmd *cobra.Command) error {
	known := map[string]bool{}
	for _, name := range tableScenarios {
		known[name] = len(o.only) == 0 && name != siegeScenario
	}
	for _, name := range o.only {
		if _, ok := known[name]; !ok {
			return cli.Usagef("--only %s: want some of %s", name, strings.Join(tableScenarios, ", "))
		}
		known[name] = true
	}
	if len(o.shards) == 0 {
		return cli.Usagef("--shards: want at least one number")
	}
	if o.users%2 != 0 {
		return cli.Usagef("--users %d: want an even number", o.users)
	}
	if o.chatroom.Online > o.chatroom.Members {
		return cli.Usagef("--room-online %d: want at most as many as --room-members %d", o.chatroom.Online, o.chatroom.Members)
	}
	if err := o.siege.check(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &tableRun{tableOptions: o, stderr: cmd.ErrOrStderr(), report: tableReport{
		Cores: runtime.NumCPU(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Dir: o.dir,
	}}
	spendMemory()
	t.progress, t.clear = progressOn(t.stderr)
	if err := t.run(ctx, known); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if o.output == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(&t.report); err != nil {
			return err
		}
	} else if err := printRows(out, t.report.table()); err != nil {
		return err
	}
	return t.report.Err()
}

// A tableRun is a run of load table.
type tableRun struct {
	*tableOptions
	stderr   io.Writer
	progress func(loadtest.Progress)
	clear    func() // of the line of progress
	report   tableReport
}

func (t *tableRun) run(ctx context.Context, wanted map[string]bool) (err error) {
	if t.report.InMemory, err = loadtest.InMemory(t.dir); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	if t.report.FsyncBefore, err = loadtest.Fsync(t.dir, t.fsyncs); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	for _, scenario := range []struct {
		name   string
		shards []int
		run    func(context.Context, *ownServer, int) error
	}{
		{"rate", t.shards[:1], t.rate}, // before the disk is busy with what pairs wrote
		{"pairs", t.shards, t.pairs},
		{"login", t.shards[:1], t.login},
		{"idle", t.shards[:1], t.idle},
		{"reconnect", t.shards[:1], t.reconnect},
		{"slow", t.shards[:1], t.slowPeers},
		{"group", t.shards[:1], t.oneGroup},
		{"chatroom", t.shards[:1], t.chatroomStorm},
		{"groups", t.shards[:1], t.loginWithGroups},
	} {
		for _, shards := range scenario.shards {
			if !wanted[scenario.name] {
				continue
			}
			title := fmt.Sprintf("%s, %s", scenario.name, cli.Plural(shards, "shard"))
			fmt.Fprintf(t.stderr, "== %s\n", title)
			others := othersSince()
			if err := t.with(ctx, shards, scenario.run); err != nil {
				if ctx.Err() != nil {
					return err
				}
				t.report.Failures = append(t.report.Failures, fmt.Sprintf("%s: %v", title, err))
			}
			if cores, ok := others(); ok {
				t.report.Others = append(t.report.Others, otherCores{title, cores})
			}
		}
	}
	if wanted[siegeScenario] {
		if err := t.sieges(ctx); err != nil {
			return err
		}
	}
	if t.report.FsyncAfter, err = loadtest.Fsync(t.dir, t.fsyncs); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	t.report.judge()
	return nil
}

// sieges runs the attacks, each against a server of its own.
func (t *tableRun) sieges(ctx context.Context) error {
	o := t.siege
	o.dir, o.serveFlags, o.config.Progress = t.dir, t.serveFlags, t.progress
	defer t.clear()
	t.report.Siege = new(siegeReport)
	return o.run(ctx, t.stderr, t.report.Siege)
}

// othersSince returns a function to be called after the servers started meanwhile
// have ended: it returns how many cores other processes than this one and its
// servers have kept busy since othersSince was called.
func othersSince() func() (cores float64, ok bool) {
	began := time.Now()
	before, err := loadtest.OthersCPU()
	return func() (float64, bool) {
		after, errAfter := loadtest.OthersCPU()
		return max(0, (after-before).Seconds()/time.Since(began).Seconds()), err == nil && errAfter == nil
	}
}

// with runs one scenario against a server of its own.
func (t *tableRun) with(ctx context.Context, shards int, run func(context.Context, *ownServer, int) error) (err error) {
	flags := append([]string{fmt.Sprintf("--shards=%d", shards)}, t.serveFlags...)
	s, err := launchServer(ctx, t.dir, serverShape{flags: flags})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove(), syncFolder(t.dir)) }()
	defer t.clear()
	if err := run(ctx, s, shards); err != nil {
		return fmt.Errorf("%w\n%s", err, s.logEnd())
	}
	return nil
}

// syncFolder waits until the disk has removed what was deleted from a folder, so
// that the next run's fsyncs do not wait for that.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// config returns the part of the configuration that all scenarios share.
func (t *tableRun) config(s *ownServer) loadtest.Config {
	config := s.config()
	config.Progress = t.progress
	return config
}

func (t *tableRun) pairs(ctx context.Context, s *ownServer, shards int) error {
	report, err := loadtest.Pairs(ctx, loadtest.PairsConfig{
		Config: t.config(s), Users: t.users, Body: 128, Window: 16, Duration: t.duration, Warmup: min(t.duration, 2*time.Second),
	})
	if err == nil {
		t.report.Pairs = append(t.report.Pairs, shardedPairs{shards, report})
	}
	return err
}

func (t *tableRun) rate(ctx context.Context, s *ownServer, _ int) (err error) {
	t.report.Rate, err = loadtest.Pairs(ctx, loadtest.PairsConfig{
		Config: t.config(s), Users: t.users, Body: 128, Window: rateWindow, Rate: 2000, Duration: t.duration, Warmup: min(t.duration, 2*time.Second),
	})
	return err
}

func (t *tableRun) login(ctx context.Context, s *ownServer, _ int) (err error) {
	t.report.Login, err = loadtest.Login(ctx, loadtest.LoginConfig{Config: t.config(s), Users: t.logins, Backlog: 100, Body: 128})
	return err
}

func (t *tableRun) idle(ctx context.Context, s *ownServer, _ int) (err error) {
	t.report.Idle, err = loadtest.Idle(ctx, loadtest.IdleConfig{Config: t.config(s), Connections: t.connections, Hold: t.hold})
	return err
}

func (t *tableRun) reconnect(ctx context.Context, s *ownServer, _ int) (err error) {
	t.report.Reconnect, err = loadtest.Reconnect(ctx, loadtest.ReconnectConfig{
		Config: t.config(s), Clients: t.connections, Body: 128,
		Loss: s.loss(),
	})
	return err
}

func (t *tableRun) slowPeers(ctx context.Context, s *ownServer, _ int) (err error) {
	config := t.slow
	config.Config, config.Users, config.Duration = t.config(s), t.users, t.duration
	config.Closes = slowCloses("http://"+s.adminListen, s.admin)
	t.report.Slow, err = loadtest.Slow(ctx, config)
	return err
}

// groupMessageRate is the rate of messages per second at which no message to a group
// waits: so low that each has a frame to itself.
const groupMessageRate = 50

// oneGroup runs the group at saturation, then at a rate.
func (t *tableRun) oneGroup(ctx context.Context, s *ownServer, _ int) (err error) {
	config := t.group
	config.Config, config.Duration, config.Warmup = t.config(s), t.duration, min(t.duration, config.Warmup)
	if t.report.Group, err = loadtest.Group(ctx, config); err != nil {
		return err
	}
	config.Rate = groupMessageRate
	t.report.GroupRate, err = loadtest.Group(ctx, config)
	return err
}

func (t *tableRun) chatroomStorm(ctx context.Context, s *ownServer, _ int) (err error) {
	config := t.chatroom
	config.Config, config.Loss = t.config(s), s.loss()
	config.Lead, config.Trail = min(t.duration, config.Lead), min(t.duration, config.Trail)
	t.report.Chatroom, err = loadtest.Chatroom(ctx, config)
	return err
}

func (t *tableRun) loginWithGroups(ctx context.Context, s *ownServer, _ int) (err error) {
	config := t.groupLogin
	config.Config = t.config(s)
	t.report.Groups, err = loadtest.GroupLogin(ctx, config)
	return err
}
