package raftstore

import (
	"errors"
	"time"
)

var (
	// ErrUnavailable means that nothing was proposed. Retry after RetryAfter.
	ErrUnavailable = errors.New("raftstore: unavailable")
	// ErrUnknown means that the command may still take effect. A repeat is safe.
	ErrUnknown = errors.New("raftstore: outcome unknown")
)

// defaultRetryAfter is told where nothing better is known: about the time of
// an election.
const defaultRetryAfter = 250 * time.Millisecond

// stoppedRetryAfter is told for a shard that only an operator can bring back.
const stoppedRetryAfter = 10 * time.Second

// An unavailableError is an ErrUnavailable with its cause and the time after
// which a retry has a chance.
type unavailableError struct {
	reason string
	after  time.Duration
}

func unavailable(after time.Duration, reason string) error {
	return &unavailableError{reason: reason, after: after}
}

func (e *unavailableError) Error() string { return "raftstore: unavailable: " + e.reason }

func (e *unavailableError) Is(target error) bool { return target == ErrUnavailable }

// RetryAfter gives the time to wait before err's request is repeated: more than
// zero for ErrUnavailable and ErrUnknown, zero for every other error.
func RetryAfter(err error) time.Duration {
	if u, ok := errors.AsType[*unavailableError](err); ok {
		return u.after
	}
	if _, ok := errors.AsType[*stopError](err); ok {
		return stoppedRetryAfter
	}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknown) {
		return defaultRetryAfter
	}
	return 0
}
