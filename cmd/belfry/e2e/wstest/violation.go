package wstest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Violation is an error of the server, as opposed to one that comes of its being
// killed.
type Violation struct{ Err error }

func (v Violation) Error() string { return v.Err.Error() }

func (v Violation) Unwrap() error { return v.Err }

// IsViolation reports whether err is or wraps a Violation.
func IsViolation(err error) bool {
	_, ok := errors.AsType[Violation](err)
	return ok
}

// Violated returns a Violation with a text.
func Violated(format string, args ...any) error { return Violation{Err: fmt.Errorf(format, args...)} }

// RefusedOr returns err, as a Violation if it is a refusal that a restart does not
// explain.
func RefusedOr(err error) error {
	if we, ok := errors.AsType[*Error](err); ok && we.Code != "unavailable" {
		return Violation{Err: err}
	}
	return err
}

// A Reporter is t.Errorf, or what stands for it when the checks themselves are
// tested.
type Reporter func(format string, args ...any)

// Pause waits for d or the end of ctx. It spaces attempts; nothing is
// concluded from the time that has passed.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
