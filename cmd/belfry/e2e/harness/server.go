package harness

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

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// logKeep is how much of a server's log a failing test shows.
const logKeep = 32 << 10

// ReadToken is an admin token that may only read.
const ReadToken = "read-only-token-of-the-tests"

// program is what the tests run.
const program = "github.com/belfry-im/belfry/cmd/belfry"

// binDir holds the binaries of this test run.
var binDir string

// Main runs a package's tests with a folder for the binaries that they build, and
// exits. A package whose tests start servers has it as its TestMain:
//
//	func TestMain(m *testing.M) { harness.Main(m) }
func Main(m *testing.M) {
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

// Each binary is built once per package and run, by the first test that needs it.
var (
	Plain        = sync.OnceValues(func() (string, error) { return build("belfry") })
	faultsBinary = sync.OnceValues(func() (string, error) { return build("belfry-faults", "-tags", "faults") })
	// raceBinary has the race detector if the tests have it. That takes several
	// times the memory and the time.
	raceBinary = sync.OnceValues(func() (string, error) {
		if !raceEnabled {
			return Plain()
		}
		return build("belfry-race", "-race")
	})
)

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(binDir, name)
	args := append([]string{"build", "-o", path}, flags...)
	if out, err := exec.Command("go", append(args, program)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return path, nil
}

// A Server is one belfry process, over all its restarts.
type Server struct {
	T          testing.TB
	Bin        string
	flags      []string // what the test asked for beyond the harness's own
	data       string
	Secret     []byte // of --auth-secret-file
	AdminToken string

	Listen      string // host:port, fixed by the first start
	AdminListen string

	Cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended and its output is read
	Log    *LogTail
}

// Start starts the plain build with flags and waits until it serves.
// Its data live in a temporary folder; the end of the test kills it.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	return StartBinary(t, Plain, flags)
}

// StartRace is startServer with the race detector if the tests have it:
// for tests in which much happens at once.
func StartRace(t testing.TB, flags ...string) *Server {
	t.Helper()
	return StartBinary(t, raceBinary, flags)
}

// StartFaults is startServer with the build tag "faults": see stopShard,
// passTime and jumpClock.
func StartFaults(t testing.TB, flags ...string) *Server {
	t.Helper()
	return StartBinary(t, faultsBinary, flags)
}

func StartBinary(t testing.TB, binary func() (string, error), flags []string) *Server {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		T:           t,
		Bin:         bin,
		flags:       flags,
		data:        t.TempDir(),
		Secret:      []byte("a secret of the tests, 32 bytes or more"),
		AdminToken:  "admin-token-of-the-tests",
		Listen:      "127.0.0.1:0",
		AdminListen: "127.0.0.1:0",
		Log:         &LogTail{},
	}
	s.Write("auth.secret", string(s.Secret)+"\n")
	s.Write("admin.tokens", s.AdminToken+"\n"+ReadToken+" read\n")
	t.Cleanup(func() {
		s.Kill()
		text := s.Log.String()
		if strings.Contains(text, "WARNING: DATA RACE") {
			t.Error("the server has a data race")
		}
		if t.Failed() {
			t.Logf("end of the server's log:\n%s", text)
		}
	})
	s.Restart()
	return s
}

func (s *Server) Path(name string) string { return filepath.Join(s.data, name) }

func (s *Server) Write(name, content string) {
	s.T.Helper()
	if err := os.WriteFile(s.Path(name), []byte(content), 0o600); err != nil {
		s.T.Fatal(err)
	}
}

// Restart starts the server on the ports and data it had, and waits until it
// serves. flags come after those of the first start and so override them.
func (s *Server) Restart(flags ...string) {
	s.T.Helper()
	if err := s.launch(flags); err != nil {
		s.T.Fatal(err)
	}
}

func (s *Server) launch(flags []string) error {
	started, err := s.Begin(flags)
	if err != nil {
		return err
	}
	return <-started
}

// Begin starts the process. What comes of it is told once: nil when it serves.
func (s *Server) Begin(flags []string) (started <-chan error, err error) {
	args := append([]string{
		"serve",
		"--listen", s.Listen, "--admin-listen", s.AdminListen,
		"--data", s.Path("store"),
		"--auth-secret-file", s.Path("auth.secret"),
		"--admin-token-file", s.Path("admin.tokens"),
		"--log-format", "text",
		"--shards", fmt.Sprint(Shards),
	}, s.flags...)
	cmd := exec.Command(s.Bin, append(args, flags...)...)
	cmd.Env = CleanEnv()
	cmd.Stderr = s.Log
	DieWithTests(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	s.Cmd, s.exited = cmd, exited
	ready := make(chan string, 1) // the one ready line
	go func() {
		defer close(exited)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(s.Log, lines.Text())
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

func (s *Server) awaitReady(cmd *exec.Cmd, ready <-chan string, exited <-chan struct{}) error {
	select {
	case line := <-ready:
		for field := range strings.FieldsSeq(line) {
			// A server that starts again has the same addresses, and others may be
			// asking there already.
			switch key, value, _ := strings.Cut(field, "="); {
			case key == "listen" && s.Listen != value:
				s.Listen = value
			case key == "admin" && s.AdminListen != value:
				s.AdminListen = value
			}
		}
		return nil
	case <-exited:
		return fmt.Errorf("belfry serve ended before it was ready: %v\n%s", cmd.ProcessState, s.Log)
	case <-time.After(wstest.Patience):
		return errors.New("belfry serve was not ready in time")
	}
}

// CleanEnv is the environment without what would configure the server.
func CleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BELFRY_") {
			env = append(env, e)
		}
	}
	return env
}

// Kill ends the process with SIGKILL and waits until it is gone. It does
// nothing to a server that does not run.
func (s *Server) Kill() {
	if s.Cmd == nil {
		return
	}
	s.Cmd.Process.Kill()
	<-s.exited
	s.Cmd = nil
}

// Stop ends the server with SIGTERM and requires exit code 0.
func (s *Server) Stop() {
	s.T.Helper()
	if err := s.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.T.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(wstest.Patience):
		s.T.Fatal("the server did not end after SIGTERM")
	}
	if code := s.Cmd.ProcessState.ExitCode(); code != 0 {
		s.T.Fatalf("exit code after SIGTERM = %d, want 0", code)
	}
	s.Cmd = nil
}

// LiveBytes is what is left on the server's heap by a collection: unlike its
// resident memory it does not depend on when the last one was, nor on the race
// detector's own.
func (s *Server) LiveBytes() int64 {
	s.T.Helper()
	if status, _ := s.Call(s.T, "GET", "/debug/pprof/heap?gc=1", s.AdminToken); status != http.StatusOK {
		s.T.Fatalf("/debug/pprof/heap: status %d", status)
	}
	for line := range strings.Lines(s.Metrics(s.T)) {
		var bytes float64
		if _, err := fmt.Sscanf(line, "go_memstats_heap_alloc_bytes %g", &bytes); err == nil {
			return int64(bytes)
		}
	}
	s.T.Fatal("no go_memstats_heap_alloc_bytes in /metrics")
	return 0
}

// URL is the address of the WebSocket.
func (s *Server) URL() string { return "ws://" + s.Listen + "/v1/ws" }

// Token is a good token of user for an hour. It is signed here and not by
// `belfry token`, as an application's back end would do it.
func (s *Server) Token(user string) string {
	return s.Sign(jwt.MapClaims{"sub": user, "exp": time.Now().Add(time.Hour).Unix()})
}

// Sign signs any claims with the server's secret.
func (s *Server) Sign(claims jwt.MapClaims) string {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(s.Secret)
	if err != nil {
		panic(err) // HS256 takes any claims that are JSON
	}
	return token
}

// Admin makes one call of the administration API with the admin token. in is
// sent as JSON unless nil; the reply's numbers are int64 or float64.
func (s *Server) Admin(method, path string, in any) (status int, reply wstest.Obj) {
	s.T.Helper()
	status, reply, err := s.AdminAs(s.AdminToken, method, path, in)
	if err != nil {
		s.T.Fatalf("%s %s: %v", method, path, err)
	}
	return status, reply
}

// AdminAs is admin with another token; "" sends none. It may run on any goroutine.
func (s *Server) AdminAs(token, method, path string, in any) (int, wstest.Obj, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://"+s.AdminListen+path, body)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: wstest.Patience}
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
	reply, err := wstest.JSON.Decode(text)
	if err != nil {
		return 0, nil, fmt.Errorf("status %d, body %q: %w", resp.StatusCode, text, err)
	}
	return resp.StatusCode, reply, nil
}

// StopShard makes shard n leaderless until resumeShard. Fault servers only.
func (s *Server) StopShard(n int) { s.T.Helper(); s.fault(fmt.Sprintf("shards/%d/stop", n)) }

// ResumeShard undoes stopShard.
func (s *Server) ResumeShard(n int) { s.T.Helper(); s.fault(fmt.Sprintf("shards/%d/resume", n)) }

// PassTime lets d pass at once on the server's clock: what is older than its
// time to live by then is gone. Fault servers only; a restart undoes it.
func (s *Server) PassTime(d time.Duration) { s.T.Helper(); s.fault("clock/pass/" + d.String()) }

// JumpClock sets the server's wall clock d ahead, or back, while no more time
// passes than does: a wrong clock. Fault servers only; a restart undoes it.
func (s *Server) JumpClock(d time.Duration) { s.T.Helper(); s.fault("clock/jump/" + d.String()) }

func (s *Server) fault(call string) {
	s.T.Helper()
	if status, reply := s.Admin("POST", "/faults/"+call, nil); status/100 != 2 {
		s.T.Fatalf("%s: status %d %v", call, status, reply)
	}
}

// A LogTail keeps the end of what is written to it.
type LogTail struct {
	mu  sync.Mutex
	buf []byte
	cut bool
}

func (l *LogTail) Write(p []byte) (int, error) {
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

func (l *LogTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return "…" + string(l.buf)
	}
	return string(l.buf)
}

// Device names a device without connecting it. codec nil is JSON.
func (s *Server) Device(t testing.TB, user, name string, codec *wstest.Codec) *wstest.Client {
	return wstest.NewClient(t, s, user, name, codec)
}

// Login connects a device by JSON and logs it in; args are those of the login
// beyond token and device.
func (s *Server) Login(t testing.TB, user, device string, args wstest.Obj) *wstest.Client {
	t.Helper()
	c := s.Device(t, user, device, nil)
	c.Login(args)
	return c
}

func (s *Server) MustAdmin(method, path string, in any) wstest.Obj {
	s.T.Helper()
	status, reply := s.Admin(method, path, in)
	if status/100 != 2 {
		s.T.Fatalf("%s %s %v: %d %v", method, path, in, status, reply)
	}
	return reply
}

func (s *Server) Ready() bool {
	status, _, err := s.AdminAs("", "GET", "/readyz", nil)
	return err == nil && status == http.StatusOK
}

// MustLive requires that the process has not ended.
func (s *Server) MustLive() {
	s.T.Helper()
	select {
	case <-s.exited:
		s.T.Fatalf("the server ended: %v", s.Cmd.ProcessState)
	default:
	}
}

// HangUp sends SIGHUP.
func (s *Server) HangUp() {
	s.T.Helper()
	if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.T.Fatal(err)
	}
}

func (l *LogTail) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf, l.cut = l.buf[:0], false
}

// Shards is how many the servers have whose tests choose users by shard.
const Shards = 4
