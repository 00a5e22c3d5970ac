package loadtest

import (
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestManySources opens a connection from another address than
// 127.0.0.1, which needs no setting up on Linux.
func TestManySources(t *testing.T) {
	s := newFakeServer(t, faults{}).target(protocol.Msgpack)
	socket, err := dial(t.Context(), &s, 3*portsPerSource, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.close()
	if got := socket.conn.LocalAddr().String(); !strings.HasPrefix(got, "127.0.0.4:") {
		t.Errorf("the connection comes from %s, want 127.0.0.4", got)
	}
}
