package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func TestShutdown(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		bob, early := e.dial(codec), e.dial(codec)
		bob.login("bob", "phone", nil)
		bob.push("onSynced")
		alice, _ := e.login("alice", "phone", nil)
		for _, text := range []string{"1", "2"} {
			alice.say("u:bob", text)
			bob.push("onNewMessage")
		}
		e.store.recordCommands()
		e.store.hold()
		bob.notice("ack", obj{"d": 1})
		bob.notice("ack", obj{"d": 2})
		synctest.Wait()

		stopped := make(chan error)
		go func() { stopped <- e.gateway.Shutdown(context.Background()) }()
		bob.wantClosed(1001)
		early.wantClosed(1001)
		synctest.Wait()
		wantReports(t, e.store, "alice 1", "alice 2")
		select {
		case <-stopped:
			t.Fatal("Shutdown did not wait for what the store has to answer")
		default:
		}
		e.store.release()
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		if n := e.store.sessions("bob") + e.store.sessions("alice"); n != 0 {
			t.Errorf("the store has %d sessions after Shutdown, want none", n)
		}
		if n := e.metric("belfry_gateway_sessions") + e.metric("belfry_gateway_connections"); n != 0 {
			t.Errorf("%v sessions and connections are counted after Shutdown", n)
		}
		_, r, err := e.open("ws://chat.example/v1/ws", &websocket.DialOptions{})
		if err == nil || r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("dial after Shutdown: %v, want status 503", err)
		}
	})
}

// TestShutdownDuringAccept has the drain begin between a connection's upgrade and
// its session.
func TestShutdownDuringAccept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		if !e.gateway.addConnection() {
			t.Fatal("no place for a connection")
		}
		stopped := make(chan error)
		go func() { stopped <- e.gateway.Shutdown(context.Background()) }()
		synctest.Wait()
		client, server := net.Pipe()
		go io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		upgraded := make(chan struct{})
		http := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := &session{gateway: e.gateway}
			conn, subprotocol, err := ws.Accept(w, r, &ws.Options{Admission: e.gateway.admission})
			if err != nil {
				t.Error(err)
				return
			}
			s.begin(conn, subprotocol)
			e.gateway.run(s)
			close(upgraded)
		})}
		defer http.Close()
		l := newPipeListener()
		go http.Serve(l)
		l.conns <- server
		readUntil(t, client, "\x88\x13\x03\xe9server going away")
		client.Close()
		<-upgraded
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// TestShutdownAnswersFirst stops a gateway with requests of all kinds under way.
func TestShutdownAnswersFirst(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := e.dial(codec)
		c.login("alice", "phone", nil)
		c.push("onSynced")
		idle := e.dial(codec)
		e.store.hold()
		sent := c.request("send", obj{"conv": "u:bob", "cid": "1", "body": 1})
		read := c.request("deleteConversation", obj{"conv": "u:bob"})
		synctest.Wait()
		stopped := make(chan error)
		go func() { stopped <- e.gateway.Shutdown(context.Background()) }()
		idle.wantClosed(1001)
		time.Sleep(partingPatience / 2)
		meanwhile := c.request("send", obj{"conv": "u:bob", "cid": "3", "body": 1})
		time.Sleep(partingPatience)
		late := c.request("send", obj{"conv": "u:bob", "cid": "2", "body": 1})
		if err, _ := c.reply(late)["err"].(obj); err["code"] != "unavailable" || number(t, err, "retryAfterMs") == 0 {
			t.Errorf("a send to a server that is going away: %v, want unavailable", err)
		}
		e.store.release()
		if ok, _ := c.reply(sent)["ok"].(obj); ok["seq"] == nil {
			t.Error("what was proposed before has no answer")
		}
		c.reply(read)
		if ok, _ := c.reply(meanwhile)["ok"].(obj); ok["seq"] == nil {
			t.Error("what came soon after is not stored")
		}
		if code, reason := c.goodbye(); code != 1001 || protocol.RetryAfter(reason) == 0 {
			t.Errorf("closed with %d, %q, want 1001 and when to come back", code, reason)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		var p query.Page
		if err := e.store.History(query.HistoryQuery{User: "alice", Peer: "bob", Limit: 9, MaxBytes: 1 << 20}, &p); err != nil || p.To != 2 {
			t.Errorf("%d messages are stored, %v, want the two that were answered", p.To, err)
		}
	})
}

// TestShutdownIsSpread closes sessions one after the other, and has them come
// back when the last is gone.
func TestShutdownIsSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.DrainSpread = wholeSpread * time.Second })
		const sessions = 10
		clients := make([]*client, sessions)
		for i := range clients {
			clients[i], _ = e.login("alice", fmt.Sprint(i), nil)
		}
		began := time.Now()
		goodbyes := make(chan time.Duration, sessions)
		for _, c := range clients {
			go func() {
				code, reason := c.goodbye()
				at, after := time.Since(began), protocol.RetryAfter(reason)
				if back := at + after; code != 1001 || back < sessions*time.Second || back > 2*sessions*time.Second {
					t.Errorf("closed after %v with %d, %q", at, code, reason)
				}
				goodbyes <- at
			}()
		}
		if err := e.gateway.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		for i := range sessions {
			if at := <-goodbyes; at.Round(time.Second) != time.Duration(i)*time.Second {
				t.Errorf("close %d came after %v, want one a second", i, at)
			}
		}
	})
}

func TestShutdownIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c, _ := e.login("alice", "phone", nil)
		e.store.hold()
		c.request("send", obj{"conv": "u:bob", "cid": "1", "body": 1})
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		stopped := make(chan error)
		go func() { stopped <- e.gateway.Shutdown(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-stopped; err != context.Canceled {
			t.Errorf("Shutdown = %v, want %v", err, context.Canceled)
		}
		e.store.release()
	})
}

// TestSocketEnds checks that a session whose socket is gone leaves nothing.
func TestSocketEnds(t *testing.T) {
	for name, end := range map[string]func(*client){
		"closed":  func(c *client) { c.ws.Close(websocket.StatusNormalClosure, "") },
		"dropped": func(c *client) { c.ws.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := newEdge(t, nil)
				c, _ := e.login("alice", "phone", nil)
				e.store.recordCommands()
				end(c)
				synctest.Wait()
				applied := e.store.applied()
				if len(applied) != 1 {
					t.Fatalf("commands = %v, want one logout", applied)
				}
				if logout, ok := applied[0].(*command.Logout); !ok || logout.Session == 0 {
					t.Errorf("command = %#v, want a logout", applied[0])
				}
				if n := e.metric("belfry_gateway_connections"); n != 0 {
					t.Errorf("%v connections are counted, want 0", n)
				}
			})
		})
	}
}
