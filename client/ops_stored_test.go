package client

import (
	"fmt"
	"testing"
	"testing/synctest"
)

// TestReportAndNewMessage: a message that comes while a read report is on its way counts as
// unread once, whether the server's answer counts it or not, and whichever comes first.
func TestReportAndNewMessage(t *testing.T) {
	for _, first := range []bool{false, true} {
		for counted := range 2 {
			t.Run(fmt.Sprint("message first ", first, ", counted ", counted), func(t *testing.T) {
				inBubble(t, func(t *testing.T, s *server, cfg Config) {
					cfg.Store, cfg.ManualRead = Memory(), true
					c := start(t, cfg)
					p, _ := s.login()
					p.messages(1, "at 1", 1)
					p.push("onSynced", frame{"cursor": "synced"})
					p.want("ack")
					got := make(chan int, 1)
					go func() {
						unread, err := c.ReadReport(t.Context(), "u:bob", 1)
						if err != nil {
							t.Error(err)
						}
						got <- unread
					}()
					f := p.want("readReport")
					if first {
						p.messages(2, "at 2", 2)
						synctest.Wait()
					}
					p.ok(f, frame{"unread": counted})
					if unread := <-got; unread != counted {
						t.Errorf("ReadReport = %d, want the server's %d", unread, counted)
					}
					if !first {
						p.messages(2, "at 2", 2)
					}
					synctest.Wait()
					list, err := c.Conversations(0, 0)
					if err != nil || list.Unread != 1 || list.List[0].ReadSeq != 1 {
						t.Errorf("Conversations = %+v, %v, want 1 unread, read up to 1", list, err)
					}
				})
			})
		}
	}
}

// TestReportPartlyHeld: the server's count is taken of what the store does not have, and what
// came meanwhile is added.
func TestReportPartlyHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		c := start(t, cfg)
		p, _ := s.login()
		p.push("onSynced", frame{"cursor": "synced", "conversations": []any{
			frame{"conv": "g:team", "lastSeq": 50, "time": 1, "readSeq": 0, "unread": 50, "cursor": "team"},
		}})
		synctest.Wait()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := c.ReadReport(t.Context(), "g:team", 10); err != nil {
				t.Error(err)
			}
		}()
		f := p.want("readReport")
		m := message(51)
		m["conv"] = "g:team"
		p.push("onNewMessage", frame{"d": 1, "messages": []any{m}})
		synctest.Wait()
		p.ok(f, frame{"unread": 30}) // ten of them are the user's own
		<-done
		if list, err := c.Conversations(0, 0); err != nil || list.Unread != 31 {
			t.Errorf("Conversations = %+v, %v, want 31 unread", list, err)
		}
	})
}

// TestDeleteConversationAndNewMessage: what comes while a conversation is being deleted stays.
func TestDeleteConversationAndNewMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		c := start(t, cfg)
		p, _ := s.login()
		p.messages(1, "at 1", 1)
		p.push("onSynced", frame{"cursor": "synced"})
		p.want("ack")
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := c.DeleteConversation(t.Context(), "u:bob", true); err != nil {
				t.Error(err)
			}
		}()
		f := p.want("deleteConversation")
		p.messages(2, "at 2", 2)
		synctest.Wait()
		p.ok(f, frame{})
		<-done
		if got, want := local(t, c, "u:bob"), "1-2 [2] [{1 1 deleted}] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		if list, err := c.Conversations(0, 0); err != nil || len(list.List) != 1 {
			t.Errorf("Conversations = %+v, %v, want bob's", list, err)
		}
	})
}

// TestAgreedBeforeReset: what was asked for before the store was reset changes nothing of
// what came since, for its seqs named other messages.
func TestAgreedBeforeReset(t *testing.T) {
	for op, ask := range map[string]func(t *testing.T, c *Client) error{
		"deleteMessage":      func(t *testing.T, c *Client) error { return c.DeleteMessages(t.Context(), "u:bob", 1) },
		"deleteConversation": func(t *testing.T, c *Client) error { return c.DeleteConversation(t.Context(), "u:bob", true) },
	} {
		t.Run(op, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server, cfg Config) {
				cfg.Store = Memory()
				c := start(t, cfg)
				p, _ := s.login()
				p.messages(1, "at 1", 1)
				p.push("onSynced", frame{"cursor": "synced"})
				p.want("ack")
				done := make(chan struct{})
				go func() {
					defer close(done)
					if err := ask(t, c); err != nil {
						t.Error(err)
					}
				}()
				p.want(op)
				p.ws.CloseNow()
				p, _ = s.login()
				f := p.want(op)
				m := message(1)
				m["id"] = ulidOf(99) // another one
				p.push("onNewMessage", frame{"d": 1, "messages": []any{m}})
				p.push("onSynced", frame{"cursor": "new", "reset": true})
				synctest.Wait()
				p.ok(f, frame{})
				<-done
				if got, want := local(t, c, "u:bob"), "1-1 [1] [] more false"; got != want {
					t.Errorf("local %s, want %s", got, want)
				}
			})
		})
	}
}

// TestReadBeforeSynced: what is read between a login and its onSynced, by a report or by a send
// to a group, stays read although onSynced says what was at the login. A cursor that is lower at
// a later login was set back, and is taken over.
func TestReadBeforeSynced(t *testing.T) {
	group := func(read, unread int) frame {
		return frame{"conv": "g:team", "lastSeq": 20, "time": 1, "readSeq": read, "unread": unread, "markedUnread": true, "cursor": "team"}
	}
	for _, tc := range []struct {
		name         string
		act          func(*testing.T, *Client, *peer)
		read, unread int
	}{
		{"report", func(t *testing.T, c *Client, p *peer) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				if unread, err := c.ReadReport(t.Context(), "g:team", 15); err != nil || unread != 4 {
					t.Errorf("ReadReport = %d, %v, want 4", unread, err)
				}
			}()
			p.ok(p.want("readReport"), frame{"unread": 4}) // one of five is the user's own
			<-done
		}, 15, 4},
		{"send", func(t *testing.T, c *Client, p *peer) {
			out, err := c.Queue("g:team", "hi", SendOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.ok(p.want("send"), frame{"id": ulidOf(21), "seq": 21, "time": 2})
			if _, err := out.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, 21, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server, cfg Config) {
				cfg.Store = Memory()
				c := start(t, cfg)
				want := func(when string, read, unread int) {
					t.Helper()
					synctest.Wait()
					list, err := c.Conversations(0, 0)
					if err != nil || len(list.List) != 1 || list.Unread != unread || int(list.List[0].ReadSeq) != read {
						t.Errorf("%s: Conversations = %+v, %v, want %d unread, read up to %d", when, list, err, unread, read)
					}
				}
				p, _ := s.login()
				p.push("onSynced", frame{"cursor": "synced", "conversations": []any{group(10, 10)}})
				want("first login", 10, 10)
				p.ws.CloseNow()

				p, _ = s.login()
				tc.act(t, c, p)
				p.push("onSynced", frame{"cursor": "synced", "conversations": []any{group(10, 10)}})
				want("after onSynced", tc.read, tc.unread)
				if list, err := c.Conversations(0, 0); err != nil || list.List[0].Marked {
					t.Errorf("Conversations = %+v, %v, want it marked as unread no more", list, err)
				}
				p.ws.CloseNow()

				p, _ = s.login()
				p.push("onSynced", frame{"cursor": "synced", "conversations": []any{group(5, 15)}})
				want("set back", 5, 15)
			})
		})
	}
}
