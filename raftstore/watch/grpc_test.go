package watch

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// rawCodec passes messages through.
type rawCodec struct{}

func (rawCodec) Name() string { return "raw" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = rawCodec{}

// serveGRPC serves a Server on loopback, and returns a connection to it.
func serveGRPC(t testing.TB, s *Server) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.WaitForHandlers(true))
	var callers atomic.Int64
	Register(server, s, func(context.Context) (string, bool) { return fmt.Sprint("node", callers.Add(1)), true })
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		serving.Wait()
	})
	return conn
}

// A crowdHost takes in everything, and wakes every session whose number is odd.
type crowdHost struct {
	lostHost
	watched atomic.Int64
}

func (h *crowdHost) Watch(a *Audience, _ uint32, _ uint64, interests []Interest) bool {
	for _, in := range interests {
		if in.Session%2 == 1 {
			a.Session(in.User, in.Session).Wake()
		}
	}
	h.watched.Add(int64(len(interests)))
	return true
}

// A crowd is the sessions of one node.
type crowd struct {
	*node
	keys  []Key
	woken atomic.Int64
}

func (c *crowd) Keys(uint32) []Key                      { return c.keys }
func (c *crowd) Interest(k Key, _ bool) Interest        { return Interest{Key: k, UpTo: 1000} }
func (c *crowd) Wake(command.UserID, command.SessionID) { c.woken.Add(1) }

// TestCrowdIsWatchedSoon has 50,000 sessions at three nodes hear of a new leader, over
// gRPC: it has to know all of them, and half of them are behind and have to know that,
// well within the 2 s in which nothing may be missed.
func TestCrowdIsWatchedSoon(t *testing.T) {
	const sessions, nodes = 50_000, 3
	h := &crowdHost{lostHost: lostHost{make(chan string, nodes)}}
	s := NewServer(h, Config{})
	defer s.Close()
	conn := serveGRPC(t, s)
	var crowds []*crowd
	for id := range nodes {
		c := &crowd{node: &node{}}
		for n := range sessions / nodes {
			c.keys = append(c.keys, Key{Kind: KeySession, User: command.UserID(fmt.Sprintf("user%d-%d", id, n)), Session: command.SessionID(n)})
		}
		f := NewFollower(c, func(ctx context.Context, _ string) (Conn, error) { return Dial(ctx, conn) }, Config{})
		defer f.Close()
		crowds = append(crowds, c)
		f.SetLeader(7, "elsewhere", 1)
		defer f.SetLeader(7, "", 3)
		for h.watched.Load() < int64((id+1)*(sessions/nodes)) {
			time.Sleep(time.Millisecond)
		}
		c.follower = f
	}
	h.watched.Store(0)
	for _, c := range crowds {
		c.woken.Store(0)
	}
	start := time.Now()
	for _, c := range crowds {
		c.follower.SetLeader(7, "elsewhere", 2)
	}
	for _, c := range crowds {
		for c.woken.Load() < int64(sessions/nodes/2) {
			time.Sleep(time.Millisecond)
		}
	}
	for h.watched.Load() < sessions/nodes*nodes {
		time.Sleep(time.Millisecond)
	}
	t.Logf("%d sessions in %v", sessions, time.Since(start))
}
