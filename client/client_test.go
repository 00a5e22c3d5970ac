package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// start runs a client until the end of the test, which fails if it leaves a
// goroutine behind.
func start(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
	return c
}

// A diary writes down what handlers are told.
type diary struct {
	mu   sync.Mutex
	told []string
}

func (d *diary) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, fmt.Sprintf(format, args...))
}

// read gives the entries so far, once nothing moves any more.
func (d *diary) read() string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.told, " ")
}

// messages writes down the seqs of messages.
func (d *diary) messages(list []Message) {
	for _, m := range list {
		d.add("%d", m.Seq)
	}
}

func TestLogin(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Platform = "web"
		go s.login()
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.User() != "alice" || c.State() != StateOnline {
			t.Errorf("user %q, state %v, want alice, online", c.User(), c.State())
		}
	})
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.ManualRead, cfg.Recents = true, protocol.RecentsQuiet
		cfg.Resume = Cursor{Since: "here", Groups: []protocol.GroupCursor{{Group: "team", Cursor: "there"}}}
		start(t, cfg)
		_, login := s.login()
		want := map[string]string{
			"token": "a token", "device": "phone", "since": "here", "groups": "map[team:there]",
			"autoRead": "false", "recents": "quiet",
		}
		for key, value := range want {
			if got := fmt.Sprint(login[key]); got != value {
				t.Errorf("%s = %s, want %s", key, got, value)
			}
		}
	})
}

func TestResume(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		release := make(chan struct{})
		cfg.OnMessages = func(list []Message) {
			told.messages(list)
			if list[0].Seq == 3 {
				<-release
			}
		}
		c := start(t, cfg)

		p, login := s.login()
		if login["since"] != nil {
			t.Errorf("since of a new device = %v, want none", login["since"])
		}
		p.messages(1, "at 2", 1, 2)
		p.messages(2, "at 3", 3)
		p.messages(3, "at 4", 4)
		if got := told.read(); got != "1 2 3" {
			t.Fatalf("told %s, want 1 2 3", got)
		}
		p.ws.CloseNow()

		// The handler is still busy with 3: the device stands at 2.
		p, login = s.login()
		if login["since"] != "at 2" {
			t.Errorf("since = %v, want at 2", login["since"])
		}
		close(release)
		p.messages(1, "at 3", 3)
		p.messages(2, "at 4", 4)
		if got := told.read(); got != "1 2 3 4" {
			t.Errorf("told %s, want 1 2 3 4", got)
		}
		if got := c.Cursor().Since; got != "at 4" {
			t.Errorf("cursor = %s, want at 4", got)
		}
		p.push("onSynced", frame{"cursor": "synced", "conversations": []any{
			frame{"conv": "g:team", "lastSeq": 1, "time": 1, "readSeq": 0, "cursor": "team at 1"},
		}})
		synctest.Wait()
		p.ws.Close(protocol.CloseGoingAway, "")
		_, login = s.login()
		if since, groups := login["since"], fmt.Sprint(login["groups"]); since != "synced" || groups != "map[team:team at 1]" {
			t.Errorf("since %v, groups %v, want synced, map[team:team at 1]", since, groups)
		}
	})
}

func TestAck(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		release := make(chan struct{})
		cfg.OnMessages = func([]Message) { <-release }
		start(t, cfg)
		p, _ := s.login()
		p.messages(1, "", 1)
		p.quiet() // its handler runs
		release <- struct{}{}
		if d := number(args(p.want("ack"))["d"]); d != 1 {
			t.Errorf("ack %d, want 1", d)
		}

		// A burst is acknowledged once the handlers have caught up.
		for d := 2; d <= 40; d++ {
			p.messages(d, "", d)
		}
		synctest.Wait()
		close(release)
		if d := number(args(p.want("ack"))["d"]); d != 40 {
			t.Errorf("ack %d, want 40 at once", d)
		}
		p.quiet()
	})
}

// A handler that never catches up must not let the window run dry.
func TestAckWithinWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		step := make(chan struct{})
		cfg.OnMessages = func([]Message) { <-step }
		start(t, cfg)
		p, _ := s.login()
		for d := 1; d <= 200; d++ {
			p.messages(d, "", d)
		}
		for range 63 {
			step <- struct{}{}
		}
		p.quiet()
		step <- struct{}{}
		if d := number(args(p.want("ack"))["d"]); d != 64 {
			t.Errorf("ack %d, want 64, a quarter of the window", d)
		}
		close(step)
	})
}

func TestDuplicatesAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnMessages = told.messages
		start(t, cfg)
		p, _ := s.login()
		p.messages(1, "", 1, 2)
		p.messages(2, "", 2, 3)
		p.messages(3, "", 1, 2, 3)
		// What is stored nowhere cannot be a repeat.
		fleeting := message(9)
		fleeting["ephemeral"] = true
		delete(fleeting, "seq")
		p.push("onNewMessage", frame{"d": 4, "messages": []any{fleeting, fleeting}})
		if got := told.read(); got != "1 2 3 0 0" {
			t.Errorf("told %s, want 1 2 3 0 0", got)
		}
	})
}

func TestKicked(t *testing.T) {
	for name, kick := range map[string]func(*peer){
		"push":  func(p *peer) { p.push("onKicked", frame{"reason": "sameDevice"}) },
		"close": func(p *peer) { p.ws.Close(protocol.CloseKicked, "sameDevice") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server, cfg Config) {
				var told diary
				cfg.OnKicked = func(reason string) { told.add("kicked:%s", reason) }
				cfg.OnState = func(s State) { told.add("%v", s) }
				c := start(t, cfg)
				p, _ := s.login()
				out, err := c.Queue("u:bob", "hi", SendOptions{})
				if err != nil {
					t.Fatal(err)
				}
				p.want("send")
				kick(p)
				<-c.Done()
				if kicked, ok := errors.AsType[*KickedError](c.Err()); !ok || kicked.Reason != "sameDevice" {
					t.Errorf("Err = %v, want kicked: sameDevice", c.Err())
				}
				_, err = out.Wait(t.Context())
				if _, ok := errors.AsType[*KickedError](err); !ok || !errors.Is(err, ErrUnknown) {
					t.Errorf("send = %v, want kicked and unknown", err)
				}
				if _, err := c.Recents(t.Context()); err == nil {
					t.Error("request after the end: no error")
				}
				if got := told.read(); got != "connecting online kicked:sameDevice closed" {
					t.Errorf("told %s", got)
				}
			})
		})
	}
}

func TestUnauthorized(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		go func() {
			p := s.next()
			p.refuse(p.want("login"), "unauthorized", 0)
		}()
		_, err := Dial(t.Context(), cfg)
		refused, ok := errors.AsType[*Error](err)
		if !ok || refused.Code != "unauthorized" || !errors.Is(err, ErrUnauthorized) {
			t.Errorf("Dial = %v, want unauthorized", err)
		}
	})
	t.Run("token source", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			cfg.Token = func(context.Context) (string, error) { return "", fmt.Errorf("logged out: %w", ErrUnauthorized) }
			if _, err := Dial(t.Context(), cfg); !errors.Is(err, ErrUnauthorized) {
				t.Errorf("Dial = %v, want unauthorized", err)
			}
		})
	})
}

// A token that ends in the middle of a session is no reason to give up: the
// next login has another.
func TestExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		n := 0
		cfg.Token = func(context.Context) (string, error) { n++; return fmt.Sprint("token ", n), nil }
		start(t, cfg)
		p, _ := s.login()
		p.ws.Close(protocol.CloseUnauthorized, "expired")
		if _, login := s.login(); login["token"] != "token 2" {
			t.Errorf("token = %v, want token 2", login["token"])
		}
	})
}

// TestLoginRefused tells refusals that end a client from those that pass.
func TestLoginRefused(t *testing.T) {
	for code, ends := range map[string]bool{
		"bad_request": true, "forbidden": true, "unauthorized": true,
		"unavailable": false, "rate_limited": false, "internal": false,
	} {
		t.Run(code, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server, cfg Config) {
				c := start(t, cfg)
				p := s.next()
				began := time.Now()
				p.refuse(p.want("login"), code, 5*time.Minute)
				if ends {
					<-c.Done()
					if refused, ok := errors.AsType[*Error](c.Err()); !ok || refused.Code != code {
						t.Errorf("Err = %v, want %s", c.Err(), code)
					}
					return
				}
				s.login()
				if waited := time.Since(began); waited < 5*time.Minute {
					t.Errorf("came back after %v, want retryAfterMs, 5m", waited)
				}
			})
		})
	}
}

func TestReconnect(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnState = func(s State) { told.add("%v", s) }
		cfg.MinBackoff, cfg.MaxBackoff = time.Second, time.Minute
		var attempts atomic.Int64
		cfg.Token = func(context.Context) (string, error) { attempts.Add(1); return "t", nil }
		c := start(t, cfg)
		p, _ := s.login()
		synctest.Wait()
		s.refuse.Store(true)
		p.ws.CloseNow()
		time.Sleep(time.Hour)
		// Pauses are uniform in 0..1m once grown: 120 attempts an hour on average.
		if n := attempts.Load(); n < 60 || n > 240 {
			t.Errorf("%d attempts in an hour, want about 120", n)
		}
		if err := c.Err(); err == nil || c.State() == StateOnline {
			t.Errorf("state %v, Err %v, want why there is no connection", c.State(), err)
		}
		s.refuse.Store(false)
		s.login()
		if got := told.read(); !strings.HasPrefix(got, "connecting online waiting") || !strings.HasSuffix(got, " connecting online") {
			t.Errorf("told %s", got)
		}
		if c.Err() != nil {
			t.Errorf("Err online = %v, want nil", c.Err())
		}
	})
}

func TestDialGivesUpWithContext(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		s.refuse.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := Dial(ctx, cfg)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Dial = %v, want deadline exceeded and why", err)
		}
	})
}

func TestSilentServer(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		start(t, cfg)
		p, _ := s.login()
		began := time.Now()
		p.ok(p.want("ping"), frame{"serverTime": 1})
		if idle := time.Since(began); idle != 25*time.Second {
			t.Errorf("first ping after %v, want 25s", idle)
		}
		p.want("ping") // stays without an answer
		s.login()
		if idle := time.Since(began); idle < 60*time.Second || idle > 61*time.Second {
			t.Errorf("connected anew after %v, want 25s + 25s + 10s and a short pause", idle)
		}
	})
}

func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.OnMessages = func([]Message) {}
		c := start(t, cfg)
		p, _ := s.login()
		p.messages(1, "one", 1)
		p.want("ack")
		out, err := c.Queue("u:bob", "hi", SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.want("send")
		go func() {
			p.ok(p.want("logout"), frame{})
			p.ws.Close(protocol.CloseNormal, "")
		}()
		began := time.Now()
		c.Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("Close took %v of a server that answers", took)
		}
		if _, err := out.Wait(t.Context()); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrUnknown) {
			t.Errorf("send = %v, want closed and unknown", err)
		}
		if !errors.Is(c.Err(), ErrClosed) || c.State() != StateClosed {
			t.Errorf("state %v, Err %v, want closed", c.State(), c.Err())
		}
	})
	t.Run("server hangs", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			c := start(t, cfg)
			s.login()
			began := time.Now()
			c.Close()
			if took := time.Since(began); took > logoutTime {
				t.Errorf("Close took %v, want at most %v", took, logoutTime)
			}
		})
	})
	t.Run("from a handler", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			var c *Client
			cfg.OnMessages = func([]Message) { c.Close() }
			c = start(t, cfg)
			p, _ := s.login()
			p.messages(1, "", 1)
			<-c.Done()
		})
	})
	t.Run("while there is no connection", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			s.refuse.Store(true)
			c := start(t, cfg)
			out, err := c.Queue("u:bob", "hi", SendOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if _, err := out.Wait(t.Context()); !errors.Is(err, ErrClosed) || errors.Is(err, ErrUnknown) {
				t.Errorf("send = %v, want closed, and known not to be sent", err)
			}
		})
	})
}

func TestHandlersMayAsk(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var c *Client
		answered := make(chan error, 1)
		cfg.OnMessages = func([]Message) {
			_, err := c.Send(t.Context(), "u:bob", "answer", SendOptions{})
			answered <- err
		}
		c = start(t, cfg)
		p, _ := s.login()
		p.messages(1, "", 1)
		p.sent(p.want("send"), 2)
		if err := <-answered; err != nil {
			t.Errorf("Send in a handler: %v", err)
		}
	})
}

// TestInboxFull floods a handler that hangs: signals are dropped, anything
// else costs the connection and comes again.
func TestInboxFull(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		hang := make(chan struct{})
		typed := 0
		cfg.OnReadReport = func(ReadReport) { <-hang }
		cfg.OnTyping = func(Typing) { typed++ }
		start(t, cfg)
		p, _ := s.login()
		p.push("onReadReport", frame{"conv": "u:bob", "seq": 1})
		for range 2 * inboxEvents {
			p.push("onTyping", frame{"user": "bob", "conv": "u:bob", "time": 1})
		}
		p.quiet()
		for i := range inboxEvents {
			if p.ws.Write(t.Context(), websocket.MessageText, nil) != nil {
				break
			}
			p.push("onReadReport", frame{"conv": "u:bob", "seq": i + 2})
		}
		s.login()
		close(hang)
		synctest.Wait()
		if typed > signalEvents {
			t.Errorf("%d signals waited, want at most %d", typed, signalEvents)
		}
	})
}

func TestTokenRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		n := 0
		cfg.Token = func(context.Context) (string, error) {
			n++
			if n == 3 {
				return "", errors.New("no network")
			}
			return jwt(time.Now().Add(10 * time.Minute)), nil
		}
		cfg.PingInterval = time.Hour
		c := start(t, cfg)
		p, login := s.login()
		began := time.Now()
		f := p.want("refreshToken")
		if waited := time.Since(began); waited != 9*time.Minute {
			t.Errorf("refreshed after %v, want 9m of 10m", waited)
		}
		if args(f)["token"] == login["token"] {
			t.Error("refreshed with the same token")
		}
		p.ok(f, frame{"exp": 1})
		began = time.Now()
		f = p.want("refreshToken")
		if waited := time.Since(began); waited < 9*time.Minute || waited >= 10*time.Minute {
			t.Errorf("refreshed after %v and one failure, want 9m-10m", waited)
		}
		p.ok(f, frame{"exp": 1})

		done := make(chan error)
		go func() { done <- c.RefreshToken(t.Context()) }()
		p.refuse(p.want("refreshToken"), "unauthorized", 0)
		if err := <-done; !errors.Is(err, ErrUnauthorized) {
			t.Errorf("RefreshToken = %v, want unauthorized", err)
		}
	})
}

func TestRestore(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnPresence = func(p Presence) { told.add("%s:%s", p.User, p.Status) }
		c := start(t, cfg)
		p, _ := s.login()
		synctest.Wait()
		done := make(chan error, 2)
		go func() { done <- c.SetBackground(t.Context(), true) }()
		p.ok(p.want("setState"), frame{})
		go func() {
			list, err := c.WatchPresence(t.Context(), "bob", "carol")
			if err == nil && (len(list) != 1 || !list[0].Online) {
				err = fmt.Errorf("presence = %v, want bob online", list)
			}
			done <- err
		}()
		p.ok(p.want("subscribePresence"), frame{"presence": frame{"bob": frame{"online": true, "lastSeen": 5}}})
		for range 2 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		p.ws.CloseNow()

		p, _ = s.login()
		f := p.want("setState")
		if args(f)["background"] != true {
			t.Errorf("setState %v, want background", f)
		}
		p.ok(f, frame{})
		f = p.want("subscribePresence")
		if users := fmt.Sprint(args(f)["users"]); users != "[bob carol]" {
			t.Errorf("watched again: %s, want [bob carol]", users)
		}
		p.ok(f, frame{"presence": frame{"bob": frame{"online": false, "lastSeen": 5}}})
		if got := told.read(); got != "bob:offline" {
			t.Errorf("told %q, want bob:offline", got)
		}
	})
}

func TestPushes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnReadReport = func(p ReadReport) { told.add("report:%v:%d", p.Conv, p.Seq) }
		cfg.OnReadReceipt = func(p ReadReceipt) { told.add("receipt:%v:%d:%d", p.Conv, p.Seq, p.Time) }
		cfg.OnRecall = func(p Recall) { told.add("recall:%v:%v:%s", p.Conv, p.Ranges, p.By) }
		cfg.OnMessagesDeleted = func(p MessagesDeleted) { told.add("deleted:%v:%v", p.Conv, p.Seqs) }
		cfg.OnConversationDeleted = func(p ConversationDeleted) { told.add("gone:%v:%t", p.Conv, p.Messages) }
		cfg.OnGroupEvent = func(p GroupEvent) { told.add("group:%s:%s", p.Group, p.Event) }
		cfg.OnTyping = func(p Typing) { told.add("typing:%s", p.User) }
		cfg.OnPresence = func(p Presence) { told.add("presence:%s:%s", p.User, p.Status) }
		cfg.OnSynced = func(p Synced) { told.add("synced:%d", p.UnreadTotal) }
		cfg.OnSkipped = func(n int) { told.add("skipped:%d", n) }
		start(t, cfg)
		p, _ := s.login()
		p.push("onReadReport", frame{"conv": "u:bob", "seq": 1})
		p.push("onReadReceipt", frame{"conv": "u:bob", "seq": 2, "time": 3})
		p.push("onRecall", frame{"conv": "u:bob", "ranges": []any{[]any{4, 5}}, "by": "bob"})
		p.push("onMessageDeleted", frame{"conv": "u:bob", "seqs": []any{6}})
		p.push("onConversationDeleted", frame{"conv": "u:bob", "messages": true})
		p.push("onGroupEvent", frame{"group": "team", "event": "joined", "by": "bob", "time": 7})
		p.push("onTyping", frame{"user": "bob", "conv": "u:bob", "time": 8})
		p.push("onPresence", frame{"user": "bob", "status": "online", "time": 9})
		p.push("onSomethingNew", frame{"a": 1})
		p.push("onNewMessage", frame{"d": 1, "messages": []any{}, "skipped": 10})
		p.push("onSynced", frame{"offline": 0, "lost": []any{}, "cursor": "c", "unreadTotal": 11})
		want := "report:u:bob:1 receipt:u:bob:2:3 recall:u:bob:[{4 5}]:bob deleted:u:bob:[6] gone:u:bob:true " +
			"group:team:joined typing:bob presence:bob:online skipped:10 synced:11"
		if got := told.read(); got != want {
			t.Errorf("told %s\nwant %s", got, want)
		}
	})
}

func TestConfig(t *testing.T) {
	good := Config{URL: "http://host", Device: "phone", Token: func(context.Context) (string, error) { return "", nil }}
	for field, spoil := range map[string]func(*Config){
		"URL":           func(c *Config) { c.URL = "ftp://host" },
		"Token":         func(c *Config) { c.Token = nil },
		"Device":        func(c *Config) { c.Device = "" },
		"Platform":      func(c *Config) { c.Platform = strings.Repeat("x", 65) },
		"Recents":       func(c *Config) { c.Recents = "some" },
		"Resume":        func(c *Config) { c.Resume.Groups = make([]protocol.GroupCursor, 201) },
		"QueueMessages": func(c *Config) { c.QueueMessages = -1 },
		"MaxBackoff":    func(c *Config) { c.MaxBackoff = -1 },
	} {
		cfg := good
		spoil(&cfg)
		_, err := New(cfg)
		if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != field {
			t.Errorf("%s: New = %v, want it named", field, err)
		}
	}
	for url, want := range map[string]string{
		"http://host:8080": "http://host:8080/v1/ws", "wss://host/": "wss://host/v1/ws", "ws://host/chat": "ws://host/chat",
	} {
		cfg := good
		cfg.URL = url
		cfg, err := cfg.withDefaults()
		if err != nil || cfg.URL != want {
			t.Errorf("URL %s = %s, %v, want %s", url, cfg.URL, err, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{least: time.Second, most: time.Minute}
	var longest time.Duration
	for n := range 100 {
		ceiling := time.Minute
		if n < 6 {
			ceiling = time.Second << n
		}
		pause := b.next()
		if pause < 0 || pause > ceiling {
			t.Fatalf("pause %d = %v, want at most %v", n, pause, ceiling)
		}
		longest = max(longest, pause)
	}
	if longest < 30*time.Second {
		t.Errorf("longest of 100 pauses = %v, want near 1m", longest)
	}
}

func TestHeld(t *testing.T) {
	h := newHeld(Cursor{})
	id := func(n int) (id protocol.ID) {
		id[14], id[15] = byte(n>>8), byte(n)
		return id
	}
	for n := range maxSeen + 10 {
		if !h.add(id(n)) {
			t.Fatalf("id %d is not new", n)
		}
	}
	if len(h.seen) != maxSeen || len(h.order) != maxSeen {
		t.Errorf("%d ids held, want %d", len(h.seen), maxSeen)
	}
	if h.add(id(10)) || !h.add(id(9)) {
		t.Error("the bound forgot another id than the oldest")
	}
	for n := range 300 {
		h.move("", []protocol.GroupCursor{{Group: fmt.Sprint(n), Cursor: "c"}, {Group: "busy", Cursor: fmt.Sprint(n)}})
	}
	groups := h.cursor().Groups
	if len(groups) != protocol.MaxLoginGroups || groups[199] != (protocol.GroupCursor{Group: "busy", Cursor: "299"}) {
		t.Errorf("%d groups, last %v, want 200, busy at 299", len(groups), groups[len(groups)-1])
	}
	if slices.Contains(groups, protocol.GroupCursor{Group: "0", Cursor: "c"}) {
		t.Error("the bound kept the group that was silent longest")
	}
}
