package watch

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is one end of a stream between two nodes. Send and Recv may be called at the
// same time, each by one goroutine, and fail once either end has closed. Neither end
// changes a message that was sent or received.
type Conn interface {
	Send(message []byte) error
	Recv() ([]byte, error)
	Close()
}

var (
	errSilent = errors.New("watch: the other end is silent")
	errEnded  = errors.New("watch: the stream has ended")
)

// A talk is both directions of one stream at one end.
type talk struct {
	conn    Conn
	silence time.Duration
	hear    func(message []byte) error
	next    func() []byte   // what is to be said, nil for nothing now
	ready   <-chan struct{} // there may be something to be said

	hearing, saying sync.Mutex // held during hear and next
	ended           bool       // guarded by both: neither is called any more
}

// run returns when either direction has failed, the other end is silent, or ctx has
// ended. Then hear and next are not called any more. The goroutines of run end soon after;
// running counts them.
func (t *talk) run(ctx context.Context, running *sync.WaitGroup) error {
	ctx, end := context.WithCancelCause(ctx)
	defer t.end()
	defer end(nil)
	defer t.conn.Close()
	var heard atomic.Int64
	start := time.Now()
	running.Go(func() {
		for {
			message, err := t.conn.Recv()
			if err == nil {
				heard.Store(int64(time.Since(start)))
				err = t.tryHear(message)
			}
			if err != nil {
				end(err)
				return
			}
		}
	})
	alive := t.silence / 4
	running.Go(func() {
		tick := time.NewTicker(alive)
		defer tick.Stop()
		for {
			message := t.tryNext()
			if message == nil {
				select {
				case <-t.ready:
					continue
				case <-tick.C:
					w := newWriter()
					w.add(&item{kind: kindAlive})
					message = w.bytes()
				case <-ctx.Done():
					return
				}
			}
			if err := t.conn.Send(message); err != nil {
				end(err)
				return
			}
			if ctx.Err() != nil {
				return
			}
		}
	})
	tick := time.NewTicker(alive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if time.Since(start)-time.Duration(heard.Load()) > t.silence {
				return errSilent
			}
		}
	}
}

func (t *talk) end() {
	t.hearing.Lock()
	defer t.hearing.Unlock()
	t.saying.Lock()
	defer t.saying.Unlock()
	t.ended = true
}

func (t *talk) tryHear(message []byte) error {
	t.hearing.Lock()
	defer t.hearing.Unlock()
	if t.ended {
		return errEnded
	}
	return t.hear(message)
}

func (t *talk) tryNext() []byte {
	t.saying.Lock()
	defer t.saying.Unlock()
	if t.ended {
		return nil
	}
	return t.next()
}

func signal(ready chan struct{}) {
	select {
	case ready <- struct{}{}:
	default:
	}
}
