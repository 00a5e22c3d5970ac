package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func (p *pumpers) count() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.idle) }

// TestPumpersEnd checks that pumpers stay while they are needed, and no longer.
func TestPumpersEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		var clients []*client
		for i := range 20 {
			c := e.dial(protocol.JSON)
			c.login(fmt.Sprint("u", i), "phone", nil)
			c.push("onSynced")
			clients = append(clients, c)
		}
		synctest.Wait()
		if n := e.gateway.pumpers.count(); n == 0 || n > len(clients) {
			t.Fatalf("%d pumpers are kept after %d logins", n, len(clients))
		}
		for range 20 { // one at a time is all that is needed
			clients[0].call("ping", nil)
			time.Sleep(trimPumpers / 4)
		}
		if n := e.gateway.pumpers.count(); n != 1 {
			t.Errorf("%d pumpers are kept, want the one in use", n)
		}
		time.Sleep(3 * trimPumpers)
		if n := e.gateway.pumpers.count(); n != 0 {
			t.Errorf("%d pumpers are kept without work, want none", n)
		}
		clients[0].call("ping", nil)
	})
}

// TestPumpersAreBounded has more run dry at once than are kept.
func TestPumpersAreBounded(t *testing.T) {
	var p pumpers
	for i := range maxIdlePumpers + 10 {
		if kept := p.park(make(chan *session, 1)); kept != (i < maxIdlePumpers) {
			t.Fatalf("pumper %d is kept: %v", i, kept)
		}
	}
	p.close()
	if p.park(make(chan *session, 1)) || p.count() != 0 {
		t.Error("a pumper is kept after the end")
	}
}

// TestSendAllocates holds a send to what decoding its names takes.
func TestSendAllocates(t *testing.T) {
	s := bareSession(newBareGateway(t, &nullStore{}), protocol.Msgpack)
	body, err := protocol.EncodeBody(map[string]any{"text": "hello"})
	if err != nil {
		t.Fatal(err)
	}
	frame := protocol.AppendRequest(nil, protocol.Msgpack, 7, protocol.OpSend, &protocol.SendArgs{
		Conv: protocol.UserConv("alice"), CID: "0123456789abcdef", Body: body,
	})
	got := testing.AllocsPerRun(1000, func() {
		s.handle(opBinary, frame)
		s.flush(0)
	})
	// The collector empties pools, and the race detector makes them drop some.
	if got > 4 {
		t.Errorf("%v allocations, want 2: of conv and cid", got)
	}
}
