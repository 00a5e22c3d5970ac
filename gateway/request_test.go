package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

func TestMalformedFramesClose(t *testing.T) {
	for name, frame := range map[string]string{
		"empty":               ``,
		"no JSON":             `hello`,
		"cut off":             `{"id": 1, "op": "ping"`,
		"an array":            `[]`,
		"a number":            `7`,
		"null":                `null`,
		"two objects":         `{"id": 1, "op": "ping"} {}`,
		"no op":               `{"id": 1}`,
		"op is a number":      `{"id": 1, "op": 7}`,
		"op is null":          `{"id": 1, "op": null}`,
		"id is 0":             `{"id": 0, "op": "ping"}`,
		"id is negative":      `{"id": -1, "op": "ping"}`,
		"id is text":          `{"id": "1", "op": "ping"}`,
		"id has a fraction":   `{"id": 1.5, "op": "ping"}`,
		"id is beyond 2^53":   `{"id": 9007199254740992, "op": "ping"}`,
		"id is null":          `{"id": null, "op": "ping"}`,
		"nested out of sight": `{"op": "x", "args": ` + strings.Repeat("[", 30000),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newEdge(t, nil).dial(protocol.JSON)
				c.write(websocket.MessageText, []byte(frame))
				c.wantClosed(4400)
			})
		})
	}
	for name, frame := range map[string]string{
		"empty":             "",
		"an array":          "\x90",
		"cut off":           "\x82\xa2op\xa4ping\xa2id",
		"no op":             "\x81\xa2id\x01",
		"op is bin":         "\x81\xa2op\xc4\x04ping",
		"id is 0":           "\x82\xa2op\xa4ping\xa2id\x00",
		"id is a float":     "\x82\xa2op\xa4ping\xa2id\xca\x3f\x80\x00\x00",
		"id is negative":    "\x82\xa2op\xa4ping\xa2id\xff",
		"something follows": "\x82\xa2op\xa4ping\xa2id\x01\xc0",
		"a map of 2^32-1":   "\xdf\xff\xff\xff\xff",
	} {
		t.Run("msgpack "+name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newEdge(t, nil).dial(protocol.Msgpack)
				c.write(websocket.MessageBinary, []byte(frame))
				c.wantClosed(4400)
			})
		})
	}
}

func TestFrameTypeOfTheOtherCodec(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		c := newEdge(t, nil).dial(codec)
		typ, _ := c.encode(obj{"id": 1, "op": "ping"})
		c.write(websocket.MessageText+websocket.MessageBinary-typ, []byte("{}"))
		c.wantClosed(4400)
	})
}

func TestTextThatIsNotUTF8Closes(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		for _, frame := range []string{"{\"id\": 1, \"op\": \"\xff\"}", "{\"id\": 1, \"op\": \"ping\", \"x\": \"\xe2\x82\"}", "\xc0"} {
			c := newEdge(t, nil).dial(codec)
			c.write(websocket.MessageText, []byte(frame))
			c.wantClosed(1007)
		}
	})
}

func TestFrameSize(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := e.dial(codec)
		frame := func(size int) (websocket.MessageType, []byte) {
			args := obj{"x": ""}
			_, b := c.encode(obj{"id": 1, "op": "ping", "args": args})
			for n := size - len(b); len(b) != size; n-- {
				args["x"] = strings.Repeat("x", n)
				_, b = c.encode(obj{"id": 1, "op": "ping", "args": args})
			}
			return c.encode(obj{"id": 1, "op": "ping", "args": args})
		}
		// Nobody needs more for a login, so strangers get no more.
		c.write(frame(maxLoginFrame))
		c.reply(1)
		c.tryWrite(frame(maxLoginFrame + 1)) // the server may close before it has read it all
		c.wantClosed(1009)

		limit := protocol.FrameLimit(protocol.DefaultMaxBody)
		c = e.online("alice", codec)
		c.write(frame(limit))
		c.reply(1)
		c.tryWrite(frame(limit + 1))
		c.wantClosed(1009)
	})
}

func TestBeforeLogin(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		c := newEdge(t, nil).dial(codec)
		for op := range ops {
			switch op {
			case "login", "ping":
			default:
				c.refused(op, nil, "unauthorized")
			}
		}
		c.refused("createGroup", nil, "unauthorized")
		if ok := c.call("ping", nil); number(t, ok, "serverTime") != time.Now().UnixMilli() {
			t.Errorf("serverTime = %v, want now", ok["serverTime"])
		}
	})
}

func TestBadToken(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := e.dial(codec)
		c.refused("login", obj{"token": "x", "device": "phone"}, "unauthorized")
		c.wantClosed(4401)
		if n := e.metric("belfry_gateway_logins_total", "unauthorized"); n != 1 {
			t.Errorf("logins counted as unauthorized = %v, want 1", n)
		}
	})
}

func TestLoginTwice(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		c := newEdge(t, nil).dial(codec)
		c.refused("login", obj{"token": testToken("alice")}, "bad_request") // no device
		c.login("alice", "phone", nil)
		c.push("onSynced")
		c.refused("login", obj{"token": testToken("alice"), "device": "phone"}, "bad_request")
		c.quiet()
	})
}

// TestRefusals has requests that are wrong in one thing each.
func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 65)
	for _, tc := range []struct {
		op    string
		args  obj
		code  string
		field string // that the message names
	}{
		{"nonsense", nil, "unknown_op", "op"},
		{"createGroup", obj{"kind": "secret"}, "bad_request", "kind"},
		{"createGroup", obj{"kind": "live", "members": []any{"bob"}}, "bad_request", "members"},
		{"createGroup", obj{"kind": "live", "join": "invite"}, "bad_request", "join"},
		{"createGroup", obj{"kind": "live", "history": "all"}, "bad_request", "history"},
		{"createGroup", obj{"kind": "live", "unread": true}, "bad_request", "unread"},
		{"createGroup", obj{"kind": "live", "maxMembers": 5}, "bad_request", "maxMembers"},
		{"joinGroup", obj{"group": "team"}, "not_found", "group"},
		{"leaveGroup", obj{"group": "team"}, "not_found", "group"},
		{"dismissGroup", obj{"group": "team"}, "not_found", "group"},
		{"answerJoin", obj{"group": "team", "user": "bob", "accept": true}, "not_found", "group"},
		{"addMembers", obj{"group": "team", "users": []any{"bob"}}, "not_found", "group"},
		{"removeMembers", obj{"group": "team", "users": []any{"bob"}}, "not_found", "group"},
		{"setMember", obj{"group": "team", "user": "bob"}, "not_found", "group"},
		{"setGroup", obj{"group": "team"}, "not_found", "group"},
		{"getGroup", obj{"group": "team"}, "not_found", "group"},
		{"getMembers", obj{"group": "team"}, "not_found", "group"},
		{"send", nil, "bad_request", "conv"},
		{"send", obj{"conv": 7, "cid": "1", "body": 1}, "bad_request", "conv"},
		{"send", obj{"conv": "bob", "cid": "1", "body": 1}, "bad_request", "conv"},
		{"send", obj{"conv": "u:", "cid": "1", "body": 1}, "bad_request", "conv"},
		{"send", obj{"conv": "u:" + long, "cid": "1", "body": 1}, "bad_request", "conv"},
		{"send", obj{"conv": "g:team", "cid": "1", "body": 1}, "not_found", "group"},
		{"send", obj{"conv": "u:bob", "body": 1}, "bad_request", "cid"},
		{"send", obj{"conv": "u:bob", "cid": "", "body": 1}, "bad_request", "cid"},
		{"send", obj{"conv": "u:bob", "cid": long, "body": 1}, "bad_request", "cid"},
		{"send", obj{"conv": "u:bob", "cid": "1"}, "bad_request", "body"},
		{"send", obj{"conv": "u:bob", "cid": "1", "body": strings.Repeat("x", 12<<10)}, "too_large", "body"},
		{"send", obj{"conv": "u:bob", "cid": "1", "body": 1, "ttl": 604801}, "bad_request", "ttl"},
		{"send", obj{"conv": "u:bob", "cid": "1", "body": 1, "ttl": -1}, "bad_request", "ttl"},
		{"send", obj{"conv": "u:bob", "cid": "1", "body": 1, "mentions": []string{"a b"}}, "bad_request", "mentions"},
		{"getMessage", nil, "bad_request", "conv"},
		{"getMessage", obj{"conv": "g:team"}, "not_found", "group"},
		{"getMessage", obj{"conv": "u:bob", "limit": 0}, "bad_request", "limit"},
		{"getMessage", obj{"conv": "u:bob", "limit": 101}, "bad_request", "limit"},
		{"getMessage", obj{"conv": "u:bob", "before": 2, "after": 1}, "bad_request", "before"},
		{"readReport", obj{"conv": "u:nobody", "seq": 1}, "not_found", "conv"},
		{"readReport", obj{"conv": "u:bob", "seq": 0}, "bad_request", "seq"},
		{"recall", obj{"conv": "u:nobody", "seq": 1}, "not_found", "conv"},
		{"recall", obj{"conv": "g:team", "seq": 1}, "not_found", "group"},
		{"deleteMessage", obj{"conv": "u:bob", "seqs": []int{}}, "bad_request", "seqs"},
		{"deleteMessage", obj{"conv": "u:nobody", "seqs": []int{1}}, "not_found", "conv"},
		{"deleteConversation", obj{"conv": "u:nobody"}, "not_found", "conv"},
		{"setConversation", obj{"conv": "u:nobody", "muted": true}, "not_found", "conv"},
		{"setConversation", obj{"conv": "u:bob", "muted": 1}, "bad_request", "muted"},
		{"block", obj{"user": "alice"}, "bad_request", "user"},
		{"block", nil, "bad_request", "user"},
		{"unblock", obj{"user": "alice"}, "bad_request", "user"},
		{"getPresence", obj{"users": []string{}}, "bad_request", "users"},
		{"subscribePresence", obj{"users": []string{"a b"}}, "bad_request", "users"},
		{"typing", obj{"conv": "g:team"}, "not_found", "group"},
		{"ack", obj{"d": -1}, "bad_request", "d"},
		{"setState", nil, "bad_request", "background"},
	} {
		t.Run(fmt.Sprint(tc.op, " ", tc.field, " ", tc.code), func(t *testing.T) {
			both(t, func(t *testing.T, codec protocol.Codec) {
				e := newEdge(t, nil)
				c := e.dial(codec)
				c.login("alice", "phone", nil)
				c.push("onSynced")
				e.store.recordCommands()
				err := c.refused(tc.op, tc.args, tc.code)
				if message := err["message"].(string); !strings.Contains(message, tc.field) {
					t.Errorf("message = %q, want one that names %s", message, tc.field)
				}
				c.quiet() // and the session lives on
			})
		})
	}
}

func TestIDInUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c, _ := e.login("alice", "phone", nil)
		e.store.hold()
		frame := obj{"id": 500, "op": "send", "args": obj{"conv": "u:bob", "cid": "1", "body": 1}}
		c.frame(frame)
		c.frame(frame)
		if code := c.reply(500)["err"].(obj)["code"]; code != "bad_request" {
			t.Errorf("code = %v, want bad_request", code)
		}
		e.store.release()
		if ok := c.reply(500)["ok"]; ok == nil {
			t.Error("the first request got no answer")
		}
		c.frame(frame) // the id is free again
		if ok := c.reply(500)["ok"].(obj); ok["duplicate"] != true {
			t.Errorf("repeated send = %v, want a duplicate", ok)
		}
	})
}

// TestRequestsInFlightAreBounded checks that the 65th request is not read.
func TestRequestsInFlightAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c, _ := e.login("alice", "phone", nil)
		e.store.recordCommands()
		e.store.hold()
		write := func(n int) {
			for i := range n {
				c.request("send", obj{"conv": "u:bob", "cid": fmt.Sprint(c.id, i), "body": 1})
			}
		}
		write(maxRequests)
		synctest.Wait()
		if n := len(e.store.applied()); n != maxRequests {
			t.Fatalf("%d requests reached the store, want %d", n, maxRequests)
		}
		written := make(chan struct{})
		go func() { write(10); close(written) }()
		synctest.Wait()
		select {
		case <-written:
			t.Fatal("the session is read with its requests in flight at the limit")
		default:
		}
		e.store.release()
		<-written
		for id := c.id - maxRequests - 9; id <= c.id; id++ {
			c.reply(id)
		}
		if n := len(e.store.applied()); n != maxRequests+10 {
			t.Fatalf("%d requests reached the store, want %d", n, maxRequests+10)
		}
	})
}

// TestNoticesCountAsInFlight sends what should be requests without an id.
func TestNoticesCountAsInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c, _ := e.login("alice", "phone", nil)
		e.store.recordCommands()
		e.store.hold()
		written := make(chan struct{})
		go func() {
			for i := range 2 * maxRequests {
				c.notice("send", obj{"conv": "u:bob", "cid": fmt.Sprint(i), "body": 1})
			}
			close(written)
		}()
		synctest.Wait()
		if n := len(e.store.applied()); n != maxRequests {
			t.Errorf("%d requests reached the store, want %d", n, maxRequests)
		}
		e.store.release()
		<-written
		c.quiet()
	})
}

func TestSendsKeepTheirOrder(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := e.dial(codec)
		c.login("alice", "phone", nil)
		c.push("onSynced")
		var ids []uint64
		for i := range 500 {
			ids = append(ids, c.request("send", obj{"conv": "u:bob", "cid": fmt.Sprint(i), "body": i}))
		}
		for i, id := range ids {
			ok, _ := c.reply(id)["ok"].(obj)
			if seq := number(t, ok, "seq"); seq != int64(i+1) {
				t.Fatalf("send %d has seq %d", i, seq)
			}
		}
	})
}

func TestRepeatedRequestIsIdentified(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c, _ := e.login("alice", "phone", nil)
		c.say("u:bob", "1")
		e.store.recordCommands()
		frame := obj{"id": 900, "op": "recall", "args": obj{"conv": "u:bob", "seq": 1}}
		c.frame(frame)
		c.reply(900)
		c.frame(frame)
		c.reply(900)
		frame["args"] = obj{"conv": "u:bob", "seq": 2}
		c.frame(frame)
		c.reply(900)
		var requests []command.Request
		for _, cmd := range e.store.applied() {
			requests = append(requests, cmd.(*command.Recall).Request)
		}
		if requests[0] != requests[1] || requests[0].ID != 900 || requests[0].Hash == 0 {
			t.Errorf("a request and its repeat are %v and %v, want the same", requests[0], requests[1])
		}
		if requests[0] == requests[2] {
			t.Errorf("another request of the same id has the identity %v too", requests[2])
		}
	})
}

func TestKnownUsersOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.KnownUsersOnly = true })
		alice, _ := e.login("alice", "phone", nil)
		alice.refused("send", obj{"conv": "u:bob", "cid": "1", "body": 1}, "not_found")
		alice.refused("send", obj{"conv": "u:bob", "cid": "1", "body": 1, "ttl": 0}, "not_found")
		alice.say("u:alice", "note")
		e.login("bob", "phone", nil)
		alice.say("u:bob", "hi")
	})
}

func TestStoreUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		c, _ := e.login("alice", "phone", nil)
		e.store.setDown(true)
		for op, args := range map[string]obj{
			"send":       {"conv": "u:bob", "cid": "1", "body": 1},
			"getMessage": {"conv": "u:bob"},
			"getRecents": nil,
			"recall":     {"conv": "u:bob", "seq": 1},
		} {
			if err := c.refused(op, args, "unavailable"); number(t, err, "retryAfterMs") <= 0 {
				t.Errorf("%s: retryAfterMs = %v, want > 0", op, err["retryAfterMs"])
			}
		}
		other := e.dial(protocol.JSON)
		other.refused("login", obj{"token": testToken("bob"), "device": "phone"}, "unavailable")
		e.store.setDown(false)
		other.login("bob", "phone", nil)
	})
}

func TestLogout(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := e.dial(codec)
		c.login("alice", "phone", nil)
		c.push("onSynced")
		e.store.recordCommands()
		c.call("logout", nil)
		c.wantClosed(1000)
		synctest.Wait()
		if n := e.store.sessions("alice"); n != 0 {
			t.Errorf("the store has %d sessions, want none", n)
		}
		if n := len(e.store.applied()); n != 1 {
			t.Errorf("%d commands for a logout, want 1", n)
		}
	})
}

func TestKickedSessionIsSilent(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		c := e.dial(codec)
		c.login("alice", "phone", nil)
		c.push("onSynced")
		e.store.hold()
		c.request("send", obj{"conv": "u:bob", "cid": "1", "body": 1}) // its answer comes too late
		synctest.Wait()
		e.store.kick("alice", "admin")
		e.store.release()
		if args := c.push("onKicked"); args["reason"] != "admin" {
			t.Errorf("reason = %v, want admin", args["reason"])
		}
		c.wantClosed(4403)
	})
}

func TestSameDeviceReplaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		first, _ := e.login("alice", "phone", nil)
		second, _ := e.login("alice", "phone", nil)
		if args := first.push("onKicked"); args["reason"] != "sameDevice" {
			t.Errorf("reason = %v, want sameDevice", args["reason"])
		}
		first.wantClosed(4403)
		second.quiet()
		synctest.Wait()
		if n := e.store.sessions("alice"); n != 1 {
			t.Errorf("the store has %d sessions, want 1", n)
		}
	})
}

func TestFrameRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.FrameRate, c.FrameBurst = 10, 20 })
		c, _ := e.login("alice", "phone", nil) // one frame
		for range 19 {
			c.call("ping", nil)
		}
		if err := c.refused("ping", nil, "rate_limited"); number(t, err, "retryAfterMs") != 100 {
			t.Errorf("retryAfterMs = %v, want 100", err["retryAfterMs"])
		}
		for range 19 {
			c.refused("ping", nil, "rate_limited")
		}
		c.request("ping", nil)
		c.wantClosed(4429)
	})
}

func TestNoticesOverTheFrameRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.FrameRate, c.FrameBurst = 10, 20 })
		c, _ := e.login("alice", "phone", nil)
		for range 20 {
			c.notice("typing", obj{"conv": "u:bob"})
		}
		c.wantClosed(4429)
	})
}

func TestLoginRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, func(c *Config) { c.LoginRate, c.LoginBurst = 1, 2 })
		e.login("alice", "phone", nil)
		e.login("alice", "phone", nil)
		c := e.dial(protocol.JSON)
		err := c.refused("login", obj{"token": testToken("alice"), "device": "phone"}, "rate_limited")
		time.Sleep(time.Duration(number(t, err, "retryAfterMs")) * time.Millisecond)
		c.login("alice", "phone", nil)
		e.login("bob", "phone", nil)
	})
}

// TestBodyKeepsItsValue sends by one codec and receives by the other.
func TestBodyKeepsItsValue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := newEdge(t, nil)
		alice, bob := e.dial(protocol.JSON), e.dial(protocol.Msgpack)
		alice.login("alice", "phone", nil)
		alice.push("onSynced")
		bob.login("bob", "phone", nil)
		bob.push("onSynced")
		alice.call("send", obj{"conv": "u:bob", "cid": "1", "body": obj{"n": 1, "b": obj{"$bin": "AAEC"}}})
		m := bob.push("onNewMessage")["messages"].([]any)[0].(obj)
		if b, _ := m["body"].(obj)["b"].([]byte); !bytes.Equal(b, []byte{0, 1, 2}) {
			t.Errorf("body = %#v, want the bytes 0 1 2", m["body"])
		}
		bob.call("send", obj{"conv": "u:alice", "cid": "2", "body": obj{"f": 3.0, "b": []byte{9}}})
		m = alice.push("onNewMessage")["messages"].([]any)[0].(obj)
		body, _ := json.Marshal(m["body"])
		if want := `{"b":{"$bin":"CQ=="},"f":3.0}`; string(body) != want {
			t.Errorf("body = %s, want %s", body, want)
		}
	})
}
