//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/belfry-im/belfry/loadtest/nodes"
)

// figureMended is how long it took from the command that mends until all replicas had a
// vote again.
const figureMended = "whole again"

// A loss is what is taken from a node that does not run.
type loss struct {
	name string
	// pattern names what is removed, in the data folder; it may match once per shard.
	pattern string
	// ends: the node does not start, and says so. It is then begun with an empty folder.
	ends bool
	// mends is the command that has to be in what the node, or the status, says.
	mends string
}

var losses = []loss{
	{name: "all data", pattern: ".", mends: "replace-node"},
	{name: "a replica", pattern: "shard-%04d*", mends: "rebuild-replica"},
	{name: "a replica's votes", pattern: "shard-%04d*/stable.db", mends: "rebuild-replica"},
	{name: "placement's votes", pattern: "placement/raft.db", ends: true, mends: "replace-node"},
	{name: "a replica's log", pattern: "shard-%04d*/log*", mends: "rebuild-replica"},
	{name: "placement", pattern: "placement", ends: true, mends: "replace-node"},
}

// wiped kills a node, takes some of its data, and starts it: it has to be refused with the
// command that mends it, and that command has to mend it.
func wiped(ctx context.Context, l *load, i int, hold time.Duration) ([]figure, error) {
	what := losses[i%len(losses)]
	shard := i / len(losses) % l.Shards
	victim, err := l.follower(ctx, shard)
	if i%2 == 0 {
		victim, err = l.leader(ctx, shard)
	}
	if err != nil {
		return nil, err
	}
	var mended time.Duration
	f := l.kill(victim, hold)
	f.end = func(ctx context.Context) error {
		if err := remove(victim.Data, what.pattern, shard); err != nil {
			return err
		}
		command, err := l.refused(ctx, victim, what)
		if err != nil {
			return err
		}
		l.printf("%s lost %s: belfry %s", victim, what.name, strings.Join(command, " "))
		began := time.Now()
		if err := errors.Join(l.mend(ctx, victim, command), victim.AwaitReady(ctx)); err != nil {
			return err
		}
		if err := l.whole(ctx); err != nil {
			return err
		}
		mended = time.Since(began)
		return l.sound(ctx)
	}
	figures, err := l.suffer(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("%s lost %s: %w", victim, what.name, err)
	}
	return append(figures, figure{figureMended, mended}), nil
}

// remove removes what a pattern names, which must be something.
func remove(data, pattern string, shard int) error {
	if strings.Contains(pattern, "%") {
		pattern = fmt.Sprintf(pattern, shard)
	}
	paths, err := filepath.Glob(filepath.Join(data, pattern))
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("%s has no %s", data, pattern)
	}
	for _, path := range paths {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// commandIn finds a command of belfry in a text: its words after "belfry".
var commandIn = regexp.MustCompile(`belfry (cluster (?:replace-node|rebuild-replica) [\w.-]+ [\w.-]+)`)

// refused starts a node that has lost something, and returns the command that is named
// where an operator looks.
func (b *bench) refused(ctx context.Context, n *nodes.Node, what loss) (command []string, err error) {
	if err := n.Start(); err != nil {
		return nil, err
	}
	if what.ends {
		code, err := n.AwaitEnd(ctx)
		if err != nil {
			return nil, err
		}
		if said := n.LogEnd(); code == 0 || !strings.Contains(said, what.mends) || !strings.Contains(said, "empty data folder") {
			return nil, fmt.Errorf("%s ended with %d and said %s\nwant that it is refused, with what to do", n, code, said)
		}
		if err := errors.Join(n.Wipe(), n.Start()); err != nil {
			return nil, err
		}
	}
	err = poll(ctx, b.Patience, func() (string, error) {
		said := ""
		if err := n.Ready(ctx); err != nil {
			said = err.Error()
		}
		for _, other := range b.cluster.Nodes() {
			if status, err := b.status(ctx, other); err == nil && other != n {
				said += "\n" + strings.Join(status.Problems, "\n")
			}
		}
		for _, found := range commandIn.FindAllStringSubmatch(said, -1) {
			if strings.Contains(found[1], what.mends) && strings.Contains(found[1], " "+n.Name) {
				command = strings.Fields(found[1])
				return "", nil
			}
		}
		return fmt.Sprintf("nobody names a command with %s; said was: %s", what.mends, said), nil
	})
	return command, err
}

// mend runs a command of belfry at another node than the one that it is about. A rebuild
// is refused while the other replicas are no majority that is caught up.
func (b *bench) mend(ctx context.Context, about *nodes.Node, command []string) error {
	all := b.cluster.Nodes()
	at := all[(about.Number+1)%len(all)]
	return poll(ctx, b.Patience, func() (string, error) {
		args := append(command[:len(command):len(command)], "--admin", at.AdminURL(), "--admin-token-file", b.cluster.AdminTokenFile())
		cmd := exec.CommandContext(ctx, b.Binary, args...)
		cmd.Env = []string{} // it takes flags from variables
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Sprintf("%v: %v: %s", args, err, out), ctx.Err()
		}
		return "", nil
	})
}

// A clusterStatus is what a node says of the cluster.
type clusterStatus struct {
	Problems []string `json:"problems"`
	Nodes    []struct {
		Name    string `json:"name"`
		Leaving bool   `json:"leaving"`
	} `json:"nodes"`
	Shards []struct {
		Shard    int    `json:"shard"`
		Leader   string `json:"leader"`
		Replicas []struct {
			Node     string `json:"node"`
			State    string `json:"state"`
			Up       bool   `json:"up"`
			CaughtUp bool   `json:"caughtUp"`
			Problem  string `json:"problem"`
		} `json:"replicas"`
	} `json:"shards"`
}

func (b *bench) status(ctx context.Context, n *nodes.Node) (s clusterStatus, err error) {
	err = n.Call(ctx, "GET", "/v1/cluster", nil, &s)
	return s, err
}

// unsound returns what is not as it should be, of nodes and replicas; "" if all is. How
// fast disks are does not count.
func (s *clusterStatus) unsound(count int) string {
	if len(s.Nodes) != count {
		return fmt.Sprintf("there are %d nodes, want %d", len(s.Nodes), count)
	}
	for _, sh := range s.Shards {
		if sh.Leader == "" || len(sh.Replicas) != count {
			return fmt.Sprintf("shard %d has %d replicas, and %q leads", sh.Shard, len(sh.Replicas), sh.Leader)
		}
		for _, r := range sh.Replicas {
			if !r.Up || !r.CaughtUp || r.Problem != "" || r.State != "leader" && r.State != "follower" {
				return fmt.Sprintf("shard %d: the replica on %s is %+v", sh.Shard, r.Node, r)
			}
		}
	}
	return ""
}

// sound waits until each node says that nodes and replicas are as they should be.
func (b *bench) sound(ctx context.Context) error {
	return poll(ctx, wholePatience, func() (string, error) {
		for _, n := range b.cluster.Nodes() {
			s, err := b.status(ctx, n)
			if err != nil {
				return "", err
			}
			if unsound := s.unsound(len(b.cluster.Nodes())); unsound != "" {
				return fmt.Sprintf("%s says: %s", n, unsound), nil
			}
		}
		return "", nil
	})
}
