package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// errInboxFull ends a connection that pushes more than handlers take in.
var errInboxFull = errors.New("client: the handlers are too slow for what the server pushes")

// read handles what the server sends, until the connection ends.
func (s *session) read(ctx context.Context) error {
	for {
		f, size, err := s.readFrame(ctx)
		if err != nil {
			return err
		}
		if err := s.handle(f, size); err != nil {
			return err
		}
	}
}

func (s *session) readFrame(ctx context.Context) (*protocol.ServerFrame, int, error) {
	_, data, err := s.ws.Read(ctx)
	if err != nil {
		closed, ok := errors.AsType[websocket.CloseError](err)
		if ok && closed.Code == protocol.CloseKicked {
			return nil, 0, &KickedError{Reason: closed.Reason}
		}
		return nil, 0, fmt.Errorf("client: read: %w", err)
	}
	s.heard()
	f, err := protocol.DecodeServerFrame(s.c.cfg.Codec, data)
	if err != nil {
		return nil, 0, fmt.Errorf("client: read: %w", err)
	}
	return &f, len(data), nil
}

// handle passes a reply to its call and puts a push into the inbox. It never
// waits for the application, whose handler may itself be waiting for a reply.
func (s *session) handle(f *protocol.ServerFrame, size int) error {
	if f.ID != 0 {
		s.c.out.answer(f.ID, f.Payload, refusal(f.Err))
		return nil
	}
	e, err := s.event(f)
	if err != nil {
		return err
	}
	e.size = size
	if e.run != nil && !s.c.in.put(e) {
		return errInboxFull
	}
	return nil
}

// heard notes that the server has given a sign of life.
func (s *session) heard() { s.lastHeard.Store(int64(time.Since(s.born))) }

// silence returns how long ago the server last gave a sign of life.
func (s *session) silence() time.Duration {
	return time.Since(s.born) - time.Duration(s.lastHeard.Load())
}
