package main

import (
	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/clustercmd"
)

func newClusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Look after a cluster of nodes",
	}
	cmd.AddCommand(clustercmd.Commands()...)
	cmd.AddCommand(newClusterDevCommand())
	return cmd
}
