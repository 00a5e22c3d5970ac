package shard

import "fmt"

// An InvariantError is the panic value of Apply and Answer if a batch cannot be decoded
// or the state is broken.
type InvariantError struct{ Reason string }

func (e *InvariantError) Error() string { return "shard: " + e.Reason }

func panicInvariant(format string, args ...any) {
	panic(&InvariantError{Reason: fmt.Sprintf(format, args...)})
}
