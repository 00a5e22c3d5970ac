// Command belfry is a messaging back end in one binary: the server and the
// tools that go with it. `belfry help` lists them.
//
// Every flag of a command can also be set by an environment variable, and those
// of serve by a YAML file; see internal/cli. Results go to stdout, errors and logs
// to stderr. Exit codes: 0 done, 1 failed, 2 called in a wrong way,
// and what a command says of its own.
package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/chatui"
	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/cmd/belfry/internal/loadcmd"
)

func main() {
	os.Exit(execute(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// execute runs one command line and returns the exit code.
func execute(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return cli.Run(newRootCommand(), args, environ, stdin, stdout, stderr)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "belfry",
		Short: "An open-source messaging back end",
		Example: `  belfry serve --dev
  belfry token --user alice
  belfry chat --user alice --to bob`,
	}
	root.AddCommand(newServeCommand(), chatui.NewCommand(), loadcmd.NewCommand(), newTokenCommand(), newClusterCommand(), newVersionCommand())
	return root
}
