// Package operation tests the binary as its operator knows it: start and stop,
// files that are read again, limits of memory, administration, webhooks, and the
// examples in the documents about them.
package operation

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestMain(m *testing.M) { harness.Main(m) }

type obj = wstest.Obj
