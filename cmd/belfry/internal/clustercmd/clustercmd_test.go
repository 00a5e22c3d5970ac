package clustercmd

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

// A fakeNode answers calls, and keeps the last one.
type fakeNode struct {
	*httptest.Server
	status int    // of the answer; 0 = 200
	answer string // JSON

	method, path, body, token string
}

func newFakeNode(t *testing.T) *fakeNode {
	n := new(fakeNode)
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n.method, n.path, n.body, n.token = r.Method, r.URL.RequestURI(), string(body), r.Header.Get("Authorization")
		if n.status != 0 {
			w.WriteHeader(n.status)
		}
		io.WriteString(w, n.answer)
	}))
	t.Cleanup(n.Close)
	return n
}

// run runs `belfry cluster` with arguments against the node.
func (n *fakeNode) run(args ...string) (code int, stdout, stderr string) {
	cluster := &cobra.Command{Use: "cluster"}
	cluster.AddCommand(Commands()...)
	root := &cobra.Command{Use: "belfry"}
	root.AddCommand(cluster)
	var out, errs bytes.Buffer
	code = cli.Run(root, append([]string{"cluster"}, append(args, "--admin", n.URL)...), nil, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

const healthy = `{"cluster":"7c9e6679-7425-40de-944b-e07fc1f90ae7","asked":"a","level":0,"verdict":"healthy; survives the loss of 1 more node",
	"problems":[],"leader":"b","voters":["a","b","c"],
	"nodes":[{"id":"1","name":"a","address":"10.0.0.1:7946","roles":"gateway,store","state":"asked","admitted":true,"leads":1,"replicas":2},
		{"id":"2","name":"b","address":"10.0.0.2:7946","roles":"gateway,store","state":"connected","admitted":true,"maintenance":true,"leads":1,"replicas":2},
		{"id":"3","name":"c-with-a-name-that-is-much-too-long-for-a-table-of-this-width","address":"a-host-with-a-long-name.in-a-long-domain.example:7946","roles":"gateway,store","state":"lost","admitted":true,"replicas":2}],
	"shards":[{"shard":0,"slots":8192,"leader":"a","replicas":[{"node":"a","state":"leader","up":true,"caughtUp":true},{"node":"b","state":"follower","up":true,"lag":300},{"node":"c-with-a-name-that-is-much-too-long-for-a-table-of-this-width","state":"follower"}]},
		{"shard":1,"slots":8192,"leader":"","replicas":[{"node":"b","state":"follower","problem":"emptied"},{"node":"a","state":"learner","up":true}]}]}`

func TestStatus(t *testing.T) {
	n := newFakeNode(t)
	n.answer = healthy
	code, out, stderr := n.run("status")
	if code != 0 || stderr != "" || n.method != "GET" || n.path != "/v1/cluster" {
		t.Fatalf("status = %d, %q after %s %s", code, stderr, n.method, n.path)
	}
	if !strings.HasPrefix(out, "healthy; survives the loss of 1 more node\n") {
		t.Errorf("the verdict is not first:\n%s", out)
	}
	for _, want := range []string{"not reached", "maintenance", "b (lacks 300)", "b (not open)", "a (learner)", "nobody", "changes are decided by b; a, b, c vote"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, " \n")); n > width {
			t.Errorf("a line has %d characters: %s", n, line)
		}
	}
}

// TestStatusShowsConditions shows what is wrong with nodes and replicas in their rows.
func TestStatusShowsConditions(t *testing.T) {
	n := newFakeNode(t)
	for field, want := range map[string]string{
		`"clockOffset":-1.5`: "clock is off", `"slowDisk":true`: "slow disk", `"draining":true`: "draining", `"diskLow":true`: "disk is full", `"memoryFull":true`: "no memory",
	} {
		n.answer = `{"cluster":"c","level":1,"verdict":"degraded","warnings":["node a has flags"],"nodes":[{"name":"a","state":"asked","admitted":true,` + field + `}],
			"shards":[{"shard":0,"replicas":[{"node":"x","up":true,"problem":"why","stopped":true},{"node":"y","up":true,"caughtUp":true,"diverged":true}]}]}`
		_, out, _ := n.run("status")
		for _, want := range []string{want, "warning: node a has flags", "x (stopped)", "y (differs)"} {
			if !strings.Contains(out, want) {
				t.Errorf("with %s, %q is missing:\n%s", field, want, out)
			}
		}
	}
}

func TestStatusExitCodes(t *testing.T) {
	n := newFakeNode(t)
	for answer, want := range map[string]int{
		healthy: 0,
		`{"cluster":"c","level":1,"verdict":"degraded; …","problems":["node c is not reached"]}`: 1,
		`{"cluster":"","level":2,"verdict":"not in a cluster yet","problems":[]}`:                2,
	} {
		n.answer = answer
		if code, out, stderr := n.run("status"); code != want || stderr != "" || out == "" {
			t.Errorf("status = %d %q %q, want %d", code, out, stderr, want)
		}
	}
	n.status, n.answer = 503, `{"code":"unavailable","message":"later"}`
	if code, _, stderr := n.run("status"); code != 2 || !strings.Contains(stderr, "later") {
		t.Errorf("status without answer = %d %q, want 2", code, stderr)
	}
	n.Close()
	if code, _, stderr := n.run("status"); code != 2 || stderr == "" {
		t.Errorf("status of nobody = %d %q, want 2", code, stderr)
	}
}

func TestStatusJSON(t *testing.T) {
	n := newFakeNode(t)
	n.answer = healthy
	_, out, _ := n.run("status", "--json")
	var got, want any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if json.Unmarshal([]byte(healthy), &want); !strings.Contains(out, `"verdict"`) {
		t.Errorf("--json = %s", out)
	}
}

func TestChanges(t *testing.T) {
	n := newFakeNode(t)
	n.status = 204
	for _, test := range []struct {
		args             []string
		path, body, said string
	}{
		{[]string{"admit", "d"}, "/admit", `{"node":"d"}`, "d takes part"},
		{[]string{"maintenance", "b", "on"}, "/maintenance", `{"node":"b","on":true}`, "maintenance of b is on"},
		{[]string{"maintenance", "b", "off"}, "/maintenance", `{"node":"b","on":false}`, "maintenance of b is off"},
		{[]string{"remove-node", "b", "--fewer"}, "/remove-node", `{"fewer":true,"node":"b"}`, "b leaves"},
		{[]string{"replace-node", "b", "d"}, "/replace-node", `{"new":"d","old":"b"}`, "d takes the place of b"},
		{[]string{"transfer", "3", "b"}, "/transfer", `{"node":"b","shard":3}`, "b leads shard 3"},
		{[]string{"rebuild-replica", "3", "b"}, "/rebuild-replica", `{"node":"b","shard":3}`, "shard 3 on b"},
		{[]string{"config", "set", "offline-ttl=72h", "user-bytes=2MiB", "group-rate=0", "recents=7"}, "/config", `{"groupRate":-1,"offlineTtl":259200,"recents":7,"userBytes":2097152}`, "changed"},
	} {
		code, out, stderr := n.run(test.args...)
		if code != 0 || n.path != "/v1/cluster"+test.path || n.body != test.body || !strings.Contains(out, test.said) {
			t.Errorf("%v = %d %q %q after %s %s", test.args, code, out, stderr, n.path, n.body)
		}
	}
	n.status, n.answer = 409, `{"code":"conflict","message":"node: there is no node \"d\""}`
	if code, _, stderr := n.run("admit", "d"); code != 1 || !strings.Contains(stderr, "there is no node") {
		t.Errorf("a refusal = %d %q", code, stderr)
	}
	for _, args := range [][]string{
		{"admit"}, {"maintenance", "b", "maybe"}, {"transfer", "x", "b"}, {"config", "set", "colour=red"}, {"config", "set", "recents"},
		{"config", "set", "recents=-1"}, {"config", "set", "offline-ttl=1500ms"}, {"config", "get", "colour"},
	} {
		if code, _, stderr := n.run(args...); code != 2 {
			t.Errorf("%v = %d %q, want 2: called in a wrong way", args, code, stderr)
		}
	}
}

func TestSafeToStop(t *testing.T) {
	n := newFakeNode(t)
	n.answer = `{"safe":true,"reasons":[]}`
	if code, out, _ := n.run("safe-to-stop", "a", "b"); code != 0 || !strings.HasPrefix(out, "yes") || n.path != "/v1/cluster/safe-to-stop?nodes=a%2Cb" {
		t.Errorf("safe = %d %q after %s", code, out, n.path)
	}
	n.answer = `{"safe":false,"reasons":["shard 0 would have 1 of 3 voters"]}`
	if code, out, _ := n.run("safe-to-stop", "a"); code != 1 || !strings.Contains(out, "would have 1 of 3") {
		t.Errorf("not safe = %d %q", code, out)
	}
}

// TestSafeToStopItself asks the node about itself, which takes no token.
func TestSafeToStopItself(t *testing.T) {
	n := newFakeNode(t)
	n.answer = `{"status":"safe"}`
	if code, out, _ := n.run("safe-to-stop"); code != 0 || !strings.HasPrefix(out, "yes") || n.path != "/safe-to-stop" || n.token != "" {
		t.Errorf("safe = %d %q after %s with %q", code, out, n.path, n.token)
	}
	n.status, n.answer = 503, `{"code":"unsafe","message":"shard 0 has no leader; node b is not reached already"}`
	if code, out, _ := n.run("safe-to-stop", "--wait", "1ms"); code != 1 || !strings.Contains(out, "\n  node b is not reached already\n") {
		t.Errorf("not safe = %d %q", code, out)
	}
	n.status, n.answer = 503, `{"code":"unavailable","message":"the server is starting"}`
	if code, _, stderr := n.run("safe-to-stop"); code != 2 || !strings.Contains(stderr, "starting") {
		t.Errorf("a node that starts = %d %q", code, stderr)
	}
}

func TestConfigGet(t *testing.T) {
	n := newFakeNode(t)
	n.answer = `{"version":4,"offlineTtl":259200,"userBytes":2097152,"groupRate":-1}`
	if _, out, _ := n.run("config", "get", "offline-ttl", "user-bytes", "group-rate"); strings.Join(strings.Fields(out), " ") != "offline-ttl 72h user-bytes 2MiB group-rate 0" {
		t.Errorf("config get = %q", out)
	}
	for i := range settings {
		for _, text := range []string{"90s", "7", "2MiB", "0"} {
			v, err := settings[i].parse(text)
			if err != nil {
				continue
			}
			if again, err := settings[i].parse(settings[i].format(v)); err != nil || again != v {
				t.Errorf("%s: %d is written as %s, and read as %d, %v", settings[i].name, v, settings[i].format(v), again, err)
			}
		}
	}
}

func TestToken(t *testing.T) {
	n := newFakeNode(t)
	n.answer = healthy
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("# operators\nread-only-token-00 read\nthe-right-token-000 read cluster\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n.run("status", "--admin-token-file", file); n.token != "Bearer the-right-token-000" {
		t.Errorf("token = %q", n.token)
	}
	n.status, n.answer = 404, `{"code":"not_found","message":"path: there is no such call"}`
	if code, _, stderr := n.run("nodes"); code != 1 || !strings.Contains(stderr, "is not in a cluster") {
		t.Errorf("a lone server = %d %q", code, stderr)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	for _, cmd := range Commands() {
		if cmd.Short == "" || cmd.RunE == nil && !cmd.HasSubCommands() {
			t.Errorf("%s: want a short help, and something to do", cmd.Use)
		}
	}
}
