package store

import (
	"errors"
	"time"
)

var (
	// ErrUnavailable means that nothing was proposed. Retry after RetryAfter.
	ErrUnavailable = errors.New("raftstore: unavailable")
	// ErrNotLeader is an ErrUnavailable of a replica that does not lead its shard, or
	// not in the term that was asked for. It refuses whatever else comes for that term,
	// so that what is sent again to the next leader in the old order is applied in it.
	ErrNotLeader = errors.New("raftstore: not leader")
	// ErrUnknown means that the command may still take effect. A repeat is safe.
	ErrUnknown = errors.New("raftstore: outcome unknown")
	// ErrNotQueued means that Hooks need not be told of a message any more.
	ErrNotQueued = errors.New("raftstore: the message is read, acked or gone")
)

// AfterNoLeader is the time to wait after ErrNoLeader.
const AfterNoLeader = time.Second

// ErrNoLeader is an ErrUnavailable, joined by ErrUnknown or not, of what has waited for a
// leader for too long. What its caller has sent behind it may find one.
var ErrNoLeader = Unavailable(AfterNoLeader, "no leader of the shard was found")

// DefaultRetryAfter is the time to wait where nothing better is known: about
// that of an election.
const DefaultRetryAfter = 250 * time.Millisecond

// An unavailableError is an ErrUnavailable with its cause and the time after
// which a retry has a chance.
type unavailableError struct {
	reason    string
	after     time.Duration
	notLeader bool
}

// Unavailable returns an ErrUnavailable whose RetryAfter is after.
func Unavailable(after time.Duration, reason string) error {
	return &unavailableError{reason: reason, after: after}
}

// NotLeader returns an ErrNotLeader.
func NotLeader(reason string) error {
	return &unavailableError{reason: reason, after: DefaultRetryAfter, notLeader: true}
}

func (e *unavailableError) Error() string { return "raftstore: unavailable: " + e.reason }

func (e *unavailableError) Is(target error) bool {
	return target == ErrUnavailable || target == ErrNotLeader && e.notLeader
}

// A retryError is an error with its own time to wait before a retry.
type retryError interface {
	error
	RetryAfter() time.Duration
}

// RetryAfter returns the time to wait before err's request is repeated: more than
// zero for ErrUnavailable and ErrUnknown, zero for every other error.
func RetryAfter(err error) time.Duration {
	if u, ok := errors.AsType[*unavailableError](err); ok {
		return u.after
	}
	if e, ok := errors.AsType[retryError](err); ok {
		return e.RetryAfter()
	}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknown) {
		return DefaultRetryAfter
	}
	return 0
}
