package gateway

import (
	"fmt"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/belfry-im/belfry/gateway/ws"
)

// TestIdleSessionIsSmall bounds what a session keeps that has logged in and says
// nothing: above all its stack, which a login grows to four times what waiting
// needs. The client's side, in the same process, has a socket and no goroutine.
func TestIdleSessionIsSmall(t *testing.T) {
	g := newTestGateway(t, nil)
	server := httptest.NewServer(g.Handler())
	defer server.Close()
	defer g.Shutdown(t.Context())

	used := func() (heap, stack int) {
		runtime.GC()
		runtime.GC() // the first one only starts to free
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc), int(m.StackInuse)
	}
	heap, stack := used()
	const sessions = 500
	for i := range sessions {
		c := rawClient(t, server.Listener.Addr().String())
		defer c.Close()
		c.Write(masked(ws.OpText, fmt.Sprintf(`{"id":1,"op":"login","args":{"token":%q,"device":"phone"}}`, testToken(fmt.Sprint("u", i)))))
		readUntil(t, c, "onSynced")
	}
	heapNow, stackNow := used()
	heap, stack = (heapNow-heap)/sessions, (stackNow-stack)/sessions
	t.Logf("%d bytes of heap and %d of stack a session", heap, stack)
	if stack > 4<<10 {
		t.Errorf("%d bytes of stack a session, want at most %d", stack, 4<<10)
	}
	if heap > 6<<10 {
		t.Errorf("%d bytes of heap a session, want at most %d", heap, 6<<10)
	}
}
