// Package wsconformance tests the binary against RFC 6455, and with WebSocket
// libraries and browsers that others have written.
package wsconformance

import (
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

func TestMain(m *testing.M) { harness.Main(m) }

type obj = wstest.Obj
