//go:build linux

package loadcmd

// Attacks in small, beside users who chat: nobody loses anything, memory stays
// within its limit, and nothing is kept for less time.

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
)

// siegeLimit leaves little room beside what a quiet server takes, so that what a
// few hundred connections hold shows.
const (
	siegeLimit = 64 << 20
	deafLimit  = 192 << 20
)

func TestSiege(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attack string
		tls    bool
		files  int   // that the server may have open; 0 = as many as the test
		limit  int64 // of its memory; 0 = siegeLimit
		loadtest.AttackConfig
	}{
		{attack: "strangers", AttackConfig: loadtest.AttackConfig{Sockets: 500}},
		{attack: "strangers", tls: true, AttackConfig: loadtest.AttackConfig{Sockets: 500}},
		{attack: "strangers", AttackConfig: loadtest.AttackConfig{Sockets: 500, Sources: 1}},
		{attack: "tokens", AttackConfig: loadtest.AttackConfig{Sockets: 50, Rate: 100}},
		{attack: "descriptors", files: 400, AttackConfig: loadtest.AttackConfig{Sockets: 800}},
		// What they have stored is to have room beside what they hold.
		{attack: "deaf", limit: deafLimit, AttackConfig: loadtest.AttackConfig{Sockets: 160, Size: 20}},
		{attack: "deaf", limit: deafLimit, tls: true, AttackConfig: loadtest.AttackConfig{Sockets: 160, Size: 20}},
		{attack: "presence", AttackConfig: loadtest.AttackConfig{Sockets: 4, Rate: 50, Size: 50}},
		{attack: "gaps", AttackConfig: loadtest.AttackConfig{Sockets: 4, Rate: 50, Size: 1000}},
		{attack: "invented", AttackConfig: loadtest.AttackConfig{Sockets: 4, Rate: 200}},
	} {
		name := c.attack // and no comma: it is in the path of files that flags list
		if c.tls {
			name += " TLS"
		}
		if c.Sources == 1 {
			name += " one address"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := cmp.Or(c.limit, int64(siegeLimit))
			s, target := startBesieged(t, c.tls, c.files, limit)
			admin := &adminClient{url: "http://" + s.AdminListen, token: s.AdminToken, client: http.DefaultClient}
			attack := c.AttackConfig
			attack.Name, attack.Server, attack.Admin = c.attack, target, admin.call
			body := 128
			if c.files > 0 {
				body = besiegedBody
			}
			report, err := loadtest.Siege(t.Context(), loadtest.SiegeConfig{
				Config: loadtest.Config{Server: target, ServerPIDs: []int{s.Cmd.Process.Pid}},
				Users:  10, Body: body, Rate: 100, Absent: 20, Backlog: 10,
				Duration: 2 * time.Second, Warmup: time.Second,
				Vitals: admin.vitals, Health: admin.health,
				Prepare: func(ctx context.Context) (loadtest.Besieger, error) { return loadtest.PrepareAttack(ctx, attack) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := report.Err(); err != nil {
				t.Error(err)
			}
			if report.AbsentDelivered != 200 || len(report.Losses) > 0 || len(report.Refused) > 0 || report.Siege.Full {
				t.Errorf("%d of 200 messages for those who were absent, connections lost: %v, refused: %v, memory full: %v",
					report.AbsentDelivered, report.Losses, report.Refused, report.Siege.Full)
			}
			for kind, n := range report.Siege.Unwell {
				if !strings.Contains(kind, "timeout") { // which says more of the machine
					t.Errorf("%d health checks or looks at metrics failed: %s", n, kind)
				}
			}
			if report.Siege.Heap > limit || report.Siege.Health.Count == 0 || report.Siege.Login.Count == 0 {
				t.Errorf("phase with the attack = %+v, want less than %d bytes of heap, health checks and newcomers", report.Siege, limit)
			}
			s.CheckMemory(t, limit)
			a := report.Attack
			if a.Opened < int64(a.Sockets)/2 || a.Bytes+a.Replies == 0 {
				t.Errorf("attack = %+v, want one", a)
			}
			t.Logf("heap at most %d MiB, calm %d; attack = %+v", report.Siege.Heap>>20, report.Calm.Heap>>20, a)
		})
	}
}

// startBesieged starts a server with its limits on, which may take little memory.
func startBesieged(t *testing.T, secure bool, files int, limit int64) (*harness.Server, loadtest.Server) {
	t.Helper()
	flags := []string{fmt.Sprintf("--memory-limit=%d", limit)}
	dir := t.TempDir()
	cert := filepath.Join(dir, certName)
	if secure {
		key := filepath.Join(dir, keyName)
		if err := makeCertificate(cert, key); err != nil {
			t.Fatal(err)
		}
		flags = append(flags, "--tls-cert", cert, "--tls-key", key)
	}
	s := harness.StartBinary(t, fewFiles(t, dir, files), flags)
	target := loadtest.Server{URLs: []string{"ws://" + s.Listen}, Codec: protocol.Msgpack, Token: signer(s.Secret)}
	if secure {
		var err error
		target.URLs = []string{"wss://" + s.Listen}
		if target.TLS, err = trust(cert); err != nil {
			t.Fatal(err)
		}
	}
	return s, target
}

// fewFiles returns a program that is the plain build, with a limit of open files
// unless that is 0.
func fewFiles(t *testing.T, dir string, files int) string {
	t.Helper()
	bin := harness.Binary(t)
	if files == 0 {
		return bin
	}
	script := filepath.Join(dir, "belfry")
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nulimit -n %d && exec '%s' \"$@\"\n", files, bin), 0o700); err != nil {
		t.Fatal(err)
	}
	return script
}

// TestLoadSiege has the real program start its server and the attacking process.
func TestLoadSiege(t *testing.T) {
	t.Parallel()
	bin := harness.Binary(t)
	dir := t.TempDir()
	cmd := exec.Command(bin, "load", "siege", "--dir", dir, "--attack", "tokens,descriptors", "--transport", "both", "--sockets", "20", "--attack-rate", "100",
		"--users", "10", "--siege-rate", "100", "--absent", "5", "--siege-duration", "300ms", "--siege-warmup", "100ms", "--output", "json")
	cmd.Env = harness.CleanEnv()
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("belfry load siege: %v\n%s%s", err, errs.String(), out)
	}
	var report siegeReport
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("belfry load siege printed %q: %v", out, err)
	}
	if len(report.Sieges) != 4 || !report.Sieges[1].TLS || len(report.Rows) != 4*6 {
		t.Fatalf("%d sieges, %d rows; want 4 and 24", len(report.Sieges), len(report.Rows))
	}
	for _, s := range report.Sieges {
		if s.Attack.Opened == 0 || s.Attack.Sockets != 20 || s.AbsentDelivered != 100 {
			t.Errorf("siege = %+v, attack = %+v", s, s.Attack)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the run left %v, %v in its folder", left, err)
	}
}

func TestLoadSiegeRefusals(t *testing.T) {
	for _, c := range []struct {
		args []string
		text string
	}{
		{[]string{"--attack", "nonsense"}, "--attack nonsense"},
		{[]string{"--users", "3"}, "--users 3: want an even number"},
		{[]string{"--transport", "pigeon"}, "--transport"},
		{[]string{"--memory-limit", "1MiB"}, "--memory-limit"},
	} {
		var out strings.Builder
		args := append([]string{"load", "siege"}, c.args...)
		if code := execute(args, nil, strings.NewReader(""), &out, &out); code != 2 || !strings.Contains(out.String(), c.text) {
			t.Errorf("belfry %v: exit code %d, %q; want 2 and %q", args, code, out.String(), c.text)
		}
	}
}

func TestSiegeReport(t *testing.T) {
	latency := func(p99 float64) loadtest.Latency { return loadtest.Latency{Count: 1, P99MS: p99, MaxMS: p99} }
	good := func() *loadtest.SiegeReport {
		phase := loadtest.SiegePhase{Phase: loadtest.Phase{Ack: latency(2), RSSMax: 100 << 20}, Retention: 604800, Health: latency(5), Login: latency(5)}
		return &loadtest.SiegeReport{Calm: phase, Siege: phase, Sent: 10, Delivered: 10, AbsentSent: 5, AbsentDelivered: 5, Attack: &loadtest.AttackReport{Name: "deaf"}}
	}
	for _, c := range []struct {
		row   string
		spoil func(*loadtest.SiegeReport)
	}{
		{"messages are kept for", func(s *loadtest.SiegeReport) { s.Siege.Retention = 2 }},
		{"server RSS", func(s *loadtest.SiegeReport) { s.Siege.RSSMax = 538 << 20 }},
		{"others' send → ack", func(s *loadtest.SiegeReport) { s.Siege.Ack.P99MS = 6.1 }},
		{"lost, refused", func(s *loadtest.SiegeReport) { s.Delivered-- }},
		{"lost, refused", func(s *loadtest.SiegeReport) { s.AbsentDelivered-- }},
		{"lost, refused", func(s *loadtest.SiegeReport) { s.Losses = map[string]int64{"closed 4413": 1} }},
		{"lost, refused", func(s *loadtest.SiegeReport) { s.Refused = map[string]int64{"unavailable": 1} }},
		{"health", func(s *loadtest.SiegeReport) { s.Siege.Health.MaxMS = 1001 }},
		{"health", func(s *loadtest.SiegeReport) { s.Siege.Unwell = map[string]int64{"timeout": 1} }},
		{"newcomers", func(s *loadtest.SiegeReport) { s.Siege.Refused = map[string]int64{"timeout": 1} }},
		{"kept of users", func(s *loadtest.SiegeReport) { s.Attack.Name, s.Siege.UsersKept = "invented", 3<<20 }},
	} {
		s := good()
		r := siegeReport{Limit: 512 << 20, Sieges: []*loadtest.SiegeReport{s}}
		if r.judge(); len(r.Rows) != 6 {
			t.Fatalf("%d rows, want 6", len(r.Rows))
		}
		for _, row := range r.Rows {
			if row.Holds != "yes" {
				t.Errorf("row %+v, want it to hold", row)
			}
		}
		c.spoil(s)
		r.judge()
		for _, row := range r.Rows {
			if spoilt := strings.Contains(row.What, c.row); (row.Holds == "no") != spoilt {
				t.Errorf("%s spoilt: row %+v", c.row, row)
			}
		}
	}
}

func TestReadVitals(t *testing.T) {
	const metrics = `# HELP belfry_shard_retention_seconds How long.
belfry_shard_retention_seconds{shard="0"} 604800
belfry_shard_retention_seconds{shard="1"} 12.5
belfry_memory_full 1
belfry_memory_used_bytes{part="messages"} 1
belfry_memory_used_bytes{part="users"} 4096
go_memstats_heap_alloc_bytes 1.5e+07
`
	want := loadtest.Vitals{Retention: 12.5, Heap: 15_000_000, Users: 4096, Full: true}
	if v, err := readVitals(strings.NewReader(metrics)); v != want || err != nil {
		t.Errorf("readVitals = %+v, %v; want %+v", v, err, want)
	}
	for _, bad := range []string{"", "go_memstats_heap_alloc_bytes 1\n", metrics + "belfry_memory_full x\n"} {
		if _, err := readVitals(strings.NewReader(bad)); err == nil {
			t.Errorf("readVitals(%q): no error", bad)
		}
	}
}
