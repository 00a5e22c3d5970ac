package gateway

import (
	"fmt"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

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
	const mostStack, mostHeap = 4 << 10, 6 << 10
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // the last ones may be about to wait
		heapNow, stackNow := used()
		eachHeap, eachStack := (heapNow-heap)/sessions, (stackNow-stack)/sessions
		late := time.Now().After(deadline)
		if late {
			t.Errorf("want at most %d and %d", mostHeap, mostStack)
		}
		if late || eachHeap <= mostHeap && eachStack <= mostStack {
			t.Logf("%d bytes of heap and %d of stack a session", eachHeap, eachStack)
			return
		}
	}
}
