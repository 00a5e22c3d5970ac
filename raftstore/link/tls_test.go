package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"go/parser"
	"go/token"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/versions"
)

// TestRefusedByBothSides has a try to connect with b, and looks for the reason in the
// logs of both.
func TestRefusedByBothSides(t *testing.T) {
	ca, other := newTestCA(t, "ca"), newTestCA(t, "another ca")
	dir := t.TempDir()
	good := func(name string) *TLSFiles { return ca.issue(t, dir, name, nil) }
	expired := func(name string) *TLSFiles {
		return ca.issue(t, dir, name, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	}
	for _, test := range []struct {
		name   string
		a, b   func(*Config)
		peer   func(*Peer) // what a believes of b
		aLog   string
		bLog   string // the reason in b's log
		claims string // the name that a gives, if not that of its certificate
	}{
		{
			name: "wrong cluster",
			a:    func(c *Config) { c.TLS = good("a") },
			b:    func(c *Config) { c.TLS, c.Cluster = good("b"), "another" },
			aLog: "this node belongs to cluster another, the peer to cluster " + testCluster,
			bLog: "this node belongs to cluster another, the peer to cluster " + testCluster,
		},
		{
			name: "wrong node",
			a:    func(c *Config) { c.TLS = good("a") },
			b:    func(c *Config) { c.TLS = good("b") },
			peer: func(p *Peer) { p.ID = "id-of-before" },
			aLog: "this is node b (id-b), not id-of-before",
			bLog: "this is node b (id-b), not id-of-before",
		},
		{
			name: "wrong name",
			a:    func(c *Config) { c.TLS = good("a") },
			b:    func(c *Config) { c.TLS = good("b") },
			peer: func(p *Peer) { p.Name = "c" },
			aLog: "the certificate is that of b, want the DNS name c",
			bLog: "the certificate is that of b, want the DNS name c",
		},
		{
			name: "too old",
			a:    func(c *Config) { c.TLS, c.Speaks = good("a"), versions.Set{versions.Watch: versions.Only(1)} },
			b: func(c *Config) {
				c.TLS, c.Speaks = good("b"), versions.Set{versions.Watch: {Oldest: 2, Newest: 3}}
			},
			aLog: "watch: the peer is too old: it speaks version 1, this node 2 to 3",
			bLog: "watch: the peer is too old: it speaks version 1, this node 2 to 3",
		},
		{
			name: "expired at the dialer",
			a:    func(c *Config) { c.TLS = expired("a") },
			b:    func(c *Config) { c.TLS = good("b") },
			aLog: "the certificate of a is not accepted: x509: certificate has expired",
			bLog: "the certificate of a is not accepted: x509: certificate has expired",
		},
		{
			name: "expired at the acceptor",
			a:    func(c *Config) { c.TLS = good("a") },
			b:    func(c *Config) { c.TLS = expired("b") },
			aLog: "the certificate of b is not accepted: x509: certificate has expired",
			bLog: "the certificate of b is not accepted: x509: certificate has expired",
		},
		{
			name: "another CA at the dialer",
			a: func(c *Config) {
				c.TLS = other.issue(t, dir, "a", nil)
				os.WriteFile(c.TLS.CA, append(bytes.Clone(ca.pem), other.pem...), 0o600)
			},
			b:    func(c *Config) { c.TLS = good("b") },
			aLog: "the certificate of a is not accepted: x509: certificate signed by unknown authority",
			bLog: "the certificate of a is not accepted: x509: certificate signed by unknown authority",
		},
		{
			name: "certificate of another node",
			a: func(c *Config) {
				c.Name = "mallory"
				c.TLS = ca.issue(t, dir, "mallory", nil)
			},
			claims: "a",
			b:      func(c *Config) { c.TLS = good("b") },
			aLog:   "the certificate is that of mallory, want the DNS name a",
			bLog:   "the certificate is that of mallory, want the DNS name a",
		},
		{
			name: "label of another cluster",
			a:    func(c *Config) { c.TLS = ca.issue(t, dir, "a", withURI("belfry://test/a")) },
			b:    func(c *Config) { c.TLS = ca.issue(t, dir, "b", withURI("belfry://prod/b")) },
			aLog: "the certificate is that of belfry://prod/b, want the URI belfry://test/b",
			bLog: "the certificate is that of belfry://prod/b, want the URI belfry://test/b",
		},
		{
			name: "server certificate at the dialer",
			a: func(c *Config) {
				c.TLS = ca.issue(t, dir, "a", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
			},
			b:    func(c *Config) { c.TLS = good("b") },
			aLog: "incompatible key usage",
			bLog: "incompatible key usage",
		},
		{
			name: "dialer without TLS",
			a:    func(*Config) {},
			b:    func(c *Config) { c.TLS = good("b") },
			aLog: "the peer does not speak TLS, this node does",
			bLog: "the peer does not speak TLS, this node does",
		},
		{
			name: "acceptor without TLS",
			a:    func(c *Config) { c.TLS = good("a") },
			b:    func(*Config) {},
			aLog: "the peer does not speak TLS, this node does",
			bLog: "the peer speaks TLS, this node does not",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			noLeak(t)
			a := newTestNode(t, "a", test.a)
			if test.claims != "" {
				a.config.Name = test.claims
			}
			b := newTestNode(t, "b", test.b)
			b.start(t)
			a.start(t)
			p := b.peer()
			if test.peer != nil {
				test.peer(&p)
			}
			a.SetPeers([]Peer{p})
			b.SetPeers([]Peer{{ID: "id-a", Name: "a", Address: "127.0.0.1:1"}})
			eventually(t, "the reason at a: "+test.aLog, func() bool { return a.log.has(test.aLog) })
			eventually(t, "the reason at b: "+test.bLog, func() bool { return b.log.has(test.bLog) })
			if a.State(p.ID) != 0 || b.State("id-a") != 0 {
				t.Error("they are connected")
			}
		})
	}
}

func TestClusterLabels(t *testing.T) {
	noLeak(t)
	ca, dir := newTestCA(t, "ca"), t.TempDir()
	a := newTestNode(t, "a", func(c *Config) { c.TLS = ca.issue(t, dir, "a", withURI("belfry://prod/a")) })
	b := newTestNode(t, "b", func(c *Config) { c.TLS = ca.issue(t, dir, "b", withURI("belfry://prod/b")) })
	a.start(t)
	b.start(t)
	connect(t, a, b)
}

func TestOpenRefusesCertificates(t *testing.T) {
	ca, dir := newTestCA(t, "ca"), t.TempDir()
	a, b := ca.issue(t, dir, "a", nil), ca.issue(t, dir, "b", nil)
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		files TLSFiles
		want  string
	}{
		{"another node's", *b, "the certificate is that of b, want the DNS name a or a URI belfry://CLUSTER/a"},
		{"another key", TLSFiles{Cert: a.Cert, Key: b.Key, CA: a.CA}, "private key does not match"},
		{"no CA", TLSFiles{Cert: a.Cert, Key: a.Key, CA: empty}, "no certificate in it"},
		{"no key", TLSFiles{Cert: a.Cert, Key: filepath.Join(dir, "none"), CA: a.CA}, "key: open"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Open(Config{ID: "1", Name: "a", Listen: "127.0.0.1:0", TLS: &test.files})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Open: %v, want %q in it", err, test.want)
			}
		})
	}
}

// TestCertificatesReload replaces the CA of two nodes step by step, as an operator
// would, under traffic: no new connection is refused, new ones use the new files, and
// the old ones stay.
func TestCertificatesReload(t *testing.T) {
	noLeak(t)
	old, fresh, dir := newTestCA(t, "old"), newTestCA(t, "new"), t.TempDir()
	nodes := make(map[string]*testNode)
	for _, name := range []string{"a", "b"} {
		nodes[name] = newTestNode(t, name, func(c *Config) { c.TLS = old.issue(t, dir, name, nil) })
		nodes[name].creds.every = 20 * time.Millisecond
		nodes[name].Server().RegisterService(&echoDesc, echo{})
		nodes[name].start(t)
	}
	a, b := nodes["a"], nodes["b"]
	connect(t, a, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	var made atomic.Int64
	for n, o := range map[*testNode]*testNode{a: b, b: a} {
		traffic.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := n.dial(ctx, target{address: o.Addr().String(), id: o.id, name: o.name, kind: kindRPC})
				if err != nil {
					t.Errorf("a new connection: %v", err)
					return
				}
				c.Close()
				if _, err := say(ctx, n.Conn(o.id), "hi"); err != nil {
					t.Errorf("a call: %v", err)
					return
				}
				made.Add(1)
			}
		})
	}
	more := func() {
		enough := made.Load() + 10
		eventually(t, "connections are made", func() bool { return made.Load() >= enough || t.Failed() })
	}

	write := func(path string, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() {
		for _, n := range nodes {
			eventually(t, "files are read again", func() bool { return !n.creds.changed() })
		}
	}
	presented := func(n *testNode) string {
		c, err := tls.Dial("tcp", n.Addr().String(), &tls.Config{
			InsecureSkipVerify: true, Certificates: n.creds.client(kindRPC).Certificates, NextProtos: []string{"h2"},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Issuer.CommonName
	}
	both := append(bytes.Clone(old.pem), fresh.pem...)
	for name := range nodes {
		write(filepath.Join(dir, name+".ca"), both)
	}
	read()
	more()
	apart := t.TempDir()
	for name := range nodes {
		files := fresh.issue(t, apart, name, nil)
		for _, from := range []string{files.Cert, files.Key} { // not both at once
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, filepath.Base(from))
			write(to, b[:len(b)/2])
			more()
			write(to, b)
			more()
		}
	}
	read()
	more()
	for name := range nodes {
		write(filepath.Join(dir, name+".ca"), fresh.pem)
	}
	read()
	more()
	close(stop)
	traffic.Wait()
	for _, n := range nodes {
		if got := presented(n); got != "new" {
			t.Errorf("%s presents a certificate of CA %q, want the new one", n.name, got)
		}
	}
	if len(a.statesOf(b)) != 1 || len(b.statesOf(a)) != 1 {
		t.Errorf("reading the files broke the connection: %v, %v", a.statesOf(b), b.statesOf(a))
	}
	old.issue(t, dir, "a", nil)
	write(filepath.Join(dir, "a.ca"), fresh.pem)
	eventually(t, "the old CA is refused", func() bool {
		c, err := a.dial(ctx, target{address: b.Addr().String(), id: b.id, name: "b", kind: kindRPC})
		if err == nil {
			c.Close()
			return false
		}
		return strings.Contains(err.Error(), "unknown authority")
	})
}

// TestOpenSSLExample runs what the package comment says.
func TestOpenSSLExample(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	var script []string
	for line := range strings.Lines(f.Doc.Text()) {
		if code, ok := strings.CutPrefix(line, "\t"); ok {
			script = append(script, code)
		}
	}
	text := strings.Join(script, "")
	if !strings.Contains(text, "openssl x509 -req") {
		t.Fatalf("the package comment has no example: %q", text)
	}
	dir := t.TempDir()
	if _, err := exec.LookPath("openssl"); err != nil {
		checkExampleWithoutOpenSSL(t, text)
		return
	}
	sh := exec.Command("sh", "-ec", text)
	sh.Dir = dir
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := Open(Config{
		ID: "1", Name: "a", Listen: "127.0.0.1:0",
		TLS: &TLSFiles{Cert: filepath.Join(dir, "a.pem"), Key: filepath.Join(dir, "a.key"), CA: filepath.Join(dir, "ca.pem")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	k := l.creds.now.Load()
	if k.cluster != "prod" {
		t.Errorf("the certificate is for cluster %q, want prod", k.cluster)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := k.verify(k.cert.Leaf, nil, usage); err != nil {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
}

// checkExampleWithoutOpenSSL makes with crypto/x509 what the example asks openssl for.
func checkExampleWithoutOpenSSL(t *testing.T, text string) {
	if !strings.Contains(text, "URI:belfry://prod/a") || !strings.Contains(text, "serverAuth,clientAuth") {
		t.Errorf("the example has changed: %s", text)
	}
	files := newTestCA(t, "belfry nodes").issue(t, t.TempDir(), "a", withURI("belfry://prod/a"))
	l, err := Open(Config{ID: "1", Name: "a", Listen: "127.0.0.1:0", TLS: files})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestUnfinishedHello opens connections that say nothing, or part of a hello: each ends
// by itself, and others are served meanwhile.
func TestUnfinishedHello(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			ca, dir := newTestCA(t, "ca"), t.TempDir()
			change := func(name string) func(*Config) {
				return func(c *Config) {
					c.Handshake = 500 * time.Millisecond
					if s.tls {
						c.TLS = ca.issue(t, dir, name, nil)
					}
				}
			}
			a, b := newTestNode(t, "a", change("a")), newTestNode(t, "b", change("b"))
			a.start(t)
			b.start(t)
			var open []net.Conn
			for i := range maxHandshakes {
				c, err := net.Dial("tcp", a.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.Write([]byte(prefaceFor(kindControl) + "\x01\x00{\"version\":1,")[:i%30])
				open = append(open, c)
			}
			connect(t, a, b)
			for _, c := range open {
				c.SetReadDeadline(time.Now().Add(patience))
				for {
					if _, err := c.Read(make([]byte, 4096)); err != nil {
						if isTimeout(err) {
							t.Fatal("a connection without a hello stays open")
						}
						break
					}
				}
			}
			eventually(t, "no place is taken", func() bool { return a.handshakes.size() == 0 })
		})
	}
}

// TestConnLimit opens more connections than one peer may have.
func TestConnLimit(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, true, "a", "b")
	a, b := nodes[0], nodes[1]
	b.Link.mu.Lock()
	b.maxConns = 3
	b.Link.mu.Unlock()
	to := target{address: b.Addr().String(), id: b.id, name: "b", kind: kindRPC}
	for range 3 {
		c, err := a.dial(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	_, err := a.dial(t.Context(), to)
	if r, ok := errors.AsType[*refusal](err); !ok || r.code != codeLimit || !r.remote {
		t.Errorf("one connection more: %v, want a refusal by b for the limit", err)
	}
	eventually(t, "b says so", func() bool { return b.log.has("3 connections h2 with one peer are open") })
	b.closeConns(func(c *conn) bool { return c.kind == kindRPC })
	c, err := a.dial(t.Context(), to)
	if err != nil {
		t.Fatalf("after they have closed: %v", err)
	}
	c.Close()
}

// DNS names and the clusters in URIs are compared without regard to case, the names of
// nodes in URIs with it.
func TestNamesOfCertificates(t *testing.T) {
	uri := func(text string) []*url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{u}
	}
	for _, test := range []struct {
		leaf          x509.Certificate
		cluster, name string
		want          bool
	}{
		{x509.Certificate{DNSNames: []string{"other", "Node-K.Example.ORG"}}, "", "node-k.example.org", true},
		{x509.Certificate{DNSNames: []string{"node-k.example.org"}}, "", "NODE-K.example.org", true},
		{x509.Certificate{DNSNames: []string{"node-k.example.org"}}, "", "node-\u212a.example.org", false}, // the sign of Kelvin
		{x509.Certificate{DNSNames: []string{"node-k.example.org"}}, "", "node-k", false},
		{x509.Certificate{DNSNames: []string{"*.example.org"}}, "", "node-k.example.org", false}, // one certificate is one node
		{x509.Certificate{DNSNames: []string{"a"}}, "prod", "a", false},
		{x509.Certificate{URIs: uri("belfry://Prod/a")}, "prod", "a", true},
		{x509.Certificate{URIs: uri("BELFRY://prod/a")}, "prod", "a", true},
		{x509.Certificate{URIs: uri("belfry://prod/A")}, "prod", "a", false},
		{x509.Certificate{URIs: uri("belfry://test/a")}, "prod", "a", false},
	} {
		k := keys{cluster: test.cluster}
		if err := k.names(&test.leaf, test.name); (err == nil) != test.want {
			t.Errorf("DNS %q, URI %v for node %q of cluster %q: %v, want it taken: %v", test.leaf.DNSNames, test.leaf.URIs, test.name, test.cluster, err, test.want)
		}
	}
}
