// Command belfry is a messaging back end in one binary: the server and the
// tools that go with it. `belfry help` lists them.
//
// Every flag of a command can also be set by an environment variable, and those
// of serve by a YAML file; see config.go. Results go to stdout, errors and logs
// to stderr. Exit codes: 0 done, 1 failed, 2 called in a wrong way.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(execute(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// A usageError is a command called in a wrong way, as opposed to one that
// failed at what it was asked to do.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usagef makes a usageError. It names the flag at fault and the rule.
func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// execute runs one command line and gives the exit code.
func execute(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "belfry",
		Short: "An open-source messaging back end",
		Example: `  belfry serve --dev
  belfry token --user alice
  belfry chat --user alice --to bob`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newServeCommand(), newChatCommand(), newLoadCommand(), newTokenCommand(), newVersionCommand())

	// What cobra itself refuses (an unknown command, flag or argument) it
	// refuses before this hook.
	began := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		began = true
		return configure(cmd, environ)
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "belfry: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok || !began {
		fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
		return 2
	}
	return 1
}
