package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestOps(t *testing.T) {
	yes := true
	checkOps(t, []opCase{
		{
			"getMessage",
			func(ctx context.Context, c *Client) (any, error) {
				page, err := c.History(ctx, "u:bob", Query{Before: 9, Limit: 2})
				return fmt.Sprint(len(page.Messages), page.From, page.To, page.Gaps, page.More), err
			},
			"map[before:9 conv:u:bob limit:2]",
			frame{"messages": []any{message(7), message(8)}, "from": 5, "to": 8, "gaps": []any{frame{"from": 5, "to": 6, "reason": "recalled"}}, "more": true},
			"2 5 8 [{5 6 recalled}] true",
		},
		{
			"getMessage",
			func(ctx context.Context, c *Client) (any, error) {
				_, err := c.History(ctx, "u:bob", Query{From: 3, To: 5})
				return nil, err
			},
			"map[conv:u:bob range:[3 5]]", frame{"messages": []any{}, "from": 0, "to": 0, "gaps": []any{}, "more": false}, "<nil>",
		},
		{
			"getMessage",
			func(ctx context.Context, c *Client) (any, error) {
				_, err := c.History(ctx, "u:bob", Query{FromStart: true})
				return nil, err
			},
			"map[after:0 conv:u:bob]", frame{"messages": []any{}, "from": 0, "to": 0, "gaps": []any{}, "more": false}, "<nil>",
		},
		{
			"getRecents",
			func(ctx context.Context, c *Client) (any, error) {
				list, err := c.Recents(ctx)
				first := list.Conversations[0]
				return fmt.Sprint(len(list.Conversations), first.Conv, first.Unread, first.Last.Seq, list.More), err
			},
			"map[]",
			frame{"conversations": []any{frame{"conv": "u:bob", "lastSeq": 7, "time": 1, "readSeq": 5, "unread": 2, "last": message(7)}}},
			"1 u:bob 2 7 false",
		},
		{
			"getConversations",
			func(ctx context.Context, c *Client) (any, error) {
				list, err := c.ServerConversations(ctx, "u9", 0)
				return fmt.Sprintf("%s %v %s", list.Conversations[0].Conv, list.More, list.After), err
			},
			"map[after:u9]",
			frame{"conversations": []any{frame{"conv": "u:bob", "lastSeq": 0, "time": 1, "readSeq": 5}}, "more": true, "after": "u8"},
			"u:bob true u8",
		},
		{
			"readReport",
			func(ctx context.Context, c *Client) (any, error) { return c.ReadReport(ctx, "u:bob", 4) },
			"map[conv:u:bob seq:4]", frame{"unread": 3}, "3",
		},
		{
			"recall",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Recall(ctx, "u:bob", 4) },
			"map[conv:u:bob seq:4]", frame{}, "<nil>",
		},
		{
			"deleteMessage",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.DeleteMessages(ctx, "u:bob", 4, 6) },
			"map[conv:u:bob seqs:[4 6]]", frame{}, "<nil>",
		},
		{
			"deleteConversation",
			func(ctx context.Context, c *Client) (any, error) {
				return nil, c.DeleteConversation(ctx, "u:bob", true)
			},
			"map[conv:u:bob messages:true]", frame{}, "<nil>",
		},
		{
			"setConversation",
			func(ctx context.Context, c *Client) (any, error) {
				return nil, c.SetConversation(ctx, "u:bob", Setting{Pinned: &yes})
			},
			"map[conv:u:bob pinned:true]", frame{}, "<nil>",
		},
		{
			"block",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Block(ctx, "bob") },
			"map[user:bob]", frame{}, "<nil>",
		},
		{
			"unblock",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Unblock(ctx, "bob") },
			"map[user:bob]", frame{}, "<nil>",
		},
		{
			"getBlocked",
			func(ctx context.Context, c *Client) (any, error) { return c.Blocked(ctx) },
			"map[]", frame{"users": []any{"bob"}}, "[bob]",
		},
		{
			"getPresence",
			func(ctx context.Context, c *Client) (any, error) { return c.Presence(ctx, "bob", "carol") },
			"map[users:[bob carol]]", frame{"presence": frame{"bob": frame{"online": false, "lastSeen": 5}}}, "[{bob false 5}]",
		},
	})
}

// An opCase is a request, with what goes over the wire and comes of it.
type opCase struct {
	op   string
	ask  func(context.Context, *Client) (any, error)
	args string // as fmt prints a map: keys in order
	ok   frame
	want string
}

func checkOps(t *testing.T, cases []opCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.op, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server, cfg Config) {
				client := start(t, cfg)
				p, _ := s.login()
				// A request that the connection breaks under is asked again.
				go func() {
					p.want(c.op)
					p.ws.CloseNow()
					p, _ := s.login()
					f := p.want(c.op)
					if got := fmt.Sprint(map[string]any(args(f))); got != c.args {
						t.Errorf("%s args = %s, want %s", c.op, got, c.args)
					}
					p.ok(f, c.ok)
				}()
				got, err := c.ask(t.Context(), client)
				if err != nil || fmt.Sprint(got) != c.want {
					t.Errorf("%s = %v, %v, want %s", c.op, got, err, c.want)
				}
			})
		})
	}
}

func TestOpsRefuse(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		s.refuse.Store(true)
		c := start(t, cfg)
		ctx := t.Context()
		for i, check := range []struct {
			field string
			ask   func() error
		}{
			{"conv", func() error { _, err := c.History(ctx, "bob", Query{}); return err }},
			{"Query", func() error { _, err := c.History(ctx, "u:bob", Query{Before: 1, After: 1}); return err }},
			{"From", func() error { _, err := c.History(ctx, "u:bob", Query{From: 3, To: 2}); return err }},
			{"From", func() error { _, err := c.History(ctx, "u:bob", Query{To: 2}); return err }},
			{"Limit", func() error { _, err := c.History(ctx, "u:bob", Query{Limit: 101}); return err }},
			{"seq", func() error { _, err := c.ReadReport(ctx, "u:bob", 0); return err }},
			{"conv", func() error { return c.Recall(ctx, "x:bob", 1) }},
			{"seqs", func() error { return c.DeleteMessages(ctx, "u:bob") }},
			{"seqs", func() error { return c.DeleteMessages(ctx, "u:bob", make([]uint64, 3)...) }},
			{"user", func() error { return c.Block(ctx, "") }},
			{"users", func() error { _, err := c.Presence(ctx); return err }},
			{"users", func() error { _, err := c.WatchPresence(ctx, make([]string, 101)...); return err }},
			{"conv", func() error { return c.Typing("bob") }},
		} {
			err := check.ask()
			if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != check.field {
				t.Errorf("%d: error = %v, want one of %s", i, err, check.field)
			}
		}
	})
}

func TestTyping(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		s.refuse.Store(true)
		c := start(t, cfg)
		if err := c.Typing("u:bob"); err != nil {
			t.Errorf("Typing without connection = %v, want nil", err)
		}
		s.refuse.Store(false)
		p, _ := s.login()
		p.quiet() // a notice of then means nothing now
		for range 3 * maxNotices {
			if err := c.Typing("u:bob"); err != nil {
				t.Fatal(err)
			}
		}
		f := p.want("typing")
		if f["id"] != nil || args(f)["conv"] != "u:bob" {
			t.Errorf("typing = %v, want a notice of u:bob", f)
		}
	})
}

// TestManyRequests reaches the bound of requests that wait.
func TestManyRequests(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		s.refuse.Store(true)
		c := start(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		errs := make(chan error, maxCalls+5)
		for range cap(errs) {
			go func() {
				_, err := c.Recents(ctx)
				errs <- err
			}()
		}
		full := 0
		for range cap(errs) {
			switch err := <-errs; {
			case errors.Is(err, ErrQueueFull):
				full++
			case !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("Recents = %v", err)
			}
		}
		if full != 5 {
			t.Errorf("%d requests refused, want 5", full)
		}
	})
}

// TestWatchedAreBounded follows more users than one client may.
func TestWatchedAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		synctest.Wait()
		watch := func(ctx context.Context, from, to int) error {
			var users []string
			for n := from; n < to; n++ {
				users = append(users, fmt.Sprint("user", n))
			}
			_, err := c.WatchPresence(ctx, users...)
			return err
		}
		go func() {
			for range maxWatched / 100 {
				p.ok(p.want("subscribePresence"), frame{"presence": frame{}})
			}
		}()
		for n := 0; n < maxWatched; n += 100 {
			if err := watch(t.Context(), n, n+100); err != nil {
				t.Fatal(err)
			}
		}
		if wrong, ok := errors.AsType[*FieldError](watch(t.Context(), maxWatched, maxWatched+1)); !ok || wrong.Field != "users" {
			t.Errorf("one more: %v, want an error of users", wrong)
		}
		c.unwatch([]string{"user0"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := watch(ctx, maxWatched, maxWatched+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without an answer: %v", err)
		}
		if _, err := c.watch([]string{"another"}); err != nil {
			t.Errorf("a watch that failed is counted: %v", err)
		}
	})
}
