package loadcmd

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/loadtest"
)

// TestLoadTable runs the whole table, in small, by the real program: it starts
// itself as the server.
func TestLoadTable(t *testing.T) {
	bin := harness.Binary(t)
	dir := t.TempDir()
	cmd := exec.Command(bin, "load", "table", "--dir", dir, "--shards", "1,2", "--output", "json",
		"--duration", "300ms", "--hold", "0s", "--users", "10", "--connections", "50", "--logins", "10", "--fsyncs", "10",
		"--slow", "20", "--slow-duration", "6s", "--members", "10", "--room-members", "150", "--room-online", "20", "--groups", "20",
		"--serve-flag=--ack-timeout=2s", "--serve-flag=--window=4:64KiB")
	cmd.Env = harness.CleanEnv()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("belfry load table: %v\n%s%s", err, errs.String(), out.String())
	}
	var report tableReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("belfry load table printed %q: %v", out.String(), err)
	}
	if len(report.Pairs) != 2 || report.Pairs[1].Shards != 2 || report.Pairs[1].Sent == 0 {
		t.Errorf("pairs = %+v, want runs with 1 and 2 shards", report.Pairs)
	}
	if report.FsyncBefore.Count != 10 || report.FsyncAfter.Count != 10 {
		t.Errorf("%d and %d fsyncs, want 10 each", report.FsyncBefore.Count, report.FsyncAfter.Count)
	}
	if !report.Reconnect.Restarted || report.Reconnect.Server == nil {
		t.Errorf("reconnect = %+v, want that of a restart", report.Reconnect)
	}
	if !report.Chatroom.Restarted || report.Chatroom.Delivered != 19*report.Chatroom.Sent || report.Group.Sent == 0 || report.Groups.NewDevice.Count == 0 {
		t.Errorf("chatroom = %+v, group = %+v, groups = %+v", report.Chatroom, report.Group, report.Groups)
	}
	var what []string
	for _, row := range report.Rows {
		what = append(what, row.What)
		if row.Figure == "" || row.Bar == "" {
			t.Errorf("row %+v, want a figure and a bar", row)
		}
	}
	if len(report.Rows) != 18 {
		t.Errorf("%d rows, want 18:\n%s", len(report.Rows), strings.Join(what, "\n"))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the run left %v, %v in its folder", left, err)
	}
}

func TestLoadTableRefusals(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"--only", "nonsense"}, 2, "--only nonsense"},
		{[]string{"--shards", "x"}, 2, "--shards"},
		{[]string{"--users", "3"}, 2, "--users 3: want an even number"},
		{[]string{"--room-members", "5", "--room-online", "6"}, 2, "--room-online 6"},
		{[]string{"--dir", "/does/not/exist"}, 1, "--dir"},
	} {
		var out bytes.Buffer
		args := append([]string{"load", "table"}, c.args...)
		if code := execute(args, nil, strings.NewReader(""), &out, &out); code != c.code || !strings.Contains(out.String(), c.text) {
			t.Errorf("belfry %v: exit code %d, %q; want %d and %q", args, code, out.String(), c.code, c.text)
		}
	}
}

func TestTableReport(t *testing.T) {
	ms := func(p50, p99 float64) loadtest.Latency { return loadtest.Latency{Count: 1, P50MS: p50, P99MS: p99} }
	cpu := func(perMillion float64) *loadtest.Usage { return &loadtest.Usage{CPUPerMillion: perMillion} }
	r := tableReport{
		Cores: 2, Go: "go1.26", System: "linux/amd64", FsyncBefore: ms(0.2, 1), FsyncAfter: ms(0.4, 1),
		Pairs: []shardedPairs{
			{1, &loadtest.PairsReport{Window: 16, SendsPerSecond: 120_000, Server: cpu(6.5), Generator: cpu(3)}},
			{4, &loadtest.PairsReport{Window: 16, SendsPerSecond: 60_000, Server: cpu(12.5), Generator: cpu(3)}},
		},
		Rate:      &loadtest.PairsReport{Rate: 2000, Delivery: ms(1.39, 4.5)},
		Login:     &loadtest.LoginReport{Users: 1000, Backlog: 100, Seconds: 0.3},
		Idle:      &loadtest.IdleReport{Connections: 10_000, RSSAfter: 1, RSSPerSession: 8 << 10},
		Reconnect: &loadtest.ReconnectReport{Clients: 10_000, Storm: loadtest.Storm{Seconds: 5.5}},
		Slow: &loadtest.SlowReport{
			Slow: 100, Body: 128, SlowSent: 1000, SlowDelivered: 999, ServerCloses: new(int64(99)),
			Without: loadtest.Phase{Delivery: ms(1, 2), RSSMax: 100 << 20},
			With:    loadtest.Phase{Delivery: ms(1, 3.5), RSSMax: 120 << 20},
		},
		Group:     &loadtest.GroupReport{Members: 1000, Senders: 1, Window: 64, DeliveriesPerSecond: 300_000, Server: cpu(1.1), Generator: cpu(1)},
		GroupRate: &loadtest.GroupReport{Members: 1000, Senders: 1, Rate: 50, Delivery: ms(5, 20), Server: cpu(11)},
		Chatroom:  &loadtest.ChatroomReport{Members: 10_000, Online: 2000, Storm: loadtest.Storm{Seconds: 9}},
		Groups:    &loadtest.GroupLoginReport{Groups: 1000, NewDevice: ms(10, 25), Returning: ms(5, 10)},
	}
	r.Others = []otherCores{{"pairs, 1 shard", 0.1}, {"login, 1 shard", 0.75}}
	r.judge()
	want := []struct{ what, bar, holds string }{
		{"1 shard: server CPU", "≤ 12 CPU-s a million, reach for 7", "reached"},
		{"1 shard: rate", "reach for 100,000", "reached"},
		{"4 shards: server CPU", "≤ 12 CPU-s a million, reach for 7", "no"},
		{"4 shards: rate", "reach for 100,000", ""},
		{"p50", "≤ 1.4 ms", "yes"},
		{"p99", "≤ 4 ms, reach for 1.5", "no"},
		{"login", "≤ 0.4 s, reach for 0.2", "yes"},
		{"idle", "≤ 12 KiB a connection, reach for 8", "reached"},
		{"reconnect", "≤ 5 s", "no"},
		{"others' p99", "≤ 3.5 ms", "yes"},
		{"closed 4413", "all 100", "no"},
		{"server RSS", "≤ 25 MiB", "yes"},
		{"next login", "all", "no"},
		{"server CPU", "≤ 3 µs a delivery, reach for 1.2", "reached"},
		{"1 sender, window 64: rate", "≥ 250,000, reach for 900,000", "yes"},
		{"at 50/s", "none", ""},
		{"chatroom of 10,000, 2,000 online", "≤ 10 s", "yes"},
		{"login with 1000 groups", "≤ 20 ms", "no"},
	}
	if len(r.Rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(r.Rows), len(want))
	}
	for i, w := range want {
		if got := r.Rows[i]; !strings.Contains(got.What, w.what) || got.Bar != w.bar || got.Holds != w.holds {
			t.Errorf("row %d = %+v, want %+v", i, got, w)
		}
	}
	if err := r.Err(); err != nil {
		t.Errorf("bars that do not hold are an error: %v", err)
	}
	text := func() string {
		var out bytes.Buffer
		if err := printRows(&out, r.table()); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, want := range []string{"2 cores, go1.26", "fsync, before", "p50 0.40 ms", "120,000 messages/s", "0.75 cores busy at most, during login, 1 shard", "verified in every run"} {
		if got := text(); !strings.Contains(got, want) {
			t.Errorf("want %q in the table:\n%s", want, got)
		}
	}
	r.Idle.Verdict = loadtest.Verdict{Violations: 1, Examples: []string{"seq 7 came twice"}}
	r.Failures = []string{"login, 1 shard: planted"}
	if got := text(); !strings.Contains(got, "VIOLATIONS") || !strings.Contains(got, "seq 7 came twice") || !strings.Contains(got, "FAILED login") || strings.Contains(got, "verified") {
		t.Errorf("want the violation and the failure in the table:\n%s", got)
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "seq 7") || !strings.Contains(err.Error(), "planted") {
		t.Errorf("Err = %v, want both the violation and the failure", err)
	}
}

func TestSumCloses(t *testing.T) {
	const metrics = `# TYPE belfry_gateway_closes_total counter
belfry_gateway_closes_total{code="1000",reason="client left"} 7
belfry_gateway_closes_total{code="4413",reason="window full and no ack"} 98
belfry_gateway_closes_total{code="4413",reason="write unfinished"} 2
belfry_gateway_other_total{code="4413"} 1
`
	if n, err := sumCloses(strings.NewReader(metrics), 4413); n != 100 || err != nil {
		t.Errorf("sumCloses = %d, %v; want 100", n, err)
	}
	if _, err := sumCloses(strings.NewReader(`belfry_gateway_closes_total{code="4413"} x`), 4413); err == nil {
		t.Error("a value that is no number: no error")
	}
}
