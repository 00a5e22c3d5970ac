//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// answerPatience bounds the wait for one reply: a peer that the proxy has made
// deaf or mute gets none.
const answerPatience = 8 * time.Second

// A wire is one WebSocket that speaks the protocol's frames. A call gets its
// reply from serve, which has to run.
type wire struct {
	ws    *websocket.Conn
	codec protocol.Codec
	ended chan struct{} // closed when serve has returned

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan protocol.ServerFrame
}

func dialWire(ctx context.Context, url string, codec protocol.Codec) (*wire, error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url+"/v1/ws", &websocket.DialOptions{Subprotocols: []string{codec.Subprotocol()}})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(1 << 20)
	return &wire{ws: ws, codec: codec, ended: make(chan struct{}), waiting: map[uint64]chan protocol.ServerFrame{}}, nil
}

// serve reads frames and calls take with pushes, until the connection or ctx ends
// or take returns an error.
func (w *wire) serve(ctx context.Context, take func(*protocol.ServerFrame) error) error {
	defer close(w.ended)
	defer w.ws.CloseNow()
	for {
		_, b, err := w.ws.Read(ctx)
		if err != nil {
			return err
		}
		f, err := protocol.DecodeServerFrame(w.codec, b)
		if err != nil {
			return violation{err}
		}
		if f.ID == 0 {
			if err := take(&f); err != nil {
				return err
			}
			continue
		}
		w.mu.Lock()
		reply := w.waiting[f.ID]
		delete(w.waiting, f.ID)
		w.mu.Unlock()
		if reply != nil {
			reply <- f
		}
	}
}

// call makes a request, waits for the reply and decodes it into ok, unless nil.
// If the server refuses, the error is a *protocol.ReplyError.
func (w *wire) call(ctx context.Context, op string, args protocol.Args, ok protocol.OK) error {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	reply := make(chan protocol.ServerFrame, 1)
	w.mu.Lock()
	w.lastID++
	id := w.lastID
	w.waiting[id] = reply
	w.mu.Unlock()
	if err := w.write(ctx, id, op, args); err != nil {
		return err
	}
	select {
	case f := <-reply:
		switch {
		case f.Err != nil:
			return f.Err
		case ok == nil:
			return nil
		}
		if err := f.Decode(ok); err != nil {
			return violated("%s: reply: %w", op, err)
		}
		return nil
	case <-w.ended:
		return errors.New("the connection is lost")
	case <-ctx.Done():
		return fmt.Errorf("%s: no reply: %w", op, context.Cause(ctx))
	}
}

// ack acknowledges pushes up to d.
func (w *wire) ack(ctx context.Context, d uint64) error {
	return w.write(ctx, 0, protocol.OpAck, &protocol.AckArgs{D: d})
}

func (w *wire) write(ctx context.Context, id uint64, op string, args protocol.Args) error {
	kind := websocket.MessageText
	if w.codec.Binary() {
		kind = websocket.MessageBinary
	}
	return w.ws.Write(ctx, kind, protocol.AppendRequest(nil, w.codec, id, op, args))
}

// A violation is an error that no fault explains.
type violation struct{ error }

func (v violation) Unwrap() error { return v.error }

func violated(format string, args ...any) error { return violation{fmt.Errorf(format, args...)} }

func isViolation(err error) bool {
	_, ok := errors.AsType[violation](err)
	return ok
}

// An actor makes requests in a user's name until they are answered, whatever
// becomes of its connections. It belongs to one goroutine.
type actor struct {
	url, user, device string
	codec             protocol.Codec
	token             func(user string) (string, error)

	wire *wire
	end  context.CancelFunc
}

// do repeats a request until the answer is something else than unavailable. It
// returns nil, a *protocol.ReplyError, a violation, or the error of ctx. again
// reports whether the server may have executed it more than once.
func (a *actor) do(ctx context.Context, op string, args protocol.Args, ok protocol.OK) (again bool, err error) {
	for ; ; again = true {
		if err = a.connect(ctx); err == nil {
			err = a.wire.call(ctx, op, args, ok)
		}
		refusal, refused := errors.AsType[*protocol.ReplyError](err)
		switch {
		case err == nil, isViolation(err), refused && refusal.Code != protocol.CodeUnavailable:
			return again, err
		case ctx.Err() != nil:
			return again, context.Cause(ctx)
		case refused:
			sleep(ctx, time.Duration(refusal.RetryAfterMS)*time.Millisecond)
		default:
			a.close()
			sleep(ctx, 50*time.Millisecond)
		}
	}
}

func (a *actor) connect(ctx context.Context) error {
	if a.wire != nil {
		return nil
	}
	w, err := dialWire(ctx, a.url, a.codec)
	if err != nil {
		return err
	}
	serving, end := context.WithCancel(ctx)
	go w.serve(serving, func(f *protocol.ServerFrame) error {
		var p protocol.NewMessage
		if f.Op != protocol.OpOnNewMessage {
			return nil
		}
		if err := f.Decode(&p); err != nil {
			return err
		}
		return w.ack(serving, p.D)
	})
	a.wire, a.end = w, end
	token, err := a.token(a.user)
	if err == nil {
		err = w.call(ctx, protocol.OpLogin, &protocol.LoginArgs{Token: token, Device: a.device, Recents: protocol.RecentsOff}, new(protocol.LoginOK))
	}
	if err != nil {
		a.close()
	}
	return err
}

// close closes the connection and waits for its reader.
func (a *actor) close() {
	if a.wire != nil {
		a.end()
		<-a.wire.ended
		a.wire = nil
	}
}
