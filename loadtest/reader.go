package loadtest

import (
	"fmt"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A reader is a session whose one goroutine makes requests and reads. It does not
// verify what it is pushed.
type reader struct {
	socket *socket
	lastID uint64
	parts  protocol.SyncedPart
	synced *protocol.Synced // nil before it came
	size   int              // of the last frame
}

// call makes a request, handles what is pushed before the reply, and decodes the
// reply into ok, unless nil.
func (r *reader) call(op string, args protocol.Args, ok protocol.OK) error {
	r.lastID++
	r.socket.queue(func(b []byte) []byte { return protocol.AppendRequest(b, r.socket.codec, r.lastID, op, args) })
	r.socket.flush()
	for {
		f, err := r.next()
		switch {
		case err != nil:
			return err
		case f.ID == 0:
			continue
		case f.ID != r.lastID:
			return fmt.Errorf("reply to request %d, want %d", f.ID, r.lastID)
		case f.Err != nil:
			return fmt.Errorf("%s: %w", op, f.Err)
		case ok == nil:
			return nil
		}
		return f.Decode(ok)
	}
}

// sync handles what the login pushes, up to onSynced.
func (r *reader) sync() error {
	for r.synced == nil {
		if _, err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

// frame returns the next frame, which is valid until the next call.
func (r *reader) frame() ([]byte, error) {
	payload, ok, err := r.socket.next()
	for ; err == nil && !ok; payload, ok, err = r.socket.next() {
		r.socket.flush()
		if err := r.socket.fill(); err != nil {
			return nil, err
		}
	}
	return payload, err
}

// next reads a frame. A push it handles: it acks messages and keeps what onSynced
// says.
func (r *reader) next() (f protocol.ServerFrame, err error) {
	payload, err := r.frame()
	if err != nil {
		return f, err
	}
	r.size = len(payload)
	if f, err = protocol.DecodeServerFrame(r.socket.codec, payload); err != nil {
		return f, err
	}
	switch f.Op {
	case protocol.OpOnNewMessage:
		var p protocol.NewMessage
		if err := f.Decode(&p); err != nil {
			return f, err
		}
		r.socket.queue(func(b []byte) []byte {
			return protocol.AppendRequest(b, r.socket.codec, 0, protocol.OpAck, &protocol.AckArgs{D: p.D})
		})
	case protocol.OpOnConversations:
		var part protocol.SyncedPart
		err = f.Decode(&part)
		r.parts.Add(&part)
	case protocol.OpOnSynced:
		r.synced = new(protocol.Synced)
		err = f.Decode(r.synced)
		r.parts.Complete(r.synced)
	}
	return f, err
}
