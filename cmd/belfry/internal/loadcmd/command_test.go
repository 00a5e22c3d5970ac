package loadcmd

// `belfry load` against a real server: a small run of each scenario, and a run
// across kill -9.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
	"github.com/spf13/cobra"
)

// startLoadServer starts a server without the limits that are made for clients.
func startLoadServer(t *testing.T) *harness.Server {
	t.Helper()
	return harness.StartRace(t, "--frame-rate=0", "--send-rate=0", "--login-rate=0", "--new-conversations=0", "--group-rate=0", "--shards=2")
}

// load runs `belfry load` and returns its exit code and output.
func load(s *harness.Server, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	args = append([]string{"load"}, args...)
	args = append(args, "--server", "http://"+s.Listen, "--auth-secret-file", s.Path("auth.secret"),
		"--server-pid", strconv.Itoa(s.Cmd.Process.Pid))
	code = execute(args, nil, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

// loadJSON is load that must succeed; the report is decoded into report.
func loadJSON(s *harness.Server, report any, args ...string) {
	s.T.Helper()
	code, out, errs := load(s, append(args, "--output", "json")...)
	if code != 0 {
		s.T.Fatalf("belfry load %v: exit code %d\n%s%s", args, code, errs, out)
	}
	if err := json.Unmarshal([]byte(out), report); err != nil {
		s.T.Fatalf("belfry load %v printed %q: %v", args, out, err)
	}
}

func TestLoadPairs(t *testing.T) {
	s := startLoadServer(t)
	for _, args := range [][]string{
		{"--window", "8"},
		{"--window", "8", "--codec", "json", "--body", "1000"},
		{"--rate", "200"},
		{"--window", "4", "--auto-read=false"},
		{"--rate", "200", "--reconnect", "--ordered", "--read-back"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var report loadtest.PairsReport
			loadJSON(s, &report, append([]string{"pairs", "--users", "10", "--duration", "3s", "--warmup", "100ms"}, args...)...)
			if report.Sent == 0 || report.Delivered != report.Sent || report.Ack.Count == 0 || report.Delivery.Count != report.Ack.Count {
				t.Errorf("report = %+v", report)
			}
			if report.Server == nil || report.Server.RSSBytes == 0 {
				t.Errorf("server = %+v, want its memory", report.Server)
			}
		})
	}
}

func TestLoadLogin(t *testing.T) {
	s := startLoadServer(t)
	var report loadtest.LoginReport
	loadJSON(s, &report, "login", "--users", "30", "--backlog", "20")
	if report.Delivered != 600 || report.Login.Count != 30 || report.Seconds == 0 {
		t.Errorf("report = %+v, want 600 messages delivered in 30 logins", report)
	}
}

func TestLoadLoginWithGroups(t *testing.T) {
	s := startLoadServer(t)
	var report loadtest.GroupLoginReport
	loadJSON(s, &report, "login", "--groups", "120", "--users", "2", "--group-unread", "3", "--group-backlog", "2", "--rounds", "2")
	if report.NewDevice.Count != 4 || report.NewDevicePushed != 240 || report.ReturningPushed != 0 {
		t.Errorf("report = %+v, want 4 logins with 240 messages", report)
	}
}

func TestLoadGroup(t *testing.T) {
	s := startLoadServer(t)
	for _, args := range [][]string{
		{"--kind", "chatroom"},
		{"--kind", "private", "--senders", "3", "--codec", "json"},
		{"--kind", "public", "--rate", "100"},
		{"--kind", "live", "--size", "300"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			var report loadtest.GroupReport
			loadJSON(s, &report, append([]string{"group", "--members", "8", "--duration", "3s", "--warmup", "100ms"}, args...)...)
			if report.Sent == 0 || report.Delivered+report.Skipped != 7*report.Sent || report.Delivery.Count == 0 || report.Server == nil {
				t.Errorf("report = %+v", report)
			}
			if report.Senders == 1 && report.Decoded > report.Delivered/2 {
				t.Errorf("%d of %d deliveries were decoded: the generator does not know this server's frames", report.Decoded, report.Delivered)
			}
		})
	}
}

// TestLoadGroupLimited runs against a server that limits the rate of groups.
func TestLoadGroupLimited(t *testing.T) {
	s := harness.StartRace(t, "--frame-rate=0", "--send-rate=0", "--login-rate=0")
	code, _, errs := load(s, "group", "--members", "3", "--duration", "1h")
	if code != 1 || !strings.Contains(errs, "--group-rate 0") {
		t.Errorf("exit code %d, %q; want 1 and what to do", code, errs)
	}
}

// TestLoadChatroomDrop has members away for longer than a login brings back.
func TestLoadChatroomDrop(t *testing.T) {
	s := startLoadServer(t)
	for _, c := range []struct{ rate, away string }{{"50", "300ms"}, {"1000", "500ms"}} {
		var report loadtest.ChatroomReport
		loadJSON(s, &report, "chatroom", "--drop", "--members", "150", "--online", "20", "--rate", c.rate, "--away", c.away, "--lead", "200ms", "--trail", "200ms")
		if report.Login.Count != 19 || report.Delivered != 19*report.Sent || report.Missed+report.Fetched == 0 || report.Server == nil {
			t.Errorf("report = %+v, want 19 clients back and messages that they had missed", report)
		}
		if long := c.rate == "1000"; long != (report.Fetched > 0) {
			t.Errorf("%d messages were fetched from history at %s/s", report.Fetched, c.rate)
		}
	}
}

func TestLoadIdle(t *testing.T) {
	s := startLoadServer(t)
	var report loadtest.IdleReport
	loadJSON(s, &report, "idle", "--connections", "100", "--hold", "200ms")
	if report.Alive != 100 || report.Login.Count != 100 || report.RSSAfter == 0 {
		t.Errorf("report = %+v, want 100 alive", report)
	}
}

func TestLoadReconnectDrop(t *testing.T) {
	s := startLoadServer(t)
	var report loadtest.ReconnectReport
	loadJSON(s, &report, "reconnect", "--drop", "--clients", "100", "--away", "200ms", "--rate", "500")
	if report.Login.Count != 100 || report.Missed == 0 || report.Delivered != report.Sent || report.Server == nil {
		t.Errorf("report = %+v, want 100 clients back and messages that they had missed", report)
	}
}

// TestLoadReconnectRestart restarts the server when the run says so, as a script
// would.
func TestLoadReconnectRestart(t *testing.T) {
	s := startLoadServer(t)
	stderr, lines := io.Pipe()
	done := make(chan struct {
		code int
		out  string
	}, 1)
	go func() {
		var out bytes.Buffer
		code := execute([]string{"load", "reconnect", "--clients", "100", "--output", "json",
			"--server", "http://" + s.Listen, "--auth-secret-file", s.Path("auth.secret"),
			"--server-pid", strconv.Itoa(s.Cmd.Process.Pid), "--server-pid-file", s.Path("pid")},
			nil, strings.NewReader(""), &out, lines)
		lines.Close()
		done <- struct {
			code int
			out  string
		}{code, out.String()}
	}()
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil || line != "restart the server now\n" {
		t.Fatalf("stderr %q, %v; want that it says to restart the server", line, err)
	}
	go io.Copy(io.Discard, stderr)
	s.Kill()
	s.Restart()
	s.Write("pid", strconv.Itoa(s.Cmd.Process.Pid)+"\n")
	end := <-done
	var report loadtest.ReconnectReport
	if err := json.Unmarshal([]byte(end.out), &report); end.code != 0 || err != nil {
		t.Fatalf("exit code %d, %v\n%s", end.code, err, end.out)
	}
	if report.Login.Count != 101 || !report.Restarted || report.Server == nil || report.Delivered != report.Sent || report.Sent == 0 {
		t.Errorf("report = %+v, want 100 clients and a writer back", report)
	}
}

func TestLoadSlow(t *testing.T) {
	s := harness.StartRace(t, "--frame-rate=0", "--send-rate=0", "--login-rate=0", "--new-conversations=0", "--shards=2", "--window=4:64KiB", "--ack-timeout=500ms")
	var report loadtest.SlowReport
	loadJSON(s, &report, "slow", "--users", "10", "--rate", "200", "--slow", "10", "--slow-rate", "200",
		"--warmup", "100ms", "--duration", "300ms", "--slow-duration", "1500ms",
		"--admin", "http://"+s.AdminListen, "--admin-token-file", s.Path("admin.tokens"))
	if report.Closes["closed 4413"] != 10 || report.ServerCloses == nil || *report.ServerCloses != 10 {
		t.Errorf("closes = %v, the server's %v; want 10 with 4413", report.Closes, report.ServerCloses)
	}
	if report.SlowSent != 400 || report.SlowDelivered != 400 || report.Caught != 320 || report.With.RSSMax == 0 {
		t.Errorf("report = %+v, want 400 messages to slow peers, 320 of them by the next login", report)
	}
}

func TestLoadTables(t *testing.T) {
	s := startLoadServer(t)
	for want, args := range map[string][]string{
		"send → delivered": {"pairs", "--users", "2", "--duration", "100ms", "--warmup", "0s"},
		"dial → all there": {"login", "--users", "3", "--backlog", "2"},
		"alive":            {"idle", "--connections", "3", "--hold", "0s"},
		"back → synced":    {"reconnect", "--drop", "--clients", "3", "--away", "0s"},
		"deliveries/s":     {"group", "--members", "3", "--duration", "100ms", "--warmup", "0s"},
		"back → complete":  {"chatroom", "--drop", "--members", "3", "--online", "2", "--lead", "100ms", "--away", "0s", "--trail", "100ms"},
		"with cursors":     {"login", "--groups", "400", "--users", "2", "--rounds", "1"}, // more than onSynced has room for
		"their next login": {"slow", "--users", "2", "--slow", "1", "--rate", "100", "--slow-rate", "100", "--warmup", "0s", "--duration", "100ms", "--slow-duration", "100ms", "--close-patience", "10ms"},
	} {
		code, out, errs := load(s, args...)
		if code != 0 || !strings.Contains(out, want) || !strings.Contains(out, "each message once") {
			t.Errorf("belfry load %v: exit code %d, want 0, and %q in the report\n%s%s", args, code, want, errs, out)
		}
	}
}

// TestLoadFails makes a run fail at verification: the users of its prefix have
// talked before, so that their seqs do not begin at 1.
func TestLoadFails(t *testing.T) {
	s := startLoadServer(t)
	args := []string{"pairs", "--users", "2", "--duration", "100ms", "--warmup", "0s", "--prefix", "again-"}
	if code, out, errs := load(s, args...); code != 0 {
		t.Fatalf("first run: exit code %d\n%s%s", code, errs, out)
	}
	code, out, errs := load(s, args...)
	if code != 1 || !strings.Contains(out, "VIOLATIONS") || !strings.Contains(errs, "verification failed") {
		t.Errorf("second run: exit code %d, want 1 and a report of violations\n%s%s", code, errs, out)
	}
	for _, c := range []struct {
		args string
		code int
		text string
	}{
		{"", 2, "want a scenario"},
		{"pairs --users 3", 2, "--users 3: want an even number"},
		{"pairs --body 10B", 2, "--body"},
		{"pairs --rate x", 2, "--rate"},
		{"login --groups 5 --backlog 5", 2, "--groups: with it there is no --backlog"},
		{"group --members 2 --senders 3", 2, "--senders 3: want at most"},
		{"group --kind club", 2, "--kind"},
		{"group --size 10B", 2, "--body"},
		{"chatroom --members 5 --online 6", 2, "--online 6: want at most"},
		{"chatroom --away 1s", 2, "--away: want --drop"},
		{"idle --connections 0", 2, "--connections"},
		{"login --backlog 0", 2, "--backlog"},
		{"reconnect --clients 0", 2, "--clients"},
		{"reconnect --away 1s", 2, "--away: want --drop"},
		{"reconnect --drop --server-pid-file x", 2, "--server-pid-file"},
		{"slow --slow 0", 2, "--slow"},
		{"slow --users 3", 2, "--users 3: want an even number"},
		{"slow --admin-token-file /does/not/exist", 1, "--admin-token-file"},
		{"idle --server ftp://localhost", 1, "want ws, wss, http or https"},
		{"idle --server-pid 1073741823", 1, "usage of process 1073741823"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"load"}, strings.Fields(c.args)...)
		if strings.HasPrefix(c.args, "idle --server") {
			args = append(args, "--auth-secret-file", s.Path("auth.secret"))
		}
		if code := execute(args, nil, strings.NewReader(""), &out, &errs); code != c.code || !strings.Contains(errs.String(), c.text) {
			t.Errorf("belfry load %s: exit code %d, %q; want %d and %q", c.args, code, errs.String(), c.code, c.text)
		}
	}
	var none bytes.Buffer
	if code := execute([]string{"load", "idle", "--data", t.TempDir()}, nil, strings.NewReader(""), &none, &none); code != 1 || !strings.Contains(none.String(), "serve --dev") {
		t.Errorf("without a secret: exit code %d, %q; want 1 and what to do", code, none.String())
	}
}

// TestLoadAcrossKills has clients chat while the server is killed and started
// again, and connections are cut: each message is to come once, in order.
func TestLoadAcrossKills(t *testing.T) {
	s := startLoadServer(t)
	begun, kills := make(chan []*loadtest.Client, 1), make(chan struct{})
	type outcome struct {
		report *loadtest.PairsReport
		err    error
	}
	done := make(chan outcome, 1)
	ctx, cancel := context.WithTimeout(t.Context(), wstest.Patience)
	defer cancel()
	go func() {
		report, err := loadtest.Pairs(ctx, loadtest.PairsConfig{
			Config: loadtest.Config{Server: loadtest.Server{
				URLs: []string{s.URL()}, Codec: protocol.Msgpack, Token: func(user string) (string, error) { return s.Token(user), nil },
			}},
			Users: 10, Body: 128, Window: 8, Duration: 500 * time.Millisecond,
			Resume: true, Ordered: true,
			Disturb: func(ctx context.Context, clients []*loadtest.Client, _ *loadtest.Silences) {
				begun <- clients
				select {
				case <-kills:
				case <-ctx.Done():
				}
			},
		})
		done <- outcome{report, err}
	}()
	var clients []*loadtest.Client
	select {
	case clients = <-begun:
	case o := <-done:
		t.Fatalf("the run ended before it began: %+v, %v", o.report, o.err)
	}
	for range 3 {
		s.Kill()
		s.Restart()
		for i := range 5 {
			clients[2*i].Cut()
		}
	}
	close(kills)
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	if err := o.report.Err(); err != nil {
		t.Fatal(fmt.Errorf("%w\n%s", err, strings.Join(o.report.Examples, "\n")))
	}
	if o.report.Reconnects < 10 || o.report.Delivered != o.report.Sent || o.report.Sent == 0 {
		t.Errorf("report = %+v, want at least 10 reconnects and all delivered", o.report)
	}
}

// execute runs a command line as belfry does.
func execute(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{Use: "belfry"}
	root.AddCommand(NewCommand())
	return cli.Run(root, args, environ, stdin, stdout, stderr)
}
