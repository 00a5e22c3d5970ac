package peer

import (
	"context"
	"sync"

	"google.golang.org/grpc"
)

// maxServing bounds the bytes of requests and answers of one stream that a Server holds.
// Past that it reads no more of the stream until answers have left.
const maxServing = 64 << 20

const exchangeMethod = "/belfry.Peer/Exchange"

var exchangeDesc = grpc.StreamDesc{StreamName: "Exchange", ServerStreams: true, ClientStreams: true}

// A Handler executes requests.
type Handler interface {
	// Exchange executes a request of a node and has answer called exactly once, before
	// or after it returns, on any goroutine. It is called with the requests of one
	// stream in their order, and the next one waits for it. It may keep r.Body; answer
	// has copied the answer's when it returns. ctx ends with the stream: nobody waits for
	// the answer from then on.
	Exchange(ctx context.Context, node string, r Request, answer func(Answer))
}

// Register has requests from other nodes answered by h. who returns which node calls,
// or the error with which to end its stream. Messages of the server's codec have to be
// []byte.
func Register(r grpc.ServiceRegistrar, h Handler, who func(context.Context) (node string, err error)) {
	desc := exchangeDesc
	desc.Handler = func(_ any, stream grpc.ServerStream) error {
		node, err := who(stream.Context())
		if err != nil {
			return err
		}
		return serve(stream, node, h)
	}
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: "belfry.Peer", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{desc},
	}, nil)
}

// A serving is one stream at the end that answers.
type serving struct {
	out *outbox

	mu    sync.Mutex
	room  sync.Cond // mu; signalled when bytes has fallen or over is set
	bytes int       // of requests that are not answered and of answers that wait to be sent
	over  bool
}

func serve(stream grpc.ServerStream, node string, h Handler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	s := &serving{out: newOutbox()}
	s.room.L = &s.mu
	var loops sync.WaitGroup
	defer loops.Wait()
	defer s.out.close()
	defer cancel()
	loops.Go(func() {
		sendAll(ctx, s.out, func(m any) error {
			defer s.release(len(m.([]byte)))
			return stream.SendMsg(m)
		})
		s.end()
	})
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		err := items(message, func(item []byte) error {
			number, r, err := decodeRequest(item)
			if err != nil {
				return err
			}
			size := len(r.Body) + itemBytes
			if !s.take(size) {
				return context.Canceled
			}
			h.Exchange(ctx, node, r, func(a Answer) { s.answer(number, size, a) })
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// take waits until there is room for n bytes, and takes it. It reports false once the
// stream has ended.
func (s *serving) take(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.bytes > 0 && s.bytes+n > maxServing && !s.over {
		s.room.Wait()
	}
	s.bytes += n
	return !s.over
}

func (s *serving) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= n
	s.room.Broadcast()
}

func (s *serving) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.room.Broadcast()
}

// answer queues an answer. The request's bytes are released, and the answer's taken
// until it is sent.
func (s *serving) answer(number uint64, size int, a Answer) {
	if len(a.Body) > MaxBody {
		a = Answer{Err: ErrFailed}
	}
	n := 0
	s.out.add(func(dst []byte) []byte {
		before := len(dst)
		if before == 1 {
			before = 0 // the version belongs to the first item
		}
		dst = appendAnswer(dst, number, &a)
		n = len(dst) - before
		return dst
	})
	s.release(size - n)
}
