package loadcmd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/loadtest/nodes"
)

// ownNodes hold the flags of a scenario that can start its server itself.
type ownNodes struct {
	count      int
	dir        string
	serveFlags []string
}

// maxOwnNodes bounds the nodes that are started on one machine.
const maxOwnNodes = 9

func (o *ownNodes) bind(fs *pflag.FlagSet) {
	fs.Var(cli.Count(&o.count, 0, maxOwnNodes), "nodes", "start so many nodes of this program on loopback, with limits off: 1 = a server alone, more = a cluster; 0 = use --server")
	fs.StringVar(&o.dir, "dir", ".", "with --nodes: folder for their data, in a temporary folder; its disk is measured")
	fs.StringArrayVar(&o.serveFlags, "serve-flag", nil, "with --nodes: one more flag for them, as --serve-flag=--shards=2")
}

func (o *ownNodes) check(cmd *cobra.Command) error {
	for _, name := range []string{"server", "server-pid", "data", "auth-secret-file"} {
		if o.count > 0 && cmd.Flags().Changed(name) {
			return cli.Usagef("--%s: want it or --nodes, which starts servers of its own", name)
		}
	}
	for _, name := range []string{"dir", "serve-flag"} {
		if o.count == 0 && cmd.Flags().Changed(name) {
			return cli.Usagef("--%s: want --nodes with it", name)
		}
	}
	return nil
}

// launch starts the nodes and points o to them. remove ends them and removes what
// they have written.
func (n *ownNodes) launch(ctx context.Context, o *options) (remove func() error, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(n.dir, "belfry-load-*")
	if err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	cluster, err := nodes.New(nodes.Config{Program: program, Dir: dir, Nodes: n.count, Flags: n.serveFlags})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	remove = func() error { return errors.Join(cluster.Close(), os.RemoveAll(dir), syncFolder(n.dir)) }
	if err := cluster.Start(ctx); err != nil {
		return nil, errors.Join(err, remove())
	}
	o.servers, o.serverPIDs, o.secretFiles = cluster.URLs(), cluster.PIDs(), []string{cluster.SecretFile()}
	return remove, nil
}
