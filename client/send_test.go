package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// queue queues messages for bob, whose bodies are their names.
func queue(t *testing.T, c *Client, names ...string) []*Outgoing {
	t.Helper()
	var list []*Outgoing
	for _, name := range names {
		out, err := c.Queue("u:bob", name, SendOptions{CID: name})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, out)
	}
	return list
}

// wantSend waits for a send and requires its cid and whether it says that it is
// a repeat.
func (p *peer) wantSend(cid string, retry bool) frame {
	p.t.Helper()
	f := p.want("send")
	if a := args(f); a["cid"] != cid || (a["retry"] == true) != retry {
		p.t.Fatalf("send %v, retry %v; want %s, %t", a["cid"], a["retry"], cid, retry)
	}
	return f
}

func TestSend(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		go func() {
			f := p.want("send")
			a := args(f)
			body, _ := a["body"].(map[string]any)
			if a["conv"] != "u:bob" || a["cid"] != "mine" || number(a["ttl"]) != 60 || fmt.Sprint(a["mentions"]) != "[bob]" ||
				body["text"] != "hi" || number(body["n"]) != 7 {
				t.Errorf("send = %v", a)
			}
			p.ok(f, frame{"id": ulidOf(3), "seq": 3, "time": 1795400000123, "duplicate": true})
		}()
		got, err := c.Send(t.Context(), "u:bob", map[string]any{"text": "hi", "n": 7}, SendOptions{CID: "mine", TTL: time.Minute, Mentions: []string{"bob"}})
		want := SendResult{CID: "mine", Seq: 3, Time: 1795400000123, Duplicate: true}
		want.ID, _ = protocol.ParseID(ulidOf(3))
		if err != nil || got != want {
			t.Errorf("Send = %+v, %v, want %+v", got, err, want)
		}
	})
}

// TestSendsWaitForConnection queues without a connection: all goes out once,
// in order per conversation.
func TestSendsWaitForConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.QueueMessages = 3
		s.refuse.Store(true)
		c := start(t, cfg)
		outs := queue(t, c, "one", "two", "three")
		if _, err := c.Queue("u:bob", "four", SendOptions{}); !errors.Is(err, ErrQueueFull) {
			t.Errorf("a fourth: %v, want queue full", err)
		}
		time.Sleep(time.Hour)
		s.refuse.Store(false)
		p, _ := s.login()
		for i, name := range []string{"one", "two", "three"} {
			f := p.wantSend(name, false)
			p.quiet() // the next waits for this one
			p.sent(f, i+1)
			if got, err := outs[i].Wait(t.Context()); err != nil || got.Seq != uint64(i+1) {
				t.Errorf("%s = %v, %v, want seq %d", name, got, err, i+1)
			}
		}
		p.quiet()
	})
}

func TestSendsToOthersGoAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		queue(t, c, "one", "two")
		if _, err := c.Queue("u:carol", "x", SendOptions{CID: "x"}); err != nil {
			t.Fatal(err)
		}
		p.wantSend("one", false)
		p.wantSend("x", false)
		p.quiet()
	})
}

// TestSendIsRepeated loses connections under a send: it goes out again with
// the same cid, and says so once the server might have forgotten it.
func TestSendIsRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		outs := queue(t, c, "one", "two")
		p.wantSend("one", false)
		p.ws.CloseNow()

		p, _ = s.login()
		p.wantSend("one", false)
		s.refuse.Store(true)
		p.ws.CloseNow()
		time.Sleep(6 * time.Minute)
		s.refuse.Store(false)

		p, _ = s.login()
		f := p.wantSend("one", true)
		p.sent(f, 1)
		p.sent(p.wantSend("two", false), 2)
		for i, out := range outs {
			if got, err := out.Wait(t.Context()); err != nil || got.Seq != uint64(i+1) {
				t.Errorf("send %d = %+v, %v", i+1, got, err)
			}
		}
	})
}

// TestTemporaryRefusal holds back a conversation, and no other, until its
// first send is through.
func TestTemporaryRefusal(t *testing.T) {
	for _, code := range []string{"unavailable", "rate_limited"} {
		t.Run(code, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server, cfg Config) {
				c := start(t, cfg)
				p, _ := s.login()
				queue(t, c, "one", "two")
				p.refuse(p.wantSend("one", false), code, 4*time.Second)
				began := time.Now()
				f := p.wantSend("one", false)
				if waited := time.Since(began); waited < 4*time.Second || waited > 5*time.Second {
					t.Errorf("repeated after %v, want 4s-5s", waited)
				}
				p.refuse(f, code, 0)
				f = p.wantSend("one", false)
				p.sent(f, 1)
				p.wantSend("two", false)
			})
		})
	}
}

func TestRefusal(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		outs := queue(t, c, "one", "two")
		p.refuse(p.wantSend("one", false), "conflict", 0)
		_, err := outs[0].Wait(t.Context())
		if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != "conflict" || refused.Message != "because" || errors.Is(err, ErrUnknown) {
			t.Errorf("send = %v, want conflict", err)
		}
		p.wantSend("two", false)
	})
}

// TestSendAnsweredBySync loses the reply, not the message: the login brings it
// back, which is the answer, and no message for the application.
func TestSendAnsweredBySync(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		p, _ := s.login()
		out := queue(t, c, "one")[0]
		p.wantSend("one", false)
		p.ws.CloseNow()

		p, _ = s.login()
		repeat := p.wantSend("one", false)
		own := message(5)
		own["from"], own["cid"], own["body"] = "alice", "one", "one"
		echo := message(6) // bob may send with any cid he has seen
		echo["cid"], echo["body"] = "one", "one"
		p.push("onNewMessage", frame{"d": 1, "messages": []any{echo, own}})
		if got, err := out.Wait(t.Context()); err != nil || got.Seq != 5 {
			t.Errorf("send = %+v, %v, want seq 5", got, err)
		}
		if got := told.read(); got != "6" {
			t.Errorf("told %q, want bob's message alone", got)
		}
		p.sent(repeat, 5) // changes nothing more
		p.messages(2, "", 5)
		if got := told.read(); got != "6" {
			t.Errorf("told %q, want nothing more", got)
		}
	})
}

// An own message that was answered is no news when a later login brings it.
func TestAnsweredSendIsHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		p, _ := s.login()
		out := queue(t, c, "one")[0]
		p.sent(p.wantSend("one", false), 5)
		if _, err := out.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.ws.CloseNow()
		p, _ = s.login()
		p.messages(1, "", 5, 6)
		if got := told.read(); got != "6" {
			t.Errorf("told %q, want 6", got)
		}
	})
}

func TestSendEndsWithContext(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		s.refuse.Store(true)
		c := start(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		res, err := c.Send(ctx, "u:bob", "one", SendOptions{})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnknown) || res.CID == "" {
			t.Errorf("Send that was never written = %+v, %v, want deadline exceeded and the cid", res, err)
		}
		s.refuse.Store(false)
		p, _ := s.login()
		p.quiet() // it was taken back

		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error)
		go func() {
			_, err := c.Send(ctx, "u:bob", "two", SendOptions{CID: "two"})
			done <- err
		}()
		f := p.wantSend("two", false)
		p.refuse(f, "unavailable", time.Hour)
		err = <-done
		refused, ok := errors.AsType[*Error](err)
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnknown) || !ok || refused.Code != "unavailable" {
			t.Errorf("Send that was written = %v, want deadline exceeded, unknown, and the last answer", err)
		}
		p.sent(f, 1) // too late, and harmless
		queue(t, c, "three")
		p.wantSend("three", false)

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Send(gone, "u:bob", "four", SendOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Send with a context that is over = %v", err)
		}
	})
}

func TestOnlineOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		s.refuse.Store(true)
		c := start(t, cfg)
		if _, err := c.Send(t.Context(), "u:bob", "now", SendOptions{OnlineOnly: true}); !errors.Is(err, ErrOffline) {
			t.Errorf("Send without connection = %v, want offline", err)
		}
		s.refuse.Store(false)
		p, _ := s.login()
		synctest.Wait()
		out, err := c.Queue("u:bob", "now", SendOptions{OnlineOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if ttl := args(p.want("send"))["ttl"]; number(ttl) != 0 {
			t.Errorf("ttl = %v, want 0", ttl)
		}
		p.ws.CloseNow()
		if _, err := out.Wait(t.Context()); !errors.Is(err, ErrUnknown) {
			t.Errorf("send whose answer is lost = %v, want unknown", err)
		}
		p, _ = s.login()
		p.quiet() // at most once
	})
}

func TestTooLargeForFrame(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		big := strings.Repeat("x", 65530)
		_, err := c.Send(t.Context(), "u:bob", big, SendOptions{})
		if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != "too_large" {
			t.Errorf("Send of 64 KiB = %v, want too_large", err)
		}
		p.quiet()
	})
}

// TestInFlight holds requests back when the wire has enough of them.
func TestInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		done := make(chan error)
		const n = maxInFlight + 10
		for i := range n {
			go func() {
				_, err := c.Send(t.Context(), fmt.Sprint("u:", i), "x", SendOptions{})
				done <- err
			}()
		}
		var first []frame
		for range maxInFlight {
			first = append(first, p.want("send"))
		}
		p.quiet()
		for i, f := range first {
			p.sent(f, i+1)
		}
		for i := range n - maxInFlight {
			p.sent(p.want("send"), maxInFlight+i+1)
		}
		for range n {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestSendArgs(t *testing.T) {
	for _, c := range []struct {
		name, conv string
		body       any
		options    SendOptions
		field      string
	}{
		{"no prefix", "bob", "x", SendOptions{}, "conv"},
		{"space in user", "u:a b", "x", SendOptions{}, "conv"},
		{"NaN", "u:bob", math.NaN(), SendOptions{}, "body"},
		{"no JSON", "u:bob", func() {}, SendOptions{}, "body"},
		{"long cid", "u:bob", "x", SendOptions{CID: strings.Repeat("x", 65)}, "CID"},
		{"cid no UTF-8", "u:bob", "x", SendOptions{CID: "\xff"}, "CID"},
		{"half a second", "u:bob", "x", SendOptions{TTL: 1500 * time.Millisecond}, "TTL"},
		{"negative", "u:bob", "x", SendOptions{TTL: -time.Second}, "TTL"},
		{"over a week", "u:bob", "x", SendOptions{TTL: 169 * time.Hour}, "TTL"},
		{"ttl of nothing", "u:bob", "x", SendOptions{TTL: time.Hour, OnlineOnly: true}, "TTL"},
		{"mentions", "u:bob", "x", SendOptions{Mentions: []string{""}}, "Mentions"},
		{"many mentions", "u:bob", "x", SendOptions{Mentions: make([]string, 101)}, "Mentions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := sendArgs(c.conv, c.body, c.options)
			if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != c.field {
				t.Errorf("error = %v, want one of %s", err, c.field)
			}
		})
	}
}
