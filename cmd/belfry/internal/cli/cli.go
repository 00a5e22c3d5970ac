// Package cli holds what belfry's commands share: how they run, how variables
// and a file set their flags, the kinds of values that flags take, and the
// tokens of a development server.
package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// A UsageError is the error of a command that was called in a wrong way, as
// opposed to one that failed at its work.
type UsageError struct{ error }

func (e UsageError) Unwrap() error { return e.error }

// Usagef returns a UsageError. Its text names the flag at fault and the rule.
func Usagef(format string, args ...any) error {
	return UsageError{fmt.Errorf(format, args...)}
}

// An exitError ends a command with an exit code.
type exitError struct {
	error // nil: there is nothing to print
	code  int
}

func (e exitError) Unwrap() error { return e.error }

func (e exitError) Error() string {
	if e.error == nil {
		return ""
	}
	return e.error.Error()
}

// Exit returns an error with which a command ends with that exit code. err is printed
// unless it is nil.
func Exit(code int, err error) error { return exitError{err, code} }

// Run executes one command line of root and returns the exit code: 0 done, 1
// failed, 2 called in a wrong way. Flags that args leave alone are set from
// environ and the configuration file.
func Run(root *cobra.Command, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// cobra refuses an unknown command, flag or argument before it calls this
	// hook.
	began := false
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		began = true
		return Configure(cmd, environ)
	}
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	exit, own := errors.AsType[exitError](err)
	if own && exit.error == nil {
		return exit.code
	}
	fmt.Fprintf(stderr, "belfry: %v\n", err)
	if _, ok := errors.AsType[UsageError](err); ok || !began {
		fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
		return 2
	}
	if own {
		return exit.code
	}
	return 1
}

// Plural returns a count with its noun: "1 message", "2 messages".
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
