package nodes

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Links are those between the nodes of a cluster whose nodes are apart. Each node
// has a network namespace of its own, in which it listens on an address that is the
// same for all. In every other node's namespace a proxy has that address. So it is
// known who dials whom, and each direction of each pair can be cut or slowed.
//
// A direction that is cut carries nothing, connections stay, and a dial is let in by
// the system and then gets no answer, nearly as where packets are dropped. A node
// whose process is gone refuses connections, as anywhere.
//
// All methods are safe for concurrent use.
type Links struct {
	loops sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change
	nodes   []*apartNode
	cut     map[direction]bool
	delay   map[direction]time.Duration
	conns   map[*linkConn]struct{}
	closed  bool
}

// A direction is what goes from one node to another, on all their connections.
// client is the number of those who are no nodes.
type direction struct{ from, to int }

const client = -1

// An apartNode is what Links has of a node. Links.mu guards it.
type apartNode struct {
	node      *Node
	namespace *namespace
	fronts    []net.Listener // for clients and administrators
	doors     []net.Listener // one in each other node's namespace, while the node listens
	life      *process       // the one that may have doors; nil for none
}

// Ports of nodes that are apart. Each has all of them for itself.
const (
	apartListen = 8080
	apartAdmin  = 8081
	apartPeer   = 7946
)

func newLinks() (*Links, error) {
	return &Links{
		changed: make(chan struct{}),
		cut:     map[direction]bool{}, delay: map[direction]time.Duration{}, conns: map[*linkConn]struct{}{},
	}, nil
}

// add makes a namespace for a node, and listens for its clients.
func (l *Links) add(n *Node) error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	host := fmt.Sprintf("127.0.1.%d", n.Number+1)
	at := func(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	n.listen, n.admin, n.peer = at(apartListen), at(apartAdmin), at(apartPeer)
	a := &apartNode{node: n, namespace: ns}
	for _, f := range []struct {
		out *string
		in  string
	}{{&n.outListen, n.listen}, {&n.outAdmin, n.admin}} {
		front, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		*f.out = front.Addr().String()
		a.fronts = append(a.fronts, front)
		l.loops.Go(func() { l.accept(front, direction{client, n.Number}, ns, f.in) })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes = append(l.nodes, a)
	return nil
}

// start starts a node's process in its namespace.
func (l *Links) start(n *Node, cmd *exec.Cmd) error {
	l.mu.Lock()
	a := l.nodes[n.Number]
	l.mu.Unlock()
	return a.namespace.do(cmd.Start)
}

// watch opens a node's doors as soon as its process listens, and shuts them when that
// has ended.
func (l *Links) watch(n *Node, p *process) {
	l.begin(n, p)
	l.loops.Go(func() {
		for !p.over() && !listens(p.cmd.Process.Pid, apartPeer) {
			select {
			case <-time.After(2 * time.Millisecond):
			case <-p.exited:
			}
		}
		if !p.over() {
			l.open(n, p)
			<-p.exited
		}
		l.refuse(n, p)
	})
}

// begin lets doors be opened for a process of a node.
func (l *Links) begin(n *Node, p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[n.Number].life = p
}

// listens reports whether somebody listens on a port in a process's namespace.
func listens(pid, port int) bool {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return false
	}
	// sl local_address rem_address st …; the port in hexadecimal, 0A is LISTEN
	suffix := fmt.Sprintf(":%04X", port)
	for line := range bytes.Lines(table) {
		if f := strings.Fields(string(line)); len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], suffix) {
			return true
		}
	}
	return false
}

// open listens, for a process of a node, in all other nodes' namespaces.
func (l *Links) open(n *Node, p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.nodes[n.Number]
	if a.life != p || len(a.doors) > 0 || l.closed {
		return
	}
	for _, other := range l.nodes {
		if other == a {
			continue
		}
		var door net.Listener
		err := other.namespace.do(func() (err error) {
			door, err = net.Listen("tcp", a.node.peer)
			return err
		})
		if err != nil {
			panic(fmt.Sprintf("nodes: a port in a namespace of our own is taken: %v", err))
		}
		a.doors = append(a.doors, door)
		l.loops.Go(func() {
			l.accept(door, direction{other.node.Number, a.node.Number}, a.namespace, a.node.peer)
		})
	}
}

// refuse makes dials to a node be refused, until its next process listens. It does
// nothing if that was started already: an end may be noticed late.
func (l *Links) refuse(n *Node, p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.nodes[n.Number]
	if a.life != p {
		return
	}
	a.life = nil
	for _, door := range a.doors {
		door.Close()
	}
	a.doors = nil
}

func (l *Links) close() error {
	l.mu.Lock()
	l.closed = true
	var errs []error
	for _, a := range l.nodes {
		for _, listener := range append(a.fronts, a.doors...) {
			listener.Close()
		}
	}
	for c := range l.conns {
		c.drop()
	}
	l.mu.Unlock()
	l.loops.Wait()
	for _, a := range l.nodes {
		errs = append(errs, a.namespace.close())
	}
	return errors.Join(errs...)
}

// change makes a change and lets whoever waits look again.
func (l *Links) change(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Cut stops what goes from one node to another.
func (l *Links) Cut(from, to *Node) {
	l.change(func() { l.cut[direction{from.Number, to.Number}] = true })
}

// Isolate stops what goes between a node and all others, in both directions.
func (l *Links) Isolate(n *Node) {
	l.change(func() {
		for _, a := range l.nodes {
			if a.node != n {
				l.cut[direction{n.Number, a.node.Number}] = true
				l.cut[direction{a.node.Number, n.Number}] = true
			}
		}
	})
}

// Delay makes what goes from one node to another take longer; 0 = no longer.
func (l *Links) Delay(from, to *Node, by time.Duration) {
	l.change(func() { l.delay[direction{from.Number, to.Number}] = by })
}

// HalfOpen makes all connections between two nodes vanish for a, while b still has
// them and gets nothing on them, until Heal.
func (l *Links) HalfOpen(a, b *Node) {
	l.change(func() {
		for c := range l.conns {
			switch {
			case c.far == nil:
			case c.direction == direction{a.Number, b.Number}:
				c.abandon(c.near)
			case c.direction == direction{b.Number, a.Number}:
				c.abandon(c.far)
			}
		}
	})
}

// Reset ends all connections between nodes.
func (l *Links) Reset() {
	l.change(func() {
		for c := range l.conns {
			if c.direction.from != client {
				c.drop()
			}
		}
	})
}

// Heal ends all cuts, delays and connections that are half open.
func (l *Links) Heal() {
	l.change(func() {
		clear(l.cut)
		clear(l.delay)
		for c := range l.conns {
			if c.abandoned {
				c.drop()
			}
		}
	})
}
