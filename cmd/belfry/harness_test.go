package main

// The harness of the black-box tests: it builds the real binary, runs it as a
// process of its own on free ports with data of its own, kills it, starts it
// again on the same ports, and shows its log when a test fails.
//
//	s := startServer(t, "--offline-max-messages=5") // or startRaceServer, startFaultServer
//	alice := s.login(t, "alice", "phone", nil)       // wsclient_test.go
//	alice.request("send", obj{"conv": "u:bob", "cid": "1", "body": obj{"text": "hi"}})
//	s.kill()    // kill -9
//	s.restart() // same ports, same data; devices have to log in again
//	status, reply := s.admin("GET", "/v1/users/bob", nil)
//
// Methods of server end the test on failure and so belong to its goroutine.
// What may run on others returns errors: dialWS and the methods of wsConn.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// patience bounds every wait for something that must happen. It is generous
	// because the race detector on a busy machine is slow; a passing test never
	// waits for it.
	patience = 2 * time.Minute
	// logKeep is how much of a server's log a failing test shows.
	logKeep = 32 << 10
)

// readToken is an admin token that may only read.
const readToken = "read-only-token-of-the-tests"

// binDir holds the binaries of this test run.
var binDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "belfry-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Each binary is built once per run, by the first test that needs it.
var (
	plainBinary  = sync.OnceValues(func() (string, error) { return build("belfry") })
	faultsBinary = sync.OnceValues(func() (string, error) { return build("belfry-faults", "-tags", "faults") })
	// raceBinary has the race detector if the tests have it. That takes several
	// times the memory and the time.
	raceBinary = sync.OnceValues(func() (string, error) {
		if !raceEnabled {
			return plainBinary()
		}
		return build("belfry-race", "-race")
	})
)

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(binDir, name)
	args := append([]string{"build", "-o", path}, flags...)
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return path, nil
}

// A server is one belfry process, over all its restarts.
type server struct {
	t          testing.TB
	bin        string
	flags      []string // what the test asked for beyond the harness's own
	data       string
	secret     []byte // of --auth-secret-file
	adminToken string

	listen      string // host:port, fixed by the first start
	adminListen string

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended and its output is read
	log    *logTail
}

// startServer starts the plain build with flags and waits until it serves.
// Its data live in a temporary folder; the end of the test kills it.
func startServer(t testing.TB, flags ...string) *server {
	t.Helper()
	return start(t, plainBinary, flags)
}

// startRaceServer is startServer with the race detector if the tests have it:
// for tests in which much happens at once.
func startRaceServer(t testing.TB, flags ...string) *server {
	t.Helper()
	return start(t, raceBinary, flags)
}

// startFaultServer is startServer with the build tag "faults": see stopShard,
// passTime and jumpClock.
func startFaultServer(t testing.TB, flags ...string) *server {
	t.Helper()
	return start(t, faultsBinary, flags)
}

func start(t testing.TB, binary func() (string, error), flags []string) *server {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		t:           t,
		bin:         bin,
		flags:       flags,
		data:        t.TempDir(),
		secret:      []byte("a secret of the tests, 32 bytes or more"),
		adminToken:  "admin-token-of-the-tests",
		listen:      "127.0.0.1:0",
		adminListen: "127.0.0.1:0",
		log:         &logTail{},
	}
	s.write("auth.secret", string(s.secret)+"\n")
	s.write("admin.tokens", s.adminToken+"\n"+readToken+" read\n")
	t.Cleanup(func() {
		s.kill()
		text := s.log.String()
		if strings.Contains(text, "WARNING: DATA RACE") {
			t.Error("the server has a data race")
		}
		if t.Failed() {
			t.Logf("end of the server's log:\n%s", text)
		}
	})
	s.restart()
	return s
}

func (s *server) path(name string) string { return filepath.Join(s.data, name) }

func (s *server) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// restart starts the server on the ports and data it had, and waits until it
// serves. flags come after those of the first start and so override them.
func (s *server) restart(flags ...string) {
	s.t.Helper()
	if err := s.launch(flags); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) launch(flags []string) error {
	started, err := s.begin(flags)
	if err != nil {
		return err
	}
	return <-started
}

// begin starts the process. What comes of it is told once: nil when it serves.
func (s *server) begin(flags []string) (started <-chan error, err error) {
	args := append([]string{
		"serve",
		"--listen", s.listen, "--admin-listen", s.adminListen,
		"--data", s.path("store"),
		"--auth-secret-file", s.path("auth.secret"),
		"--admin-token-file", s.path("admin.tokens"),
		"--log-format", "text",
		"--shards", fmt.Sprint(shards),
	}, s.flags...)
	cmd := exec.Command(s.bin, append(args, flags...)...)
	cmd.Env = cleanEnv()
	cmd.Stderr = s.log
	dieWithTests(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	ready := make(chan string, 1) // the one ready line
	go func() {
		defer close(exited)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(s.log, lines.Text())
			if rest, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
				select {
				case ready <- rest:
				default:
				}
			}
		}
		cmd.Wait() // the state is read from cmd.ProcessState
	}()
	told := make(chan error, 1)
	go func() { told <- s.awaitReady(cmd, ready, exited) }()
	return told, nil
}

func (s *server) awaitReady(cmd *exec.Cmd, ready <-chan string, exited <-chan struct{}) error {
	select {
	case line := <-ready:
		for field := range strings.FieldsSeq(line) {
			// A server that starts again has the same addresses, and others may be
			// asking there already.
			switch key, value, _ := strings.Cut(field, "="); {
			case key == "listen" && s.listen != value:
				s.listen = value
			case key == "admin" && s.adminListen != value:
				s.adminListen = value
			}
		}
		return nil
	case <-exited:
		return fmt.Errorf("belfry serve ended before it was ready: %v\n%s", cmd.ProcessState, s.log)
	case <-time.After(patience):
		return errors.New("belfry serve was not ready in time")
	}
}

// cleanEnv is the environment without what would configure the server.
func cleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BELFRY_") {
			env = append(env, e)
		}
	}
	return env
}

// kill ends the process with SIGKILL and waits until it is gone. It does
// nothing to a server that does not run.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.exited
	s.cmd = nil
}

// stop ends the server with SIGTERM and requires exit code 0.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatal("the server did not end after SIGTERM")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Fatalf("exit code after SIGTERM = %d, want 0", code)
	}
	s.cmd = nil
}

// liveBytes is what is left on the server's heap by a collection: unlike its
// resident memory it does not depend on when the last one was, nor on the race
// detector's own.
func (s *server) liveBytes() int64 {
	s.t.Helper()
	if status, _ := s.call(s.t, "GET", "/debug/pprof/heap?gc=1", s.adminToken); status != http.StatusOK {
		s.t.Fatalf("/debug/pprof/heap: status %d", status)
	}
	for line := range strings.Lines(metrics(s.t, s)) {
		var bytes float64
		if _, err := fmt.Sscanf(line, "go_memstats_heap_alloc_bytes %g", &bytes); err == nil {
			return int64(bytes)
		}
	}
	s.t.Fatal("no go_memstats_heap_alloc_bytes in /metrics")
	return 0
}

// url is the address of the WebSocket.
func (s *server) url() string { return "ws://" + s.listen + "/v1/ws" }

// token is a good token of user for an hour. It is signed here and not by
// `belfry token`, as an application's back end would do it.
func (s *server) token(user string) string {
	return s.sign(jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()})
}

// sign signs any claims with the server's secret.
func (s *server) sign(claims jwt.MapClaims) string {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(s.secret)
	if err != nil {
		panic(err) // HS256 takes any claims that are JSON
	}
	return token
}

// admin makes one call of the administration API with the admin token. in is
// sent as JSON unless nil; the reply's numbers are int64 or float64.
func (s *server) admin(method, path string, in any) (status int, reply obj) {
	s.t.Helper()
	status, reply, err := s.adminAs(s.adminToken, method, path, in)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, reply
}

// adminAs is admin with another token; "" sends none. It may run on any goroutine.
func (s *server) adminAs(token, method, path string, in any) (int, obj, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://"+s.adminListen+path, body)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return resp.StatusCode, nil, nil
	}
	reply, err := codecJSON.decode(text)
	if err != nil {
		return 0, nil, fmt.Errorf("status %d, body %q: %w", resp.StatusCode, text, err)
	}
	return resp.StatusCode, reply, nil
}

// stopShard makes shard n leaderless until resumeShard. Fault servers only.
func (s *server) stopShard(n int) { s.t.Helper(); s.fault(fmt.Sprintf("shards/%d/stop", n)) }

// resumeShard undoes stopShard.
func (s *server) resumeShard(n int) { s.t.Helper(); s.fault(fmt.Sprintf("shards/%d/resume", n)) }

// passTime lets d pass at once on the server's clock: what is older than its
// time to live by then is gone. Fault servers only; a restart undoes it.
func (s *server) passTime(d time.Duration) { s.t.Helper(); s.fault("clock/pass/" + d.String()) }

// jumpClock sets the server's wall clock d ahead, or back, while no more time
// passes than does: a wrong clock. Fault servers only; a restart undoes it.
func (s *server) jumpClock(d time.Duration) { s.t.Helper(); s.fault("clock/jump/" + d.String()) }

func (s *server) fault(call string) {
	s.t.Helper()
	if status, reply := s.admin("POST", "/faults/"+call, nil); status/100 != 2 {
		s.t.Fatalf("%s: status %d %v", call, status, reply)
	}
}

// eventually polls until is true or patience runs out. It is for what no push
// tells; what names the condition in the failure.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

// A logTail keeps the end of what is written to it.
type logTail struct {
	mu  sync.Mutex
	buf []byte
	cut bool
}

func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if over := len(l.buf) - 2*logKeep; over > 0 {
		// Cut rarely, so that a chatty server does not make this quadratic.
		l.buf = append(l.buf[:0], l.buf[len(l.buf)-logKeep:]...)
		l.cut = true
	}
	return len(p), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return "…" + string(l.buf)
	}
	return string(l.buf)
}
