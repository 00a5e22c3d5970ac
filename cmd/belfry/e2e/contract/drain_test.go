package contract

import (
	"context"
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// TestDrainAnswersWhatIsStored stops the server while clients send without
// waiting: what is stored was answered, before the close.
func TestDrainAnswersWhatIsStored(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		const senders, sends = 20, 200
		clients := make([]*device, senders)
		requests := make([]map[string]int64, senders) // by cid
		for i := range clients {
			clients[i] = w.online(w.user(fmt.Sprintf("s%02d", i)), "phone", nil)
			requests[i] = make(map[string]int64)
		}
		ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
		defer cancel()
		stopped := make(chan struct{})
		for n := range sends {
			for i, c := range clients {
				cid := fmt.Sprint(n)
				id, err := c.Conn.Start(ctx, "send", obj{"conv": "u:" + w.bob, "cid": cid, "body": cid})
				if err == nil {
					requests[i][cid] = id
				}
			}
			if n == sends/2 {
				go func() { defer close(stopped); w.Stop() }()
			}
		}
		<-stopped
		for i, c := range clients {
			if code, err := c.Conn.Closed(ctx); err != nil || code != 1001 {
				t.Errorf("%s: closed with %d, %v, want 1001", c.Name(), code, err)
			}
			requests[i] = c.Conn.Accepted(requests[i])
		}
		w.Restart()
		stored := 0
		for i, c := range clients {
			for _, m := range w.online(c.User, "reader", nil).AllHistory("u:" + w.bob) {
				if _, answered := requests[i][m.CID]; !answered {
					t.Errorf("%s: %s is stored, and was not answered", c.Name(), m.CID)
				}
				delete(requests[i], m.CID)
				stored++
			}
			for cid := range requests[i] {
				t.Errorf("%s: %s was answered, and is not stored", c.Name(), cid)
			}
		}
		if stored == 0 { // how many got in before the drain is chance
			t.Error("no message is stored: nothing was drained")
		}
	})
}
