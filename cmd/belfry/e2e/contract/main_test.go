// Package contract tests the binary against docs/protocol.md and docs/semantics.md.
// The numbered scenarios of the latter are in scenario_…_test.go; the other files
// are named after the rules or operations they test, those of groups group_….
package contract

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestMain(m *testing.M) { harness.Main(m) }

type obj = wstest.Obj
