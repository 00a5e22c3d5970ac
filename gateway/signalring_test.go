package gateway

import (
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/query"
)

// A message comes while one session waits and another one still looks. The other
// has it before the first is woken, and waits as well: the message is kept.
func TestSignalIsKeptForWaitingSessions(t *testing.T) {
	g := newBareGateway(t, &nullStore{})
	s := bareSession(g, protocol.JSON)
	f := &feed{gateway: g, group: "show", started: true, reading: true} // nobody reads but the test
	f.codecs[protocol.JSON] = 2
	slow := &subscription{session: s, feed: f, live: true, index: -1}
	quick := &subscription{session: s, feed: f, live: true, index: -1}
	if !f.park(slow) {
		t.Fatal("nothing came, and yet the session may not wait")
	}
	f.Signal(&query.Message{Group: "show", From: "alice", CID: []byte("1"), Body: []byte{1}})
	quick.nextSignal = 1 // it looked before the feed had it
	if !f.park(quick) {
		t.Fatal("a session that has heard all may not wait")
	}
	if entries, lost := f.signalsAfter(slow.nextSignal, 1, 10, nil); len(entries) != 1 || lost != 0 {
		t.Errorf("%d messages and %d lost for who waited, want 1 and 0", len(entries), lost)
	}
	f.publish(nil, false)
	if f.park(slow) {
		t.Fatal("a session waits though there is something for it")
	}
	slow.nextSignal = 1
	if !f.park(slow) || !f.park(quick) {
		t.Fatal("sessions that have heard all may not wait")
	}
	if n := len(f.signals.entries); n != 0 || f.bytes != 0 {
		t.Errorf("%d messages, %d bytes are kept when all have heard them", n, f.bytes)
	}
}
