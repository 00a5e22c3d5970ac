package admission

import (
	"sync"
	"testing"
	"testing/synctest"
)

// TestDisplacedBeforeIdentified displaces a connection of a proxy before it is known
// for whom it was made: it must not count for its client for ever.
func TestDisplacedBeforeIdentified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := testController(Config{AddressUnauthenticated: 2})
		session := a.visit("client")
		session.Authenticated()
		c := a.visit("")
		a.mu.Lock()
		c.Conn.displace = func(string) {} // its goroutine has not come to close it
		a.displace(c.Conn, ForMemory)
		a.mu.Unlock()
		if c.identify("client") {
			t.Error("a displaced connection is taken")
		}
		c.Close()
		if n := a.addresses["client"]; n.open != 1 || n.unauthenticated != 0 {
			t.Errorf("%d connections of the client are counted, %d unauthenticated, want 1 and 0", n.open, n.unauthenticated)
		}
		session.Close()
	})
}

// TestNoChargeIsOverlooked has memory be charged in the moment in which a reclaim comes
// to its end: it, or another one, sees that.
func TestNoChargeIsOverlooked(t *testing.T) {
	for range 100_000 {
		a := &Controller{config: Config{Memory: 1 << 20}}
		c := &Conn{Conn: nowhere{}, controller: a}
		a.reclaiming.Store(true)
		a.reserving.Store(true)
		var both sync.WaitGroup
		both.Go(a.reclaim)
		both.Go(a.reserve)
		c.Charge(2 << 20)
		both.Wait()
		if !a.reclaiming.Load() || !a.reserving.Load() {
			t.Fatal("memory is over its limit, and nobody reclaims it")
		}
		a.used.Store(0) // and so the timers end
	}
}
