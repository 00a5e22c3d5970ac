package loadcmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
)

func defaultGroup() loadtest.GroupConfig {
	return loadtest.GroupConfig{
		Kind: protocol.KindChatroom, Members: 1000, Senders: 1, Body: 128, Window: 64,
		Duration: 30 * time.Second, Warmup: 2 * time.Second, Drain: 30 * time.Second,
	}
}

func groupCommand() *cobra.Command {
	var o options
	config := defaultGroup()
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Members of one group get what some of them send",
		Long: `Make a group all of whose members are online, and have some of them send: as fast
as a window of messages that have not reached all members allows, or at a rate.
Every member has to get every message once, in the one order of the group; only
the session that sent it gets none. With a rate latencies count from the time a
message was meant to be sent.

The server limits the rate of a group: start it with --group-rate 0, or the run
ends with an error as soon as it is limited. A chatroom has 10,000 members at
most, a public group 2,000, a private one 200.`,
		Example: `  belfry load group --members 1000 --senders 1 --server-pid $(pgrep -x belfry)
  belfry load group --kind live --codec json --rate 100`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config.Senders > config.Members {
				return cli.Usagef("--senders %d: want at most as many as --members %d", config.Senders, config.Members)
			}
			return o.run(cmd, &config.Config, func(ctx context.Context) (scenarioReport, error) {
				report, err := loadtest.Group(ctx, config)
				return groupReport{report}, err
			})
		},
	}
	fs := cmd.Flags()
	o.bind(fs)
	fs.Var(cli.Choice(&config.Kind, loadtest.GroupKinds...), "kind", "kind of the group")
	fs.Var(cli.Count(&config.Members, 2, loadtest.MaxUsers), "members", "members, all of them online")
	fs.Var(cli.Count(&config.Senders, 1, loadtest.MaxGroupSenders), "senders", "members who send")
	bindGroupBody(fs, &config.Body)
	fs.Var(cli.Count(&config.Window, 1, loadtest.MaxWindow), "window", "messages of each sender that have not reached all members, without --rate")
	fs.Var(cli.Count(&config.Rate, 0, 1e7), "rate", "messages per second of all senders together; 0 = as fast as the windows allow")
	fs.Var(cli.Duration(&config.Duration, time.Millisecond), "duration", "how long to measure")
	fs.Var(cli.Duration(&config.Warmup, 0), "warmup", "how long to send before that")
	fs.Var(cli.Duration(&config.Drain, time.Millisecond), "drain", "how long to wait afterwards for what is under way")
	return cmd
}

// bindGroupBody declares the flag --body, and --size as another name of it.
func bindGroupBody(fs *pflag.FlagSet, body *int) {
	fs.Var(cli.Size(body, loadtest.MinBody, loadtest.MaxBody), "body", "body of each message as stored; also --size")
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "size" {
			name = "body"
		}
		return pflag.NormalizedName(name)
	})
}

type groupReport struct{ *loadtest.GroupReport }

func (r groupReport) table() [][]string {
	load := fmt.Sprintf("window %d", r.Window)
	if r.Rate > 0 {
		load = fmt.Sprintf("%s/s offered", grouped(float64(r.Rate)))
	}
	rows := [][]string{
		{fmt.Sprintf("group: %s, %s members, %s, %d B, %s, %s, %.1f s", r.Kind, grouped(float64(r.Members)), cli.Plural(r.Senders, "sender"), r.Body, r.Codec, load, r.Seconds)},
		{"made in", fmt.Sprintf("%.2f s", r.SetupSeconds)},
		{"sends/s", grouped(r.SendsPerSecond)},
		{"deliveries/s", grouped(r.DeliveriesPerSecond)},
		{"messages a frame", fmt.Sprintf("%.1f", r.MessagesPerFrame)},
		latencyHead,
		latencyRow("send → ack", r.Ack),
		latencyRow("send → delivered", r.Delivery),
		latencyRow("sent late by", r.Late),
		{"messages", fmt.Sprintf("%s sent, %s delivered", grouped(float64(r.Sent)), grouped(float64(r.Delivered)))},
	}
	if r.Skipped > 0 {
		rows = append(rows, []string{"skipped", grouped(float64(r.Skipped)) + " deliveries, as a live group may"})
	}
	if r.Unsent > 0 {
		rows = append(rows, []string{"not sent", grouped(float64(r.Unsent)) + " that were due, for want of room in the windows"})
	}
	rows = append(rows, errorRows(r.Refused)...)
	rows = append(rows, deliveryUsageRow("server", r.Server), deliveryUsageRow("generator", r.Generator))
	return finish(rows, r.Verdict)
}

// deliveryUsageRow is usageRow, with the usage per delivery.
func deliveryUsageRow(name string, u *loadtest.Usage) []string {
	row := usageRow(name, u, false)
	if row != nil && u.CPUPerMillion > 0 {
		row[1] += fmt.Sprintf(", %.2f µs a delivery", u.CPUPerMillion)
	}
	return row
}
