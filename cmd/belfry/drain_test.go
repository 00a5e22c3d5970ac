package main

import (
	"context"
	"fmt"
	"testing"
)

// TestDrainAnswersWhatIsStored stops the server while clients send without
// waiting: what is stored was answered, before the close.
func TestDrainAnswersWhatIsStored(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, startServer(t), func(t *testing.T, w *world) {
		const senders, sends = 20, 200
		clients := make([]*wsClient, senders)
		requests := make([]map[string]int64, senders) // by cid
		for i := range clients {
			clients[i] = w.online(w.user(fmt.Sprintf("s%02d", i)), "phone", nil)
			requests[i] = make(map[string]int64)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped := make(chan struct{})
		for n := range sends {
			for i, c := range clients {
				cid := fmt.Sprint(n)
				id, err := c.conn.start(ctx, "send", obj{"conv": "u:" + w.bob, "cid": cid, "body": cid})
				if err == nil {
					requests[i][cid] = id
				}
			}
			if n == sends/2 {
				go func() { defer close(stopped); w.stop() }()
			}
		}
		<-stopped
		for i, c := range clients {
			if code, err := c.conn.closed(ctx); err != nil || code != 1001 {
				t.Errorf("%s: closed with %d, %v, want 1001", c.name(), code, err)
			}
			requests[i] = c.conn.accepted(requests[i])
		}
		w.restart()
		stored := 0
		for i, c := range clients {
			for _, m := range w.online(c.User, "reader", nil).allHistory("u:" + w.bob) {
				if _, answered := requests[i][m.CID]; !answered {
					t.Errorf("%s: %s is stored, and was not answered", c.name(), m.CID)
				}
				delete(requests[i], m.CID)
				stored++
			}
			for cid := range requests[i] {
				t.Errorf("%s: %s was answered, and is not stored", c.name(), cid)
			}
		}
		if stored < senders*sends/2 {
			t.Errorf("%d messages are stored, want %d at least", stored, senders*sends/2)
		}
	})
}

// accepted leaves those of requests that were answered with ok.
func (c *wsConn) accepted(requests map[string]int64) map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	accepted := make(map[string]int64)
	for name, id := range requests {
		if _, ok := c.replies[id]["ok"].(obj); ok {
			accepted[name] = id
		}
	}
	return accepted
}
