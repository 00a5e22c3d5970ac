package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// A diarist is a device that writes down what its application is told.
type diarist struct {
	*client.Client
	name string
	from []string // whose messages it is to get: its own come back through Send alone
	each int      // of each of them

	mu    sync.Mutex
	count int
	texts map[string][]string // by sender, in order
	all   chan struct{}       // closed when as many have come as should
}

func (d *diarist) told(list []client.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range list {
		var text string
		if err := list[i].DecodeBody(&text); err != nil {
			text = err.Error()
		}
		d.texts[list[i].From] = append(d.texts[list[i].From], text)
		if d.count++; d.count == d.each*len(d.from) {
			close(d.all)
		}
	}
}

// check requires the texts 0, 1, 2 … of everybody it is to hear from, and no more.
func (d *diarist) check(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case <-d.all:
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, from := range d.from {
		texts := d.texts[from]
		if len(texts) != d.each {
			t.Errorf("%s: %d messages of %s, want %d", d.name, len(texts), from, d.each)
		}
		for i, text := range texts {
			if text != fmt.Sprint(i) {
				t.Errorf("%s: message %d of %s = %s: repeated, lost or out of order", d.name, i, from, text)
				break
			}
		}
	}
	if want := d.each * len(d.from); d.count != want {
		t.Errorf("%s: %d messages, want %d", d.name, d.count, want)
	}
}

// TestClientSurvivesKills has two clients write to each other while the server
// is killed again and again: every send is answered, every message arrives
// once and in order, on both devices of the receiver.
func TestClientSurvivesKills(t *testing.T) {
	const kills, each = 3, 150
	s := harness.StartRace(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*wstest.Patience)
	defer cancel()
	dial := func(user, name string, codec protocol.Codec, from ...string) *diarist {
		d := &diarist{name: name, from: from, each: each, texts: make(map[string][]string), all: make(chan struct{})}
		c, err := client.Dial(ctx, client.Config{
			URL: s.URL(), Device: name, Codec: codec, MaxBackoff: 200 * time.Millisecond, OnMessages: d.told,
			Token: func(context.Context, client.TokenReason) (string, error) { return s.Token(user), nil },
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() { c.Close() })
		d.Client = c
		return d
	}
	alice := dial("alice", "phone", protocol.Msgpack, "bob")
	bob := dial("bob", "laptop", protocol.JSON, "alice")
	tablet := dial("bob", "tablet", protocol.Msgpack, "alice", "bob")

	stored := make(chan struct{}, 2*each)
	var senders sync.WaitGroup
	send := func(d *diarist, to string) {
		senders.Go(func() {
			for i := range each {
				if _, err := d.Send(ctx, to, fmt.Sprint(i), client.SendOptions{}); err != nil {
					t.Errorf("%s: send %d: %v", d.name, i, err)
					cancel()
					return
				}
				stored <- struct{}{}
			}
		})
	}
	send(alice, "u:bob")
	send(bob, "u:alice")
	defer senders.Wait()
	defer cancel()
	for range kills {
		for range 2 * each / (kills + 1) {
			select {
			case <-stored:
			case <-ctx.Done():
				t.Fatal("the sends do not get on")
			}
		}
		s.Kill()
		s.Restart()
	}
	senders.Wait()
	for _, d := range []*diarist{alice, bob, tablet} {
		d.check(ctx, t)
	}
}
