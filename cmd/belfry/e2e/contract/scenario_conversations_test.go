package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
)

// allConversations pages through all conversations, with pages of limit at most.
func (c *device) allConversations(limit int) (list []any) {
	c.T.Helper()
	args := obj{"limit": limit}
	for {
		page, bytes := c.Sized("getConversations", args)
		entries := page["conversations"].([]any)
		if len(entries) > limit || bytes > 256<<10 {
			c.T.Errorf("a page of %d entries and %d bytes", len(entries), bytes)
		}
		list = append(list, entries...)
		if page["more"] != true {
			if page["after"] != nil {
				c.T.Errorf("the last page has after %v", page["after"])
			}
			return list
		}
		args["after"] = page["after"]
	}
}

func convsOf(list []any) (names []string) {
	for _, e := range list {
		names = append(names, e.(obj)["conv"].(string))
	}
	return names
}

// Last messages of control characters take six times their size in JSON.
func TestContractListsAreBounded(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		const conversations = 85
		var want []string
		for i := range conversations {
			to := w.user(fmt.Sprintf("c%02d", i))
			bob.sendBody(to, fmt.Sprint(i), strings.Repeat("\x01", 10<<10), nil)
			want = append([]string{"u:" + to}, want...)
		}
		recents, bytes := bob.Sized("getRecents", nil)
		list := recents["conversations"].([]any)
		if bytes > 256<<10 || bytes < 180<<10 || recents["more"] != true {
			t.Errorf("getRecents: %d entries in %d bytes, more %v", len(list), bytes, recents["more"])
		}
		check(t, "getRecents", convsOf(list), want[:len(list)])
		check(t, "getConversations", convsOf(bob.allConversations(100)), want)
		check(t, "first of them", bob.allConversations(100)[0], list[0])
	})
}

func TestContractConversations(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--recents=3", "--history-ttl=1h", "--offline-ttl=1h"), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		check(t, "none", bob.Request("getConversations", nil), obj{"conversations": []any{}})
		var m []sentMessage
		for i := range 5 {
			m = append(m, bob.sends(w.user(fmt.Sprintf("c%d", i)), "hello")...)
		}
		conv := func(i int) string { return "u:" + m[i].to }
		team, crew := "team."+w.codec.Name(), "crew."+w.codec.Name()
		for _, group := range []string{team, crew} {
			bob.Request("createGroup", obj{"group": group, "kind": "private"})
			bob.Expect("onGroupEvent")
		}
		bob.Request("setConversation", obj{"conv": conv(0), "pinned": true})
		bob.Request("setConversation", obj{"conv": "g:" + crew, "muted": true})
		bob.Request("deleteConversation", obj{"conv": conv(3)})

		want := []any{
			with(entry(w.bob, m[4], 1, 0, 0), obj{"last": m[4].at(w.bob, 1)}),
			with(entry(w.bob, m[2], 1, 0, 0), obj{"last": m[2].at(w.bob, 1)}),
			with(entry(w.bob, m[1], 1, 0, 0), obj{"last": m[1].at(w.bob, 1)}),
			with(entry(w.bob, m[0], 1, 0, 0), obj{"pinned": true, "last": m[0].at(w.bob, 1)}),
			obj{"conv": "g:" + crew, "lastSeq": 0, "time": someInt, "readSeq": 0, "muted": true, "cursor": someText},
			obj{"conv": "g:" + team, "lastSeq": 0, "time": someInt, "readSeq": 0, "cursor": someText},
		}
		for _, limit := range []int{1, 4, 5, 6, 100} {
			check(t, fmt.Sprintf("pages of %d", limit), bob.allConversations(limit), want)
		}
		// The pinned one has a place among recents, however old it is.
		check(t, "getRecents", bob.Request("getRecents", nil), obj{"conversations": []any{want[0], want[1], want[3]}})
		fresh := w.login(w.bob, "fresh", nil)
		check(t, "pushed", messagesIn(fresh.Pushes()), []any{m[0].at(w.bob, 1), m[2].at(w.bob, 1), m[4].at(w.bob, 1)})

		for _, after := range []any{"x", "u", "u0", "u!", "u" + strings.Repeat("z", 14), strings.Repeat("g", 65), 5} {
			namesField(t, bob.Refused("getConversations", obj{"after": after}, "bad_request"), "after")
		}
		for _, limit := range []any{0, 101, "5"} {
			namesField(t, bob.Refused("getConversations", obj{"limit": limit}, "bad_request"), "limit")
		}
	})
}

// What has expired has an entry without a last message; the newest time stays.
func TestContractConversationsOutliveTheirMessages(t *testing.T) {
	t.Parallel()
	eachCodecAlone(t, harness.StartFaults(t, "--history-ttl=1h", "--offline-ttl=1h"), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", nil)
		m := bob.sends(w.alice, "hello")
		w.PassTime(2 * time.Hour)
		fresh := w.online(w.bob, "fresh", nil)
		check(t, "getRecents", fresh.Request("getRecents", nil), obj{"conversations": []any{}})
		check(t, "getConversations", fresh.Request("getConversations", nil), obj{"conversations": []any{
			with(entry(w.bob, m[0], 1, 0, 0), obj{"lastSeq": 0}),
		}})
	})
}

// What is unread is named by onSynced, whatever the list of recents holds.
func TestContractUnreadIsNamed(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--recents=2", "--new-conversations=0"), func(t *testing.T, w *world) {
		const senders = 700
		bob := w.online(w.bob, "phone", nil)
		bob.Logout()
		var want []string
		for i := range senders {
			from := w.user(fmt.Sprintf("%s%03d", strings.Repeat("s", 40), i))
			w.Admin("POST", "/v1/messages", obj{"from": from, "to": []any{w.bob}, "cid": "1", "body": "hello"})
			want = append(want, "u:"+from)
		}
		for _, conv := range want[senders-2:] {
			w.arrived(w.bob, conv, 1)
		}
		for _, mode := range []string{"quiet", "off"} {
			all := w.login(w.bob, mode, obj{"recents": mode, "autoRead": false}).Pushes()
			var got []string
			parts := 0
			for _, p := range all {
				if p.Op == "onNewMessage" {
					continue
				}
				parts++
				for _, key := range []string{"conversations", "users"} {
					list, _ := p.Args[key].([]any)
					got = append(got, convsOf(list)...)
				}
			}
			slices.Sort(got) // two shards send
			check(t, mode+": named", got, want)
			check(t, mode+": unreadTotal", syncedIn(all)["unreadTotal"], senders)
			if parts < 2 {
				t.Errorf("%s: %d conversations came in %d pushes", mode, senders, parts)
			}
		}
	})
}
