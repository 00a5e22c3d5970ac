// Package clustercmd is `belfry cluster`: it asks the administration API of a node, and
// prints what people want to know first.
package clustercmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

// Commands returns the subcommands of `belfry cluster`.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		newStatus(), newNodes(), newSafeToStop(), newAdmit(), newMaintenance(), newRemoveNode(), newReplaceNode(),
		newTransfer(), newRebuild(), newConfig(),
	}
}

// command returns a subcommand that talks to a node.
func command(use, short, long, example string, args cobra.PositionalArgs, run func(cmd *cobra.Command, args []string, c *client) error) *cobra.Command {
	c := new(client)
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.open(); err != nil {
				return err
			}
			return run(cmd, args, c)
		},
	}
	c.bind(cmd.Flags())
	return cmd
}

// done prints what a change did.
func done(out io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintf(out, format+"\n", args...)
	return err
}

func newStatus() *cobra.Command {
	var asJSON bool
	var watch time.Duration
	cmd := command("status", "Say how the cluster does",
		`Say how the cluster does: the verdict first, then what is wrong, then nodes and
shards. It works on any node; without quorum it is what that node knows.

The exit code is 0 if all is as it should be, 1 if all is served but something is
not as it should be, 2 if something is not served or the node does not answer.`,
		"  belfry cluster status\n  belfry cluster status --watch 2s --admin http://10.0.0.1:8081\n  belfry cluster status --json",
		cobra.NoArgs, func(cmd *cobra.Command, _ []string, c *client) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			for {
				var s status
				raw, err := c.call(ctx, http.MethodGet, "", nil, &s)
				if err != nil && ctx.Err() == nil {
					return cli.Exit(2, err)
				}
				switch out := cmd.OutOrStdout(); {
				case ctx.Err() != nil:
					return nil
				case asJSON:
					fmt.Fprintf(out, "%s\n", raw)
				default:
					if watch > 0 {
						fmt.Fprint(out, "\x1b[H\x1b[J") // home, clear
					}
					s.print(out)
				}
				if watch == 0 {
					if s.Level > 0 {
						return cli.Exit(s.Level, nil)
					}
					return nil
				}
				select {
				case <-time.After(watch):
				case <-ctx.Done():
					return nil
				}
			}
		})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the node answers, as JSON")
	cmd.Flags().Var(cli.Duration(&watch, 0), "watch", "print it again after this time, until Ctrl-C; 0 = once")
	return cmd
}

func newNodes() *cobra.Command {
	var asJSON bool
	cmd := command("nodes", "List the nodes", "", "  belfry cluster nodes", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string, c *client) error {
			var s status
			if _, err := c.call(cmd.Context(), http.MethodGet, "", nil, &s); err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s.Nodes)
			}
			s.printNodes(cmd.OutOrStdout(), true)
			return nil
		})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// askAgain is the pause between two questions of --wait.
const askAgain = time.Second

func newSafeToStop() *cobra.Command {
	var wait time.Duration
	cmd := command("safe-to-stop [NODE...]", "Say whether nodes may be stopped now",
		`Say whether these nodes may be stopped together now without anything not being
served. That needs the replicas of all other nodes to be caught up, those of a
node too that was restarted before. The exit code is 0 if they may, 1 if not.

Without NODE it is about the node that is asked, which needs no token, and has to
run on this machine: for what is run before a process is stopped, such as a pod's
preStop hook.`,
		"  belfry cluster safe-to-stop b && systemctl restart belfry\n  belfry cluster safe-to-stop --wait 60s", cobra.ArbitraryArgs,
		func(cmd *cobra.Command, args []string, c *client) error {
			ask, which := func() ([]string, error) { return c.safeToStop(cmd.Context()) }, "this node"
			if len(args) > 0 {
				which = strings.Join(args, " and ")
				ask = func() ([]string, error) {
					var answer struct{ Reasons []string }
					_, err := c.call(cmd.Context(), http.MethodGet, "/safe-to-stop?nodes="+escape(strings.Join(args, ",")), nil, &answer)
					return answer.Reasons, err
				}
			}
			for until := time.Now().Add(wait); ; {
				reasons, err := ask()
				if err == nil && len(reasons) == 0 {
					return done(cmd.OutOrStdout(), "yes: %s may be stopped now", which)
				}
				if left := time.Until(until); left > 0 {
					select {
					case <-time.After(min(left, askAgain)):
						continue
					case <-cmd.Context().Done():
						return cli.Exit(2, cmd.Context().Err())
					}
				}
				if err != nil {
					return cli.Exit(2, err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "no: %s must not be stopped now\n", which)
				for _, reason := range reasons {
					fmt.Fprintf(cmd.OutOrStdout(), "  %s\n", reason)
				}
				return cli.Exit(1, nil)
			}
		})
	cmd.Flags().Var(cli.Duration(&wait, 0), "wait", "ask again until they may, for this long; 0 = once")
	return cmd
}

func newAdmit() *cobra.Command {
	return command("admit NODE", "Let a node take part that has joined", "", "  belfry cluster admit d", cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string, c *client) error {
			if _, err := c.call(cmd.Context(), http.MethodPost, "/admit", object{"node": args[0]}, nil); err != nil {
				return err
			}
			return done(cmd.OutOrStdout(), "%s takes part; it gets replicas as the cluster needs them (belfry cluster status)", args[0])
		})
}

func newMaintenance() *cobra.Command {
	return command("maintenance NODE on|off", "Begin or end a node's maintenance",
		"Meanwhile the node gets no leadership and no new replica.", "  belfry cluster maintenance b on", cobra.ExactArgs(2),
		func(cmd *cobra.Command, args []string, c *client) error {
			if args[1] != "on" && args[1] != "off" {
				return cli.Usagef("%q: want on or off", args[1])
			}
			if _, err := c.call(cmd.Context(), http.MethodPost, "/maintenance", object{"node": args[0], "on": args[1] == "on"}, nil); err != nil {
				return err
			}
			return done(cmd.OutOrStdout(), "maintenance of %s is %s", args[0], args[1])
		})
}

func newRemoveNode() *cobra.Command {
	var fewer bool
	cmd := command("remove-node NODE", "Let a node leave for good",
		`Let a node leave: others get its replicas, then it is removed. It is refused at once
if too few other nodes are there for that ever to end.`,
		"  belfry cluster remove-node d", cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string, c *client) error {
			if _, err := c.call(cmd.Context(), http.MethodPost, "/remove-node", object{"node": args[0], "fewer": fewer}, nil); err != nil {
				return err
			}
			return done(cmd.OutOrStdout(), "%s leaves; it ends by itself once belfry cluster status does not list it any more", args[0])
		})
	cmd.Flags().BoolVar(&fewer, "fewer", false, "shards may have fewer replicas afterwards")
	return cmd
}

func newReplaceNode() *cobra.Command {
	return command("replace-node OLD NEW", "Let a node take the place of a lost one",
		`Let NEW take the place of OLD, which is lost or comes back without its data. NEW is
the name of a node that has joined, or the UUID that a refused node has logged:
then it may join under OLD's name.`,
		"  belfry cluster replace-node c d\n  belfry cluster replace-node c 7c9e6679-7425-40de-944b-e07fc1f90ae7", cobra.ExactArgs(2),
		func(cmd *cobra.Command, args []string, c *client) error {
			if _, err := c.call(cmd.Context(), http.MethodPost, "/replace-node", object{"old": args[0], "new": args[1]}, nil); err != nil {
				return err
			}
			return done(cmd.OutOrStdout(), "%s takes the place of %s; belfry cluster status shows how far it is", args[1], args[0])
		})
}

func newTransfer() *cobra.Command {
	return command("transfer SHARD NODE", "Let a node lead a shard",
		"The leadership may go back by itself where it belongs, unless that node is in maintenance.",
		"  belfry cluster transfer 0 b", cobra.ExactArgs(2), onShard("/transfer", "%[2]s leads shard %[1]s"))
}

func newRebuild() *cobra.Command {
	return command("rebuild-replica SHARD NODE", "Make a replica anew from the others",
		`Make a replica anew that is lost, or wrong: it leaves the shard, and the node gets
another one, with all data, from the others.`,
		"  belfry cluster rebuild-replica 3 c", cobra.ExactArgs(2), onShard("/rebuild-replica", "the replica of shard %[1]s on %[2]s is made anew; belfry cluster status shows how far it is"))
}

func onShard(path, said string) func(*cobra.Command, []string, *client) error {
	return func(cmd *cobra.Command, args []string, c *client) error {
		var shard uint16
		if _, err := fmt.Sscanf(args[0], "%d", &shard); err != nil {
			return cli.Usagef("SHARD: %q is not the number of a shard", args[0])
		}
		if _, err := c.call(cmd.Context(), http.MethodPost, path, object{"shard": shard, "node": args[1]}, nil); err != nil {
			return err
		}
		return done(cmd.OutOrStdout(), said, args[0], args[1])
	}
}
