package wstest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Violation is an error that shows a fault of the server, as opposed to one that
// is due to the server being killed.
type Violation struct{ Err error }

func (v Violation) Error() string { return v.Err.Error() }

func (v Violation) Unwrap() error { return v.Err }

// IsViolation reports whether err is or wraps a Violation.
func IsViolation(err error) bool {
	_, ok := errors.AsType[Violation](err)
	return ok
}

// Violated returns a Violation with a formatted text.
func Violated(format string, args ...any) error { return Violation{Err: fmt.Errorf(format, args...)} }

// RefusedOr returns err, wrapped in a Violation if it is a refusal other than
// "unavailable", which a restart explains.
func RefusedOr(err error) error {
	if we, ok := errors.AsType[*Error](err); ok && we.Code != "unavailable" {
		return Violation{Err: err}
	}
	return err
}

// A Reporter is t.Errorf, or what stands for it when the checks themselves are
// tested.
type Reporter func(format string, args ...any)

// Pause waits for d or the end of ctx. Callers use it between attempts, and
// conclude nothing from the time that has passed.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
