package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// errSilent ends a connection on which a ping got no answer.
var errSilent = errors.New("client: no answer from the server")

// write writes what waits to be written, until the connection ends or Close asks
// for a last ack and the logout.
func (s *session) write(ctx context.Context) error {
	alarm := time.NewTimer(s.c.cfg.PingInterval)
	defer alarm.Stop()
	var pinged time.Time // when the last ping was written; zero if the server was heard of since
	for {
		if err := s.flush(ctx); err != nil {
			return err
		}
		select {
		case <-s.c.out.wake:
		case <-alarm.C:
			silent := s.silence()
			switch {
			case !pinged.IsZero() && silent > time.Since(pinged):
				return errSilent
			case silent < s.c.cfg.PingInterval:
				pinged = time.Time{}
				alarm.Reset(s.c.cfg.PingInterval - silent)
			default:
				pinged = time.Now()
				if err := s.writeRequest(ctx, s.c.out.newID(), protocol.OpPing, nil); err != nil {
					return err
				}
				alarm.Reset(s.c.cfg.PingTimeout)
			}
		case <-s.c.stop.Done():
			return s.logout(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flush writes acks, notices and requests until none is left.
func (s *session) flush(ctx context.Context) error {
	for {
		if err := s.writeAck(ctx); err != nil {
			return err
		}
		select {
		case conv := <-s.typing:
			if err := s.writeRequest(ctx, 0, protocol.OpTyping, &protocol.TypingArgs{Conv: conv}); err != nil {
				return err
			}
			continue
		default:
		}
		call := s.c.out.take(time.Now())
		if call == nil {
			return nil
		}
		s.frame = protocol.AppendRequest(s.frame[:0], s.c.cfg.Codec, call.id, call.op, call.args)
		if s.limits.MaxFrame > 0 && len(s.frame) > s.limits.MaxFrame {
			// The server would end the session for it, and every one on which it
			// is repeated.
			s.c.out.refuse(call, &Error{
				Code:    protocol.CodeTooLarge,
				Message: fmt.Sprintf("the request takes %d bytes, the server allows %d", len(s.frame), s.limits.MaxFrame),
			})
			continue
		}
		if err := s.writeFrame(ctx); err != nil {
			return err
		}
	}
}

// writeAck acknowledges, in one frame, all deliveries whose handlers have
// returned.
func (s *session) writeAck(ctx context.Context) error {
	d := s.handled.Load()
	if d == s.acked.Load() {
		return nil
	}
	s.acked.Store(d)
	return s.writeRequest(ctx, 0, protocol.OpAck, &protocol.AckArgs{D: d})
}

// logout ends the session from this side and waits for the server to close the
// connection, which ends ctx.
func (s *session) logout(ctx context.Context) error {
	if err := s.writeAck(ctx); err != nil {
		return err
	}
	if err := s.writeRequest(ctx, s.c.out.newID(), protocol.OpLogout, nil); err != nil {
		return err
	}
	<-ctx.Done()
	return ErrClosed
}

// writeRequest writes a request that no call waits for; id 0 makes it a notice,
// which has no reply.
func (s *session) writeRequest(ctx context.Context, id uint64, op string, args protocol.Args) error {
	s.frame = protocol.AppendRequest(s.frame[:0], s.c.cfg.Codec, id, op, args)
	return s.writeFrame(ctx)
}

func (s *session) writeFrame(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.c.cfg.WriteTimeout)
	defer cancel()
	typ := websocket.MessageText
	if s.c.cfg.Codec.Binary() {
		typ = websocket.MessageBinary
	}
	if err := s.ws.Write(ctx, typ, s.frame); err != nil {
		return fmt.Errorf("client: write: %w", err)
	}
	return nil
}
