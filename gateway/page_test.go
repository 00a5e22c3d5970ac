package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// Bodies of control characters are six times as long in JSON as they are stored:
// it is what they take in the reply that ends a page. Whoever pages on sees all,
// in either direction.
func TestPageOfControlCharacters(t *testing.T) {
	const messages = 60
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice := e.online("alice", codec)
		for i := range messages {
			alice.call("send", obj{"conv": "u:bob", "cid": fmt.Sprint(i), "body": strings.Repeat("\x01", 10_000-i)})
		}
		pages := alice.pages(t, obj{"conv": "u:bob", "limit": 100}, messages)
		if codec == protocol.JSON && pages < messages/5 {
			t.Errorf("%d pages, want few messages in each", pages)
		}
	})
}

// Gaps end a page as well, and so do seqs that it would look at for nothing.
func TestPageOfGaps(t *testing.T) {
	const messages = 3 * protocol.MaxGaps
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice := e.online("alice", codec)
		e.store.mu.Lock()
		e.store.apply(&command.Configure{Version: 1, Limits: command.Limits{NewConversations: -1, UserBytes: -1}})
		for i := range messages {
			seq := uint64(i + 1)
			e.store.apply(&command.Send{User: "alice", To: "bob", ID: command.MsgID{1}, CID: fmt.Sprint(i), Body: []byte{1}})
			switch i % 3 {
			case 0:
				e.store.apply(&command.Recall{User: "alice", Session: 1, Peer: "bob", Seq: seq})
			case 1:
				e.store.apply(&command.DeleteMessages{User: "alice", Session: 1, Peer: "bob", Seqs: []uint64{seq}})
			}
		}
		e.store.mu.Unlock()
		alice.pages(t, obj{"conv": "u:bob", "limit": 1, "after": 0}, messages/3)
		e.store.mu.Lock()
		for i := range messages {
			if i%3 == 2 {
				e.store.apply(&command.DeleteMessages{User: "alice", Session: 1, Peer: "bob", Seqs: []uint64{uint64(i + 1)}})
			}
		}
		e.store.mu.Unlock()
		if pages := alice.pages(t, obj{"conv": "u:bob"}, 0); pages < 2 {
			t.Errorf("%d pages of 2,000 gaps, want more than one", pages)
		}
	})
}

// pages reads on until there is no more, and wants all messages once. It gives the
// number of pages.
func (c *client) pages(t *testing.T, args obj, messages int) (pages int) {
	t.Helper()
	seen := make(map[int64]bool)
	covered := int64(0)
	_, up := args["after"]
	for more := true; more; pages++ {
		id := c.request("getMessage", args)
		page, _ := c.reply(id)["ok"].(obj)
		if page == nil {
			t.Fatalf("getMessage %v fails", args)
		}
		if size := c.largest.Load(); size > protocol.MaxPage {
			t.Fatalf("a page of %d bytes, want at most %d", size, protocol.MaxPage)
		}
		from, to := number(t, page, "from"), number(t, page, "to")
		if from < 1 || to < from {
			t.Fatalf("page %d to %d", from, to)
		}
		if n := len(page["gaps"].([]any)); n > protocol.MaxGaps {
			t.Fatalf("%d gaps", n)
		}
		covered += to - from + 1
		for _, m := range page["messages"].([]any) {
			seq := number(t, m.(obj), "seq")
			if seen[seq] || seq < from || seq > to {
				t.Fatalf("seq %d in the page %d to %d", seq, from, to)
			}
			seen[seq] = true
		}
		if up {
			args["after"] = to
		} else {
			args["before"] = from
		}
		more = page["more"].(bool)
	}
	if len(seen) != messages || covered < int64(messages) {
		t.Fatalf("%d messages in %d pages, want %d", len(seen), pages, messages)
	}
	return pages
}

func TestGetGroupsPages(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		alice := newEdge(t, func(c *Config) { c.MaxOwnedGroups = -1 }).online("alice", codec)
		const groups = protocol.MaxGroups + 20
		name := strings.Repeat("\x01", protocol.MaxGroupNameLen)
		for i := range groups {
			group := fmt.Sprintf("g%03d", i) + strings.Repeat(`"`, protocol.MaxGroupLen-4)
			alice.call("createGroup", obj{"group": group, "kind": "public", "name": name})
		}
		for _, limit := range []int{0, 1, 7, protocol.MaxGroups} {
			var got []string
			args := obj{}
			if limit > 0 {
				args["limit"] = limit
			}
			for more := true; more; {
				page := alice.call("getGroups", args)
				list := page["groups"].([]any)
				if most := limit; limit == 0 {
					most = protocol.MaxGroups
				} else if len(list) > most {
					t.Fatalf("a page of %d groups, want at most %d", len(list), most)
				}
				for _, g := range list {
					got = append(got, g.(obj)["group"].(string))
				}
				args["after"], more = got[len(got)-1], page["more"].(bool)
			}
			if len(got) != groups || !slices.IsSorted(got) || len(slices.Compact(got)) != groups {
				t.Errorf("limit %d: %d groups, want each of %d once, in order", limit, len(got), groups)
			}
		}
		if n := alice.largest.Load(); n > protocol.MaxPage {
			t.Errorf("a frame of %d bytes, want at most %d", n, protocol.MaxPage)
		}
	})
}
