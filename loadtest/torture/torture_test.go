//go:build linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

// TestMain runs the tests where they can mount.
func TestMain(m *testing.M) {
	if smalldisk.Inside() {
		os.Exit(m.Run())
	}
	cmd := smalldisk.Command(context.Background(), os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func binary(t *testing.T) string {
	t.Helper()
	if os.Getenv("BELFRY_TEST_NO_SERVERS") != "" {
		t.Skip("BELFRY_TEST_NO_SERVERS is set")
	}
	path := filepath.Join(t.TempDir(), "belfry-faults")
	var flags []string
	if raceEnabled {
		flags = append(flags, "-race")
	}
	if err := build(t.Context(), path, flags...); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTorture is one short round with every kind of fault.
func TestTorture(t *testing.T) {
	const seed = 3
	c := config{
		Binary: binary(t), Dir: t.TempDir(), RaftLog: "wal", Seed: seed,
		For: 20 * time.Second, Round: 20 * time.Second, Users: 20, Rate: 200, Body: 256, Disk: 256 << 20,
		Out: t.Output(),
	}
	r, err := run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r.print(t.Output())
	for _, v := range r.Violations {
		t.Error(v)
	}
	for _, k := range allKinds {
		if r.Events[k] == 0 {
			t.Errorf("no %s happened, want each kind of fault", k)
		}
	}
	if r.Sent == 0 || r.Reconnects == 0 || len(r.Logins) == 0 {
		t.Errorf("report = %+v, want messages, reconnects and logins", r)
	}
	if g := r.Groups; g.Sent == 0 || g.Changes == 0 || g.Queued == 0 || g.Imports == 0 || g.Erased == 0 {
		t.Errorf("groups: %+v, want something of each", g)
	}
	if t.Failed() {
		log, err := os.ReadFile(filepath.Join(c.Dir, "server.log"))
		t.Logf("the server's log (%v):\n%s", err, log[max(0, len(log)-64<<10):])
	}
}

// TestPlanRepeats holds one seed to one plan, another to another.
func TestPlanRepeats(t *testing.T) {
	of := func(seed uint64) []event {
		return plan(rand.New(rand.NewPCG(seed, 0)), processKinds, time.Minute)
	}
	if a, b := of(1), of(1); !slices.Equal(a, b) {
		t.Errorf("seed 1 gives %v, then %v", a, b)
	}
	if a, b := of(1), of(2); slices.Equal(a, b) {
		t.Errorf("seeds 1 and 2 both give %v", a)
	}
}

// TestHarmless has runs in which too little happened fail.
func TestHarmless(t *testing.T) {
	for want, r := range map[int]report{
		0: {Took: 30 * time.Minute, Events: map[kind]int{kindKill: 40, kindFullKill: 10}, LogFails: 1},
		1: {Took: 30 * time.Minute, Events: map[kind]int{kindKill: 40, kindFullKill: 9}, LogFails: 1},
		2: {Took: 30 * time.Minute, Events: map[kind]int{kindFull: 10}},
	} {
		if got := r.missingFaults(); len(got) != want {
			t.Errorf("%+v: %q, want %d complaints", r, got, want)
		}
	}
}

func TestGrowth(t *testing.T) {
	base := footprint{goroutines: 30, files: 20, heap: 10 << 20, resident: 40 << 20, state: 100 << 20}
	for want, f := range map[string]footprint{
		"":                {goroutines: 35, files: 25, heap: 30 << 20, resident: 100 << 20, state: 100 << 20},
		"goroutines":      {goroutines: 50, files: 20},
		"files":           {goroutines: 30, files: 40},
		"heap":            {goroutines: 30, files: 20, heap: 60 << 20, state: 100 << 20},
		"resident memory": {goroutines: 30, files: 20, resident: 200 << 20, state: 100 << 20},
	} {
		if got := f.growth(base); got != want {
			t.Errorf("growth of %v = %q, want %q", f, got, want)
		}
	}
}

// TestReadBackCatches has a server that lost what it had acknowledged: its data
// are replaced by older ones.
func TestReadBackCatches(t *testing.T) {
	dir := t.TempDir()
	s, err := newServer(binary(t), dir, filepath.Join(dir, "store"), "wal", func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	start := func() {
		t.Helper()
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		if err := s.awaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start()
	defer s.kill()
	target := loadtest.Server{Codec: protocol.Msgpack, Token: s.token}
	target.URLs = []string{"ws://" + s.address()}
	var clients []*loadtest.Client
	older := filepath.Join(dir, "older")
	report, err := loadtest.Pairs(t.Context(), loadtest.PairsConfig{
		Config: loadtest.Config{Server: target, Prefix: "u-"},
		Users:  2, Body: 100, Window: 1, Rate: 50, Duration: time.Second, Resume: true,
		Disturb: func(ctx context.Context, cs []*loadtest.Client, _ *loadtest.Silences) {
			clients = cs
			s.kill()
			if err := os.CopyFS(older, os.DirFS(s.data)); err != nil {
				t.Error(err)
			}
			start()
			for _, c := range cs {
				if err := poll(ctx, 10*time.Second, func() (string, error) {
					if c.Ping(ctx) != nil {
						return "no session", nil
					}
					return "", nil
				}); err != nil {
					t.Error(err)
				}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		if _, wrong, err := c.Readback(t.Context(), "fresh"); err != nil || len(wrong) > 0 {
			t.Errorf("nothing is wrong, read back: %v, %v", wrong, err)
		}
	}
	s.kill()
	if err := os.Rename(s.data, filepath.Join(dir, "newer")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, s.data); err != nil {
		t.Fatal(err)
	}
	start()
	for _, c := range clients {
		_, wrong, err := c.Readback(t.Context(), "fresh")
		if err != nil || len(wrong) == 0 || !strings.Contains(wrong[0].Error(), "ends with seq") {
			t.Errorf("the server lost messages, read back: %v, %v; want where it ends", wrong, err)
		}
	}
}
