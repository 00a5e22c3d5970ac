package nodes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Node is one server over all its restarts. Methods may be called from any
// goroutine, but those that start or end the process by one at a time.
type Node struct {
	cluster *Cluster
	Number  int    // from 0
	Name    string // "n1" …
	// Data is its data folder. It may be changed while the node does not run.
	Data string
	// Clustered is whether the node has the flags of a cluster. It may be changed
	// while the node does not run.
	Clustered bool
	// Flags are those of this node alone.
	Flags []string

	log *os.File
	// Addresses as the process has them, and as clients and administrators reach
	// them, which is the same unless the node is apart.
	listen, admin, peer string
	outListen, outAdmin string
	mu                  sync.Mutex
	process             *process // nil until the first start
	generation          int      // of the process
}

// A process is one life of a node.
type process struct {
	cmd      *exec.Cmd
	expected bool          // that it ends; guarded by Node.mu
	ready    chan struct{} // closed by the ready line
	exited   chan struct{}
	err      error // how it ended; set before exited is closed
}

// ErrEnded is the end of a node that was to become ready.
var ErrEnded = errors.New("nodes: the node ended before it was ready")

func (n *Node) String() string { return n.Name }

// URL returns the address for clients.
func (n *Node) URL() string { return "ws://" + or(n.outListen, n.listen) }

// AdminURL returns the address for administrators.
func (n *Node) AdminURL() string { return "http://" + or(n.outAdmin, n.admin) }

// Peer returns the address for other nodes.
func (n *Node) Peer() string { return n.peer }

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// args returns the command line behind the program's name.
func (n *Node) args() []string {
	c := n.cluster
	args := []string{
		"serve", "--listen", n.listen, "--admin-listen", n.admin, "--data", n.Data,
		"--auth-secret-file", c.SecretFile(), "--admin-token-file", c.AdminTokenFile(), "--until-eof",
	}
	if n.Clustered {
		args = append(args, "--node", n.Name, "--cluster-listen", n.peer, "--insecure-cluster", "--auto-admit")
		if founders := max(c.config.Nodes, 1); n.Number < founders {
			args = append(args, "--bootstrap-expect", strconv.Itoa(founders))
		}
		if peers := c.peers(n); peers != "" {
			args = append(args, "--join", peers)
		}
	}
	if !c.config.Limited {
		args = append(args, "--frame-rate=0", "--login-rate=0", "--send-rate=0", "--new-conversations=0",
			"--group-rate=0", "--group-change-rate=0", "--unauthenticated-connections=0", "--address-unauthenticated=0")
	}
	return append(append(args, c.config.Flags...), n.Flags...)
}

// Start starts the process and does not wait until it serves.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil && !n.process.over() {
		return fmt.Errorf("nodes: %s runs already", n)
	}
	cmd := exec.Command(n.cluster.config.Program, n.args()...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BELFRY_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Stderr = n.log
	dieWithParent(cmd)
	if _, err := cmd.StdinPipe(); err != nil { // it closes when this process ends, which ends the server
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	start := cmd.Start
	if links := n.cluster.links; links != nil {
		start = func() error { return links.start(n, cmd) }
	}
	if err := start(); err != nil {
		return fmt.Errorf("nodes: start %s: %w", n, err)
	}
	p := &process{cmd: cmd, ready: make(chan struct{}), exited: make(chan struct{})}
	n.process = p
	n.generation++
	if links := n.cluster.links; links != nil {
		links.watch(n, p)
	}
	go n.watch(p, out)
	return nil
}

// watch reads a process's output and waits for its end.
func (n *Node) watch(p *process, out io.Reader) {
	lines := bufio.NewScanner(out)
	told := false
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready ") && !told {
			told = true
			close(p.ready)
		}
	}
	err := p.cmd.Wait()
	n.mu.Lock()
	expected := p.expected
	p.err = err
	n.mu.Unlock()
	close(p.exited)
	if ended := n.cluster.config.Ended; !expected && ended != nil {
		ended(n, fmt.Errorf("%s ended by itself: %v\n%s", n, p.cmd.ProcessState, n.LogEnd()))
	}
}

func (p *process) over() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (n *Node) present() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil || n.process.over() {
		return nil
	}
	return n.process
}

// Running reports whether there is a process, also one that is frozen.
func (n *Node) Running() bool { return n.present() != nil }

// PID returns the process, 0 if there is none.
func (n *Node) PID() int {
	if p := n.present(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// Generation counts the node's starts.
func (n *Node) Generation() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.generation
}

// AwaitReady waits until the process that runs has said that it serves. ErrEnded is
// in the error if it ended instead.
func (n *Node) AwaitReady(ctx context.Context) error {
	n.mu.Lock()
	p := n.process
	n.mu.Unlock()
	if p == nil {
		return fmt.Errorf("nodes: %s was never started", n)
	}
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case <-p.ready:
		return nil
	case <-p.exited:
		return fmt.Errorf("%w: %s: %v\n%s", ErrEnded, n, p.cmd.ProcessState, n.LogEnd())
	case <-timeout.C:
		return fmt.Errorf("nodes: %s was not ready within %v\n%s", n, Patience, n.LogEnd())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// AwaitEnd waits until a process that nobody tells to end has ended, and returns
// its exit code, -1 after a signal.
func (n *Node) AwaitEnd(ctx context.Context) (code int, err error) {
	p := n.expectEnd()
	if p == nil {
		return 0, fmt.Errorf("nodes: %s was never started", n)
	}
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (n *Node) expectEnd() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		n.process.expected = true
	}
	return n.process
}

// Kill ends the process with SIGKILL and waits for its end, if there is one.
func (n *Node) Kill() {
	p := n.expectEnd()
	if p == nil || p.over() {
		return
	}
	if links := n.cluster.links; links != nil {
		links.refuse(n, p) // a peer that dials now must not be let in
	}
	_ = p.cmd.Process.Kill() // fails only if it has ended
	<-p.exited
}

// Stop ends the process with SIGTERM and returns an error unless it exits with 0.
func (n *Node) Stop() error {
	p := n.expectEnd()
	if p == nil {
		return fmt.Errorf("nodes: %s was never started", n)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("nodes: stop %s: %w", n, err)
	}
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case <-p.exited:
	case <-timeout.C:
		return fmt.Errorf("nodes: %s did not end within %v after SIGTERM\n%s", n, Patience, n.LogEnd())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("nodes: %s: exit code after SIGTERM is %d, want 0\n%s", n, code, n.LogEnd())
	}
	return nil
}

// Wipe removes the data of a node that does not run.
func (n *Node) Wipe() error {
	if n.Running() {
		return fmt.Errorf("nodes: %s runs: want it ended before its data are removed", n)
	}
	return os.RemoveAll(n.Data)
}

// Log returns all that the node has logged.
func (n *Node) Log() (string, error) {
	text, err := os.ReadFile(n.log.Name())
	return string(text), err
}

// LogEnd returns the end of the node's log.
func (n *Node) LogEnd() string {
	const most = 2 << 10
	text, err := n.Log()
	if err != nil {
		return err.Error()
	}
	return text[max(0, len(text)-most):]
}
