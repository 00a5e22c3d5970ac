package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// TestDevClusterFlags has serve read what its nodes are started with.
func TestDevClusterFlags(t *testing.T) {
	c := newDevCluster("belfry", "data", 3)
	seen := map[string]bool{}
	for _, n := range c.nodes {
		fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		var o serveOptions
		o.bind(fs)
		if err := fs.Parse(n.args[1:]); err != nil {
			t.Fatal(err)
		}
		if err := o.check(fs.Changed); err != nil {
			t.Errorf("%v: %v", n.args, err)
		}
		config := o.cluster.config()
		if config == nil || config.Expect != 3 || len(config.Join) != 3 || config.Join[len(seen)] != config.Listen {
			t.Errorf("%v: %+v", n.args, config)
		}
		seen[o.node+o.listen+o.adminListen+o.cluster.listen+o.data] = true
	}
	if len(seen) != 3 {
		t.Errorf("nodes share something: %v", seen)
	}
}

// TestDevClusterEnds plays the nodes by a shell: one that serves until its stdin ends, and
// one that ends at once.
func TestDevClusterEnds(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	write := func(script string) {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("echo ready listen=x admin=y; cat >/dev/null; exit 0\n")
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := newDevCluster(program, t.TempDir(), 3).run(ctx, &out); err != nil {
		t.Errorf("run = %v", err)
	}
	write("echo broken >&2; exit 3\n")
	err := newDevCluster(program, t.TempDir(), 3).run(t.Context(), &out)
	if err == nil || !strings.Contains(err.Error(), "has ended: exit status 3; see") {
		t.Errorf("run = %v, want how the node has ended", err)
	}
}
