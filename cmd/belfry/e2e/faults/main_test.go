// Package faults tests the binary when it is killed, its disk is full or its clock
// is wrong.
package faults

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestMain(m *testing.M) {
	victimMain()
	harness.Main(m)
}

type obj = wstest.Obj
