package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/test/bufconn"
)

// rawCodec carries []byte, as the codec of a link does.
type rawCodec struct{}

func (rawCodec) Name() string { return "raw" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = rawCodec{}

// handlerFunc is a Handler.
type handlerFunc func(ctx context.Context, node string, r Request, answer func(Answer))

func (f handlerFunc) Exchange(ctx context.Context, node string, r Request, answer func(Answer)) {
	f(ctx, node, r, answer)
}

// connect serves h and returns a connection to it, and what ends the server.
func connect(t *testing.T, h Handler) (conn *grpc.ClientConn, stop func()) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.MaxRecvMsgSize(MaxMessage))
	Register(server, h, func(context.Context) (string, error) { return "one", nil })
	var run sync.WaitGroup
	run.Go(func() { server.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///peer", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { server.Stop(); run.Wait() })
	t.Cleanup(func() { conn.Close(); stop() })
	return conn, stop
}

// Requests are handled in the order of Send, whoever else sends, and each gets its own
// answer.
func TestStreamKeepsOrder(t *testing.T) {
	const senders, each = 8, 500
	var mu sync.Mutex
	next := make(map[uint32]uint64)
	conn, _ := connect(t, handlerFunc(func(_ context.Context, node string, r Request, answer func(Answer)) {
		mu.Lock()
		defer mu.Unlock()
		if node != "one" || r.Term != next[r.Shard] {
			t.Errorf("request %d of sender %d comes from %q, want %d", r.Term, r.Shard, node, next[r.Shard])
		}
		next[r.Shard] = r.Term + 1
		go answer(Answer{Term: 1, Applied: r.Term, Body: fmt.Append(r.Body, "!")})
	}))
	s := Open(conn)
	defer s.Close()
	var all sync.WaitGroup
	for sender := range uint32(senders) {
		all.Add(each)
		go func() {
			for n := range uint64(each) {
				err := s.Send(Request{Kind: Command, Shard: sender, Term: n, Body: fmt.Append(nil, sender, n)}, func(a Answer) {
					defer all.Done()
					if want := fmt.Sprint(sender, n) + "!"; a.Err != nil || a.Applied != n || string(a.Body) != want {
						t.Errorf("answer %+v (%s), want %s", a, a.Body, want)
					}
				})
				if err != nil {
					t.Error(err)
					all.Done()
				}
			}
		}()
	}
	all.Wait()
	if s.bytes != 0 || len(s.open) != 0 {
		t.Errorf("%d bytes in %d requests are open after all answers", s.bytes, len(s.open))
	}
}

// What is open when a stream breaks is answered in order, and nothing is taken after it.
func TestStreamBreaks(t *testing.T) {
	const requests = 50
	var got sync.WaitGroup
	got.Add(requests)
	conn, stop := connect(t, handlerFunc(func(_ context.Context, _ string, r Request, answer func(Answer)) {
		if r.Term%5 == 0 {
			answer(Answer{})
		}
		got.Done()
	}))
	s := Open(conn)
	var mu sync.Mutex
	var broken []uint64
	for n := range uint64(requests) {
		err := s.Send(Request{Term: n}, func(a Answer) {
			mu.Lock()
			defer mu.Unlock()
			if a.Err != nil && !errors.Is(a.Err, ErrBroken) {
				t.Errorf("answer of request %d: %v", n, a.Err)
			}
			if a.Err != nil {
				broken = append(broken, n)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got.Wait()
	stop()
	s.Close()
	if len(broken) < requests/5*4 || !slices.IsSorted(broken) {
		t.Errorf("broken: %v, want at least those that are not a multiple of 5, in order", broken)
	}
	if err := s.Send(Request{}, func(Answer) { t.Error("called") }); !errors.Is(err, ErrBroken) || !s.Broken() {
		t.Errorf("Send on a broken stream: %v, want ErrBroken", err)
	}
	again := Open(conn)
	done := make(chan error, 1)
	if err := again.Send(Request{}, func(a Answer) { done <- a.Err }); err != nil {
		done <- err
	}
	if err := <-done; !errors.Is(err, ErrBroken) {
		t.Errorf("a node that is not there: %v, want ErrBroken", err)
	}
	again.Close()
}

// Either end holds a bounded number of bytes.
func TestStreamIsBounded(t *testing.T) {
	body := make([]byte, 4<<20)
	release := make(chan struct{})
	conn, _ := connect(t, handlerFunc(func(_ context.Context, _ string, r Request, answer func(Answer)) {
		go func() {
			<-release
			answer(Answer{Body: r.Body})
		}()
	}))
	s := Open(conn)
	defer s.Close()
	var answered sync.WaitGroup
	sent := 0
	for {
		err := s.Send(Request{Body: body}, func(a Answer) {
			defer answered.Done()
			if a.Err != nil || len(a.Body) != len(body) {
				t.Errorf("answer of %d bytes, %v", len(a.Body), a.Err)
			}
		})
		if err != nil {
			if !errors.Is(err, store.ErrUnavailable) || store.RetryAfter(err) == 0 {
				t.Errorf("request past the bound: %v, want ErrUnavailable", err)
			}
			break
		}
		answered.Add(1)
		sent++
	}
	if sent != maxOpen/(len(body)+itemBytes) {
		t.Errorf("%d requests of 4 MiB are open at a time", sent)
	}
	close(release)
	answered.Wait()
	if err := s.Send(Request{Body: make([]byte, MaxBody+1)}, func(Answer) { t.Error("called") }); !errors.Is(err, ErrFailed) {
		t.Errorf("body too large: %v, want ErrFailed", err)
	}
}

// A message that cannot be read ends the stream, at either end.
func TestStreamRefusesNonsense(t *testing.T) {
	conn, _ := connect(t, handlerFunc(func(context.Context, string, Request, func(Answer)) { t.Error("called") }))
	stream, err := conn.NewStream(t.Context(), &exchangeDesc, exchangeMethod)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg([]byte{version, 1}); err != nil {
		t.Fatal(err)
	}
	var m []byte
	if err := stream.RecvMsg(&m); err == nil {
		t.Errorf("answer %x to nonsense", m)
	}
}

// Reads that are not answered leave room for commands.
func TestReadsLeaveRoom(t *testing.T) {
	release := make(chan struct{})
	conn, _ := connect(t, handlerFunc(func(_ context.Context, _ string, _ Request, answer func(Answer)) {
		go func() {
			<-release
			answer(Answer{})
		}()
	}))
	s := Open(conn)
	defer s.Close()
	defer close(release)
	body := make([]byte, 4<<20)
	reads := 0
	for ; s.Send(Request{Kind: Read, Body: body}, func(Answer) {}) == nil; reads++ {
	}
	if reads != maxOpenApart/(len(body)+itemBytes) {
		t.Errorf("%d reads of 4 MiB are open at a time", reads)
	}
	for _, kind := range []Kind{Command, Login, Committed} {
		if err := s.Send(Request{Kind: kind, Body: body}, func(Answer) {}); err != nil {
			t.Errorf("a request of kind %d behind reads: %v", kind, err)
		}
	}
}
