package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestNewestIsAsked: of a conversation whose newest seq the store was never told, Messages asks
// for the newest page, whatever cursors the login had; and of none a second time.
func TestNewestIsAsked(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, c *Client, p *peer, conv string){
		"never named": func(*testing.T, *Client, *peer, string) {},
		"imported": func(t *testing.T, c *Client, _ *peer, conv string) {
			body, _ := protocol.EncodeBody("old")
			if err := c.ImportMessages(conv, []Message{{From: "bob", Seq: 1, Time: 1, Body: body}}); err != nil {
				t.Fatal(err)
			}
		},
		"recalled": func(_ *testing.T, _ *Client, p *peer, conv string) {
			p.push("onRecall", frame{"conv": conv, "ranges": []any{[]any{1, 1}}, "by": "bob"})
		},
		"enabled again": func(t *testing.T, c *Client, p *peer, conv string) {
			push := func(d int) {
				m := message(d)
				m["conv"] = conv
				p.push("onNewMessage", frame{"d": d, "messages": []any{m}})
				synctest.Wait()
			}
			push(1)
			if err := c.DisableStorage(conv); err != nil {
				t.Fatal(err)
			}
			push(2)
			if err := c.EnableStorage(conv); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server, cfg Config) {
				for _, conv := range []string{"u:bob", "g:team"} {
					for _, again := range []bool{false, true} {
						cfg.Store = Memory()
						c := start(t, cfg)
						p, _ := s.login()
						p.push("onGroupEvent", frame{"group": "team", "event": "joined", "users": []any{"alice"}, "time": 1, "cursor": "team"})
						p.push("onSynced", frame{"cursor": "synced"})
						synctest.Wait()
						begin(t, c, p, conv)
						if again {
							p.ws.CloseNow()
							var login frame
							p, login = s.login()
							if login["since"] != "synced" || login["groups"] == nil {
								t.Fatalf("login %v, want cursors", login)
							}
							p.push("onSynced", frame{"cursor": "synced"})
						}
						synctest.Wait()
						for len(p.frames) > 0 {
							<-p.frames // acks
						}
						got := make(chan string, 2)
						ask := func() {
							page, err := c.Messages(t.Context(), conv, Query{Limit: 1})
							got <- fmt.Sprint(len(page.Messages) == 1 && page.Messages[0].Seq == 9, " ", err)
						}
						go ask()
						m := message(9)
						m["conv"] = conv
						f := p.want("getMessage")
						p.ok(f, frame{"messages": []any{m}, "from": max(number(args(f)["after"]), 0) + 1, "to": 9})
						ask()
						p.quiet()
						for range 2 {
							if page, want := <-got, "true <nil>"; page != want {
								t.Errorf("%s: has 9, error: %s, want %s", conv, page, want)
							}
						}
						go func() { p.ok(p.want("logout"), frame{}); p.ws.CloseNow() }()
						c.Close()
						<-c.Done()
					}
				}
			})
		})
	}
}

func TestLocalOperations(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		c := start(t, cfg)
		p, _ := s.login()
		body := func(v any) []byte { b, _ := protocol.EncodeBody(v); return b }
		err := c.ImportMessages("u:bob", []Message{
			{ID: protocol.ID{1}, From: "bob", Seq: 1, Time: 10, Body: body(map[string]any{"text": "The quick Fox"})},
			{ID: protocol.ID{2}, From: "bob", Seq: 2, Time: 20, Body: body([]any{"foxes", int64(3)})},
			{ID: protocol.ID{3}, From: "bob", Seq: 3, Time: time.Now().UnixMilli(), TTL: 60, Body: body("a fox for a minute")},
		})
		if err != nil {
			t.Fatal(err)
		}
		find := func(search Search) string {
			found, err := c.SearchLocal(search)
			if err != nil {
				t.Fatal(err)
			}
			return describe(Page{Messages: found})
		}
		for _, test := range []struct {
			search Search
			want   string
		}{
			{Search{Text: "FOX"}, "[3 2 1]"},
			{Search{Text: "fox", Words: true}, "[3 1]"},
			{Search{Text: "fox quick", Words: true, Conv: "u:bob"}, "[1]"},
			{Search{Text: "fox", Limit: 1}, "[3]"},
			{Search{Text: "text"}, "[]"},
			{Search{Text: "fox", Conv: "u:eve"}, "[]"},
			{Search{}, "[]"},
		} {
			if got := find(test.search); !strings.Contains(got, " "+test.want+" ") {
				t.Errorf("%+v found %s, want %s", test.search, got, test.want)
			}
		}
		if err := c.DeleteLocalMessages("u:bob", 1, 99); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if got, want := local(t, c, "u:bob"), "1-3 [2] [{1 1 deleted} {3 3 expired}] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		p.messages(1, "", 1) // deleted here: it stays so, and is not asked for
		if m, err := c.FindMessage(t.Context(), "u:bob", 2); err != nil || m.Seq != 2 {
			t.Errorf("FindMessage(2) = %v, %v", m.Seq, err)
		}
		_, err = c.FindMessage(t.Context(), "u:bob", 1)
		if gap, ok := errors.AsType[*GapError](err); !ok || gap.Reason != protocol.GapDeleted {
			t.Errorf("FindMessage(1) = %v, want deleted", err)
		}
		if err := c.DeleteLocalConversation("u:bob", true); err != nil {
			t.Fatal(err)
		}
		if got, want := local(t, c, "u:bob"), "1-3 [] [{1 3 deleted}] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		bad := func(want string, err error) {
			if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != want {
				t.Errorf("error %v, want one of %s", err, want)
			}
		}
		bad("Seq", c.ImportMessages("u:bob", []Message{{From: "bob", Body: body(1)}}))
		bad("Body", c.ImportMessages("u:bob", []Message{{From: "bob", Seq: 1}}))
		// The store could not read these again, nor then anything else.
		bad("Mentions", c.ImportMessages("u:bob", []Message{{From: "bob", Seq: 1, Body: body(1), Mentions: []string{"\xff"}}}))
		bad("Mentions", c.ImportMessages("u:bob", []Message{{From: "bob", Seq: 1, Body: body(1), Mentions: slices.Repeat([]string{"bob"}, protocol.MaxMentions+1)}}))
		bad("seqs", c.DeleteLocalMessages("u:bob", 0))
		_, err = c.Conversations(-1, 0)
		bad("skip", err)
	})
}
