//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

// TestMain runs the tests where they can mount and make network namespaces.
func TestMain(m *testing.M) {
	if smalldisk.Inside() {
		code := m.Run()
		os.RemoveAll(builtIn)
		os.Exit(code)
	}
	cmd := smalldisk.Command(context.Background(), os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// server builds the server once for all tests.
var server = sync.OnceValues(func() (path string, err error) {
	dir, err := os.MkdirTemp("", "belfry-cluster-test-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	flags := []string{"-tags", "faults"}
	if raceEnabled {
		flags = append(flags, "-race")
	}
	path = filepath.Join(dir, "belfry")
	return path, build(context.Background(), path, flags...)
})

// builtIn is the folder of server; "" if no test needed it.
var builtIn string

// nodeCount is how many nodes the clusters of the tests have.
const nodeCount = 3

// testPatience is config.Patience: a machine that runs other tests may not get round to an
// election for a while.
const testPatience = 2 * time.Minute

func testConfig(t *testing.T) config {
	t.Helper()
	if os.Getenv("BELFRY_TEST_NO_SERVERS") != "" {
		t.Skip("BELFRY_TEST_NO_SERVERS is set")
	}
	binary, err := server()
	if err != nil {
		t.Fatal(err)
	}
	return config{Binary: binary, Dir: t.TempDir(), Nodes: nodeCount, Users: 20, Rooms: 2, Rate: 200, Body: 100, Seed: 1, Patience: testPatience, Out: t.Output()}
}

func (b *bench) logs(t *testing.T) {
	for _, n := range b.cluster.Nodes() {
		t.Logf("the log of %s:\n%s", n, n.LogEnd())
	}
}

// TestKill kills the leaders of both shards.
func TestKill(t *testing.T) {
	c := testConfig(t)
	c.Hold = 300 * time.Millisecond
	s := scenarioNamed("kill")
	b, figures, err := play(t.Context(), c, s, 2)
	if err != nil {
		t.Fatal(err)
	}
	summarise(t.Output(), s, figures)
	if len(figures) != 2 || b.failed() {
		b.logs(t)
		t.Errorf("%d runs, violations %q; want 2 and none", len(figures), b.violations)
	}
	for _, f := range figures {
		if f[0].name != figureOthers || f[0].took > testPatience || nodeCount == 1 && f[1].took == 0 {
			t.Errorf("figures %v, want how long users waited", f)
		}
	}
}

// TestTorture is one short round with faults of half of the kinds. Elections are not those
// of the default: servers with the race detector, on a machine that runs other tests,
// would hold some that no fault calls for, and might end none.
func TestTorture(t *testing.T) {
	c := testConfig(t)
	c.WAN = true
	c.Seed, c.For, c.Round = 1, 25*time.Second, 25*time.Second
	r, err := tortured(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	r.print()
	if r.failed() {
		r.logs(t)
		t.Errorf("violations: %q", r.violations)
	}
	total := 0
	for _, n := range r.events {
		total += n
	}
	if total < 6 || r.sent == 0 || r.again == 0 {
		t.Errorf("%d faults, %d messages, %d reconnects; want at least 6, and some", total, r.sent, r.again)
	}
}

// TestChatCatchesLoss has servers that come back with older data than they had when
// they acknowledged.
func TestChatCatchesLoss(t *testing.T) {
	c := testConfig(t)
	c.Rooms = 0
	b, err := newBench(c, "loss", nodeCount, false, false)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	ctx, done := b.failing(t.Context())
	defer done()
	if err := b.cluster.Start(ctx); err != nil {
		t.Fatal(err)
	}
	killAll := func(then func(data, older string) error) error {
		for _, n := range b.cluster.Nodes() {
			n.Kill()
		}
		for _, n := range b.cluster.Nodes() {
			if err := then(n.Data, n.Data+"-older"); err != nil {
				return err
			}
		}
		return b.cluster.Start(ctx)
	}
	_, _, err = b.chat(ctx, "loss-", protocol.Msgpack, func(ctx context.Context, l *load) error {
		served := func() error {
			l.silences.Expect()
			return l.awaitAnswers(ctx, nil)
		}
		return errors.Join(
			killAll(func(data, older string) error { return os.CopyFS(older, os.DirFS(data)) }),
			served(),
			killAll(func(data, older string) error { return errors.Join(os.RemoveAll(data), os.Rename(older, data)) }),
			served())
	})
	if !b.failed() {
		t.Errorf("messages were acknowledged and lost, and the run passed: %v", err)
	}
}

// TestPlanRepeats holds one seed to one plan, another to another.
func TestPlanRepeats(t *testing.T) {
	of := func(seed uint64) []event { return plan(rand.New(rand.NewPCG(seed, 0)), time.Minute, 2) }
	if a, b := of(1), of(1); !slices.Equal(a, b) {
		t.Errorf("seed 1 gives %v, then %v", a, b)
	}
	if a, b := of(1), of(2); slices.Equal(a, b) {
		t.Errorf("seeds 1 and 2 both give %v", a)
	}
	seen := map[kind]bool{}
	for _, e := range of(1) {
		seen[e.kind] = true
	}
	if len(seen) != len(allKinds) {
		t.Errorf("a minute has the kinds %v, want all of %v", seen, allKinds)
	}
}

func TestSummary(t *testing.T) {
	s := &scenario{name: "kill", bars: []bar{{figureOthers, 300 * time.Millisecond, time.Second}, {figureMending, 0, time.Second}}}
	runs := [][]figure{
		{{figureOthers, 500 * time.Millisecond}, {figureOwn, time.Second}, {figureMending, time.Second}},
		{{figureOthers, 100 * time.Millisecond}, {figureOwn, 3 * time.Second}, {figureMending, time.Millisecond}},
		{{figureOthers, 200 * time.Millisecond}, {figureOwn, 2 * time.Second}, {figureMending, time.Millisecond}},
	}
	var out strings.Builder
	summarise(&out, s, runs)
	for _, want := range []string{
		"kill, 3 runs", "200ms  500ms  kept: p50 < 300ms, max < 1s", "2s     3s", "1ms    1s     MISSED: max < 1s",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the summary is\n%s\nwant %q in it", out.String(), want)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	for want, change := range map[string]func(*config){
		"-scenario nothing: want some": func(c *config) { c.Scenarios = []string{"nothing"} },
		"want one of them":             func(c *config) { c.For = time.Second },
		"-users 3":                     func(c *config) { c.Users = 3 },
		"-rooms -1":                    func(c *config) { c.Rooms = -1 },
		"-nodes 0":                     func(c *config) { c.Nodes = 0 },
		"without -plain":               func(c *config) { c.Plain, c.Scenarios = true, []string{"disk-hang"} },
	} {
		c := config{Scenarios: []string{"kill"}, Users: 2, Nodes: 3}
		change(&c)
		if err := c.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check() = %v, want %q", err, want)
		}
	}
}
