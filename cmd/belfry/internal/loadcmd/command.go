// Package loadcmd implements `belfry load`: a command for each scenario, the table of
// all of them, and their reports. The scenarios themselves are in package loadtest.
package loadcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
)

// options hold the flags that all scenarios of load have.
type options struct {
	servers     []string
	data        string
	secretFiles []string
	codec       string
	prefix      string
	parallel    int
	serverPIDs  []int
	output      string
}

// NewCommand makes `belfry load` with its scenarios.
func NewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "load SCENARIO",
		Short: "Put a server under load and verify what it does",
		Long: `Put a server under load with clients that verify whatever they receive: nothing
lost, doubled, reordered or altered. The exit code is 1 if anything was.

Users are new in each run and sign their own tokens, with the secret of
--auth-secret-file or the one that ` + "`belfry serve --dev`" + ` has put into the data
folder. The server's limits are made for clients, not for load: start it with
--frame-rate 0 --login-rate 0 --send-rate 0 --new-conversations 0 --group-rate 0 --group-change-rate 0
--unauthenticated-connections 0 --address-unauthenticated 0.`,
		Example: `  belfry load pairs
  belfry load pairs --rate 2000 --duration 1m --server-pid $(pgrep -x belfry)
  belfry load group --members 1000
  belfry load login --users 1000 --backlog 100
  belfry load idle --connections 10000 --server-pid 4711 --output json
  belfry load reconnect --drop`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cli.Usagef("want a scenario: pairs, group, chatroom, login, idle, reconnect, slow, siege or table")
		},
	}
	cmd.AddCommand(pairsCommand(), groupCommand(), chatroomCommand(), loginCommand(), idleCommand(),
		reconnectCommand(), slowCommand(), siegeCommand(), attackCommand(), tableCommand())
	return cmd
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.servers, "server", []string{"http://" + cli.DevListen}, "the server: http, https, ws or wss; of a cluster the nodes that users are spread over")
	fs.StringVar(&o.data, "data", cli.DefaultData, "data folder of a server that runs with --dev")
	fs.StringSliceVar(&o.secretFiles, "auth-secret-file", nil, "file with the secret that signs tokens, the first of several; overrides --data")
	o.codec = protocol.Msgpack.Name()
	fs.Var(cli.Choice(&o.codec, protocol.Msgpack.Name(), protocol.JSON.Name()), "codec", "encoding of frames")
	fs.StringVar(&o.prefix, "prefix", "", "begin of the users' names; they must be new to the server (default: a random one)")
	fs.Var(cli.Count(&o.parallel, 0, loadtest.MaxUsers), "parallel", "connections that are being opened at a time; 0 = 128, with login all")
	fs.IntSliceVar(&o.serverPIDs, "server-pid", nil, "process of the server on this machine, to report its CPU and memory; of a cluster one for each node")
	o.output = "table"
	fs.Var(cli.Choice(&o.output, "table", "json"), "output", "form of the report")
}

func pairsCommand() *cobra.Command {
	var o options
	var own ownNodes
	config := loadtest.PairsConfig{Users: 200, Body: 128, Window: 16, Duration: 30 * time.Second, Warmup: 2 * time.Second, Drain: 30 * time.Second}
	autoRead := true
	cmd := &cobra.Command{
		Use:   "pairs",
		Short: "Users chat in pairs, both sides at once",
		Long: `Users chat in pairs, both sides at once: as fast as the window of unanswered
sends allows, or at a rate. With a rate latencies count from the time a message
was meant to be sent, so that a stall of the server is not left out.

With several --server users are spread over them; with --reconnect one who has
lost the connection goes on at the next. With --nodes it starts servers of its
own, and reports what all of them use together.`,
		Example: `  belfry load pairs --users 200 --window 16 --duration 30s
  belfry load pairs --rate 2000
  belfry load pairs --nodes 3 --dir /var/tmp
  belfry load pairs --server ws://10.0.0.1:8080,ws://10.0.0.2:8080 --reconnect --ordered --read-back`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if config.Users%2 != 0 {
				return cli.Usagef("--users %d: want an even number", config.Users)
			}
			if config.Rate > 0 && !cmd.Flags().Changed("window") {
				config.Window = rateWindow
			}
			if err := own.check(cmd); err != nil {
				return err
			}
			if config.Resume && !cmd.Flags().Changed("max-silence") && max(len(o.servers), own.count) > 1 {
				config.MaxSilence = nodeSilence
			}
			if !config.Resume && (config.Ordered || config.MaxSilence > 0) {
				return cli.Usagef("--ordered, --max-silence: want --reconnect with it")
			}
			config.ManualRead = !autoRead
			if own.count > 0 {
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
				defer stop()
				remove, err := own.launch(ctx, &o)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, remove()) }()
			}
			return o.run(cmd, &config.Config, func(ctx context.Context) (scenarioReport, error) {
				report, err := loadtest.Pairs(ctx, config)
				return pairsReport{report}, err
			})
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	own.bind(fs)
	fs.Var(cli.Count(&config.Users, 2, loadtest.MaxUsers), "users", "users, two to a pair")
	fs.Var(cli.Size(&config.Body, loadtest.MinBody, loadtest.MaxBody), "body", "body of each message as stored")
	fs.Var(cli.Count(&config.Window, 1, loadtest.MaxWindow), "window", fmt.Sprintf("unanswered sends of each user (with --rate %d)", rateWindow))
	fs.Var(cli.Count(&config.Rate, 0, 1e7), "rate", "messages per second of all users together; 0 = as fast as windows allow")
	fs.Var(cli.Duration(&config.Duration, time.Millisecond), "duration", "how long to measure")
	fs.Var(cli.Duration(&config.Warmup, 0), "warmup", "how long to send before that")
	fs.Var(cli.Duration(&config.Drain, time.Millisecond), "drain", "how long to wait afterwards for what is under way")
	fs.BoolVar(&config.Resume, "reconnect", false, "come back when a connection is lost, and verify across it")
	fs.BoolVar(&config.Ordered, "ordered", false, "with --reconnect: what is sent again after a lost connection has to keep its place in the order")
	fs.BoolVar(&config.ReadBack, "read-back", false, "compare all history with what was sent, at the end; the server's limits have to leave room for it")
	fs.Var(cli.Duration(&config.MaxSilence, 0), "max-silence", fmt.Sprintf("with --reconnect: how long a user with open sends bears that nothing comes; 0 = for ever (with several servers %v)", nodeSilence))
	fs.BoolVar(&autoRead, "auto-read", true, "acks are read reports")
	return cmd
}

// nodeSilence is how long users of several servers bear that nothing comes: longer
// than a cluster takes to go on without one of its nodes.
const nodeSilence = 4 * time.Second

// rateWindow is the number of open sends in runs with a rate: so many that the server
// decides how many are open.
const rateWindow = 1024

func loginCommand() *cobra.Command {
	var o options
	config := loadtest.LoginConfig{Users: 1000, Backlog: 100, Body: 128}
	var groups groupLoginOptions
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Many users come back to a backlog at once",
		Long: `Fill the offline queues of users, then have all of them log in at once.

With --groups users have no queue, but are members of so many groups with unread
messages, and log in one after the other: by turns as a new device, and with the
cursors that the login before gave. The time runs from the request to onSynced.
The server has to be started with --group-rate 0.`,
		Example: `  belfry load login --users 1000 --backlog 100 --body 128
  belfry load login --groups 1000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if groups.groups > 0 {
				config, err := groups.config(cmd, &config)
				if err != nil {
					return err
				}
				return o.run(cmd, &config.Config, func(ctx context.Context) (scenarioReport, error) {
					report, err := loadtest.GroupLogin(ctx, config)
					return groupLoginReport{report}, err
				})
			}
			return o.run(cmd, &config.Config, func(ctx context.Context) (scenarioReport, error) {
				report, err := loadtest.Login(ctx, config)
				return loginReport{report}, err
			})
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	fs.Var(cli.Count(&config.Users, 1, loadtest.MaxUsers), "users", "users that log in")
	fs.Var(cli.Count(&config.Backlog, 1, 1e6), "backlog", "messages that wait for each user")
	fs.Var(cli.Size(&config.Body, loadtest.MinBody, loadtest.MaxBody), "body", "body of each message as stored")
	groups.bind(fs)
	return cmd
}

func idleCommand() *cobra.Command {
	var o options
	config := loadtest.IdleConfig{Connections: 10000, Hold: 10 * time.Second}
	cmd := &cobra.Command{
		Use:     "idle",
		Short:   "Sessions that do nothing",
		Long:    `Open sessions, leave them alone, and check that all are still there.`,
		Example: `  belfry load idle --connections 10000 --hold 1m --server-pid 4711`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, &config.Config, func(ctx context.Context) (scenarioReport, error) {
				report, err := loadtest.Idle(ctx, config)
				return idleReport{report}, err
			})
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	fs.Var(cli.Count(&config.Connections, 1, loadtest.MaxUsers), "connections", "sessions, each of a user of its own")
	fs.Var(cli.Duration(&config.Hold, 0), "hold", "how long they are left alone")
	return cmd
}

// run completes the configuration of a scenario, runs it and prints its report.
func (o *options) run(cmd *cobra.Command, config *loadtest.Config, scenario func(context.Context) (scenarioReport, error)) error {
	secret, err := o.secret()
	if err != nil {
		return err
	}
	codec := protocol.Msgpack
	if o.codec == protocol.JSON.Name() {
		codec = protocol.JSON
	}
	*config = loadtest.Config{
		Server:     loadtest.Server{URLs: o.servers, Codec: codec, Token: signer(secret)},
		Prefix:     o.prefix,
		Parallel:   o.parallel,
		ServerPIDs: o.serverPIDs,
	}
	spendMemory()
	progress, clearLine := progressOn(cmd.ErrOrStderr())
	config.Progress = progress
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	report, err := scenario(ctx)
	clearLine()
	if err != nil {
		return err
	}
	if err := printReport(cmd.OutOrStdout(), o.output, report); err != nil {
		return err
	}
	return report.Err()
}

// spendMemory makes the garbage collector run rarely, unless GOGC is set: the load
// generator shares the machine with its server and holds little.
func spendMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// progressOn returns a function that shows progress on w and one that removes it.
// Both do nothing unless w is a terminal.
func progressOn(w io.Writer) (show func(loadtest.Progress), clear func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	const line = "\r\x1b[K" // to its begin, and empty
	show = func(p loadtest.Progress) { fmt.Fprint(f, line, progressLine(p)) }
	return show, func() { fmt.Fprint(f, line) }
}

// secret returns the secret that signs the tokens of the run's users.
func (o *options) secret() ([]byte, error) {
	if len(o.secretFiles) > 0 {
		secret, err := os.ReadFile(o.secretFiles[0])
		if err != nil {
			return nil, fmt.Errorf("--auth-secret-file: %w", err)
		}
		return auth.TrimSecret(secret), nil
	}
	secret, err := os.ReadFile(filepath.Join(o.data, cli.SecretName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: run `belfry serve --dev` with this data folder first, or name the secret with --auth-secret-file", err)
	}
	return auth.TrimSecret(secret), err
}

// signer returns a function that makes the token of a user.
func signer(secret []byte) func(user string) (string, error) {
	return func(user string) (string, error) {
		claims := jwt.RegisteredClaims{Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(cli.TokenTTL))}
		return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	}
}

// A scenarioReport is the report of a scenario, which it can print as a table.
type scenarioReport interface {
	table() [][]string
	Err() error
}

func printReport(w io.Writer, output string, report scenarioReport) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	return printRows(w, report.table())
}
