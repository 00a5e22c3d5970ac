package peer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"google.golang.org/grpc"
)

const (
	// maxOpen bounds the bytes of requests of one Stream that have no answer. Past that,
	// Send refuses.
	maxOpen = 64 << 20
	// maxOpenApart is maxOpen for requests that are not ordered: the rest is left to those
	// that are.
	maxOpenApart = maxOpen / 2
)

// A Stream carries requests to one other node, from Open until it breaks.
type Stream struct {
	cancel context.CancelFunc
	out    *outbox
	ended  chan struct{} // closed once all is answered

	mu    sync.Mutex
	open  map[uint64]openRequest // by number
	last  uint64                 // number given last
	bytes int                    // of open
	err   error                  // set when the stream breaks
}

type openRequest struct {
	done  func(Answer)
	bytes int
}

// Open begins a stream. It returns at once: a stream to a node that is not connected
// breaks soon.
func Open(conn grpc.ClientConnInterface) *Stream {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Stream{cancel: cancel, out: newOutbox(), ended: make(chan struct{}), open: make(map[uint64]openRequest)}
	go s.run(ctx, conn)
	return s
}

// Send sends a request; done is called exactly once, on a goroutine of the stream, and
// must not block. The stream does not keep r.Body. It returns ErrBroken once the stream
// has broken, and an ErrUnavailable while too much is unanswered; done is not called
// then.
func (s *Stream) Send(r Request, done func(Answer)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, most := len(r.Body)+itemBytes, maxOpen
	if !r.Kind.ordered() {
		most = maxOpenApart
	}
	switch {
	case s.err != nil:
		return s.err
	case len(r.Body) > MaxBody:
		return fmt.Errorf("%w: body of %d bytes, want at most %d", ErrFailed, len(r.Body), MaxBody)
	case s.bytes+size > most:
		return store.Unavailable(time.Second, "too much waits for an answer of the other node")
	}
	s.last++
	s.open[s.last] = openRequest{done, size}
	s.bytes += size
	s.out.add(func(dst []byte) []byte { return appendRequest(dst, s.last, &r) })
	return nil
}

// Close breaks the stream, and returns once all is answered.
func (s *Stream) Close() {
	s.cancel()
	<-s.ended
}

// Broken reports whether the stream has broken, so that Send refuses.
func (s *Stream) Broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

func (s *Stream) run(ctx context.Context, conn grpc.ClientConnInterface) {
	defer close(s.ended)
	err := s.exchange(ctx, conn)
	s.out.close()
	s.mu.Lock()
	s.err = fmt.Errorf("%w: %w", ErrBroken, err)
	open := s.open
	s.open, s.bytes = nil, 0
	s.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(open)) {
		open[number].done(Answer{Err: s.err})
	}
}

// exchange sends and receives until the stream breaks, and returns why.
func (s *Stream) exchange(ctx context.Context, conn grpc.ClientConnInterface) error {
	defer s.cancel()
	stream, err := conn.NewStream(ctx, &exchangeDesc, exchangeMethod, grpc.MaxCallRecvMsgSize(MaxMessage))
	if err != nil {
		return err
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		defer s.cancel() // RecvMsg returns then
		sendAll(ctx, s.out, stream.SendMsg)
	})
	defer sender.Wait()
	defer s.cancel()
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		err := items(message, func(item []byte) error {
			number, a, err := decodeAnswer(item)
			if err == nil {
				s.answered(number, a)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
}

// sendAll sends what out gathers until ctx ends or send fails.
func sendAll(ctx context.Context, out *outbox, send func(any) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-out.wake:
		}
		for _, m := range out.take() {
			if send(m) != nil {
				return
			}
		}
	}
}

// answered passes on an answer. One with a number that is not open is ignored.
func (s *Stream) answered(number uint64, a Answer) {
	s.mu.Lock()
	r, ok := s.open[number]
	delete(s.open, number)
	s.bytes -= r.bytes
	s.mu.Unlock()
	if ok {
		r.done(a)
	}
}
