package gateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// lose has the store forget a session, as when its node was cut off for too long, and
// then say so.
func (e *edge) lose(user command.UserID) {
	e.t.Helper()
	s := e.session(user)
	number := s.id()
	e.do(&command.Logout{User: user, Session: number})
	e.store.Unwatch(user, number)
	s.Gone()
}

// A login that a later one has overtaken is refused, and may be tried again: then it is
// the latest.
func TestOvertakenLogin(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		first, _ := e.login("alice", "phone", nil)
		begun := func(ms int64) {
			e.store.mu.Lock()
			defer e.store.mu.Unlock()
			e.store.begun = ms
		}
		begun(e.store.Now() - 5000)
		late := e.dial(codec)
		args := obj{"token": testToken("alice"), "device": "phone"}
		late.refused("login", args, "unavailable")
		first.quiet()
		begun(0)
		late.call("login", args)
		first.push("onKicked")
	})
}

// A session that the store has lost logs in again. Its client misses nothing and notices
// nothing.
func TestLostSessionComesBack(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice, bob := e.online("alice", codec), e.online("bob", codec)
		first := e.session("bob").id()
		alice.say("u:bob", "before")
		bob.push("onNewMessage")
		bob.call("setState", obj{"background": true})
		e.store.setDown(true)
		synctest.Wait()
		e.store.setDown(false)
		e.lose("bob")
		alice.say("u:bob", "while away")
		synctest.Wait()
		bob.push("onNewMessage")
		now := e.session("bob").id()
		if now <= first || e.store.sessions("bob") != 1 {
			t.Fatalf("session %d after %d, of %d; want one with a new number", now, first, e.store.sessions("bob"))
		}
		e.store.mu.Lock()
		background := e.store.background[sessionOf{"bob", now}]
		e.store.mu.Unlock()
		if !background {
			t.Error("the store does not know that nobody looks")
		}
		alice.say("u:bob", "after")
		bob.push("onNewMessage")
		bob.say("u:alice", "answer")
		alice.push("onNewMessage")
		bob.quiet()
		bob.call("logout", nil)
		bob.wantClosed(1000)
		synctest.Wait()
		if n := e.store.sessions("bob"); n != 0 {
			t.Errorf("%d sessions after the logout, want 0", n)
		}
	})
}

// A session that comes back is as old as it was: a login that its device began meanwhile,
// and that is executed only now, is the later one.
func TestLostSessionKeepsItsTime(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		first, _ := e.login("alice", "phone", nil)
		since := func() int64 {
			e.store.mu.Lock()
			defer e.store.mu.Unlock()
			infos := e.store.state.Sessions("alice")
			if len(infos) != 1 {
				t.Fatalf("sessions %v, want one", infos)
			}
			return infos[0].LoginMS
		}
		began := since()
		time.Sleep(10 * time.Second)
		e.lose("alice")
		synctest.Wait()
		if now := since(); now != began {
			t.Errorf("the session is from %d, want %d", now, began)
		}
		e.store.mu.Lock()
		e.store.begun = began + 5000
		e.store.mu.Unlock()
		e.dial(codec).call("login", obj{"token": testToken("alice"), "device": "phone"})
		first.push("onKicked")
	})
}

// While the store is not available the session waits; if its client leaves meanwhile,
// nothing of it stays.
func TestLostSessionWaitsForTheStore(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		bob, carol := e.online("bob", codec), e.online("carol", codec)
		e.do(&command.Logout{User: "bob", Session: e.session("bob").id()})
		e.do(&command.Logout{User: "carol", Session: e.session("carol").id()})
		e.store.setDown(true)
		e.session("bob").Gone()
		e.session("bob").Gone() // said twice, by two leaders
		e.session("carol").Gone()
		time.Sleep(5 * time.Second)
		carol.ws.CloseNow()
		synctest.Wait()
		e.store.setDown(false)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if b, c := e.store.sessions("bob"), e.store.sessions("carol"); b != 1 || c != 0 {
			t.Errorf("%d sessions of bob and %d of carol, want 1 and 0", b, c)
		}
		bob.quiet()
	})
}

// If a session may not come back, its client is told why, as after a login.
func TestLostSessionIsRefused(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Policy = command.PolicyMulti })
		old := e.online("alice", codec)
		s := e.session("alice")
		e.do(&command.Logout{User: "alice", Session: s.id()})
		e.do(&command.Login{User: "alice", Device: s.device})
		s.Gone()
		if reason := old.push("onKicked")["reason"]; reason != "sameDevice" {
			t.Errorf("kicked for %v, want sameDevice", reason)
		}
		old.wantClosed(protocol.CloseKicked)

		alice := e.online("alice", codec)
		s = e.session("alice")
		e.store.Unwatch("alice", s.id()) // so that only its return tells it
		e.set(command.SetUser{Suspended: new(true)})
		s.Gone()
		if code, reason := alice.goodbye(); code != protocol.CloseKicked || reason != "suspended" {
			t.Errorf("closed with %d %q, want %d suspended", code, reason, protocol.CloseKicked)
		}
	})
}

// A node that was cut off loses all sessions at once; they come back some at a time.
func TestAllSessionsComeBack(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		const n = 3 * maxReturning
		var clients []*client
		for i := range n {
			clients = append(clients, e.online(fmt.Sprint("user", i), codec))
		}
		for i := range n {
			user := command.UserID(fmt.Sprint("user", i))
			e.do(&command.Logout{User: user, Session: e.session(user).id()})
		}
		for i := range n {
			e.session(command.UserID(fmt.Sprint("user", i))).Gone()
		}
		synctest.Wait()
		for i, c := range clients {
			if got := e.store.sessions(command.UserID(fmt.Sprint("user", i))); got != 1 {
				t.Fatalf("%d sessions of user%d, want 1", got, i)
			}
			c.quiet()
		}
		if got := e.metric("belfry_gateway_returns_total"); got != n {
			t.Errorf("%v returns counted, want %d", got, n)
		}
	})
}
