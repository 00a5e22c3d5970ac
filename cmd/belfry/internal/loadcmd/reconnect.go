package loadcmd

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/loadtest"
)

// lossOptions hold the flags of scenarios in which all sessions are lost.
type lossOptions struct {
	loss    *loadtest.Loss
	pidFile string
}

func (o *lossOptions) bind(fs *pflag.FlagSet) {
	o.loss.Away = time.Second
	fs.BoolVar(&o.loss.Drop, "drop", false, "the clients hang up; no restart")
	fs.Var(cli.Duration(&o.loss.Away, 0), "away", "how long they stay away, with --drop")
	fs.StringVar(&o.pidFile, "server-pid-file", "", "file with the server's process, read when it is back; else its CPU and memory after the restart are left out")
}

// prepare checks the flags. Unless the run drops the connections itself, prepare
// makes it print when the server is to be restarted.
func (o *lossOptions) prepare(cmd *cobra.Command) error {
	switch {
	case o.loss.Drop && o.pidFile != "":
		return cli.Usagef("--server-pid-file: the server goes on with --drop, want --server-pid")
	case !o.loss.Drop && cmd.Flags().Changed("away"):
		return cli.Usagef("--away: want --drop with it")
	}
	if !o.loss.Drop {
		o.loss.Lose = func(context.Context) error {
			_, err := fmt.Fprintln(cmd.ErrOrStderr(), "restart the server now")
			return err
		}
	}
	if o.pidFile != "" {
		o.loss.NewPID = func(ctx context.Context) (int, error) { return awaitPID(ctx, o.pidFile) }
	}
	return nil
}

func reconnectCommand() *cobra.Command {
	var o options
	config := loadtest.ReconnectConfig{Clients: 10000, Body: 128, Rate: 200}
	loss := lossOptions{loss: &config.Loss}
	cmd := &cobra.Command{
		Use:   "reconnect",
		Short: "All sessions are lost at once and come back at once",
		Long: `Open sessions, lose all of them at once, and have all come back at once, while
others write to every tenth. Either the server is restarted: by you, or whatever
waits for the line "restart the server now" on stderr; the time then runs from
its first answer to a request. Or, with --drop, the clients hang up without a
word and come back after --away.`,
		Example: `  belfry load reconnect --clients 10000
  belfry load reconnect --drop --away 5s --server-pid 4711`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := loss.prepare(cmd); err != nil {
				return err
			}
			return o.run(cmd, &config.Config, func(ctx context.Context) (scenarioReport, error) {
				report, err := loadtest.Reconnect(ctx, config)
				return reconnectReport{report}, err
			})
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	loss.bind(fs)
	fs.Var(cli.Count(&config.Clients, 1, loadtest.MaxUsers), "clients", "sessions that are lost, each of a user of its own")
	fs.Var(cli.Count(&config.Rate, 1, 1e6), "rate", "messages per second to every tenth client, all together")
	fs.Var(cli.Size(&config.Body, loadtest.MinBody, loadtest.MaxBody), "body", "body of each message as stored")
	return cmd
}

// awaitPID returns the process number in a file. The file may be written a little
// after the process is started, so awaitPID reads it again while there is none in
// it.
func awaitPID(ctx context.Context, path string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, pidPatience)
	defer cancel()
	for {
		pid, err := readPID(path)
		if err == nil {
			return pid, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return 0, fmt.Errorf("--server-pid-file: %w", err)
		}
	}
}

// pidPatience bounds the wait for the file.
const pidPatience = 5 * time.Second

func readPID(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 {
		return 0, fmt.Errorf("%s holds %q, want the number of a process", path, text)
	}
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(syscall.Signal(0)) // asks only whether it is there
	}
	if err != nil {
		return 0, fmt.Errorf("%s: process %d: %w", path, pid, err)
	}
	return pid, nil
}

type reconnectReport struct{ *loadtest.ReconnectReport }

func (r reconnectReport) table() [][]string {
	rows := append([][]string{
		{fmt.Sprintf("reconnect: %s clients, %s, %s", grouped(float64(r.Clients)), r.Codec, howLost(&r.Storm))},
	}, stormRows(&r.Storm)...)
	rows = append(rows,
		[]string{"messages", fmt.Sprintf("%s sent, %s delivered, %s of them by a sync, %s pushed again",
			grouped(float64(r.Sent)), grouped(float64(r.Delivered)), grouped(float64(r.Missed)), grouped(float64(r.Repeated)))})
	return finish(rows, r.Verdict)
}

func howLost(r *loadtest.Storm) string {
	if r.Restarted {
		return "the server was restarted"
	}
	return "which hung up"
}

// stormRows returns rows with what the return of all sessions took.
func stormRows(r *loadtest.Storm) [][]string {
	rows := [][]string{
		{"away for", fmt.Sprintf("%.2f s", r.AwaySeconds)},
		{"all synced in", fmt.Sprintf("%.2f s", r.Seconds)},
		{"logins/s", grouped(r.LoginsPerSecond)},
		latencyHead,
		latencyRow("back → reply", r.Answer),
		latencyRow("back → synced", r.Login),
		latencyRow("back → complete", r.Complete),
		{"attempts", grouped(float64(r.Attempts))},
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		rows = append(rows, []string{"failed", grouped(float64(r.Errors[kind])) + " " + kind})
	}
	if r.RSSBefore > 0 {
		rows = append(rows, []string{"server before", mebibytes(r.RSSBefore)})
	}
	rows = append(rows, usageRow("server", r.Server, false), usageRow("generator", r.Generator, false))
	if r.CPUPerLoginMS > 0 {
		rows = append(rows, []string{"server CPU a login", fmt.Sprintf("%.2f ms", r.CPUPerLoginMS)})
	}
	return rows
}
