package loadcmd

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/loadtest"
)

// A serverShape is the configuration of an ownServer. The zero shape is without
// limits.
type serverShape struct {
	flags   []string // of serve, beyond those that every ownServer has
	program string   // "" = this one
	limited bool     // the limits are those that a server has by default
	files   int      // how many it may have open; 0 = as many as this process
	tls     bool
}

// An ownServer is a server that a load command runs: this program in another
// process, on free ports of loopback, with its own data.
type ownServer struct {
	dir    string // holds all files that it writes
	shape  serverShape
	secret []byte
	admin  string // token

	listen, adminListen string // fixed by the first start

	cmd    *exec.Cmd     // nil when it does not run
	exited chan struct{} // closed when cmd has ended and its output is read
	log    *os.File
}

// serverPatience bounds the start of a server, and its end after a signal.
const serverPatience = 30 * time.Second

// launchServer starts a server with its data in a new folder in dir. The caller
// has to call remove.
func launchServer(ctx context.Context, dir string, shape serverShape) (*ownServer, error) {
	s := &ownServer{
		shape: shape, secret: []byte(rand.Text() + rand.Text()), admin: rand.Text(),
		listen: "127.0.0.1:0", adminListen: "127.0.0.1:0",
	}
	var err error
	if s.dir, err = os.MkdirTemp(dir, "belfry-load-*"); err != nil {
		return nil, err
	}
	err = errors.Join(
		os.WriteFile(s.path("auth.secret"), s.secret, 0o600),
		os.WriteFile(s.path("admin.tokens"), []byte(s.admin+"\n"), 0o600))
	if err == nil && shape.tls {
		err = makeCertificate(s.path(certName), s.path(keyName))
	}
	if err == nil {
		s.log, err = os.Create(s.path("log"))
	}
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

func (s *ownServer) path(name string) string { return filepath.Join(s.dir, name) }

// start starts the process and waits until it serves.
func (s *ownServer) start(ctx context.Context) error {
	program := s.shape.program
	var own []string // flags that shape.program may not have
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return err
		}
		own = []string{"--" + cli.UntilEOFFlag}
	}
	args := []string{
		"serve", "--listen", s.listen, "--admin-listen", s.adminListen, "--data", s.path("data"),
		"--auth-secret-file", s.path("auth.secret"), "--admin-token-file", s.path("admin.tokens"),
	}
	if !s.shape.limited {
		args = append(args, "--frame-rate=0", "--login-rate=0", "--send-rate=0", "--new-conversations=0", "--group-rate=0", "--group-change-rate=0",
			"--unauthenticated-connections=0", "--address-unauthenticated=0")
	}
	if s.shape.tls {
		args = append(args, "--tls-cert", s.path(certName), "--tls-key", s.path(keyName))
	}
	args = append(append(args, own...), s.shape.flags...)
	if s.shape.files > 0 {
		// The shell lowers the limit, and then becomes the server.
		args = append([]string{"-c", `ulimit -n "$1" && shift && exec "$@"`, "sh", strconv.Itoa(s.shape.files), program}, args...)
		program = "sh"
	}
	cmd := exec.Command(program, args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, cli.EnvPrefix) {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Stderr = s.log
	if _, err := cmd.StdinPipe(); err != nil { // it closes when this process ends, which ends the server
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	ready := make(chan string, 1)
	go func() {
		defer close(s.exited)
		lines := bufio.NewScanner(out)
		if lines.Scan() {
			ready <- lines.Text()
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // its outcome is in cmd.ProcessState
	}()
	select {
	case line := <-ready:
		_, err := fmt.Sscanf(line, "ready listen=%s admin=%s", &s.listen, &s.adminListen)
		if err != nil {
			return fmt.Errorf("belfry serve printed %q, want that it is ready: %w", line, err)
		}
		return nil
	case <-s.exited:
		s.cmd = nil
		return fmt.Errorf("belfry serve ended before it was ready: %v\n%s", cmd.ProcessState, s.logEnd())
	case <-time.After(serverPatience):
		return fmt.Errorf("belfry serve was not ready within %v", serverPatience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// restart kills the process, as kill -9 does, and starts it again with the same
// ports and data.
func (s *ownServer) restart(ctx context.Context) error {
	s.kill()
	return s.start(ctx)
}

// kill ends the process as kill -9 does, if it runs.
func (s *ownServer) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // fails only on a process that has ended
	<-s.exited
	s.cmd = nil
}

// remove ends the server and removes what it has written.
func (s *ownServer) remove() error {
	s.kill()
	if s.log != nil {
		s.log.Close()
	}
	return os.RemoveAll(s.dir)
}

// logEnd returns the end of the server's log.
func (s *ownServer) logEnd() string {
	text, err := os.ReadFile(s.path("log"))
	if err != nil {
		return err.Error()
	}
	const most = 2 << 10
	return string(text[max(0, len(text)-most):])
}

// loss returns a loadtest.Loss that restarts the server.
func (s *ownServer) loss() loadtest.Loss {
	return loadtest.Loss{Lose: s.restart, NewPID: func(context.Context) (int, error) { return s.pid(), nil }}
}

func (s *ownServer) pid() int { return s.cmd.Process.Pid }

// config returns the part of a scenario's configuration that says where the
// server is.
func (s *ownServer) config() loadtest.Config {
	return loadtest.Config{
		Server:     loadtest.Server{URLs: []string{s.url()}, Codec: tableCodec, Token: signer(s.secret)},
		ServerPIDs: []int{s.pid()},
	}
}

func (s *ownServer) url() string {
	if s.shape.tls {
		return "wss://" + s.listen
	}
	return "ws://" + s.listen
}
