package loadcmd

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
)

// groupLoginOptions hold the flags of load login that are about groups.
type groupLoginOptions struct {
	groups, unread, rounds, backlog int
}

func defaultGroupLogin() loadtest.GroupLoginConfig {
	return loadtest.GroupLoginConfig{Users: 5, Groups: 1000, Unread: 1, Body: 128, Rounds: 20, Backlog: protocol.DefaultBacklog}
}

func (o *groupLoginOptions) bind(fs *pflag.FlagSet) {
	d := defaultGroupLogin()
	o.unread, o.rounds, o.backlog = d.Unread, d.Rounds, d.Backlog
	fs.Var(cli.Count(&o.groups, 0, loadtest.MaxUsers), "groups", "groups that each user is in; 0 = none")
	fs.Var(cli.Count(&o.unread, 1, 1e6), "group-unread", "unread messages in each group")
	fs.Var(cli.Count(&o.rounds, 1, 1e6), "rounds", "logins of each user and kind, with --groups")
	fs.Var(cli.Count(&o.backlog, 0, protocol.MaxGroupBacklog), "group-backlog", "messages of each group that a login asks for")
}

// config returns the configuration, and an error for flags that do not go
// together.
func (o *groupLoginOptions) config(cmd *cobra.Command, login *loadtest.LoginConfig) (config loadtest.GroupLoginConfig, err error) {
	if cmd.Flags().Changed("backlog") || cmd.Flags().Changed("parallel") {
		return config, cli.Usagef("--groups: with it there is no --backlog, and no --parallel: logins are one after the other")
	}
	if !cmd.Flags().Changed("users") {
		login.Users = defaultGroupLogin().Users
	}
	return loadtest.GroupLoginConfig{
		Users: login.Users, Groups: o.groups, Unread: o.unread, Body: login.Body, Rounds: o.rounds, Backlog: o.backlog,
	}, nil
}

type groupLoginReport struct{ *loadtest.GroupLoginReport }

func (r groupLoginReport) table() [][]string {
	rows := [][]string{
		{fmt.Sprintf("login: %s, each in %s with %s unread, %d B, %s", cli.Plural(r.Users, "user"), cli.Plural(r.Groups, "group"), grouped(float64(r.Unread)), r.Body, r.Codec)},
		{"prepared in", fmt.Sprintf("%.2f s", r.PrepareSeconds)},
		latencyHead,
		latencyRow("login of a new device", r.NewDevice),
		latencyRow("login with cursors", r.Returning),
		{"pushed", fmt.Sprintf("%s messages to a new device, %s to one with cursors", grouped(float64(r.NewDevicePushed)), grouped(float64(r.ReturningPushed)))},
		usageRow("server", r.Server, false),
	}
	if r.CPUPerLoginMS > 0 {
		rows = append(rows, []string{"server CPU a login", fmt.Sprintf("%.2f ms", r.CPUPerLoginMS)})
	}
	return finish(rows, r.Verdict)
}
