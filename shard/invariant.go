package shard

import "fmt"

// An InvariantError is what Apply panics with if it cannot decode a batch, or finds
// the state broken.
type InvariantError struct{ Reason string }

func (e *InvariantError) Error() string { return "shard: " + e.Reason }

func panicInvariant(format string, args ...any) {
	panic(&InvariantError{Reason: fmt.Sprintf(format, args...)})
}
