package replica

import (
	"os"
	"sync"
	"testing"
	"time"
)

// changeLeader makes a replica that leads begin a new term as often as
// BELFRY_TEST_ELECTIONS says, until the test ends or the returned function is called.
func changeLeader(t testing.TB, r *Replica) (stop func()) {
	text := os.Getenv("BELFRY_TEST_ELECTIONS")
	if text == "" {
		return func() {}
	}
	every, err := time.ParseDuration(text)
	if err != nil || every <= 0 {
		t.Fatalf("BELFRY_TEST_ELECTIONS: %q is no time above 0", text)
	}
	end := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				if r.Leads() {
					_ = r.Campaign() // it may have closed
				}
			}
		}
	})
	stop = sync.OnceFunc(func() { close(end); loop.Wait() })
	t.Cleanup(stop)
	return stop
}
