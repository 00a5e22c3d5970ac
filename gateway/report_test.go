package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// readReports gives the read reports that the store got, as "peer seq".
func (s *testStore) readReports() []string {
	var reports []string
	for _, cmd := range s.applied() {
		if r, ok := cmd.(*command.ReadReport); ok && r.Auto {
			reports = append(reports, fmt.Sprintf("%s %d", r.Peer, r.Seq))
		}
	}
	return reports
}

func (s *testStore) recordCommands() { s.mu.Lock(); defer s.mu.Unlock(); s.record = true }

// wantReports requires the automatic reports made since recordCommands.
func wantReports(t *testing.T, s *testStore, want ...string) {
	t.Helper()
	if got := s.readReports(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("read reports = %v, want %v", got, want)
	}
}

func TestAckReportsRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		e.store.recordCommands()
		bob, _ := e.login("bob", "phone", nil)
		alice, _ := e.login("alice", "phone", nil)
		carol, _ := e.login("carol", "phone", nil)
		alice.say("u:bob", "1")
		synctest.Wait()
		alice.say("u:bob", "2")
		synctest.Wait()
		carol.say("u:bob", "3")
		for range 3 {
			bob.push("onNewMessage")
		}
		wantReports(t, e.store)
		bob.notice("ack", obj{"d": 2})
		bob.call("ping", nil)
		wantReports(t, e.store, "alice 2")
		bob.notice("ack", obj{"d": 2})
		bob.notice("ack", obj{"d": 99}) // never pushed
		bob.call("ping", nil)
		wantReports(t, e.store, "alice 2")
		bob.notice("ack", obj{"d": 3})
		bob.call("ping", nil)
		wantReports(t, e.store, "alice 2", "carol 1")
	})
}

// TestAckOfOwnMessages checks that what the user has sent is not reported.
func TestAckOfOwnMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		e.store.recordCommands()
		phone, _ := e.login("bob", "phone", nil)
		laptop, _ := e.login("bob", "laptop", nil)
		phone.say("u:alice", "1")
		laptop.push("onNewMessage")
		laptop.notice("ack", obj{"d": 1})
		laptop.call("ping", nil)
		wantReports(t, e.store)
	})
}

func TestManualSessionReportsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		e.store.recordCommands()
		bob, _ := e.login("bob", "phone", obj{"autoRead": false})
		alice, _ := e.login("alice", "phone", nil)
		for i := range 3 {
			alice.say("u:bob", fmt.Sprint(i))
			bob.push("onNewMessage")
			bob.notice("ack", obj{"d": i + 1}) // frees the window all the same
		}
		bob.call("ping", nil)
		wantReports(t, e.store)
		if ok := bob.call("readReport", obj{"conv": "u:alice", "seq": 2}); number(t, ok, "unread") != 1 {
			t.Errorf("unread = %v, want 1", ok["unread"])
		}
	})
}

// TestAcksGatherWhileOneIsReported checks that one report is in flight and the
// next takes all that came meanwhile.
func TestAcksGatherWhileOneIsReported(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		bob, _ := e.login("bob", "phone", nil)
		alice, _ := e.login("alice", "phone", nil)
		for i := range 5 {
			alice.say("u:bob", fmt.Sprint(i))
			bob.push("onNewMessage")
		}
		e.store.recordCommands()
		e.store.hold()
		for d := range 4 {
			bob.notice("ack", obj{"d": d + 1})
		}
		synctest.Wait()
		wantReports(t, e.store, "alice 1")
		e.store.release()
		synctest.Wait()
		wantReports(t, e.store, "alice 1", "alice 4")
	})
}

// TestReportsComeBefore checks what has to find them made.
func TestReportsComeBefore(t *testing.T) {
	for name, then := range map[string]func(e *edge, bob *client){
		"login elsewhere": func(e *edge, _ *client) {
			other := e.dial(protocol.JSON)
			other.login("bob", "laptop", nil)
		},
		"ping":          func(_ *edge, bob *client) { bob.call("ping", nil) },
		"logout":        func(_ *edge, bob *client) { bob.request("logout", nil) },
		"end of socket": func(_ *edge, bob *client) { bob.ws.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newEdge(t, nil)
				bob, _ := e.login("bob", "phone", nil)
				alice, _ := e.login("alice", "phone", nil)
				for i := range 3 {
					alice.say("u:bob", fmt.Sprint(i))
					bob.push("onNewMessage")
				}
				e.store.recordCommands()
				e.store.hold()
				bob.notice("ack", obj{"d": 1}) // in flight
				bob.notice("ack", obj{"d": 3}) // waits
				synctest.Wait()
				wantReports(t, e.store, "alice 1")
				then(e, bob)
				synctest.Wait()
				wantReports(t, e.store, "alice 1", "alice 3")
				for i, cmd := range e.store.applied() {
					switch cmd.(type) {
					case *command.Login, *command.Logout:
						if i < 2 {
							t.Errorf("command %d is %T, before the second report", i, cmd)
						}
					}
				}
				e.store.release()
			})
		})
	}
}

// TestReportIsRepeated checks that a report which the store did not take is made
// again without another ack.
func TestReportIsRepeated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		bob, _ := e.login("bob", "phone", nil)
		alice, _ := e.login("alice", "phone", nil)
		alice.say("u:bob", "1")
		bob.push("onNewMessage")
		e.store.recordCommands()
		e.store.setDown(true)
		bob.notice("ack", obj{"d": 1})
		time.Sleep(5 * time.Second)
		e.store.setDown(false)
		time.Sleep(time.Second)
		wantReports(t, e.store, "alice 1")
	})
}
