package client

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestRestoreGoesOn: what the server cannot restore now is asked for again, what it refuses
// does not hold up the rest, and none of that holds up a fresh token.
func TestRestoreGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.PingInterval = time.Hour
		cfg.Token = func(context.Context, TokenReason) (string, error) { return jwt(time.Now().Add(10 * time.Minute)), nil }
		c := start(t, cfg)
		p, _ := s.login()
		synctest.Wait() // the session has nothing to restore
		done := make(chan error, 1)
		ask := func(op string, request func() error) {
			t.Helper()
			go func() { done <- request() }()
			p.ok(p.want(op), frame{})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		ask("setState", func() error { return c.SetBackground(t.Context(), true) })
		ask("joinGroup", func() error { return c.JoinLive(t.Context(), "show") })
		ask("subscribePresence", func() error { _, err := c.WatchPresence(t.Context(), "bob"); return err })
		p.ws.CloseNow()

		p, _ = s.login()
		p.refuse(p.want("setState"), "internal", 0)
		f := p.want("setState") // without an answer for as long as the token lasts
		p.ok(p.want("refreshToken"), frame{"exp": 1})
		p.ok(f, frame{})
		p.refuse(p.want("joinGroup"), "forbidden", 0)
		p.ok(p.want("subscribePresence"), frame{})
		p.ws.CloseNow()

		p, _ = s.login()
		p.ok(p.want("setState"), frame{})
		p.ok(p.want("subscribePresence"), frame{}) // and not the group that refuses
	})
}

// TestRestoreAndChange: what the application changes while a session is being restored is not
// put back.
func TestRestoreAndChange(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		synctest.Wait() // the session has nothing to restore
		done := make(chan error, 1)
		for _, group := range []string{"left", "other", "removed"} {
			go func() { done <- c.JoinLive(t.Context(), group) }()
			p.ok(p.want("joinGroup"), frame{})
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		go func() { done <- c.SetBackground(t.Context(), true) }()
		p.ok(p.want("setState"), frame{})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		p.push("onGroupEvent", frame{"group": "removed", "event": "removed", "by": "bob", "users": []any{"alice"}, "time": 1})
		synctest.Wait()
		p.ws.CloseNow()

		p, _ = s.login()
		background := p.want("setState")
		go func() { done <- c.LeaveGroup(t.Context(), "left") }()
		p.ok(p.want("leaveGroup"), frame{})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		p.ok(background, frame{})
		f := p.want("joinGroup")
		if args(f)["group"] != "other" {
			t.Errorf("joined again: %v, want other", args(f)["group"])
		}
		p.ok(f, frame{})
		p.quiet()
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
