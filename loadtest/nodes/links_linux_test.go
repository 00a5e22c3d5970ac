package nodes

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

const (
	// patience bounds what has to happen.
	patience = 20 * time.Second
	// while is how long a test looks that something does not happen: what is cut
	// would come within a tenth of that.
	while = 100 * time.Millisecond
)

// A testNode is a listener in a namespace of its own.
type testNode struct {
	*Node
	t        *testing.T
	apart    *apartNode
	life     *process
	accepted chan net.Conn
}

// testLinks returns links between so many nodes without processes, which listen.
func testLinks(t *testing.T, count int) (l *Links, nodes []*testNode) {
	l, err := newLinks()
	if err != nil {
		t.Fatal(err)
	}
	for i := range count {
		n := &testNode{Node: &Node{Number: i}, t: t, life: new(process), accepted: make(chan net.Conn, 8)}
		if err := l.add(n.Node); err != nil {
			t.Fatal(err)
		}
		n.apart = l.nodes[i]
		l.begin(n.Node, n.life)
		nodes = append(nodes, n)
		var listener net.Listener
		err := n.apart.namespace.do(func() (err error) {
			listener, err = net.Listen("tcp", n.peer)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				n.accepted <- conn
			}
		}()
		t.Cleanup(func() { listener.Close() })
	}
	for _, n := range nodes {
		l.open(n.Node, n.life)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l, nodes
}

func (n *testNode) dial(to *testNode) (net.Conn, error) {
	var conn net.Conn
	err := n.apart.namespace.do(func() (err error) {
		conn, err = net.DialTimeout("tcp", to.peer, patience)
		return err
	})
	if err == nil {
		n.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// connect returns both ends of a new connection.
func (n *testNode) connect(to *testNode) (near, far net.Conn) {
	n.t.Helper()
	near, err := n.dial(to)
	if err != nil {
		n.t.Fatal(err)
	}
	select {
	case far = <-to.accepted:
		n.t.Cleanup(func() { far.Close() })
		return near, far
	case <-time.After(patience):
		n.t.Fatal("the connection did not arrive")
		return nil, nil
	}
}

// carries reports whether a byte gets from one end of a connection to the other
// within a time.
func carries(t *testing.T, from, to net.Conn, within time.Duration) bool {
	t.Helper()
	if _, err := from.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	return arrives(t, to, within)
}

func arrives(t *testing.T, to net.Conn, within time.Duration) bool {
	t.Helper()
	to.SetReadDeadline(time.Now().Add(within))
	_, err := io.ReadFull(to, make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

func TestLinksCutOneDirection(t *testing.T) {
	l, nodes := testLinks(t, 3)
	a, b, other := nodes[0], nodes[1], nodes[2]
	near, far := a.connect(b)
	back, backFar := b.connect(a)
	aside, asideFar := a.connect(other)
	if !carries(t, near, far, patience) || !carries(t, far, near, patience) {
		t.Fatal("the link carries nothing")
	}
	l.Cut(a.Node, b.Node)
	if carries(t, near, far, while) || carries(t, backFar, back, while) {
		t.Error("what was cut got through")
	}
	if !carries(t, far, near, patience) || !carries(t, back, backFar, patience) || !carries(t, aside, asideFar, patience) {
		t.Error("more was cut than one direction")
	}
	l.Heal()
	if !arrives(t, far, patience) || !arrives(t, back, patience) {
		t.Error("what was sent during the cut did not come after it")
	}
}

func TestLinksIsolate(t *testing.T) {
	l, nodes := testLinks(t, 3)
	near, far := nodes[1].connect(nodes[2])
	l.Isolate(nodes[0].Node)
	if !carries(t, near, far, patience) {
		t.Error("the others were cut off from each other")
	}
	conn, err := nodes[1].dial(nodes[0])
	if err != nil {
		t.Fatalf("a dial during a cut: %v, want no answer", err)
	}
	select {
	case <-nodes[0].accepted:
		t.Error("a connection was opened to a node that is isolated")
	case <-time.After(while):
	}
	l.Heal()
	select {
	case far := <-nodes[0].accepted:
		if !carries(t, conn, far, patience) {
			t.Error("the connection does not work after the cut")
		}
	case <-time.After(patience):
		t.Error("the connection did not arrive after the cut")
	}
}

func TestLinksDelay(t *testing.T) {
	l, nodes := testLinks(t, 2)
	near, far := nodes[0].connect(nodes[1])
	const by = 60 * time.Millisecond
	l.Delay(nodes[0].Node, nodes[1].Node, by)
	began := time.Now()
	if !carries(t, near, far, patience) || time.Since(began) < by {
		t.Errorf("a byte took %v, want at least %v", time.Since(began), by)
	}
}

func TestLinksHalfOpen(t *testing.T) {
	l, nodes := testLinks(t, 2)
	near, far := nodes[0].connect(nodes[1])
	if !carries(t, near, far, patience) {
		t.Fatal("the link carries nothing")
	}
	l.HalfOpen(nodes[0].Node, nodes[1].Node)
	near.SetReadDeadline(time.Now().Add(patience))
	if _, err := near.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read at the side that vanished: %v, want its end", err)
	}
	if carries(t, far, far, while) {
		t.Error("the other side got something")
	}
	l.Heal()
	far.SetReadDeadline(time.Now().Add(patience))
	if _, err := far.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read at the other side after the end: %v, want its end", err)
	}
}

// TestLinksRefuse has a node that is gone refuse connections at once, and take them
// when it has started anew, though the end of the process before is noticed after that.
func TestLinksRefuse(t *testing.T) {
	l, nodes := testLinks(t, 2)
	a, b := nodes[0], nodes[1]
	refused := func(when string) {
		t.Helper()
		if _, err := a.dial(b); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial %s: %v, want that it is refused", when, err)
		}
	}
	l.refuse(b.Node, b.life)
	refused("after the end")
	next := new(process)
	l.begin(b.Node, next)
	l.open(b.Node, b.life)
	refused("before the next process listens")
	l.refuse(b.Node, b.life)
	l.open(b.Node, next)
	a.connect(b)
	l.refuse(b.Node, b.life)
	a.connect(b)
	l.refuse(b.Node, next)
	refused("after the next end")
}
