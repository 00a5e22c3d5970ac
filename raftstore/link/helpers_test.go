package link

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience only fails a test.
const patience = 2 * time.Minute

const testCluster = "5c0e8a4e-6a0c-4f8e-9a2f-3b1b8f1d7c11"

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Logf("%s", buf[:runtime.Stack(buf, true)])
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// A testCA issues certificates of nodes.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var serial atomic.Int64

func newTestCA(t testing.TB, name string) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue writes the files of a node's certificate, which change may alter, to dir.
func (ca *testCA) issue(t testing.TB, dir, name string, change func(*x509.Certificate)) *TLSFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := &TLSFiles{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key"), CA: filepath.Join(dir, name+".ca")}
	for path, b := range map[string][]byte{
		files.Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		files.Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
		files.CA:   ca.pem,
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func withURI(uri string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(uri)
		if err != nil {
			panic(err)
		}
		c.URIs = []*url.URL{u}
		c.DNSNames = nil
	}
}

// A testLog keeps what is logged.
type testLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *testLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func (l *testLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A testNode is a Link with what it has told.
type testNode struct {
	*Link
	id   NodeID
	name string
	log  *testLog

	mu       sync.Mutex
	states   map[NodeID][]PeerState
	statuses map[NodeID]string
	at       map[NodeID]time.Time // of the last state
}

// newTestNode opens the Link of a node called name, on a port of its own, and with time-outs
// that no busy machine reaches, unless change says otherwise. Its ID is "id-" and its name.
func newTestNode(t testing.TB, name string, change func(*Config)) *testNode {
	t.Helper()
	n := &testNode{
		id: NodeID("id-" + name), name: name, log: new(testLog),
		states: make(map[NodeID][]PeerState), statuses: make(map[NodeID]string), at: make(map[NodeID]time.Time),
	}
	c := Config{
		ID: n.id, Name: name, Cluster: testCluster, Listen: "127.0.0.1:0",
		Silence: patience, Handshake: patience, RPC: patience, BulkStall: patience,
		Log: slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnPeer: func(node NodeID, s PeerState) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.states[node] = append(n.states[node], s)
			n.at[node] = time.Now()
		},
		OnStatus: func(node NodeID, status []byte) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.statuses[node] = string(status)
		},
	}
	if change != nil {
		change(&c)
	}
	var err error
	if n.Link, err = Open(c); err != nil {
		t.Fatal(err)
	}
	if n.config.Silence == patience { // it is not to lose anybody
		n.decide = patience
	}
	t.Cleanup(func() {
		n.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, n.log.text())
		}
	})
	return n
}

func (n *testNode) peer() Peer {
	return Peer{ID: n.id, Name: n.name, Address: n.Addr().String()}
}

func (n *testNode) statusOf(other *testNode) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.statuses[other.id]
}

func (n *testNode) statesOf(other *testNode) []PeerState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]PeerState(nil), n.states[other.id]...)
}

// saw reports whether the last states that n was told of other are those.
func (n *testNode) saw(other *testNode, last ...PeerState) bool {
	got := n.statesOf(other)
	return len(got) >= len(last) && fmt.Sprint(got[len(got)-len(last):]) == fmt.Sprint(last)
}

func (n *testNode) start(t testing.TB) {
	t.Helper()
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
}

// connect makes the nodes peers of each other, and waits until all are connected.
func connect(t testing.TB, nodes ...*testNode) {
	t.Helper()
	var peers []Peer
	for _, n := range nodes {
		peers = append(peers, n.peer())
	}
	for _, n := range nodes {
		n.SetPeers(peers)
	}
	for _, n := range nodes {
		for _, o := range nodes {
			if n != o {
				eventually(t, n.name+" connects with "+o.name, func() bool { return n.State(o.id) == Connected })
			}
		}
	}
}

// beats returns how many answered keep-alives of other have come since it is connected.
func (n *testNode) beats(other *testNode) int {
	s, _ := n.Link.peer(other.id).current()
	if s == nil {
		return 0
	}
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	return s.clock.taken
}

// security are the two ways in which most tests run.
var security = []struct {
	name string
	tls  bool
}{{"tls", true}, {"plain", false}}

// testNodes starts and connects nodes of these names.
func testNodes(t testing.TB, secure bool, names ...string) []*testNode {
	t.Helper()
	var files func(name string) *TLSFiles
	if secure {
		ca, dir := newTestCA(t, "ca"), t.TempDir()
		files = func(name string) *TLSFiles { return ca.issue(t, dir, name, nil) }
	}
	var nodes []*testNode
	for _, name := range names {
		n := newTestNode(t, name, func(c *Config) {
			if files != nil {
				c.TLS = files(name)
			}
		})
		n.start(t)
		nodes = append(nodes, n)
	}
	connect(t, nodes...)
	return nodes
}

// noLeak fails the test if goroutines of this package, of hashicorp/raft or gRPC that
// were started in it are left when all else is cleaned up. Call it first.
func noLeak(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		eventually(t, "goroutines have ended", func() bool {
			buf := make([]byte, 4<<20)
			stacks := string(buf[:runtime.Stack(buf, true)])
			for stack := range strings.SplitSeq(stacks, "\n\n") {
				if strings.Contains(stack, "testing.tRunner") || strings.Contains(stack, "noLeak") {
					continue
				}
				for _, ours := range []string{"raftstore/link.", "hashicorp/raft.", "google.golang.org/grpc"} {
					if strings.Contains(stack, ours) {
						return false
					}
				}
			}
			return true
		})
	})
}

// A testProxy stands between two nodes.
type testProxy struct {
	ln     net.Listener
	target string

	mu     sync.Mutex
	open   *sync.Cond
	frozen bool
	closed bool
	conns  []net.Conn
}

func newTestProxy(t testing.TB, target string) *testProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &testProxy{ln: ln, target: target}
	p.open = sync.NewCond(&p.mu)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			if p.closed { // nobody would close these
				in.Close()
				out.Close()
			}
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			work.Go(func() { p.forward(in, out) })
			work.Go(func() { p.forward(out, in) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		p.freeze(false)
		p.mu.Lock()
		p.closed = true
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		work.Wait()
	})
	return p
}

func (p *testProxy) forward(to, from net.Conn) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.frozen {
			p.open.Wait()
		}
		p.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			to.Close()
			from.Close()
			return
		}
	}
}

// freeze stops all forwarding, of connections made meanwhile too, without closing any.
func (p *testProxy) freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = on
	p.open.Broadcast()
}

func (p *testProxy) addr() string { return p.ln.Addr().String() }

var _ io.Writer = (*testLog)(nil)
