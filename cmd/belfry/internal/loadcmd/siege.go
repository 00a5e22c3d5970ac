package loadcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/loadtest"
)

// siegeOptions hold the flags of load siege.
type siegeOptions struct {
	config      loadtest.SiegeConfig
	attacks     []string
	transports  string
	sockets     int
	attackRate  int
	sources     int
	memoryLimit int
	program     string
	serveFlags  []string
	dir         string
	output      string
}

const (
	// besiegedFiles is how many files a server may have open while it is attacked
	// for its descriptors.
	besiegedFiles = 1000
	// besiegedBody is a size of bodies at which the server's log needs new files
	// during that attack.
	besiegedBody = 4 << 10
)

func siegeCommand() *cobra.Command {
	o := defaultSiege()
	cmd := &cobra.Command{
		Use:   "siege",
		Short: "Attacks on a server of its own, beside users who chat",
		Long: `Start a server on loopback with its limits as they are by default, have users
chat in pairs, and attack it from another process while they go on. Each attack
has a server of its own and comes as a botnet would, from many addresses. All
along newcomers log in and the server's health is checked; afterwards users who
were away log in and have to get everything.

Reported is what the attack cost the others: their latency without and with it,
in the same run; memory; how long messages are kept; what was lost. The attacks:

  strangers    10,000 connections without login that hold as much as they are let:
               unfinished frames and messages, half a ping, fragments, half a
               request, half a TLS handshake
  tokens       logins with badly signed tokens, as long as a frame can be
  descriptors  more connections that never become a WebSocket than the server,
               which may open 1,000 files, has descriptors for
  deaf         1,000 sessions that ask for much and read none of it, or never end
               a frame
  presence     a user in 1,000 groups asks for 100 users in 1,000 others
  gaps         a user asks for a page over 16,000 messages that are gone
  invented     users make groups of members who do not exist, and block them

The exit code is 1 if a message was lost, doubled, reordered or altered, messages
were kept for less time because of the attack, or a run failed; another bar that
does not hold is no failure.`,
		Example: `  belfry load siege
  belfry load siege --attack strangers,deaf --transport tls
  belfry load siege --attack strangers --sources 1
  belfry load siege --attack deaf:getRecents,deaf:pings
  belfry load siege --program ./belfry-before --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			spendMemory()
			progress, clearLine := progressOn(cmd.ErrOrStderr())
			o.config.Progress = progress
			var report siegeReport
			err := o.run(ctx, cmd.ErrOrStderr(), &report)
			clearLine()
			if err != nil {
				return err
			}
			report.judge()
			if err := printReport(cmd.OutOrStdout(), o.output, &report); err != nil {
				return err
			}
			return report.Err()
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	fs.Var(cli.Count(&o.config.Users, 2, loadtest.MaxUsers), "users", "users who chat, two to a pair")
	fs.StringVar(&o.dir, "dir", ".", "folder for temporary data")
	fs.StringArrayVar(&o.serveFlags, "serve-flag", nil, "one more flag for the servers, as --serve-flag=--shards=2")
	o.output = "table"
	fs.Var(cli.Choice(&o.output, "table", "json"), "output", "form of the report")
	return cmd
}

// defaultSiege returns the default flags: with them an attack by strangers has
// time to open its connections twice.
func defaultSiege() *siegeOptions {
	return &siegeOptions{
		config: loadtest.SiegeConfig{
			Users: 100, Body: 128, Rate: 500, Absent: 100, Backlog: 20,
			Duration: 20 * time.Second, Warmup: 5 * time.Second,
		},
		transports:  "plain",
		memoryLimit: 512 << 20,
	}
}

// bind declares the flags that load siege and load table share.
func (o *siegeOptions) bind(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.attacks, "attack", nil, "attacks to make: "+strings.Join(loadtest.Attacks(), ", ")+" (default all)")
	fs.Var(cli.Choice(&o.transports, "plain", "tls", "both"), "transport", "whether the server has TLS; both = one run each")
	fs.Var(cli.Count(&o.sockets, 0, loadtest.MaxUsers), "sockets", "connections that an attack holds at a time; 0 = the attack's own")
	fs.Var(cli.Count(&o.attackRate, 0, 1e6), "attack-rate", "connections and requests of an attack per second; 0 = the attack's own")
	fs.Var(cli.Count(&o.sources, 0, loadtest.MaxSources), "sources", "addresses that an attack comes from; 0 = 250")
	fs.Var(cli.Duration(&o.config.Duration, time.Millisecond), "siege-duration", "how long to measure without the attack, and then with it")
	fs.Var(cli.Duration(&o.config.Warmup, 0), "siege-warmup", "how long to go on before each")
	fs.Var(cli.Count(&o.config.Rate, 1, 1e7), "siege-rate", "messages per second of the pairs beside an attack")
	fs.Var(cli.Count(&o.config.Absent, 1, loadtest.MaxUsers), "absent", "users with offline messages who come back after an attack")
	fs.Var(cli.Size(&o.memoryLimit, cli.LeastMemory, 1<<50), "memory-limit", "that of the attacked servers")
	fs.StringVar(&o.program, "program", "", "the attacked server's program, to compare with another build (default: this one)")
}

func (o *siegeOptions) check() error {
	if len(o.attacks) == 0 {
		o.attacks = loadtest.Attacks()
	}
	for _, name := range o.attacks {
		if kind, _, _ := strings.Cut(name, ":"); !slices.Contains(loadtest.Attacks(), kind) {
			return cli.Usagef("--attack %s: want some of %s", name, strings.Join(loadtest.Attacks(), ", "))
		}
	}
	if o.config.Users%2 != 0 {
		return cli.Usagef("--users %d: want an even number", o.config.Users)
	}
	return nil
}

// run runs all attacks that are wanted, one after the other.
func (o *siegeOptions) run(ctx context.Context, stderr io.Writer, report *siegeReport) error {
	report.Limit = int64(o.memoryLimit)
	for _, name := range o.attacks {
		for _, secure := range map[string][]bool{"plain": {false}, "tls": {true}, "both": {false, true}}[o.transports] {
			title := siegeTitle(name, secure)
			fmt.Fprintf(stderr, "== siege: %s\n", title)
			one, err := o.siege(ctx, name, secure)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				report.Failures = append(report.Failures, fmt.Sprintf("siege: %s: %v", title, err))
				continue
			}
			report.Sieges = append(report.Sieges, one)
		}
	}
	return nil
}

// siege runs one attack against a server of its own.
func (o *siegeOptions) siege(ctx context.Context, name string, secure bool) (report *loadtest.SiegeReport, err error) {
	shape := serverShape{program: o.program, limited: true, tls: secure}
	shape.flags = append([]string{fmt.Sprintf("--memory-limit=%d", o.memoryLimit), "--shards=1"}, o.serveFlags...)
	config := o.config
	if name == "descriptors" {
		shape.files, config.Body = besiegedFiles, besiegedBody
	}
	s, err := launchServer(ctx, o.dir, shape)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	progress := config.Progress
	config.Config = s.config()
	config.Progress = progress
	if secure {
		if config.Server.TLS, err = trust(s.path(certName)); err != nil {
			return nil, err
		}
	}
	admin := &adminClient{url: "http://" + s.adminListen, token: s.admin, client: http.DefaultClient}
	config.Vitals, config.Health = admin.vitals, admin.health
	config.Prepare = func(ctx context.Context) (loadtest.Besieger, error) {
		return prepareAttack(ctx, s, name, []string{
			fmt.Sprintf("--sockets=%d", o.sockets), fmt.Sprintf("--rate=%d", o.attackRate), fmt.Sprintf("--sources=%d", o.sources),
		})
	}
	if report, err = loadtest.Siege(ctx, config); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, s.logEnd())
	}
	if report.Attack == nil {
		return nil, fmt.Errorf("there was no attack: %w\n%s", report.Err(), s.logEnd())
	}
	report.TLS = secure
	return report, nil
}

func siegeTitle(name string, secure bool) string {
	if secure {
		return name + ", TLS"
	}
	return name
}

// A siegeReport is the outcome of load siege.
type siegeReport struct {
	Limit    int64                   `json:"memoryLimitBytes"`
	Rows     []tableRow              `json:"rows,omitempty"`
	Sieges   []*loadtest.SiegeReport `json:"sieges"`
	Failures []string                `json:"failures,omitempty"` // attacks without a report
}

// What an attack may cost other users.
const (
	siegeFactor = 3    // times their latency without it
	siegeHealth = 1000 // ms until a health check is answered
	siegeExcess = 1.05 // times the limit of memory

	shownViolations = 3
)

func (r *siegeReport) judge() {
	var t tableReport
	for _, s := range r.Sieges {
		t.judgeSiege(s, r.Limit)
	}
	r.Rows = t.Rows
}

func (r *tableReport) judgeSiege(s *loadtest.SiegeReport, limit int64) {
	name := siegeTitle(s.Attack.Name, s.TLS) + ": "
	row := func(what, figure, bar string, value float64, unit string, holds bool) {
		r.Rows = append(r.Rows, tableRow{What: name + what, Value: value, Unit: unit, Figure: figure, Bar: bar, Holds: map[bool]string{true: "yes", false: "no"}[holds]})
	}
	row("messages are kept for", fmt.Sprintf("%.0f s", s.Siege.Retention), fmt.Sprintf("unchanged, %.0f s", s.Calm.Retention),
		s.Siege.Retention, "s", s.Siege.Retention >= s.Calm.Retention)
	if s.Siege.RSSMax > 0 {
		const mib = 1 << 20
		r.limit(name+"server RSS", float64(s.Siege.RSSMax)/mib, "MiB", float64(limit)*siegeExcess/mib, 0,
			"%.0f MiB at most (calm %.0f), heap %.0f MiB (%.0f)", float64(s.Siege.RSSMax)/mib, float64(s.Calm.RSSMax)/mib, float64(s.Siege.Heap)/mib, float64(s.Calm.Heap)/mib)
	}
	r.limit(name+"others' send → ack, p99", s.Siege.Ack.P99MS, "ms", siegeFactor*s.Calm.Ack.P99MS, 0, "%s, calm %s; p50 %s, calm %s",
		inMS(s.Siege.Ack.P99MS), inMS(s.Calm.Ack.P99MS), inMS(s.Siege.Ack.P50MS), inMS(s.Calm.Ack.P50MS))
	if s.Attack.Name == "invented" {
		const mib = 1 << 20
		r.limit(name+"kept of users", float64(s.Siege.UsersKept-s.Calm.UsersKept)/mib, "MiB", 2, 0, "+%.1f MiB", float64(s.Siege.UsersKept-s.Calm.UsersKept)/mib)
	}
	lost := s.AbsentSent - s.AbsentDelivered + s.Sent - s.Delivered
	row("lost, refused or cut off", fmt.Sprintf("%s of the absent's %s messages, %s of the pairs' %s; %s refused; cut off: %s",
		grouped(float64(s.AbsentSent-s.AbsentDelivered)), grouped(float64(s.AbsentSent)), grouped(float64(s.Sent-s.Delivered)), grouped(float64(s.Sent)),
		grouped(float64(total(s.Refused))), formatCounts(s.Losses)),
		"nothing", float64(lost), "messages", lost == 0 && total(s.Refused) == 0 && len(s.Losses) == 0 && !s.Siege.Full)
	row("health", fmt.Sprintf("p99 %s, max %s; %s not answered", inMS(s.Siege.Health.P99MS), inMS(s.Siege.Health.MaxMS), formatCounts(s.Siege.Unwell)),
		"each within 1 s", s.Siege.Health.MaxMS, "ms", s.Siege.Health.MaxMS <= siegeHealth && len(s.Siege.Unwell) == 0)
	row("newcomers log in", fmt.Sprintf("p99 %s, calm %s; %s refused", inMS(s.Siege.Login.P99MS), inMS(s.Calm.Login.P99MS), formatCounts(s.Siege.Refused)),
		"each within 1 s", s.Siege.Login.MaxMS, "ms", s.Siege.Login.MaxMS <= siegeHealth && len(s.Siege.Refused) == 0)
}

func total(counts map[string]int64) (n int64) {
	for _, count := range counts {
		n += count
	}
	return n
}

// formatCounts formats counts by kind, "none" if there are none.
func formatCounts(counts map[string]int64) string {
	if len(counts) == 0 {
		return "none"
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %s", grouped(float64(counts[kind])), kind))
	}
	return strings.Join(parts, ", ")
}

func (r *siegeReport) table() [][]string {
	rows := [][]string{{"what", "figure", "bar", "holds"}}
	for _, row := range r.Rows {
		rows = append(rows, []string{row.What, row.Figure, row.Bar, row.Holds})
	}
	for _, s := range r.Sieges {
		rows = append(rows, siegeRows(s)...)
	}
	for _, failure := range r.Failures {
		rows = append(rows, []string{"FAILED " + failure})
	}
	for _, s := range r.Sieges {
		for _, text := range s.Examples[:min(len(s.Examples), shownViolations)] {
			rows = append(rows, []string{"VIOLATION " + text})
		}
	}
	return rows
}

// siegeRows returns rows with what an attack did.
func siegeRows(s *loadtest.SiegeReport) (rows [][]string) {
	a := s.Attack
	rows = append(rows, []string{fmt.Sprintf("%s: %s sockets from %s addresses, %s/s: %s connections, %s at most at a time, %s written",
		siegeTitle(a.Name, s.TLS), grouped(float64(a.Sockets)), grouped(float64(a.Sources)), grouped(float64(a.Rate)),
		grouped(float64(a.Opened)), grouped(float64(a.MostOpen)), mebibytes(a.Bytes))})
	if a.Replies > 0 {
		rows = append(rows, []string{fmt.Sprintf("  %s requests answered, the largest with %s", grouped(float64(a.Replies)), kibibytes(a.LargestReply))})
	}
	rows = append(rows, []string{"  ends and errors: " + formatCounts(a.Ends)})
	cpu := func(u *loadtest.Usage) string {
		if u == nil {
			return "?"
		}
		return fmt.Sprintf("%.2f", u.Cores)
	}
	return append(rows, []string{fmt.Sprintf("  cores: server %s (calm %s), attack %s", cpu(s.Siege.Server), cpu(s.Calm.Server), cpu(a.Usage))})
}

// Err returns nil if every attack was made and nothing was lost, else the
// faults.
func (r *siegeReport) Err() error {
	var errs []error
	for _, s := range r.Sieges {
		errs = append(errs, s.Err())
	}
	for _, failure := range r.Failures {
		errs = append(errs, errors.New(failure))
	}
	return errors.Join(errs...)
}
