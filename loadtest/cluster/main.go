//go:build linux

// Command cluster starts three Belfry servers as a cluster on this machine, breaks
// them while users chat, and measures how long that keeps anybody waiting:
//
//	go run ./loadtest/cluster -scenario kill -runs 30
//	go run ./loadtest/cluster -scenario partition,disk-hang -runs 5
//	go run ./loadtest/cluster -for 30m -seed 1
//
// Each run of a scenario breaks something, waits until users are served again,
// mends it, and prints a line with the longest times in which sends waited and none
// of them was answered: of users whose own node was well, of those who were at the
// node that was broken, and while it was mended. At the end stand the median and
// the maximum, beside the bar that they have to keep. All along the users verify
// what they get; at the end all of history is read back. The exit code is 1 if
// anything that was acknowledged was lost, doubled, reordered or altered, or if the
// replicas differ; times that miss their bar are only reported.
//
// With -for all faults are mixed, by a plan that the seed decides, in rounds with
// new users each; see torture.go.
//
// Servers are built with the tag faults: they can be told to hang their disks and
// to read wrong clocks, take snapshots early and have small log files. With -plain
// they are those that users get, and scenarios that need such orders are refused.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

func main() {
	c := config{Body: 128, Out: os.Stdout}
	var names string
	var plain bool
	flag.StringVar(&names, "scenario", "", "scenarios to run, one after the other: "+strings.Join(scenarioNames(), ", "))
	flag.IntVar(&c.Runs, "runs", 0, "runs of each scenario; 0 = as many as its bar asks for")
	flag.DurationVar(&c.For, "for", 0, "how long to mix all faults, instead of a scenario")
	flag.DurationVar(&c.Round, "round", time.Minute, "with -for: from one check point to the next")
	flag.Uint64Var(&c.Seed, "seed", 1, "decides what is left to chance")
	flag.IntVar(&c.Nodes, "nodes", 3, "nodes of the cluster")
	flag.IntVar(&c.Shards, "shards", 0, "shards; 0 = as many as the scenario has, else 2")
	flag.IntVar(&c.Users, "users", 60, "users who chat, an even number")
	flag.IntVar(&c.Rooms, "rooms", 6, "groups of 5 to 10 other users, several of whom write")
	flag.IntVar(&c.Rate, "rate", 1000, "messages per second of all users; 0 = as fast as their windows of 16 allow")
	flag.StringVar(&c.RaftLog, "raft-log", "", "of the servers; their default if it is not given")
	flag.BoolVar(&c.WAN, "wan", false, "give servers the time-outs of nodes that are far from each other")
	flag.DurationVar(&c.Hold, "hold", 0, "how long a fault stands; 0 = as long as the scenario says")
	flag.StringVar(&c.Binary, "binary", "", "a server; built here if it is not given")
	flag.BoolVar(&plain, "plain", false, "build the server without the tag faults")
	flag.StringVar(&c.Dir, "dir", "", "folder for data and logs, on the disk that is to be measured; a temporary one if it is not given")
	fill := flag.Int64("fill", 500, "MB that the scenario behind has written meanwhile")
	flag.Parse()
	c.Plain, c.Fill = plain, *fill<<20
	if names != "" {
		c.Scenarios = strings.Split(names, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := command(ctx, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		code = 2
	}
	os.Exit(code)
}

// command runs what c says if this process may mount and make namespaces; if not,
// it runs this program again in one that may.
func command(ctx context.Context, c config) (code int, err error) {
	if err := c.check(); err != nil {
		return 0, err
	}
	if smalldisk.Inside() {
		return run(ctx, c)
	}
	if c.Dir, err = os.MkdirTemp(c.Dir, "belfry-cluster-"); err != nil {
		return 0, err
	}
	if c.Binary == "" {
		c.Binary = filepath.Join(c.Dir, "belfry")
		var flags []string
		if !c.Plain {
			flags = []string{"-tags", "faults"}
		}
		if err := build(ctx, c.Binary, flags...); err != nil {
			return 0, err
		}
	}
	cmd := smalldisk.Command(context.WithoutCancel(ctx), append(os.Args[1:], "-dir", c.Dir, "-binary", c.Binary)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("namespaces, for disks that can be filled and links that can be cut: %w", err)
	}
	// The terminal's signals reach the other process, too; a second one does no
	// harm.
	defer context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })()
	if err := cmd.Wait(); err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
			fmt.Fprintf(os.Stderr, "cluster: data and logs are kept: %s\n", c.Dir)
			return exit.ExitCode(), nil
		}
		return 0, err
	}
	return 0, os.RemoveAll(c.Dir)
}

// build makes the server.
func build(ctx context.Context, path string, flags ...string) error {
	args := append([]string{"build", "-o", path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/belfry-im/belfry/cmd/belfry")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return nil
}
