//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	shards = 2
	// idleTimeout and the other timeouts are short, so that they expire within a
	// run.
	idleTimeout = 3 * time.Second
	// readyPatience bounds the time from a start on a disk with room until the
	// server serves, and that from SIGTERM to its end.
	readyPatience = 60 * time.Second
)

var secret = []byte("a secret of the torture, 32 bytes long")

const adminToken = "admin-token-of-the-torture"

// A server is one belfry process over all its restarts.
type server struct {
	bin, dir, data, raftLog string
	log                     *os.File
	hooks                   string      // URL of the webhooks' receiver; "" = none
	fail                    func(error) // called when the process ends by itself

	mu            sync.Mutex
	listen, admin string // fixed by the first start
	generation    int    // of the process
	process       *process
}

type process struct {
	cmd      *exec.Cmd
	expected bool          // its end is; guarded by server.mu
	ready    chan struct{} // closed by the ready line
	exited   chan struct{}
}

func newServer(bin, dir, data, raftLog string, fail func(error)) (*server, error) {
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	s := &server{bin: bin, dir: dir, data: data, raftLog: raftLog, log: log, fail: fail, listen: "127.0.0.1:0", admin: "127.0.0.1:0"}
	return s, errors.Join(
		os.WriteFile(filepath.Join(dir, "auth.secret"), secret, 0o600),
		os.WriteFile(filepath.Join(dir, "webhook.secret"), []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "admin.tokens"), []byte(adminToken+"\n"), 0o600))
}

func (s *server) address() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listen
}

// start starts the process without waiting until it serves.
func (s *server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cmd := exec.Command(s.bin, "serve",
		"--listen", s.listen, "--admin-listen", s.admin, "--data", s.data, "--raft-log", s.raftLog,
		"--auth-secret-file", filepath.Join(s.dir, "auth.secret"), "--admin-token-file", filepath.Join(s.dir, "admin.tokens"),
		"--shards", strconv.Itoa(shards), "--disk-reserve", "0",
		"--idle-timeout", idleTimeout.String(), "--ack-timeout", "3s", "--write-timeout", "2s",
		"--frame-rate", "0", "--login-rate", "0", "--send-rate", "0", "--new-conversations", "0",
		"--group-rate", "0", "--group-change-rate", "0", "--group-bytes", "1GiB", "--max-owned-groups", "0", "--recents", "1000",
		// Beyond what a run sends, so that nothing leaves but by a fault.
		"--user-bytes", "1GiB", "--offline-max-messages", "1000000", "--offline-max-bytes", "1GiB",
	)
	if s.hooks != "" {
		cmd.Args = append(cmd.Args, "--webhook-url", s.hooks, "--webhook-secret-file", filepath.Join(s.dir, "webhook.secret"),
			"--webhook-events", "message.queued,group.joined,group.left,group.removed", "--webhook-timeout", "1s")
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BELFRY_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Stderr = s.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, ready: make(chan struct{}), exited: make(chan struct{})}
	s.process = p
	s.generation++
	go s.watch(p, out)
	return nil
}

// watch reads the ready line of a process, waits for its end and reports that to
// fail, unless it was expected.
func (s *server) watch(p *process, out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "ready ")
		if !ok {
			continue
		}
		s.mu.Lock()
		for field := range strings.FieldsSeq(rest) {
			switch key, value, _ := strings.Cut(field, "="); key {
			case "listen":
				s.listen = value
			case "admin":
				s.admin = value
			}
		}
		s.mu.Unlock()
		close(p.ready) // the line comes once
	}
	err := p.cmd.Wait()
	s.mu.Lock()
	expected := p.expected
	s.mu.Unlock()
	close(p.exited)
	if !expected {
		s.fail(fmt.Errorf("the server ended by itself: %v", errors.Join(err, errors.New(p.cmd.ProcessState.String()))))
	}
}

// awaitReady waits until the process serves.
func (s *server) awaitReady(ctx context.Context) error {
	s.mu.Lock()
	p := s.process
	s.mu.Unlock()
	timeout := time.NewTimer(readyPatience)
	defer timeout.Stop()
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return errors.New("the server ended before it was ready")
	case <-timeout.C:
		return fmt.Errorf("the server was not ready within %v", readyPatience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *server) expectEnd() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process.expected = true
	return s.process
}

// kill ends the process with SIGKILL.
func (s *server) kill() {
	p := s.expectEnd()
	p.cmd.Process.Kill()
	<-p.exited
}

// stop ends the process with SIGTERM.
func (s *server) stop() error {
	p := s.expectEnd()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(readyPatience):
		return fmt.Errorf("the server did not end within %v after SIGTERM", readyPatience)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("exit code after SIGTERM is %d, want 0", code)
	}
	return nil
}

func (s *server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.cmd.Process.Signal(sig)
}

func (s *server) token(user string) (string, error) {
	claims := jwt.RegisteredClaims{Subject: user, ExpiresAt: jwt.NewNumericDate(time.Now().Add(24 * time.Hour))}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
}

// call makes one request to the operations listener; a status other than 2xx is
// an error. generation is that of the process that was asked.
func (s *server) call(ctx context.Context, method, path string) (body []byte, generation int, err error) {
	generation = s.current()
	status, body, err := s.request(ctx, method, path, "", nil)
	if err != nil {
		return nil, 0, err
	}
	if status/100 != 2 {
		return nil, 0, fmt.Errorf("%s %s: %d: %s", method, path, status, body)
	}
	return body, generation, nil
}

// request makes one request to the operations listener, with a body of some
// content type.
func (s *server) request(ctx context.Context, method, path, kind string, body []byte) (status int, answer []byte, err error) {
	s.mu.Lock()
	admin := s.admin
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+admin+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// metrics returns all metrics, summed over their labels.
func (s *server) metrics(ctx context.Context) (map[string]float64, error) {
	text, _, err := s.call(ctx, "GET", "/metrics")
	if err != nil {
		return nil, err
	}
	m := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value := line, ""
		if i := strings.LastIndexByte(strings.TrimSpace(line), ' '); i > 0 && line[0] != '#' {
			name, value = line[:i], strings.TrimSpace(line[i:])
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue // a comment
		}
		name, _, _ = strings.Cut(name, "{")
		m[name] += v
	}
	return m, nil
}

// current returns the generation of the process.
func (s *server) current() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}
