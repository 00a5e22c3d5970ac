package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belfry-im/belfry/gateway/hooks"
	"github.com/belfry-im/belfry/gateway/hooks/hookstest"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/webhook"
	"github.com/belfry-im/belfry/shard/command"
)

// hooked is an edge whose receiver is asked about messages, and told nothing.
func hooked(t *testing.T, failOpen bool, answer func(ctx context.Context, cid string) (string, error)) (*edge, *hookstest.Receiver) {
	r := &hookstest.Receiver{Events: map[string]bool{webhook.MessageBeforeSend: true}, Timeout: 2 * time.Second, Answer: answer}
	e := newEdge(t, func(c *Config) {
		c.Registry = prometheus.NewRegistry()
		var err error
		if c.Hooks, err = hooks.New(hooks.Config{Receiver: r, FailOpen: failOpen, Registerer: c.Registry}); err != nil {
			t.Fatal(err)
		}
	})
	return e, r
}

func newHooks(t testing.TB, r hooks.Receiver) *hooks.Hooks {
	h, err := hooks.New(hooks.Config{Receiver: r})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (e *edge) outcome(name string) float64 {
	e.t.Helper()
	return e.metric("belfry_gateway_before_send_total", name)
}

func message(conv, cid string, body any) obj { return obj{"conv": conv, "cid": cid, "body": body} }

// history gives the bodies of a conversation as JSON.
func (c *client) history(conv string) string {
	c.t.Helper()
	var bodies []any
	for _, m := range c.call("getMessage", obj{"conv": conv})["messages"].([]any) {
		bodies = append(bodies, m.(obj)["body"])
	}
	return text(c.t, bodies)
}

func TestBeforeSend(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e, r := hooked(t, false, func(_ context.Context, cid string) (string, error) {
			switch {
			case strings.HasPrefix(cid, "bad"):
				return `{"decision":"refuse","reason":"no such words"}`, nil
			case strings.HasPrefix(cid, "change"):
				return `{"decision":"accept","body":{"text":"***","n":1.0}}`, nil
			}
			return `{"decision":"accept","reason":"fine","body":null,"other":[1]}`, nil
		})
		c := enter(e, codec, "alice", "bob")
		alice, bob := c["alice"], c["bob"]
		alice.call("send", message("u:bob", "good", obj{"text": "hi"}))
		if refused := alice.refused("send", message("u:bob", "bad", obj{"text": "x"}), "forbidden"); refused["message"] != "no such words" {
			t.Errorf("refusal = %v, want its reason", refused)
		}
		first := alice.call("send", message("u:bob", "change", obj{"text": "damn"}))
		if got, want := bob.history("u:alice"), `[{"text":"hi"},{"n":1,"text":"***"}]`; strings.ReplaceAll(got, "1.0", "1") != want {
			t.Errorf("bob's history = %s, want %s", got, want)
		}
		asks := r.Asks()

		// Repeats are answered alike, and nobody is asked about them.
		alice.refused("send", message("u:bob", "bad", obj{"text": "x"}), "forbidden")
		again := alice.call("send", message("u:bob", "change", obj{"text": "damn"}))
		if again["duplicate"] != true || text(t, again["id"]) != text(t, first["id"]) {
			t.Errorf("repeat = %v, want the answer of %v", again, first)
		}
		// Another body is a conflict, even the one that was stored.
		alice.refused("send", message("u:bob", "change", obj{"text": "***", "n": 1.0}), "conflict")
		alice.refused("send", message("u:bob", "good", obj{"text": "other"}), "conflict")
		if r.Asks() != asks {
			t.Errorf("%d questions about repeats", r.Asks()-asks)
		}
		// Of what was refused nothing is stored: another body is another message.
		alice.refused("send", message("u:bob", "bad", obj{"text": "y"}), "forbidden")
		if r.Asks() != asks+1 {
			t.Errorf("%d questions about another body, want 1", r.Asks()-asks)
		}
		// Decisions are about one user and one conversation.
		bob.call("send", message("u:alice", "good", obj{"text": "own"}))
		alice.call("send", message("u:alice", "good", obj{"text": "note"}))

		alice.call("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob"}})
		alice.call("send", message("g:team", "change", obj{"text": "damn"}))
		alice.refused("send", message("g:team", "bad", 1), "forbidden")
		if got := bob.history("g:team"); !strings.Contains(got, "***") {
			t.Errorf("the group's history = %s, want the replaced body", got)
		}
		bob.pushes = nil
		alice.call("send", obj{"conv": "u:bob", "cid": "change0", "body": 1, "ttl": 0})
		for {
			// What came of the group may come yet.
			m := pushed(bob, "onNewMessage")["messages"].([]any)[0].(obj)
			if m["ephemeral"] == true {
				if !strings.Contains(text(t, m["body"]), "***") {
					t.Errorf("an ephemeral message = %v, want the replaced body", m)
				}
				break
			}
		}
		alice.call("createGroup", obj{"group": "stage", "kind": "live"})
		alice.refused("send", message("g:stage", "bad", 1), "forbidden")
		alice.call("send", message("g:stage", "good", 1))
		want := `{"from":"alice","conv":"u:bob","cid":"good","body":{"text":"hi"}}`
		if r.Asked()[0] != want {
			t.Errorf("asked %s, want %s", r.Asked()[0], want)
		}
		if last := r.Asked()[len(r.Asked())-1]; !strings.Contains(last, `"conv":"g:stage"`) {
			t.Errorf("asked %s last, want about the live group", last)
		}
	})
}

// TestBeforeSendFails has a receiver that gives no decision in every way, with both
// policies.
func TestBeforeSendFails(t *testing.T) {
	for name, answer := range map[string]func(ctx context.Context, cid string) (string, error){
		"timeout": func(ctx context.Context, _ string) (string, error) { <-ctx.Done(); return "", ctx.Err() },
		"failed":  func(context.Context, string) (string, error) { return "", errors.New("connection refused") },
		"busy":    func(context.Context, string) (string, error) { return "", webhook.ErrBusy },
		"no json": func(context.Context, string) (string, error) { return `<html>`, nil },
		"nothing": func(context.Context, string) (string, error) { return `{}`, nil },
		"maybe":   func(context.Context, string) (string, error) { return `{"decision":"maybe"}`, nil },
		"big body": func(context.Context, string) (string, error) {
			return `{"decision":"accept","body":"` + strings.Repeat("x", 13<<10) + `"}`, nil
		},
		"deep body": func(context.Context, string) (string, error) {
			return `{"decision":"accept","body":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, nil
		},
		"bad body": func(context.Context, string) (string, error) {
			return `{"decision":"accept","body":{"a":1,"a":2}}`, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, _ := hooked(t, false, answer)
				c := enter(e, protocol.JSON, "alice", "bob")
				start := time.Now()
				refused := c["alice"].refused("send", message("u:bob", "1", "x"), "unavailable")
				if number(t, refused, "retryAfterMs") <= 0 || time.Since(start) > 2*time.Second {
					t.Errorf("refused with %v after %v", refused, time.Since(start))
				}
				if got := c["alice"].history("u:bob"); got != "null" {
					t.Errorf("history = %s, want nothing", got)
				}
				counted := name
				if name != "timeout" && name != "busy" {
					counted = "failed"
				}
				if n := e.outcome(counted); n != 1 {
					t.Errorf("%v counted as %s, want 1", n, counted)
				}
			})
			synctest.Test(t, func(t *testing.T) {
				e, r := hooked(t, true, answer)
				c := enter(e, protocol.JSON, "alice", "bob")
				if name == "busy" { // the receiver did not fail: it was not asked
					c["alice"].refused("send", message("u:bob", "1", "x"), "unavailable")
					return
				}
				c["alice"].call("send", message("u:bob", "1", "x"))
				r.Answer = nil
				if again := c["alice"].call("send", message("u:bob", "1", "x")); again["duplicate"] != true || r.Asks() != 1 {
					t.Errorf("repeat = %v after %d questions", again, r.Asks())
				}
			})
		})
	}
}

// TestBeforeSendKeepsOrder sends to two conversations with answers in any order.
// Each conversation keeps its own, and nothing else waits.
func TestBeforeSendKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := hooked(t, false, func(ctx context.Context, cid string) (string, error) {
			var n int
			fmt.Sscanf(cid[1:], "%d", &n)
			select {
			case <-time.After(time.Duration(n*7%5+1) * 50 * time.Millisecond):
			case <-ctx.Done():
				return "", ctx.Err()
			}
			if n%10 == 9 {
				return `{"decision":"refuse"}`, nil
			}
			return `{"decision":"accept"}`, nil
		})
		c := enter(e, protocol.JSON, "alice", "bob", "carol")
		alice := c["alice"]
		const sends = 60 // a session may have 64 requests open
		ids := make(map[uint64]int)
		for n := range sends {
			conv := []string{"u:bob", "u:carol"}[n%2]
			ids[alice.request("send", message(conv, fmt.Sprint("c", n), n))] = n
		}
		start := time.Now()
		alice.frame(obj{"id": 1000, "op": "ping"})
		if frame := alice.next(); number(t, frame, "id") != 1000 || time.Since(start) > 0 {
			t.Errorf("%v came before the answer to ping, %v later", frame, time.Since(start))
		}
		for range ids {
			frame := alice.next()
			n := ids[uint64(number(t, frame, "id"))]
			if refused := frame["err"] != nil; refused != (n%10 == 9) {
				t.Errorf("send %d = %v", n, frame)
			}
		}
		for i, conv := range []string{"u:bob", "u:carol"} {
			var want []int
			for n := i; n < sends; n += 2 {
				if n%10 != 9 {
					want = append(want, n)
				}
			}
			var bodies []any
			for _, m := range alice.call("getMessage", obj{"conv": conv, "limit": 100})["messages"].([]any) {
				bodies = append(bodies, m.(obj)["body"])
			}
			if got := text(t, bodies); got != text(t, want) {
				t.Errorf("%s holds %s, want %s", conv, got, text(t, want))
			}
		}
		if r.Most() != maxHeldAsks {
			t.Errorf("%d questions were open at a time, want %d", r.Most(), maxHeldAsks)
		}
	})
}

// TestBeforeSendHangs has as many sends as a session may have wait for a receiver
// that says nothing: all are answered within the one time-out, and other sessions
// go on.
func TestBeforeSendHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := hooked(t, false, func(ctx context.Context, cid string) (string, error) {
			if cid == "quick" {
				return `{"decision":"accept"}`, nil
			}
			<-ctx.Done()
			return "", ctx.Err()
		})
		c := enter(e, protocol.JSON, "alice", "bob")
		start := time.Now()
		for n := range 60 {
			c["alice"].request("send", message("u:bob", fmt.Sprint("c", n), n))
		}
		synctest.Wait()
		if time.Since(start) > 0 {
			t.Fatal("time went by")
		}
		c["bob"].call("send", message("u:alice", "quick", 1))
		c["bob"].call("ping", nil)
		if time.Since(start) > 0 {
			t.Errorf("another session waited %v", time.Since(start))
		}
		refused := 0
		for refused < 60 {
			if frame := c["alice"].next(); frame["err"] != nil {
				refused++
			}
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("60 sends were answered after %v, want 2s", took)
		}
	})
}

// TestBeforeSendOnce sends a message twice at a time, from two devices: it is asked
// about once.
func TestBeforeSendOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, r := hooked(t, false, func(_ context.Context, cid string) (string, error) {
			time.Sleep(time.Second)
			return fmt.Sprintf(`{"decision":"accept","body":%d}`, time.Now().UnixNano()), nil
		})
		phone, _ := e.login("alice", "phone", nil)
		laptop, _ := e.login("alice", "laptop", nil)
		first := phone.request("send", message("u:bob", "1", "x"))
		synctest.Wait()
		time.Sleep(100 * time.Millisecond)
		second := laptop.request("send", message("u:bob", "1", "x"))
		third := laptop.request("send", message("u:bob", "1", "another"))
		answers := make(map[uint64]obj) // in any order, with pushes between them
		for len(answers) < 2 {
			if frame := laptop.next(); frame["id"] != nil {
				answers[uint64(number(t, frame, "id"))] = frame
			}
		}
		a, b, c := phone.reply(first), answers[second], answers[third]
		if r.Asks() != 1 || a["ok"] == nil || b["ok"] == nil || text(t, a["ok"].(obj)["id"]) != text(t, b["ok"].(obj)["id"]) {
			t.Errorf("%d questions, answers %v and %v, want one message", r.Asks(), a, b)
		}
		if c["err"].(obj)["code"] != "conflict" {
			t.Errorf("another body = %v, want conflict", c)
		}
		time.Sleep(5*time.Minute + time.Minute + time.Second)
		again := e.dial(protocol.JSON)
		again.login("alice", "tablet", nil)
		again.call("send", message("u:bob", "1", "x")) // long after: a new message
		if r.Asks() != 2 {
			t.Errorf("%d questions, want another one after the window", r.Asks())
		}
	})
}

// A device repeats a message at another gateway, whose receiver replaces its body by
// another one. It is no conflict: the client has sent the same.
func TestRepeatAtAnotherGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replaceBy := func(body string) func(context.Context, string) (string, error) {
			return func(context.Context, string) (string, error) {
				return `{"decision":"accept","body":"` + body + `"}`, nil
			}
		}
		e, _ := hooked(t, false, replaceBy("one"))
		r := &hookstest.Receiver{Events: map[string]bool{webhook.MessageBeforeSend: true}, Timeout: 2 * time.Second, Answer: replaceBy("two")}
		other := newEdge(t, func(c *Config) { c.Backend, c.Hooks = e.store, newHooks(t, r) })
		moved, _ := other.login("alice", "phone", nil)
		laptop, _ := e.login("alice", "laptop", nil)
		first := laptop.call("send", message("u:bob", "1", "x"))
		second := moved.call("send", message("u:bob", "1", "x"))
		if text(t, first["id"]) != text(t, second["id"]) || text(t, first["seq"]) != text(t, second["seq"]) {
			t.Errorf("the repeat = %v, want the answer of the first: %v", second, first)
		}
		if second["duplicate"] != true {
			t.Errorf("the repeat = %v, want a duplicate", second)
		}
		moved.refused("send", message("u:bob", "1", "y"), "conflict")
		moved.call("send", message("u:bob", "1", "x")) // what was found is not kept as a decision
		laptop.call("createGroup", obj{"kind": "private", "group": "team", "members": []any{"bob"}})
		laptop.call("send", message("g:team", "1", "x"))
		if again := moved.call("send", message("g:team", "1", "x")); again["duplicate"] != true {
			t.Errorf("the repeat in a group = %v, want a duplicate", again)
		}
		if n := r.Asks(); n != 0 {
			t.Errorf("the other gateway's receiver was asked %d times about what is stored", n)
		}
		if got := laptop.history("u:bob"); got != `["one"]` {
			t.Errorf("history = %s, want what the first gateway stored", got)
		}
		time.Sleep(6 * time.Minute) // past the dedupe window, in the log
		again := other.dial(protocol.JSON)
		again.login("alice", "tablet", nil)
		late := message("u:bob", "1", "x")
		late["retry"] = true
		if third := again.call("send", late); text(t, first["id"]) != text(t, third["id"]) {
			t.Errorf("the late repeat = %v, want the answer of the first: %v", third, first)
		}
	})
}

// TestSessionEndsWhileAsked closes the socket of a session whose send is being
// decided about.
func TestSessionEndsWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, _ := hooked(t, false, func(context.Context, string) (string, error) {
			time.Sleep(time.Second)
			return `{"decision":"accept"}`, nil
		})
		alice, _ := e.login("alice", "phone", nil)
		alice.request("send", message("u:bob", "1", "x"))
		synctest.Wait()
		alice.ws.CloseNow()
		time.Sleep(2 * time.Second)
		bob := e.dial(protocol.JSON)
		bob.login("bob", "phone", nil)
		bob.push("onNewMessage")
		if got := bob.history("u:alice"); got != `["x"]` {
			t.Errorf("bob's history = %s, want the message", got)
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &hookstest.Receiver{Timeout: time.Second}
		e := newEdge(t, func(c *Config) { c.Hooks = newHooks(t, r) })
		alice, _ := e.login("alice", "phone", nil)
		laptop, _ := e.login("alice", "laptop", nil)
		bob, _ := e.login("bob", "phone", nil)
		sent := alice.call("send", obj{"conv": "u:bob", "cid": "1", "body": obj{"text": "<hi> & \"ho\""}, "ttl": 60, "mentions": []any{"bob"}})
		alice.call("send", obj{"conv": "u:bob", "cid": "1", "body": obj{"text": "<hi> & \"ho\""}, "ttl": 60, "mentions": []any{"bob"}})
		live := alice.call("send", obj{"conv": "u:bob", "cid": "2", "body": 1.0, "ttl": 0})
		bob.call("createGroup", obj{"group": "team", "kind": "private"})
		group := bob.call("send", message("g:team", "3", obj{"b": 1}))
		alice.call("logout", nil)
		alice.wantClosed(1000)
		laptop.ws.CloseNow()
		synctest.Wait()
		time.Sleep(time.Minute) // the gateway notices
		want := []string{
			fmt.Sprintf(`message.sent {"id":%q,"conv":"u:bob","from":"alice","seq":1,"time":%v,"cid":"1","body":{"text":"<hi> & \"ho\""},"ttl":60,"mentions":["bob"]}`, sent["id"], sent["time"]),
			fmt.Sprintf(`message.sent {"id":%q,"conv":"u:bob","from":"alice","time":%v,"cid":"2","body":1,"ephemeral":true}`, live["id"], live["time"]),
			fmt.Sprintf(`message.sent {"id":%q,"conv":"g:team","from":"bob","seq":1,"time":%v,"cid":"3","body":{"b":1}}`, group["id"], group["time"]),
		}
		if got := r.List(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("told of\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if id := r.IDs[0]; id != "sent_"+sent["id"].(string) {
			t.Errorf("webhook-id %s", id)
		}
	})
}

func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		bob := e.dial(protocol.JSON)
		key := sessionOf{"bob", command.SessionID(number(t, bob.login("bob", "phone", nil), "session"))}
		for _, background := range []bool{true, false} {
			bob.call("setState", obj{"background": background})
			e.store.mu.Lock()
			if got := e.store.background[key]; got != background {
				t.Errorf("background = %v, want %v", got, background)
			}
			e.store.mu.Unlock()
		}
	})
}
