package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/belfry-im/belfry/gateway/auth/authtest"
	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// What an operator sees of a user's sessions is what they are.
func TestInspectSessions(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice, bob := e.online("alice", codec), e.dial(codec)
		bob.login("bob", "laptop", nil)
		bob.push("onSynced")
		bob.call("setState", obj{"background": true})
		alice.say("u:bob", "hello")
		bob.push("onNewMessage")
		synctest.Wait()
		time.Sleep(3 * time.Second)

		list := e.gateway.InspectSessions("bob")
		if len(list) != 1 {
			t.Fatalf("sessions of bob = %+v, want one", list)
		}
		s := list[0]
		encoding := map[protocol.Codec]string{protocol.JSON: "json", protocol.Msgpack: "msgpack"}[codec]
		if s.User != "bob" || s.Device != "laptop" || s.Session == 0 || s.Address == "" || s.Encoding != encoding || !s.Background || s.Since == 0 {
			t.Errorf("session = %+v", s)
		}
		if s.UnackedFrames != 1 || s.UnackedBytes == 0 || s.Unacked != 3000 || s.Stalled || s.Silent < 3000 {
			t.Errorf("session with an unacked frame of 3 s = %+v", s)
		}
		if none := e.gateway.InspectSessions("nobody"); len(none) != 0 {
			t.Errorf("sessions of nobody = %+v", none)
		}

		frames, here := e.gateway.InspectFrames("bob", s.Session)
		var ops []string
		for i, f := range frames {
			ops = append(ops, fmt.Sprint(f.Op, f.In))
			if f.Bytes == 0 || i > 0 && f.Time < frames[i-1].Time {
				t.Errorf("frame %d = %+v", i, f)
			}
		}
		want := []string{"logintrue", "replyfalse", "onSyncedfalse", "setStatetrue", "replyfalse", "onNewMessagefalse"}
		if !here || !slices.Equal(ops, want) {
			t.Errorf("frames of bob = %v, want %v", ops, want)
		}
		if _, here := e.gateway.InspectFrames("bob", s.Session+1); here {
			t.Error("a session that is not there has frames")
		}
	})
}

// A session whose ack is late is told of until it acks, and a closed one from then on.
func TestInspectSick(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.Window = 1 })
		alice, bob := e.online("alice", codec), e.dial(codec)
		bob.login("bob", "laptop", nil)
		bob.push("onSynced")
		alice.say("u:bob", "1")
		args := bob.push("onNewMessage")
		behind := func() int { synctest.Wait(); return len(e.gateway.InspectSick(10).Behind) }
		if n := behind(); n != 0 {
			t.Errorf("%d sessions are behind at once", n)
		}
		time.Sleep(11 * time.Second)
		if sick := e.gateway.InspectSick(10).Behind; len(sick) != 1 || sick[0].User != "bob" || !sick[0].Stalled {
			t.Errorf("behind after 11 s: %+v, want bob", sick)
		}
		if got := e.gateway.InspectSick(0); len(got.Behind) != 0 {
			t.Errorf("at most none are listed, got %+v", got.Behind)
		}
		bob.notice("ack", obj{"d": number(t, args, "d")})
		if n := behind(); n != 0 {
			t.Errorf("%d sessions are behind after the ack", n)
		}

		alice.say("u:bob", "2")
		bob.push("onNewMessage")
		alice.say("u:bob", "3")
		time.Sleep(32 * time.Second)
		synctest.Wait()
		sick := e.gateway.InspectSick(10)
		if len(sick.Behind) != 0 || len(sick.Closed) != 1 {
			t.Fatalf("sick = %+v, want nobody behind and bob's connection closed", sick)
		}
		c := sick.Closed[0]
		if c.Code != 4413 || c.User != "bob" || c.Device != "laptop" || c.UnackedBytes == 0 || c.Session == 0 || c.Lasted < 30_000 || c.Reason == "" || c.Address == "" {
			t.Errorf("closed = %+v", c)
		}
	})
}

// Connections that never log in, however many, hide none that did.
func TestClosedConnectionsOfEachKindAreKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		k := &e.gateway.sick
		user := &session{gateway: e.gateway, user: "bob"}
		user.number.Store(7)
		k.ended(user, closedSilent)
		for range 3 * keptClosed {
			k.ended(&session{gateway: e.gateway}, closedNoLogin)
		}
		k.ended(&session{gateway: e.gateway}, closedByClient)
		closed := e.gateway.InspectSick(1000).Closed
		if len(closed) != keptClosed+1 {
			t.Errorf("%d are kept, want %d", len(closed), keptClosed+1)
		}
		if !slices.ContainsFunc(closed, func(c inspect.Closed) bool { return c.User == "bob" }) {
			t.Error("bob's is not among them")
		}
		for range keptClosed + 5 { // the ring has gone round
			k.ended(user, closedSilent)
		}
		other := &session{gateway: e.gateway, user: "carol"}
		other.number.Store(8)
		k.ended(other, closedSilent)
		e.gateway.InspectForget("bob")
		k.ended(other, closedSilent)
		counts := map[string]int{}
		for _, c := range e.gateway.InspectSick(1000).Closed {
			counts[c.User]++
		}
		if len(counts) != 2 || counts["carol"] != 2 || counts[""] != keptClosed {
			t.Errorf("once bob is forgotten there are %v, want 2 of carol and all without a login", counts)
		}
	})
}

func TestReconnectingAndLimitedAreTold(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, func(c *Config) { c.SendRate, c.SendBurst = 1, 1 })
		for range 5 {
			c := e.dialWith(codec, dialOptions{silent: true})
			c.request("login", obj{"token": testToken("bob"), "device": "laptop"})
			synctest.Wait()
			for i := range 3 {
				c.request("send", obj{"conv": "u:alice", "cid": fmt.Sprint(i), "body": 1})
			}
			synctest.Wait()
		}
		sick := e.gateway.InspectSick(10)
		if len(sick.Reconnecting) != 1 || sick.Reconnecting[0].User != "bob" || sick.Reconnecting[0].Device != "laptop" || sick.Reconnecting[0].Logins != 5 {
			t.Errorf("reconnecting = %+v, want bob's laptop, 5 times", sick.Reconnecting)
		}
		if len(sick.Limited) != 1 || sick.Limited[0].User != "bob" || sick.Limited[0].Op != "send" || sick.Limited[0].Refused < 10 {
			t.Errorf("limited = %+v, want bob's sends", sick.Limited)
		}
		e.gateway.InspectForget("bob")
		if sick := e.gateway.InspectSick(10); len(sick.Reconnecting)+len(sick.Limited) != 0 {
			t.Errorf("once bob is forgotten: %+v", sick)
		}
	})
}

// Whoever is refused at the login is told of, with the reason and after one time, but only by
// a name that a valid signature vouches for. The log has a line of the first of many.
func TestRefusedLoginsAreTold(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		var log bytes.Buffer
		e := newEdge(t, func(c *Config) { c.Log, c.LoginRate, c.LoginBurst = slog.New(slog.NewTextHandler(&log, nil)), 1, 1 })
		sign := func(secret []byte, claims jwt.MapClaims) string {
			return authtest.Sign(jwt.SigningMethodHS256, secret, "", claims)
		}
		past, later := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
		try := func(token, code string, n int) {
			for range n {
				e.dial(codec).refused("login", obj{"token": token, "device": "phone"}, code)
			}
		}
		try(sign(testSecret, jwt.MapClaims{"sub": "bob", "exp": past}), "unauthorized", 3)
		e.set(command.SetUser{Suspended: new(true)})
		try(testToken("alice"), "forbidden", 1)
		try(testToken("alice"), "rate_limited", 3)
		try(sign([]byte("a secret that is not the server's"), jwt.MapClaims{"sub": "carol", "exp": later}), "unauthorized", 2)
		try("garbage", "unauthorized", 1)
		try(sign(testSecret, jwt.MapClaims{"sub": "not a user", "exp": later}), "unauthorized", 1)
		dave := e.online("dave", codec)
		dave.refused("refreshToken", obj{"token": sign(testSecret, jwt.MapClaims{"sub": "bob", "exp": later})}, "unauthorized")

		told := func(list []inspect.RefusedLogin) map[string]int {
			counts := make(map[string]int)
			for _, r := range list {
				if r.Last == 0 {
					t.Errorf("%+v has no time", r)
				}
				counts[r.User+": "+r.Reason] += r.Refused
			}
			return counts
		}
		want := map[string]int{
			"bob: token: exp has passed": 3, "alice: token: this user is suspended": 1, ": token: is not valid": 3,
			": token: sub " + protocol.UserRule: 1, "dave: token: belongs to another user": 1,
		}
		sick := e.gateway.InspectSick(10)
		if got := told(sick.Refused); !maps.Equal(got, want) {
			t.Errorf("refused logins = %v, want %v", got, want)
		}
		if len(sick.Limited) != 1 || sick.Limited[0].User != "alice" || sick.Limited[0].Op != "login" || sick.Limited[0].Refused != 3 {
			t.Errorf("limited = %+v, want logins of alice", sick.Limited)
		}
		if got := told(e.gateway.InspectRefused("bob")); !maps.Equal(got, map[string]int{"bob: token: exp has passed": 3}) {
			t.Errorf("refused logins of bob = %v", got)
		}
		if list := e.gateway.InspectSick(1).Refused; len(list) != 1 {
			t.Errorf("%d are listed, want 1", len(list))
		}
		e.gateway.InspectForget("bob")
		if got := told(e.gateway.InspectRefused("bob")); len(got) != 0 {
			t.Errorf("once bob is forgotten: %v", got)
		}
		synctest.Wait()
		if got := log.String(); strings.Count(got, "a login is refused") != 1 || !strings.Contains(got, `user=bob reason="token: exp has passed"`) {
			t.Errorf("log = %s, want a line of bob", got)
		}
		time.Sleep(rareEvery)
		log.Reset()
		try("garbage", "unauthorized", 1)
		try(sign(testSecret, jwt.MapClaims{"sub": "bob", "exp": past}), "unauthorized", 1)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "a login is refused") != 1 || !strings.Contains(got, "unlogged=4") {
			t.Errorf("log = %s, want a line of bob that counts those before, and none of strangers", got)
		}
	})
}

// A note is made for each frame, so it must cost next to nothing.
func TestNotingAFrameAllocatesNothing(t *testing.T) {
	var l frameLog
	if n := testing.AllocsPerRun(1000, func() { l.note(frameMessages, 1000, time.Hour) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	l.note(frameRequests|frameIn, 1<<30, 40*24*time.Hour)
	list := l.list(time.UnixMilli(1000))
	last := list[len(list)-1]
	if len(list) != keptFrameNotes || !last.In || last.Bytes != noteMostSize || last.Time != 1000+(40*24*time.Hour).Milliseconds() || last.Op != frameNames[frameRequests] {
		t.Errorf("%d frames, the last %+v", len(list), last)
	}
}

func BenchmarkNoteFrame(b *testing.B) {
	var l frameLog
	b.ReportAllocs()
	for b.Loop() {
		l.note(frameMessages, 1000, time.Hour)
	}
}
