//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// run runs what c says and returns the exit code.
func run(ctx context.Context, c config) (code int, err error) {
	if c.For > 0 {
		return torment(ctx, c)
	}
	for _, name := range c.Scenarios {
		s := scenarioNamed(name)
		runs := c.Runs
		if runs == 0 {
			runs = s.runs
		}
		b, figures, err := play(ctx, c, s, runs)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if b == nil {
			return 0, err
		}
		if err != nil && !b.failed() {
			b.violated(err)
		}
		summarise(c.Out, s, figures)
		if b.failed() {
			fmt.Fprintf(c.Out, "%s: %d VIOLATIONS, the first: %s\n", s.name, len(b.violations), b.violations[0])
			code = 1
		}
	}
	return code, nil
}

// line returns the figures of a run in one line.
func line(figures []figure) string {
	var parts []string
	for _, f := range figures {
		parts = append(parts, fmt.Sprintf("%s %v", f.name, f.took.Round(time.Millisecond)))
	}
	return strings.Join(parts, "  ")
}

// summarise prints median and maximum of each figure, and whether they keep the
// scenario's bars.
func summarise(out io.Writer, s *scenario, runs [][]figure) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintf(w, "%s, %d runs\tp50\tmax\tbar\n", s.name, len(runs))
	if len(runs) == 0 {
		return
	}
	for i, f := range runs[0] {
		var took []time.Duration
		for _, run := range runs {
			took = append(took, run[i].took)
		}
		p50, most := medianAndMax(took)
		fmt.Fprintf(w, "%s\t%v\t%v\t%s\n", f.name, p50.Round(time.Millisecond), most.Round(time.Millisecond), s.verdict(f.name, p50, most))
	}
}

func medianAndMax(took []time.Duration) (p50, most time.Duration) {
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1]
}

// verdict says whether a figure keeps its bar, and which it is; "" if it has none.
func (s *scenario) verdict(name string, p50, most time.Duration) string {
	i := slices.IndexFunc(s.bars, func(b bar) bool { return b.figure == name })
	if i < 0 {
		return ""
	}
	var want []string
	kept := true
	if limit := s.bars[i].p50; limit > 0 {
		want = append(want, fmt.Sprintf("p50 < %v", limit))
		kept = kept && p50 < limit
	}
	if limit := s.bars[i].max; limit > 0 {
		want = append(want, fmt.Sprintf("max < %v", limit))
		kept = kept && most < limit
	}
	verdict := "kept: "
	if !kept {
		verdict = "MISSED: "
	}
	return verdict + strings.Join(want, ", ")
}

// verifyNodes checks what nodes have, once users have gone: their states, and their
// logs.
func (b *bench) verifyNodes(ctx context.Context) error {
	if !b.Plain {
		if err := b.compareReplicas(ctx); err != nil {
			return err
		}
		b.printf("the replicas of each shard are equal")
	}
	return b.scanLogs()
}

// badLines must not be in the log of a node, whatever has happened to it.
var badLines = []string{"panic:", "DATA RACE", "shard stopped", "checksum"}

// scanLogs returns an error if a node's log has a line that it must not have.
func (b *bench) scanLogs() error {
	var errs []error
	for _, n := range b.cluster.Nodes() {
		text, err := n.Log()
		if err != nil {
			return err
		}
		for line := range strings.Lines(text) {
			for _, bad := range badLines {
				if strings.Contains(line, bad) && !strings.Contains(line, "level=INFO") && !strings.Contains(line, "level=DEBUG") {
					errs = append(errs, fmt.Errorf("the log of %s says: %s", n, strings.TrimSpace(line)))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// noneReopened returns an error if a log of any node failed and was opened again.
func noneReopened(ctx context.Context, b *bench) error {
	for _, n := range b.cluster.Nodes() {
		metrics, err := n.Metrics(ctx)
		if err != nil {
			return err
		}
		for name, value := range metrics {
			if strings.HasPrefix(name, "belfry_shard_log_failures_total") && value > 0 {
				return fmt.Errorf("%s: %s is %.0f, want no log that failed", n, name, value)
			}
		}
	}
	return nil
}
