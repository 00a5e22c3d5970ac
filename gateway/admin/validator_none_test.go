//go:build race || fuzzing

package admin

import (
	"net/http"
	"testing"
)

// A validator checks nothing in these builds: see validator_test.go.
type validator struct{}

func newValidator(*testing.T, []byte) *validator { return &validator{} }

func (*validator) document(*testing.T) {}

func (*validator) exchange(*testing.T, *http.Request, *http.Response) bool { return true }

func (*validator) answer(*testing.T, *http.Request, *http.Response) bool { return true }
