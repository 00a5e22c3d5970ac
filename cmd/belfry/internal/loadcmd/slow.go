package loadcmd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
)

func slowCommand() *cobra.Command {
	var o options
	admin, adminTokenFile := "http://"+cli.AdminListen, ""
	config := defaultSlow()
	cmd := &cobra.Command{
		Use:   "slow",
		Short: "Peers that stop reading, beside users who chat",
		Long: `Users chat in pairs at a rate, while others write to further peers. First those
read what they get; then they stop, for longer than the server's --ack-timeout
bears. The load is the same, so that the pairs' latencies can be compared. Then
the slow peers log in again and have to get everything.

What a peer is sent meanwhile has to fit into its offline queue: slow-rate ×
(warmup + slow-duration) / slow messages.`,
		Example: `  belfry load slow --server-pid 4711
  belfry load slow --slow 1000 --slow-rate 10000 --admin-token-file admin.tokens`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config.Users%2 != 0 {
				return cli.Usagef("--users %d: want an even number", config.Users)
			}
			if adminTokenFile != "" {
				token, err := os.ReadFile(adminTokenFile)
				if err != nil {
					return fmt.Errorf("--admin-token-file: %w", err)
				}
				config.Closes = slowCloses(admin, firstField(string(token)))
			} else if cmd.Flags().Changed("admin") {
				config.Closes = slowCloses(admin, "")
			}
			return o.run(cmd, &config.Config, func(ctx context.Context) (scenarioReport, error) {
				report, err := loadtest.Slow(ctx, config)
				return slowReport{report}, err
			})
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	fs.Var(cli.Count(&config.Users, 2, loadtest.MaxUsers), "users", "users who chat, two to a pair")
	fs.Var(cli.Size(&config.Body, loadtest.MinBody, loadtest.MaxBody), "body", "body of each message as stored")
	fs.Var(cli.Count(&config.Rate, 1, 1e7), "rate", "messages per second of all pairs together")
	fs.Var(cli.Count(&config.Slow, 1, loadtest.MaxUsers), "slow", "peers that stop reading")
	fs.Var(cli.Count(&config.SlowRate, 1, 1e7), "slow-rate", "messages per second to all of them together")
	fs.Var(cli.Duration(&config.Duration, time.Millisecond), "duration", "how long to measure while everybody reads")
	fs.Var(cli.Duration(&config.SlowDuration, time.Millisecond), "slow-duration", "how long to measure while they do not")
	fs.Var(cli.Duration(&config.Warmup, 0), "warmup", "how long to send before each")
	fs.Var(cli.Duration(&config.ClosePatience, time.Millisecond), "close-patience", "how long to wait afterwards for the server to close their sessions")
	fs.StringVar(&admin, "admin", admin, "the server's address for administration, to ask how many readers it has closed as too slow")
	fs.StringVar(&adminTokenFile, "admin-token-file", "", "file with the token of an administrator; without it only a --dev server is asked, and only if --admin is given")
	return cmd
}

// defaultSlow returns the default configuration: its rate fills the windows of
// 100 peers, 256 frames each, in 13 s, and it lasts more than the 30 s for which
// a window may stay full.
func defaultSlow() loadtest.SlowConfig {
	return loadtest.SlowConfig{
		Users: 200, Body: 128, Rate: 2000, Slow: 100, SlowRate: 2000,
		Duration: 15 * time.Second, SlowDuration: 46 * time.Second, Warmup: time.Second, ClosePatience: 45 * time.Second,
	}
}

func firstField(text string) string {
	for field := range strings.FieldsSeq(text) {
		return field
	}
	return ""
}

// slowCloses returns a function that reads from a server's metrics how many
// connections the server has closed because they read too slowly.
func slowCloses(admin, token string) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/metrics", nil)
		if err != nil {
			return 0, fmt.Errorf("--admin: %w", err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, fmt.Errorf("--admin: %w", err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("--admin: %s: %s", req.URL, resp.Status)
		}
		n, err := sumCloses(resp.Body, protocol.CloseSlow)
		if err != nil {
			err = fmt.Errorf("--admin: %s: %w", req.URL, err)
		}
		return n, err
	}
}

// sumCloses adds up, from metrics in Prometheus' text format, the connections
// that were closed with a code, for any reason.
func sumCloses(metrics io.Reader, code int) (total int64, err error) {
	want := fmt.Sprintf("code=%q", strconv.Itoa(code))
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		labels, ok := strings.CutPrefix(lines.Text(), "belfry_gateway_closes_total{")
		if !ok || !strings.Contains(labels, want) {
			continue
		}
		_, number, _ := strings.Cut(labels, "} ")
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		total += int64(n)
	}
	return total, lines.Err()
}

type slowReport struct{ *loadtest.SlowReport }

func (r slowReport) table() [][]string {
	rows := [][]string{
		{fmt.Sprintf("slow: %s users, %d B, %s, %s/s offered, beside %s peers with %s/s", grouped(float64(r.Users)), r.Body, r.Codec,
			grouped(float64(r.Rate)), grouped(float64(r.Slow)), grouped(float64(r.SlowRate)))},
	}
	for _, phase := range []struct {
		name string
		*loadtest.Phase
	}{{"everybody reads", &r.Without}, {"the peers do not", &r.With}} {
		rows = append(rows,
			[]string{fmt.Sprintf("%s, %.1f s:", phase.name, phase.Seconds)},
			[]string{"  sends/s", grouped(phase.SendsPerSecond)},
			latencyHead,
			latencyRow("  send → ack", phase.Ack),
			latencyRow("  send → delivered", phase.Delivery),
			latencyRow("  sent late by", phase.Late),
			usageRow("  server", phase.Server, true))
		if phase.RSSMax > 0 {
			rows = append(rows, []string{"  server memory", "at most " + mebibytes(phase.RSSMax)})
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Closes)) {
		rows = append(rows, []string{"slow peers", grouped(float64(r.Closes[kind])) + " " + kind})
	}
	if r.ServerCloses != nil {
		rows = append(rows, []string{"server's count", fmt.Sprintf("%s closed %d", grouped(float64(*r.ServerCloses)), protocol.CloseSlow)})
	}
	rows = append(rows,
		latencyHead,
		latencyRow("their next login", r.Login),
		[]string{"messages", fmt.Sprintf("%s sent, %s delivered", grouped(float64(r.Sent)), grouped(float64(r.Delivered)))},
		[]string{"to slow peers", fmt.Sprintf("%s sent, %s delivered, %s of them by the next login", grouped(float64(r.SlowSent)), grouped(float64(r.SlowDelivered)), grouped(float64(r.Caught)))})
	rows = append(rows, errorRows(r.Refused)...)
	return finish(rows, r.Verdict)
}
