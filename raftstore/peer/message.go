package peer

import (
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/versions"
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// version is the first byte of every message.
const version = 1

// Versions are those of the messages that this binary reads. Items are numbers and
// Requests or Answers; package versions says how they may change.
var Versions = versions.Only(version)

const (
	// MaxBody bounds the body of a request or an answer: far above what a command, a
	// page or a list of groups takes.
	MaxBody = 8 << 20
	// maxText bounds the texts of errors.
	maxText = 4 << 10
	// itemBytes is what an item counts for in addition to its body, in queues.
	itemBytes = 256
)

// A Kind says what a request asks for, and so what its body and that of its answer are.
type Kind uint8

const (
	// Command proposes a command. Body: the command, as command.Encoder writes it;
	// answer: its command.Result.
	Command Kind = 1 + iota
	// Login is Command for a login. Body: LoginBody; answer: the sync.
	Login
	// Committed answers queries under one lock, after all that was enqueued before.
	// Body: Queries; answer: Answers.
	Committed
	// Read answers queries under one lock, from memory.
	Read
	// ReadApart is Read, with a lock for each query.
	ReadApart

	// What follows the leader does beside its state; the bodies are raftstore's.

	// Status asks which users are online.
	Status
	// Tell passes a signal to the sessions of users.
	Tell
	// Transient records a message of ttl 0 of a user, or says that it is a repeat.
	Transient
	// Live passes a message that is stored nowhere to the sessions in a group.
	Live
	// Attention asks which users have acked messages, or may still do so.
	Attention
	// Away says that members of groups left the foreground.
	Away
	// Reserve counts groups against limits of users until Unreserve.
	Reserve
	Unreserve
)

// ordered reports whether a request has a place among others: those that have not wait for
// nothing else, and nothing waits for them.
func (k Kind) ordered() bool { return k <= Committed }

// A Request asks the leader of a shard to do something.
type Request struct {
	Kind  Kind
	Shard uint32
	// Term is that of the leadership in which alone it may be executed; 0 = in whichever
	// there is.
	Term uint64
	Body []byte
}

// An Answer answers a Request.
type Answer struct {
	// Term and Applied tell how new the state was: see replica.Stamp. Both are 0 if the
	// answer does not come from a leader.
	Term, Applied uint64
	// Err is nil, a *command.RefusedError, or errors.Is finds one of store.ErrNotLeader,
	// store.ErrUnavailable, store.ErrUnknown, ErrBroken and ErrFailed. The time after
	// which to retry travels with it.
	Err  error
	Body []byte // valid if Err is nil
}

var (
	// ErrBroken means that the stream ended before the answer came: the request may have
	// been executed.
	ErrBroken = errors.New("peer: stream broken")
	// ErrFailed means that the other node could not read the request, or failed in a way
	// that has no name: it did nothing.
	ErrFailed = errors.New("peer: request failed")
)

// An outcome is the kind of an Answer's error, as it travels.
type outcome uint8

const (
	outcomeOK outcome = iota
	outcomeRefused
	outcomeNotLeader
	outcomeUnavailable
	outcomeUnknown
	outcomeFailed
	outcomes
)

func outcomeOf(err error) outcome {
	_, refused := errors.AsType[*command.RefusedError](err)
	switch {
	case err == nil:
		return outcomeOK
	case refused:
		return outcomeRefused
	case errors.Is(err, store.ErrUnknown): // first: what is in doubt stays in doubt
		return outcomeUnknown
	case errors.Is(err, store.ErrNotLeader):
		return outcomeNotLeader
	case errors.Is(err, store.ErrUnavailable):
		return outcomeUnavailable
	}
	return outcomeFailed
}

// appendItem appends the length of what body appends, and that.
func appendItem(dst []byte, body func(dst []byte) []byte) []byte {
	const room = 4 // of a length: MaxBody and a header take no more
	at := len(dst)
	dst = body(append(dst, make([]byte, room)...))
	n := len(dst) - at - room
	for i := range room {
		dst[at+i] = byte(n>>(7*i)) & 0x7f
		if i < room-1 {
			dst[at+i] |= 0x80
		}
	}
	return dst
}

func appendRequest(dst []byte, number uint64, r *Request) []byte {
	return appendItem(dst, func(dst []byte) []byte {
		dst = append(codec.AppendUint(dst, number), byte(r.Kind))
		dst = codec.AppendUint(dst, uint64(r.Shard))
		dst = codec.AppendUint(dst, r.Term)
		return append(dst, r.Body...)
	})
}

func decodeRequest(item []byte) (number uint64, r Request, err error) {
	d := codec.Decoder{B: item}
	number = d.Uint()
	r.Kind = Kind(d.Byte())
	r.Shard = uint32(d.UintMax(1<<32 - 1))
	r.Term = d.Uint()
	if d.Err != nil {
		return 0, r, fmt.Errorf("peer: request: %w", d.Err)
	}
	if len(d.B) > MaxBody {
		return 0, r, fmt.Errorf("peer: request: body of %d bytes, want at most %d", len(d.B), MaxBody)
	}
	r.Body = d.B
	return number, r, nil
}

func appendAnswer(dst []byte, number uint64, a *Answer) []byte {
	return appendItem(dst, func(dst []byte) []byte {
		dst = codec.AppendUint(dst, number)
		dst = codec.AppendUint(dst, a.Term)
		dst = codec.AppendUint(dst, a.Applied)
		o := outcomeOf(a.Err)
		x := codec.NewWriter(append(dst, byte(o)))
		switch o {
		case outcomeOK:
			return append(x.B, a.Body...)
		case outcomeRefused:
			refused, _ := errors.AsType[*command.RefusedError](a.Err)
			r := *refused
			codec.Byte(&x, &r.Code)
			r.Detail = short(r.Detail)
			codec.Text(&x, &r.Detail, maxText)
			codec.Int(&x, &r.RetryAfterMS)
		default:
			text, after := short(a.Err.Error()), store.RetryAfter(a.Err).Milliseconds()
			codec.Text(&x, &text, maxText)
			codec.Int(&x, &after)
		}
		return x.B
	})
}

// short returns the first maxText bytes of a text, as valid UTF-8.
func short(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	for len(text) > 0 && text[len(text)-1] >= 0x80 {
		text = text[:len(text)-1] // a character may be cut
	}
	return text
}

func decodeAnswer(item []byte) (number uint64, a Answer, err error) {
	x := codec.NewReader(item)
	number, a.Term, a.Applied = x.Decoder.Uint(), x.Decoder.Uint(), x.Decoder.Uint()
	var o outcome
	codec.Byte(&x, &o)
	switch {
	case x.Err != nil:
	case o == outcomeOK:
		if len(x.B) > MaxBody {
			return 0, a, fmt.Errorf("peer: answer: body of %d bytes, want at most %d", len(x.B), MaxBody)
		}
		a.Body = x.B
		return number, a, nil
	case o == outcomeRefused:
		refused := new(command.RefusedError)
		codec.Byte(&x, &refused.Code)
		codec.Text(&x, &refused.Detail, maxText)
		codec.Int(&x, &refused.RetryAfterMS)
		a.Err = refused
	default:
		if o >= outcomes { // of a newer node; each has a text and a time
			o = outcomeUnknown
		}
		e := &remoteError{outcome: o}
		var after int64
		codec.Text(&x, &e.text, maxText)
		codec.Int(&x, &after)
		e.after = time.Duration(max(0, after)) * time.Millisecond
		a.Err = e
	}
	if x.Err != nil {
		return 0, a, fmt.Errorf("peer: answer: %w", x.Err)
	}
	return number, a, nil
}

// A remoteError is an error of another node.
type remoteError struct {
	outcome outcome
	text    string
	after   time.Duration
}

func (e *remoteError) Error() string             { return "at its leader: " + e.text }
func (e *remoteError) RetryAfter() time.Duration { return e.after }

func (e *remoteError) Is(target error) bool {
	switch target {
	case store.ErrUnavailable:
		return e.outcome == outcomeUnavailable || e.outcome == outcomeNotLeader
	case store.ErrNotLeader:
		return e.outcome == outcomeNotLeader
	case store.ErrUnknown:
		return e.outcome == outcomeUnknown
	case ErrFailed:
		return e.outcome == outcomeFailed
	}
	return false
}

// items calls f with each item of a message, until it fails. Items alias message.
func items(message []byte, f func(item []byte) error) error {
	if len(message) == 0 {
		return fmt.Errorf("peer: message: %w", codec.ErrMalformed)
	}
	if err := Versions.Check("message", int(message[0])); err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	d := codec.Decoder{B: message[1:]}
	for len(d.B) > 0 {
		item := d.Bytes()
		if d.Err != nil {
			return fmt.Errorf("peer: message: %w", d.Err)
		}
		if err := f(item); err != nil {
			return err
		}
	}
	return nil
}
