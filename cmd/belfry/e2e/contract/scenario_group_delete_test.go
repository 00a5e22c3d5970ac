package contract

// Scenario 13: an administrator deletes what a member sent to a group. The calls
// are plain HTTP on the administration listener.

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// deletes requires that a call deletes n messages.
func (w *world) deletes(path string, n int) {
	w.t.Helper()
	status, reply, err := w.AdminAs(w.AdminToken, "DELETE", path, nil)
	if err != nil || status != http.StatusOK {
		w.t.Fatalf("DELETE %s: status %d %v, %v", path, status, reply, err)
	}
	check(w.t, "DELETE "+path, reply["deleted"], n)
}

// denied requires that an administrator's call is refused with this status and
// code.
func (w *world) denied(token, method, path string, in any, status int, code string) {
	w.t.Helper()
	got, reply, err := w.AdminAs(token, method, path, in)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	if text, _ := reply["message"].(string); got != status || reply["code"] != code || text == "" {
		w.t.Errorf("%s %s: status %d %v, want %d with code %s and a message", method, path, got, reply, status, code)
	}
}

// A crowd is a group in which alice wrote 1, 3 and 5, bob 2, and carol 4.
type crowd struct {
	id                string
	alice, bob, carol *device
	messages          []groupMessage
}

func (w *world) crowd() *crowd {
	w.t.Helper()
	g := &crowd{}
	g.alice, g.bob, g.carol = w.online(w.alice, "phone", nil), w.online(w.bob, "phone", nil), w.online(w.carol, "phone", nil)
	g.id = w.groupOf(g.alice, "public", w.bob, w.carol)
	for i, c := range []*device{g.alice, g.bob, g.alice, g.carol, g.alice} {
		m := c.tells(g.id, string(rune('1'+i)))
		g.messages = append(g.messages, m...)
		for _, other := range []*device{g.alice, g.bob, g.carol} {
			if other != c {
				other.hears(m...)
			}
		}
	}
	return g
}

// goneOf waits until the device has been told that what sender wrote in these
// seqs is gone. The ranges may hold what others wrote.
func (c *device) goneOf(group, sender string, seqs ...int64) {
	c.T.Helper()
	got := map[int64]string{}
	for _, seq := range seqs {
		for got[seq] != sender {
			for seq, sender := range recalls(c.T, group, "", wstest.Push{Op: "onRecall", Args: c.Expect("onRecall")}) {
				got[seq] = sender
			}
		}
	}
}

func TestScenario13DeleteBySender(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		g := w.crowd()
		m, conv := g.messages, "g:"+g.id
		away := w.login(w.bob, "away", nil)
		away.Pushes()
		away.DropWhenHandled()
		path := "/v1/groups/" + g.id + "/messages?sender=" + w.alice

		// Who is no administrator changes nothing.
		for _, token := range []string{"", "no such token", w.Token(w.alice), harness.ReadToken[:10]} {
			w.denied(token, "DELETE", path, nil, http.StatusUnauthorized, "unauthorized")
		}
		w.denied(harness.ReadToken, "DELETE", path, nil, http.StatusForbidden, "forbidden")
		g.alice.Refused("deleteBySender", obj{"group": g.id, "sender": w.bob}, "unknown_op")
		w.denied(w.AdminToken, "DELETE", "/v1/groups/no.such.group/messages?sender="+w.alice, nil, http.StatusNotFound, "not_found")
		check(t, "getMessage before", g.bob.Request("getMessage", obj{"conv": conv}), page(1, 5, false, objs(m...)))

		w.deletes(path, 3)
		for _, c := range []*device{g.alice, g.bob, g.carol} {
			c.goneOf(g.id, w.alice, 1, 3, 5)
		}
		history := page(1, 5, false, objs(m[1], m[3]), gap(1, 1, "deleted"), gap(3, 3, "deleted"), gap(5, 5, "deleted"))
		afterwards := func() {
			t.Helper()
			for _, c := range []*device{g.alice, g.bob, g.carol} {
				check(t, "getMessage of "+c.User, c.Request("getMessage", obj{"conv": conv}), history)
			}
			fresh := w.login(w.bob, "fresh", nil)
			all := fresh.Pushes()
			check(t, "messages", messagesIn(all), objs(m[3]))
			check(t, "changes", changesIn(all), []any{})
			check(t, "onSynced", syncedIn(all), syncedArgs(0, 1, groupEntry(m[3], 2, 1)))
			fresh.Logout()
		}
		afterwards()
		w.deletes(path, 0) // nothing is left
		w.deletes("/v1/groups/"+g.id+"/messages?sender="+w.user("stranger"), 0)

		// Members who were away learn of it by their cursor.
		away.resumeGroups(nil)
		all := away.Pushes()
		check(t, "messages of who was away", messagesIn(all), []any{})
		missed := recalls(t, g.id, "", all...)
		for _, seq := range []int64{1, 3, 5} {
			if missed[seq] != w.alice {
				t.Errorf("onRecall for who was away names %v, want 1, 3 and 5 of %s", missed, w.alice)
			}
		}
		check(t, "unread of who was away", syncedIn(all)["unreadTotal"], 1)

		w.Kill()
		w.Restart()
		for _, c := range []*device{g.alice, g.bob, g.carol} {
			c.resumeGroups(nil)
			c.Pushes()
		}
		afterwards()
		next := g.alice.tells(g.id, "next")
		check(t, "seq", next[0].reply["seq"], 6)
		g.bob.hears(next...)
	})
}

func TestScenario13Silent(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		g := w.crowd()
		w.deletes("/v1/groups/"+g.id+"/messages?silent=true&sender="+w.alice, 3)
		next := g.carol.tells(g.id, "next")
		g.bob.hears(next...)
		g.alice.hears(next...)
		g.bob.event(g.id, "created", w.alice)
		g.alice.Idle() // told of nothing
		g.bob.Idle()
		m := g.messages
		check(t, "getMessage", g.bob.Request("getMessage", obj{"conv": "g:" + g.id}), page(1, 6, false,
			objs(m[1], m[3], next[0]), gap(1, 1, "deleted"), gap(3, 3, "deleted"), gap(5, 5, "deleted")))

		// A live group stores nothing that could be deleted.
		live := wstest.Str(t, g.alice.Request("createGroup", obj{"kind": "live"}), "group")
		w.deletes("/v1/groups/"+live+"/messages?sender="+w.alice, 0)
	})
}

func TestScenario13OneMessage(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		g := w.crowd()
		path := "/v1/groups/" + g.id + "/messages/"
		w.denied("", "DELETE", path+"4", nil, http.StatusUnauthorized, "unauthorized")
		w.denied(harness.ReadToken, "DELETE", path+"4", nil, http.StatusForbidden, "forbidden")
		w.denied(w.AdminToken, "DELETE", path+"6", nil, http.StatusNotFound, "not_found")
		w.denied(w.AdminToken, "DELETE", "/v1/groups/no.such.group/messages/1", nil, http.StatusNotFound, "not_found")
		for _, seq := range []string{"0", "-1", "x", "1.5"} {
			status, reply := w.Admin("DELETE", path+seq, nil)
			if status/100 != 4 || reply["code"] != "bad_request" {
				t.Errorf("DELETE %s%s: status %d %v", path, seq, status, reply)
			}
		}
		for range 2 { // gone already: ok, and nobody is told again
			if status, reply := w.Admin("DELETE", path+"5", nil); status/100 != 2 {
				t.Fatalf("DELETE %s5: status %d %v", path, status, reply)
			}
		}
		for _, c := range []*device{g.alice, g.bob, g.carol} {
			c.gone(g.id, "", 5)
		}
		m := g.messages
		check(t, "getMessage", g.bob.Request("getMessage", obj{"conv": "g:" + g.id}),
			page(1, 5, false, objs(m[:4]...), gap(5, 5, "deleted")))
		check(t, "getRecents", g.carol.Request("getRecents", nil), obj{"conversations": []any{
			with(groupEntry(m[3], 4, 0), obj{"last": m[3].obj()}),
		}})
	})
}

// tencent makes the call as back ends for Tencent's servers make it.
func (w *world) tencent(query, authorization, contentType, body string) obj {
	w.t.Helper()
	url := "http://" + w.AdminListen + "/v4/group_open_http_svc/delete_group_msg_by_sender" + query
	req, err := http.NewRequestWithContext(w.t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := (&http.Client{Timeout: wstest.Patience}).Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	reply, err := wstest.JSON.Decode(text)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: status %d, %q, %v", body, resp.StatusCode, text, err)
	}
	for _, key := range []string{"ActionStatus", "ErrorCode", "ErrorInfo"} { // zero or not
		if _, has := reply[key]; !has {
			w.t.Errorf("%s: no %s in %s", body, key, text)
		}
	}
	return reply
}

func TestScenario13TencentForm(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.Start(t), func(t *testing.T, w *world) {
		g := w.crowd()
		usersig := "?sdkappid=88888888&identifier=admin&random=99999999&contenttype=json&usersig="
		good := `{"GroupId":"` + g.id + `","Sender_Account":"` + w.alice + `"}`
		const json = "application/json"
		failed := func(code int) obj {
			return obj{"ActionStatus": "FAIL", "ErrorCode": code, "ErrorInfo": someText}
		}
		for _, c := range []struct {
			what, query, authorization, body string
			code                             int
		}{
			{"no token", "", "", good, 10007},
			{"another token", usersig + "nobody", "", good, 10007},
			{"a user's token", usersig + w.Token(w.alice), "", good, 10007},
			{"a token that may only read", usersig + harness.ReadToken, "", good, 10007},
			{"no such group", usersig + w.AdminToken, "", `{"GroupId":"no.such.group","Sender_Account":"x"}`, 10010},
			{"a bad group id", usersig + w.AdminToken, "", `{"GroupId":"a b","Sender_Account":"x"}`, 10015},
			{"a long group id", usersig + w.AdminToken, "", `{"GroupId":"` + strings.Repeat("g", 49) + `","Sender_Account":"x"}`, 10015},
			{"no sender", usersig + w.AdminToken, "", `{"GroupId":"` + g.id + `"}`, 10004},
			{"a bad sender", usersig + w.AdminToken, "", `{"GroupId":"` + g.id + `","Sender_Account":"a b"}`, 10004},
			{"not an object", usersig + w.AdminToken, "", `[]`, 10004},
			{"not JSON", usersig + w.AdminToken, "", `{"GroupId":`, 10004},
		} {
			check(t, c.what, w.tencent(c.query, c.authorization, json, c.body), failed(c.code))
		}
		check(t, "getMessage before", g.bob.Request("getMessage", obj{"conv": "g:" + g.id}), page(1, 5, false, objs(g.messages...)))

		done := obj{"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""}
		check(t, "with usersig", w.tencent(usersig+w.AdminToken, "", json, good), done)
		for _, c := range []*device{g.alice, g.bob, g.carol} {
			c.goneOf(g.id, w.alice, 1, 3, 5)
		}
		check(t, "with Bearer, of whatever type", w.tencent("", "Bearer "+w.AdminToken, "text/plain",
			strings.ReplaceAll(good, w.alice, w.bob)), done)
		g.carol.goneOf(g.id, w.bob, 2)
		check(t, "getMessage", g.carol.Request("getMessage", obj{"conv": "g:" + g.id}),
			page(1, 5, false, objs(g.messages[3]), gap(1, 3, "deleted"), gap(5, 5, "deleted")))
	})
}
