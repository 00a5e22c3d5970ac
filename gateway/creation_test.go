package gateway

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func TestCreatingGroupsIsLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.MaxOwnedGroups = 2 })
		alice := e.online("alice", protocol.JSON)
		for n := range 2 * creationsPerOwned {
			group := fmt.Sprint("group", n)
			alice.call("createGroup", obj{"kind": "live", "group": group})
			alice.call("dismissGroup", obj{"group": group})
		}
		alice.refused("createGroup", obj{"kind": "live", "group": "third"}, protocol.CodeRateLimited)
	})
}
