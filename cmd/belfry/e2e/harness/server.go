// Package harness runs the real binary for tests: it builds it, starts it as a
// process of its own on free ports with data of its own, kills it, starts it again
// on the same ports, and shows its log if the test fails.
//
//	s := harness.Start(t, "--offline-max-messages=5") // or StartRace, StartFaults
//	alice := s.Login(t, "alice", "phone", nil)         // a wstest.Client
//	alice.Request("send", wstest.Obj{"conv": "u:bob", "cid": "1", "body": "hi"})
//	s.Kill()    // kill -9
//	s.Restart() // same ports, same data; devices have to log in again
//	status, reply := s.Admin("GET", "/v1/users/bob", nil)
//
// Methods of Server end the test on failure and so belong to its goroutine, unless
// they return an error. Main is the TestMain of a package that uses it.
package harness

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// A Server is one belfry process, over all its restarts.
type Server struct {
	T          testing.TB
	Bin        string
	flags      []string // of the test, beside those of the harness
	data       string
	Secret     []byte // content of --auth-secret-file
	AdminToken string

	Listen      string // host:port, fixed by the first start
	AdminListen string

	Cmd    *exec.Cmd     // nil when it does not run
	exited chan struct{} // closed when Cmd has ended and its output is read
	Log    *LogTail
}

// Start starts the plain build with flags and waits until it serves. Its data are
// in a temporary folder; the end of the test kills it.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	return StartBinary(t, Binary(t), flags)
}

// StartRace is Start with the race detector if the tests have it, for tests in which
// much runs concurrently.
func StartRace(t testing.TB, flags ...string) *Server {
	t.Helper()
	return StartBinary(t, built(t, raceBinary), flags)
}

// StartFaults is Start of the build with the tag "faults": see StopShard, PassTime
// and JumpClock.
func StartFaults(t testing.TB, flags ...string) *Server {
	t.Helper()
	return StartBinary(t, built(t, faultsBinary), flags)
}

// StartBinary is Start with a binary of the test's choice.
func StartBinary(t testing.TB, binary string, flags []string) *Server {
	t.Helper()
	s := &Server{
		T:           t,
		Bin:         binary,
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

// Path returns the path of a file in the folder of the server's data.
func (s *Server) Path(name string) string { return filepath.Join(s.data, name) }

// Write writes the file Path(name) with mode 0600.
func (s *Server) Write(name, content string) {
	s.T.Helper()
	if err := os.WriteFile(s.Path(name), []byte(content), 0o600); err != nil {
		s.T.Fatal(err)
	}
}

// Restart starts the server again on the same ports and data, and waits until it
// serves. flags are added to those of the first start and override them.
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

// Begin starts the process and does not wait until it serves. started then receives
// one value: nil once it serves, or the error.
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

// URL returns the address of the WebSocket.
func (s *Server) URL() string { return "ws://" + s.Listen + "/v1/ws" }

// Token returns a valid token of user, for an hour. It is signed here and not by
// `belfry token`, as an application's back end would sign it.
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

// Device returns a device of user that is not connected. A nil codec is JSON.
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

// MustLive ends the test if the process does not run.
func (s *Server) MustLive() {
	s.T.Helper()
	select {
	case <-s.exited:
		s.T.Fatalf("the server ended: %v", s.Cmd.ProcessState)
	default:
	}
}

// HangUp sends SIGHUP, upon which the server reads its files again.
func (s *Server) HangUp() {
	s.T.Helper()
	if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		s.T.Fatal(err)
	}
}

// Shards is the number of shards of a server unless flags say otherwise.
const Shards = 4
