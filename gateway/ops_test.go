package gateway

import (
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestOpsAreThoseOfTheProtocol: the server does each op that there is, and no other.
func TestOpsAreThoseOfTheProtocol(t *testing.T) {
	known := make(map[string]bool)
	for _, o := range protocol.Ops {
		known[o.Name] = true
		if ops[o.Name].handle == nil {
			t.Errorf("%s has no handler", o.Name)
		}
	}
	for name := range ops {
		if !known[name] {
			t.Errorf("%s has no row in protocol.Ops", name)
		}
	}
}
