package main

import "github.com/spf13/cobra"

func newClusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Look after a cluster of nodes",
	}
	cmd.AddCommand(newClusterDevCommand())
	return cmd
}
