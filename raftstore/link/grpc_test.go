package link

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// An echo is a service that says who calls and what they said.
type echo struct{}

var echoDesc = grpc.ServiceDesc{
	ServiceName: "test.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Say",
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in []byte
			if err := decode(&in); err != nil {
				return nil, err
			}
			id, ok := PeerOf(ctx)
			if !ok {
				return nil, errors.New("no peer")
			}
			known := "unknown"
			if id.Known {
				known = "known"
			}
			return []byte(strings.Join([]string{known, string(id.ID), id.Name, id.Cluster, string(in)}, " ")), nil
		},
	}},
	Streams: []grpc.StreamDesc{{
		StreamName: "Talk", ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error {
			for {
				var in mem.BufferSlice
				if err := stream.RecvMsg(&in); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
				err := stream.SendMsg(in)
				in.Free()
				if err != nil {
					return err
				}
			}
		},
	}},
}

var talkDesc = &grpc.StreamDesc{StreamName: "Talk", ServerStreams: true, ClientStreams: true}

func say(ctx context.Context, c grpc.ClientConnInterface, what string) (string, error) {
	var out []byte
	err := c.Invoke(ctx, "/test.Echo/Say", []byte(what), &out)
	return string(out), err
}

func rpcNodes(t testing.TB, change func(name string, c *Config)) []*testNode {
	t.Helper()
	var nodes []*testNode
	for _, name := range []string{"a", "b"} {
		n := newTestNode(t, name, func(c *Config) {
			if change != nil {
				change(name, c)
			}
		})
		n.Server().RegisterService(&echoDesc, echo{})
		n.start(t)
		nodes = append(nodes, n)
	}
	return nodes
}

func TestRPC(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			ca, dir := newTestCA(t, "ca"), t.TempDir()
			nodes := rpcNodes(t, func(name string, c *Config) {
				c.MaxMessage = 1 << 20
				if s.tls {
					c.TLS = ca.issue(t, dir, name, nil)
				}
			})
			a, b := nodes[0], nodes[1]
			toB := a.Conn(b.id)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := say(ctx, toB, "hi"); status.Code(err) != codes.Unavailable {
				t.Errorf("a call before b is a peer: %v, want Unavailable", err)
			}
			connect(t, a, b)
			got, err := say(ctx, toB, "hi")
			if want := "known id-a a " + testCluster + " hi"; err != nil || got != want {
				t.Errorf("Say = %q, %v, want %q", got, err, want)
			}
			stream, err := toB.NewStream(ctx, talkDesc, "/test.Echo/Talk")
			if err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				out := bytes.Repeat([]byte{byte(i)}, i*1000)
				var in []byte
				if err := stream.SendMsg(out); err != nil {
					t.Fatal(err)
				}
				if err := stream.RecvMsg(&in); err != nil || !bytes.Equal(in, out) {
					t.Fatalf("message %d: %d bytes, %v", i, len(in), err)
				}
			}
			if _, err := say(ctx, toB, strings.Repeat("x", 1<<20+1)); status.Code(err) != codes.ResourceExhausted {
				t.Errorf("a message beyond MaxMessage: %v, want ResourceExhausted", err)
			}
			if err := toB.Invoke(ctx, "/test.Echo/Say", "text", new([]byte)); status.Code(err) != codes.Internal {
				t.Errorf("a string as a message: %v, want Internal", err)
			}
			b.Close()
			var in []byte
			if err := stream.RecvMsg(&in); status.Code(err) != codes.Unavailable {
				t.Errorf("the stream of a node that has gone: %v, want Unavailable", err)
			}
			eventually(t, "b is gone", func() bool { return a.State(b.id) == Gone })
			if _, err := say(ctx, toB, "hi"); status.Code(err) != codes.Unavailable {
				t.Errorf("a call to a node that has gone: %v, want Unavailable", err)
			}
		})
	}
}

// TestRPCAfterReturn has calls work again as soon as a peer is back.
func TestRPCAfterReturn(t *testing.T) {
	noLeak(t)
	nodes := rpcNodes(t, nil)
	a, b := nodes[0], nodes[1]
	connect(t, a, b)
	if _, err := say(t.Context(), a.Conn(b.id), "hi"); err != nil {
		t.Fatal(err)
	}
	b.Close()
	eventually(t, "b is gone", func() bool { return a.State(b.id) == Gone })
	again := newTestNode(t, "b", nil)
	again.Server().RegisterService(&echoDesc, echo{})
	again.start(t)
	again.SetPeers([]Peer{a.peer()})
	a.SetPeers([]Peer{again.peer()})
	eventually(t, "b is back", func() bool { return a.State(b.id) == Connected })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	eventually(t, "a call works", func() bool { _, err := say(ctx, a.Conn(b.id), "hi"); return err == nil })
}

// TestRPCEndsWithSilence has a stream end when its peer freezes.
func TestRPCEndsWithSilence(t *testing.T) {
	noLeak(t)
	nodes := rpcNodes(t, func(_ string, c *Config) { c.Silence = 400 * time.Millisecond })
	a, b := nodes[0], nodes[1]
	toA, toB := newTestProxy(t, a.Addr().String()), newTestProxy(t, b.Addr().String())
	a.SetPeers([]Peer{{ID: b.id, Name: "b", Address: toB.addr()}})
	b.SetPeers([]Peer{{ID: a.id, Name: "a", Address: toA.addr()}})
	eventually(t, "connected", func() bool { return a.State(b.id) == Connected && b.State(a.id) == Connected })
	var stream grpc.ClientStream
	eventually(t, "a stream", func() (ok bool) {
		var err error
		if stream, err = a.Conn(b.id).NewStream(t.Context(), talkDesc, "/test.Echo/Talk"); err != nil {
			return false
		}
		var in []byte
		return stream.SendMsg([]byte("hi")) == nil && stream.RecvMsg(&in) == nil
	})
	toA.freeze(true)
	toB.freeze(true)
	ended := call(func() error { return stream.RecvMsg(new([]byte)) })
	if err := result(t, "the stream", ended); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream of a frozen node: %v, want Unavailable", err)
	}
}

func TestDial(t *testing.T) {
	noLeak(t)
	ca, dir := newTestCA(t, "ca"), t.TempDir()
	nodes := rpcNodes(t, func(name string, c *Config) {
		c.TLS = ca.issue(t, dir, name, nil)
		if name == "a" {
			c.Cluster = "" // it joins
		}
	})
	a, b := nodes[0], nodes[1]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cc, id, err := a.Dial(ctx, b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if want := (Identity{ID: b.id, Name: "b", Cluster: testCluster}); id != want {
		t.Errorf("Dial found %+v, want %+v", id, want)
	}
	if got, err := say(ctx, cc, "hi"); err != nil || got != "unknown id-a a  hi" {
		t.Errorf("Say = %q, %v", got, err)
	}
	// The connection is made again, to the same node.
	b.closeConns(func(c *conn) bool { return c.kind == kindRPC })
	eventually(t, "a call works again", func() bool { _, err := say(ctx, cc, "hi"); return err == nil })

	if _, _, err := a.Dial(ctx, a.Addr().String()); err == nil || !strings.Contains(err.Error(), "own id") {
		t.Errorf("Dial of the node itself: %v", err)
	}
	if _, _, err := a.Dial(ctx, "127.0.0.1:1"); err == nil {
		t.Error("Dial of a shut port worked")
	}
	b.SetPeers([]Peer{{ID: a.id, Name: "another", Address: "127.0.0.1:1"}})
	if _, _, err := a.Dial(ctx, b.Addr().String()); err == nil || !strings.Contains(err.Error(), "is called another in the map, not a") {
		t.Errorf("Dial by another name: %v", err)
	}
	c := newTestNode(t, "c", func(c *Config) {
		c.TLS = ca.issue(t, dir, "c", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	})
	if _, _, err := c.Dial(ctx, b.Addr().String()); err == nil || !strings.Contains(err.Error(), "refused by the peer: the certificate of c is not accepted") {
		t.Errorf("Dial with a certificate that is not valid yet: %v", err)
	}
	c.config.Cluster = "other"
	c.SetCluster("other")
	c.config.TLS = nil
	c.creds.now.Store(mustLoad(t, ca.issue(t, dir, "c", nil), "c"))
	if _, _, err := c.Dial(ctx, b.Addr().String()); err == nil || !strings.Contains(err.Error(), "this node belongs to cluster "+testCluster) {
		t.Errorf("Dial from another cluster: %v", err)
	}
}

func mustLoad(t testing.TB, files *TLSFiles, name string) *keys {
	t.Helper()
	c, err := openCerts(*files, name, newTestNode(t, name, nil).Link.log)
	if err != nil {
		t.Fatal(err)
	}
	return c.now.Load()
}

// TestSlowReader has a peer that reads nothing of a stream: its control connection and
// other streams go on.
func TestSlowReader(t *testing.T) {
	noLeak(t)
	nodes := rpcNodes(t, nil)
	a, b := nodes[0], nodes[1]
	connect(t, a, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := a.Conn(b.id).NewStream(ctx, talkDesc, "/test.Echo/Talk")
	if err != nil {
		t.Fatal(err)
	}
	var sent sync.WaitGroup
	message := make([]byte, 64<<10)
	sent.Go(func() {
		for stream.SendMsg(message) == nil {
		}
	})
	before := a.beats(b)
	eventually(t, "other calls and keep-alives go on", func() bool {
		if _, err := say(ctx, a.Conn(b.id), "hi"); err != nil {
			t.Fatal(err)
		}
		return a.beats(b) >= before+10
	})
	if got := a.statesOf(b); len(got) != 1 {
		t.Errorf("a was told %v of b, want connected once", got)
	}
	cancel()
	sent.Wait()
}
