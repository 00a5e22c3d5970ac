package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

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
				// States that pass while nobody could be told are left out.
				got := strings.TrimPrefix(strings.TrimPrefix(told.read(), "connecting "), "online ")
				if got != "kicked:sameDevice closed" {
					t.Errorf("told %s at the end, want kicked:sameDevice closed", got)
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
			cfg.Token = func(context.Context, TokenReason) (string, error) {
				return "", fmt.Errorf("logged out: %w", ErrUnauthorized)
			}
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
		cfg.Token = func(_ context.Context, why TokenReason) (string, error) { n++; return fmt.Sprint(why, " ", n), nil }
		start(t, cfg)
		p, _ := s.login()
		p.ws.Close(protocol.CloseUnauthorized, "expired")
		p, login := s.login()
		if login["token"] != "refused 2" {
			t.Errorf("token = %v, want refused 2", login["token"])
		}
		p.ws.CloseNow()
		if _, login := s.login(); login["token"] != "login 3" {
			t.Errorf("token = %v, want login 3", login["token"])
		}
	})
}

// TestTokenRefused: the application is asked for another token than a refused one, with pauses
// that grow however fresh each is; and the client ends once there is no other.
func TestTokenRefused(t *testing.T) {
	for last, want := range map[string]string{"the same": "the same again", "none": "signed out"} {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			cfg.MinBackoff, cfg.MaxBackoff = time.Second, time.Hour
			var told diary
			n := 0
			cfg.Token = func(_ context.Context, why TokenReason) (string, error) {
				told.add("%s", why)
				if n++; n < 13 {
					return fmt.Sprint(n), nil
				}
				if last == "none" {
					return "", fmt.Errorf("signed out: %w", ErrUnauthorized)
				}
				return "12", nil
			}
			c := start(t, cfg)
			began := time.Now()
			for i := 1; i < 13; i++ {
				p := s.next()
				f := p.want("login")
				if args(f)["token"] != fmt.Sprint(i) {
					t.Errorf("login with token %v, want %d", args(f)["token"], i)
				}
				p.refuse(f, "unauthorized", 0)
				p.ws.Close(protocol.CloseUnauthorized, "token refused")
			}
			<-c.Done()
			if got, want := told.read(), "login"+strings.Repeat(" refused", 12); got != want {
				t.Errorf("asked %s, want %s", got, want)
			}
			// At random up to 1+2+4+…+2048 s; pauses that do not grow make no more than 12 s.
			if took := time.Since(began); took < 13*time.Second {
				t.Errorf("twelve refusals took %v", took)
			}
			if err := c.Err(); !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), want) {
				t.Errorf("Err = %v, want unauthorized and %q", err, want)
			}
		})
	}
}

// TestNoTokenToRefresh: a client whose application has no more token when the last one expires
// ends before the server ends it.
func TestNoTokenToRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Token = func(_ context.Context, why TokenReason) (string, error) {
			if why == TokenExpiring {
				return "", ErrUnauthorized
			}
			return jwt(time.Now().Add(10 * time.Minute)), nil
		}
		cfg.PingInterval = time.Hour
		c := start(t, cfg)
		began := time.Now()
		s.login()
		<-c.Done()
		if took := time.Since(began); took != 9*time.Minute || !errors.Is(c.Err(), ErrUnauthorized) {
			t.Errorf("ended after %v with %v, want 9m, unauthorized", took, c.Err())
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

// TestGoingAway comes back when a server that stops says so.
func TestGoingAway(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.MinBackoff, cfg.MaxBackoff = time.Millisecond, time.Millisecond
		start(t, cfg)
		p, _ := s.login()
		synctest.Wait()
		began := time.Now()
		p.ws.Close(protocol.CloseGoingAway, protocol.CloseReason("server going away", time.Minute))
		s.login()
		if waited := time.Since(began); waited < time.Minute || waited > 61*time.Second {
			t.Errorf("came back after %v, want a minute", waited)
		}
	})
}

func TestReconnect(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnState = func(s State) { told.add("%v", s) }
		cfg.MinBackoff, cfg.MaxBackoff = time.Second, time.Minute
		var attempts atomic.Int64
		cfg.Token = func(context.Context, TokenReason) (string, error) { attempts.Add(1); return "t", nil }
		c := start(t, cfg)
		synctest.Wait() // or "connecting" could be left out
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

func TestTokenRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		n := 0
		var last TokenReason
		cfg.Token = func(_ context.Context, why TokenReason) (string, error) {
			n++
			last = why
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
		synctest.Wait()

		done := make(chan error)
		go func() { done <- c.RefreshToken(t.Context()) }()
		p.refuse(p.want("refreshToken"), "unauthorized", 0)
		if err := <-done; !errors.Is(err, ErrUnauthorized) {
			t.Errorf("RefreshToken = %v, want unauthorized", err)
		}
		if last != TokenExpiring {
			t.Errorf("asked because of %q, want expiring", last)
		}
		go func() { done <- c.RefreshToken(t.Context()) }()
		p.ok(p.want("refreshToken"), frame{"exp": 1})
		if err := <-done; err != nil || last != TokenRefused {
			t.Errorf("RefreshToken = %v, asked because of %q, want refused", err, last)
		}
	})
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

// TestNodes has a server with three addresses: a client that has lost its connection
// goes to the next, and does not always begin with the first.
func TestNodes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.MoreURLs = []string{"ws://b.test", "ws://c.test"}
		first := map[string]bool{}
		for len(first) < 3 {
			c := start(t, cfg)
			var order []string
			for range 4 {
				p, _ := s.login()
				order = append(order, p.host)
				p.ws.CloseNow()
			}
			first[order[0]] = true
			if slices.Sort(order[1:]); !slices.Equal(order[1:], []string{"b.test", "belfry.test", "c.test"}) {
				t.Fatalf("attempts behind the first went to %v, want each address once", order[1:])
			}
			c.Close()
		}
	})
}
