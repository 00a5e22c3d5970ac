//go:build linux

// Command torture runs a Belfry server under verifying load while it is killed,
// frozen, restarted, out of disk, told a wrong time, and left by its peers in
// every way there is, and checks that nothing that was acknowledged is lost,
// doubled, reordered or altered, and that nothing grows:
//
//	go run ./loadtest/torture -for 30m -seed 1
//
// It goes round by round. In a round new users chat in pairs through a proxy, and
// a crowd of others is in groups of all stored kinds: they join and leave, are
// removed and muted, recall, delete and report; a group is dismissed and made
// again; an administrator deletes, imports and erases; webhooks go to a receiver
// that fails in every way. Meanwhile two lanes of faults happen, one of the
// process and its disk, one of connections and clocks. The seed decides which,
// when, and for how long; what the server and its clients are doing then is up to
// the machine. Each second round leaves the process alive.
//
// At the end of a round everything is healed; all that was sent has to arrive and
// to be in the history that a new device finds, as far as it is a member's to see
// and nobody took it away; unread is what follows from that; message.queued has
// told, as one event, of all that no session acked in the foreground, of users
// who are away or look in and leave in every way; the server, without clients,
// has to be as small as after the first round. In the end the server is killed
// once more, and the history of all rounds is read.
//
// The data lie on a tmpfs that is shrunk to fill it: see package smalldisk. The
// exit code is 1 after a violation; the server's log is kept then. The server is
// built with the tag faults: it can be told to fail, takes snapshots early and
// has small log files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

func main() {
	c := config{Users: 20, Body: 256, Disk: 4 << 30, Memory: true, Out: os.Stdout}
	flag.DurationVar(&c.For, "for", 30*time.Minute, "how long")
	flag.DurationVar(&c.Round, "round", time.Minute, "from one check point to the next")
	flag.Uint64Var(&c.Seed, "seed", 1, "decides the faults")
	flag.IntVar(&c.Rate, "rate", 300, "messages per second")
	flag.StringVar(&c.RaftLog, "raft-log", "wal", "of the server: wal, boltdb or shared")
	flag.StringVar(&c.Binary, "binary", "", "a server built with the tag faults; built here if it is not given")
	flag.StringVar(&c.Dir, "dir", "", "folder for the server's log; a temporary one if it is not given")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := torment(ctx, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		code = 2
	}
	os.Exit(code)
}

// torment runs the torture if this process may mount; if not, it runs this
// program again in one that may.
func torment(ctx context.Context, c config) (code int, err error) {
	if smalldisk.Inside() {
		r, err := run(ctx, c)
		if err != nil {
			return 0, err
		}
		r.print(c.Out)
		if len(r.Violations) > 0 {
			return 1, nil
		}
		return 0, nil
	}
	if c.Dir == "" {
		if c.Dir, err = os.MkdirTemp("", "belfry-torture-"); err != nil {
			return 0, err
		}
	}
	if c.Binary == "" {
		c.Binary = filepath.Join(c.Dir, "belfry-faults")
		if err := build(ctx, c.Binary); err != nil {
			return 0, err
		}
	}
	cmd := smalldisk.Command(context.WithoutCancel(ctx), append(os.Args[1:], "-dir", c.Dir, "-binary", c.Binary)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("mount namespace, for a disk that can be filled: %w", err)
	}
	// The terminal's signals reach the other process, too; a second one does no
	// harm.
	defer context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })()
	if err := cmd.Wait(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
			fmt.Fprintf(os.Stderr, "torture: the server's log is kept: %s\n", filepath.Join(c.Dir, "server.log"))
			return exit.ExitCode(), nil
		}
		return 0, err
	}
	return 0, os.RemoveAll(c.Dir)
}

// build makes a server that can be told to fail.
func build(ctx context.Context, path string, flags ...string) error {
	args := append([]string{"build", "-tags", "faults", "-o", path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/belfry-im/belfry/cmd/belfry")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return nil
}

// print writes the table of a run.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\nseed %d, %v, %d rounds\n", r.Seed, r.Took.Round(time.Second), r.Rounds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, k := range allKinds {
		fmt.Fprintf(w, "%s\t%d\n", k, r.Events[k])
	}
	fmt.Fprintf(w, "messages\t%d\n", r.Sent)
	fmt.Fprintf(w, "messages of groups and to who is away\t%d\n", r.Groups.Sent)
	fmt.Fprintf(w, "recalls, deletions, mutes, stays, lives\t%d\n", r.Groups.Changes)
	fmt.Fprintf(w, "message.queued\t%d\n", r.Groups.Queued)
	fmt.Fprintf(w, "imports, users erased\t%d, %d\n", r.Groups.Imports, r.Groups.Erased)
	fmt.Fprintf(w, "reconnects\t%d\n", r.Reconnects)
	fmt.Fprintf(w, "pushed again\t%d\n", r.Repeated)
	for _, code := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(w, "sends refused, %s\t%d\n", code, r.Refused[code])
	}
	fmt.Fprintf(w, "logs that failed\t%d\n", r.LogFails)
	if n := len(r.Logins); n > 0 {
		fmt.Fprintf(w, "logins at check points\t%d, p99 %v\n", n, r.Logins[(n-1)*99/100].Round(time.Microsecond))
	}
	fmt.Fprintf(w, "idle, first\t%v\n", r.First)
	fmt.Fprintf(w, "idle, last\t%v\n", r.Last)
	fmt.Fprintf(w, "violations\t%d\n", len(r.Violations))
	w.Flush()
	for _, v := range r.Violations {
		fmt.Fprintln(out, "VIOLATION:", v)
	}
}
