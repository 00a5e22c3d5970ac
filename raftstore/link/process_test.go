//go:build unix

package link

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// nodeEnv makes the test binary be a node, see runNode.
const nodeEnv = "BELFRY_LINK_TEST_NODE"

// A nodeSetup is what a process that is a node gets.
type nodeSetup struct {
	Name    string
	TLS     *TLSFiles
	Timeout time.Duration // of elections
	Silence time.Duration
}

func TestMain(m *testing.M) {
	if setup := os.Getenv(nodeEnv); setup != "" {
		if err := runNode(setup, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runNode is a node with one replica. It writes its address, and then a line for each
// change of what it knows. It reads its peers, whether it is to stand for election, and
// numbers to add; it ends with its input.
func runNode(text string, in io.Reader, out io.Writer) error {
	var setup nodeSetup
	if err := json.Unmarshal([]byte(text), &setup); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, format+"\n", args...)
	}
	n := &testNode{id: NodeID("id-" + setup.Name), name: setup.Name, log: new(testLog)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var m *member
	voters := []raft.ServerID{"r-id-a", "r-id-b", "r-id-c"}
	started := make(chan struct{})
	var err error
	n.Link, err = Open(Config{
		ID: n.id, Name: n.name, Cluster: testCluster, Listen: "127.0.0.1:0", TLS: setup.TLS, Silence: setup.Silence,
		OnPeer: func(node NodeID, s PeerState) {
			say("peer %s %s", node, s)
			<-started
			if _, id := m.LeaderWithID(); s == Gone && id == replicaID(node) {
				go m.tr.TakeOver(ctx, voters)
			}
		},
	})
	if err != nil {
		return err
	}
	defer n.Close()
	n.turn = patience // a may hear later than c that b is gone
	if err := n.Start(); err != nil {
		return err
	}
	if m, err = newMember(n, "g", setup.Timeout); err != nil {
		return err
	}
	defer m.stop()
	close(started)
	say("address %s", n.Addr())
	go func() {
		var was string
		for tick := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-tick.C {
			_, leader := m.LeaderWithID()
			if now := fmt.Sprintf("leader %s", leader); now != was {
				was = now
				say("%s", now)
			}
		}
	}()
	go func() {
		for led := range m.LeaderCh() {
			say("leads %v", led)
		}
	}()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "peers":
			var peers []Peer
			if err := json.Unmarshal([]byte(rest), &peers); err != nil {
				return err
			}
			n.SetPeers(peers)
			var c raft.Configuration
			for _, id := range voters {
				c.Servers = append(c.Servers, raft.Server{ID: id, Address: raft.ServerAddress(id)})
			}
			if err := m.BootstrapCluster(c).Error(); err != nil {
				return err
			}
		case "stand":
			if err := m.tr.Campaign(ctx); err != nil {
				return err
			}
		case "add":
			go func() {
				if err := m.add(1); err != nil {
					say("failed %v", err)
				} else {
					say("added")
				}
			}()
		case "last":
			say("last %d", m.LastIndex())
		case "total":
			say("total %d", m.sum.total.Load())
		}
	}
	return nil
}

// A nodeProcess is a node in a process of its own.
type nodeProcess struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	address string

	mu    sync.Mutex
	lines []string
}

func startNodes(t *testing.T, timeout time.Duration) map[string]*nodeProcess {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ca, dir := newTestCA(t, "ca"), t.TempDir()
	nodes := make(map[string]*nodeProcess)
	var peers []Peer
	for _, name := range []string{"a", "b", "c"} {
		setup, err := json.Marshal(nodeSetup{Name: name, TLS: ca.issue(t, dir, name, nil), Timeout: timeout, Silence: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		p := &nodeProcess{name: name, cmd: exec.Command(binary)}
		p.cmd.Env = append(os.Environ(), nodeEnv+"="+string(setup))
		p.cmd.Stderr = os.Stderr
		if p.in, err = p.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			for lines := bufio.NewScanner(out); lines.Scan(); {
				p.mu.Lock()
				p.lines = append(p.lines, lines.Text())
				p.mu.Unlock()
			}
		}()
		t.Cleanup(func() {
			p.cmd.Process.Kill()
			<-read
			p.cmd.Wait()
			if t.Failed() {
				t.Logf("%s said:\n%s", name, strings.Join(p.lines, "\n"))
			}
		})
		nodes[name] = p
		eventually(t, name+" starts", func() bool { p.address = p.newest("address"); return p.address != "" })
		peers = append(peers, Peer{ID: NodeID("id-" + name), Name: name, Address: p.address})
	}
	text, err := json.Marshal(peers)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range nodes {
		p.tell(t, "peers "+string(text))
	}
	for _, p := range nodes {
		for _, o := range nodes {
			if p != o {
				eventually(t, "connected", func() bool { return p.newest("peer id-"+o.name) == "connected" })
			}
		}
	}
	return nodes
}

func (p *nodeProcess) tell(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// newest returns what follows a word in the last line that begins with it.
func (p *nodeProcess) newest(word string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.lines) - 1; i >= 0; i-- {
		if rest, ok := strings.CutPrefix(p.lines[i], word+" "); ok {
			return rest
		}
	}
	return ""
}

// count returns how many lines begin with a word.
func (p *nodeProcess) count(word string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if strings.HasPrefix(l, word) {
			n++
		}
	}
	return n
}

func (p *nodeProcess) leads() bool { return p.newest("leads") == "true" }

// add has an entry committed at whichever of the nodes leads.
func add(t *testing.T, nodes ...*nodeProcess) *nodeProcess {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, p := range nodes {
			if !p.leads() {
				continue
			}
			before := p.count("added")
			failed := p.count("failed")
			p.tell(t, "add")
			for time.Now().Before(end) && p.leads() && p.count("added") == before && p.count("failed") == failed {
				time.Sleep(time.Millisecond)
			}
			if p.count("added") > before {
				return p
			}
		}
	}
	t.Fatalf("no entry was committed within %v", patience)
	return nil
}

// TestProcessKilled kills the process that leads while elections would take minutes.
func TestProcessKilled(t *testing.T) {
	nodes := startNodes(t, 10*time.Minute)
	a, b, c := nodes["a"], nodes["b"], nodes["c"]
	b.tell(t, "stand")
	eventually(t, "b leads", b.leads)
	for _, p := range nodes {
		eventually(t, "all know that b leads", func() bool { return p.newest("leader") == "r-id-b" })
	}
	add(t, b)
	for _, p := range []*nodeProcess{a, c} { // who has less cannot be elected
		eventually(t, "the entry is everywhere", func() bool {
			b.tell(t, "last")
			p.tell(t, "last")
			return p.newest("last") != "" && p.newest("last") == b.newest("last")
		})
	}
	killed := time.Now()
	if err := b.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if next := add(t, a, c); next != a {
		t.Errorf("%s leads, want a: it has the lowest id", next.name)
	}
	t.Logf("another process committed an entry %v after the kill", time.Since(killed))
	for _, p := range []*nodeProcess{a, c} {
		eventually(t, p.name+" says that b is gone", func() bool { return p.newest("peer id-b") == "gone" })
	}
}

// TestProcessStopped stops the process that leads, without an end to its connections,
// and lets it go on when another leads.
func TestProcessStopped(t *testing.T) {
	nodes := startNodes(t, time.Second)
	a, b, c := nodes["a"], nodes["b"], nodes["c"]
	leader := add(t, a, b, c)
	var rest []*nodeProcess
	for _, p := range nodes {
		if p != leader {
			rest = append(rest, p)
		}
	}
	if err := leader.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	add(t, rest...)
	for _, p := range rest {
		eventually(t, "the stopped node is lost", func() bool { return p.newest("peer id-"+leader.name) == "lost" })
	}
	if err := leader.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, p := range rest {
		eventually(t, "it is back", func() bool { return p.newest("peer id-"+leader.name) == "connected" })
	}
	eventually(t, "all know of one leader", func() bool {
		known := a.newest("leader")
		return known != "" && known == b.newest("leader") && known == c.newest("leader")
	})
	add(t, a, b, c)
	for _, p := range nodes {
		eventually(t, "it has all entries", func() bool {
			p.tell(t, "total")
			total, _ := strconv.Atoi(p.newest("total"))
			return total >= 3
		})
	}
}
