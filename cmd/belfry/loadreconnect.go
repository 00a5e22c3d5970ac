package main

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

	"github.com/belfry-im/belfry/loadtest"
)

func loadReconnectCommand() *cobra.Command {
	var o loadOptions
	var pidFile string
	config := loadtest.ReconnectConfig{Clients: 10000, Body: 128, Rate: 200, Away: time.Second}
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
			switch {
			case config.Drop && pidFile != "":
				return usagef("--server-pid-file: the server goes on with --drop, want --server-pid")
			case !config.Drop && cmd.Flags().Changed("away"):
				return usagef("--away: want --drop with it")
			}
			if !config.Drop {
				config.Lose = func(context.Context) error {
					_, err := fmt.Fprintln(cmd.ErrOrStderr(), "restart the server now")
					return err
				}
			}
			if pidFile != "" {
				config.NewPID = func(ctx context.Context) (int, error) { return awaitPID(ctx, pidFile) }
			}
			return o.run(cmd, &config.Config, func(ctx context.Context) (loadReport, error) {
				report, err := loadtest.Reconnect(ctx, config)
				return reconnectReport{report}, err
			})
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	fs.Var(count{&config.Clients, 1, loadtest.MaxUsers}, "clients", "sessions that are lost, each of a user of its own")
	fs.BoolVar(&config.Drop, "drop", false, "the clients hang up; no restart")
	fs.Var(duration{&config.Away, 0}, "away", "how long they stay away, with --drop")
	fs.Var(count{&config.Rate, 1, 1e6}, "rate", "messages per second to every tenth client, all together")
	fs.Var(size{&config.Body, loadtest.MinBody, loadtest.MaxBody}, "body", "body of each message as stored")
	fs.StringVar(&pidFile, "server-pid-file", "", "file with the server's process, read when it is back; else its CPU and memory after the restart are left out")
	return cmd
}

// awaitPID reads a file with the number of a process. Whoever starts the process
// may write it a little later, so that a file that names none is read again.
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
	how := "which hung up"
	if r.Restarted {
		how = "the server was restarted"
	}
	rows := [][]string{
		{fmt.Sprintf("reconnect: %s clients, %s, %s", grouped(float64(r.Clients)), r.Codec, how)},
		{"away for", fmt.Sprintf("%.2f s", r.AwaySeconds)},
		{"all synced in", fmt.Sprintf("%.2f s", r.Seconds)},
		{"logins/s", grouped(r.LoginsPerSecond)},
		latencyHead,
		latencyRow("back → reply", r.Answer),
		latencyRow("back → synced", r.Login),
		{"attempts", grouped(float64(r.Attempts))},
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		rows = append(rows, []string{"failed", grouped(float64(r.Errors[kind])) + " " + kind})
	}
	rows = append(rows,
		[]string{"messages", fmt.Sprintf("%s sent, %s delivered, %s of them by a sync, %s pushed again",
			grouped(float64(r.Sent)), grouped(float64(r.Delivered)), grouped(float64(r.Missed)), grouped(float64(r.Repeated)))})
	if r.RSSBefore > 0 {
		rows = append(rows, []string{"server before", mebibytes(r.RSSBefore)})
	}
	rows = append(rows, usageRow("server", r.Server, false), usageRow("generator", r.Generator, false))
	if r.CPUPerLoginMS > 0 {
		rows = append(rows, []string{"server CPU a login", fmt.Sprintf("%.2f ms", r.CPUPerLoginMS)})
	}
	return finish(rows, r.Verdict)
}
