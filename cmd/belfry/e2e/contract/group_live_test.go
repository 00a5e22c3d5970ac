package contract

// The contract on live groups, whose members are sessions, and on members who
// are slow.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// air sends one message to a live group and gives the object that members get.
func (c *device) air(group, text string) obj {
	c.T.Helper()
	reply := c.Request("send", obj{"conv": "g:" + group, "cid": text, "body": obj{"text": text}})
	check(c.T, "reply of send", reply, obj{"id": someText, "time": someInt})
	return obj{
		"id": reply["id"], "conv": "g:" + group, "from": c.User, "time": reply["time"], "cid": text,
		"body": obj{"text": text}, "ephemeral": true,
	}
}

func TestContractLiveGroup(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		laptop := w.online(w.bob, "laptop", nil)
		carol := w.online(w.carol, "phone", nil)
		id := wstest.Str(t, alice.Request("createGroup", obj{"kind": "live", "name": "On air"}), "group")
		group, conv := obj{"group": id}, "g:"+id
		send := obj{"conv": conv, "cid": "x", "body": 1}
		alice.Request("joinGroup", group)
		bob.Refused("send", send, "forbidden") // no member
		for range 2 {
			check(t, "joinGroup", bob.Request("joinGroup", group), obj{})
		}
		m := alice.air(id, "m1")
		check(t, "live", bob.hear(), m)
		// Membership is the session's: the same user's other session has none.
		laptop.Refused("send", send, "forbidden")
		carol.Refused("send", send, "forbidden")
		check(t, "joinGroup", carol.Request("joinGroup", group), obj{})
		check(t, "joinGroup", laptop.Request("joinGroup", group), obj{})
		m = bob.air(id, "m2")
		for _, c := range []*device{alice, carol, laptop} { // the sender's other device too
			check(t, "live", c.hear(), m)
		}
		checkHas(t, "getGroup", bob.Request("getGroup", group), obj{"group": id, "kind": "live", "name": "On air", "owner": w.alice, "lastSeq": 0})

		// Nothing is logged: no history, no recents, no reports, no recall.
		check(t, "getMessage", bob.Request("getMessage", obj{"conv": conv}), page(0, 0, false, []any{}))
		check(t, "getRecents", bob.Request("getRecents", nil), obj{"conversations": []any{}})
		bob.Refused("recall", obj{"conv": conv, "seq": 1}, "not_found")

		// Muted, by the owner, whoever's session it is.
		check(t, "setMember", alice.Request("setMember", obj{"group": id, "user": w.bob, "mutedUntil": 1 << 50}), obj{})
		bob.Refused("send", send, "forbidden")
		laptop.Refused("send", send, "forbidden")
		carol.Refused("setMember", obj{"group": id, "user": w.bob, "mutedUntil": 0}, "forbidden")
		check(t, "setMember", alice.Request("setMember", obj{"group": id, "user": w.bob, "mutedUntil": 0}), obj{})
		m = bob.air(id, "m3")
		for _, c := range []*device{alice, carol, laptop} {
			check(t, "live", c.hear(), m)
		}

		// Leaving is the session's as well.
		check(t, "leaveGroup", laptop.Request("leaveGroup", group), obj{})
		check(t, "leaveGroup", laptop.Request("leaveGroup", group), obj{})
		m = alice.air(id, "m4")
		check(t, "live", bob.hear(), m)
		check(t, "live", carol.hear(), m)
		laptop.Refused("send", send, "forbidden")
		// It ends with the session.
		bob.Logout()
		bob.Login(nil)
		bob.Sync()
		m = alice.air(id, "m5")
		check(t, "live", carol.hear(), m)
		bob.Refused("send", send, "forbidden")
		bob.Request("joinGroup", group)
		// Removed: the sessions of that user hear no more.
		alice.Request("removeMembers", obj{"group": id, "users": []any{w.carol}})
		bob.event(id, "removed", w.alice, w.carol)
		wstest.Eventually(t, "carol is out", func() bool {
			_, err := carol.Try("send", send)
			return err != nil && err.Code == "forbidden"
		})
		carol.Pending() // the event, and what came before it
		m = alice.air(id, "m6")
		for got := bob.hear(); difference(got, m) != ""; got = bob.hear() {
			if got.(obj)["from"] != w.carol {
				t.Fatalf("got %v, want %v", got, m)
			}
		}
		for _, c := range []*device{carol, laptop} {
			for _, p := range c.Pending() {
				if p.Op == "onNewMessage" {
					t.Errorf("%s: %v", c.Name(), p.Args)
				}
			}
		}

		bob.Refused("dismissGroup", group, "forbidden")
		check(t, "dismissGroup", alice.Request("dismissGroup", group), obj{})
		bob.event(id, "dismissed", w.alice)
		alice.Refused("send", send, "not_found")
		bob.Refused("joinGroup", group, "not_found")
	})
}

// A session that falls behind in a live group loses the oldest and is told; it
// delays nobody.
func TestContractLiveGroupSkipped(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t, "--group-rate=0"), func(t *testing.T, w *world) {
		const total, size = 1200, 4000
		alice := w.online(w.alice, "phone", nil)
		bob := w.online(w.bob, "phone", nil)
		carol := w.device(t, w.carol, "phone", w.codec)
		id := wstest.Str(t, alice.Request("createGroup", obj{"kind": "live"}), "group")
		conv := "g:" + id
		for _, c := range []*device{alice, bob} {
			c.Request("joinGroup", obj{"group": id})
		}
		// Carol joins and acks nothing: her window is full before long.
		carol.Login(nil)
		carol.Sync()
		carol.Request("joinGroup", obj{"group": id})

		fill := strings.Repeat("x", size)
		ctx, cancel := alice.Context()
		defer cancel()
		sent := make(chan error, 1)
		go func() {
			var waiting []int64
			for i := range total {
				request, err := alice.Conn.Start(ctx, "send", obj{"conv": conv, "cid": fmt.Sprint(i), "body": obj{"i": i, "fill": fill}})
				if err != nil {
					sent <- err
					return
				}
				if waiting = append(waiting, request); len(waiting) == 16 {
					if _, err := alice.Conn.Reply(ctx, waiting[0]); err != nil {
						sent <- err
						return
					}
					waiting = waiting[1:]
				}
			}
			sent <- nil
		}()
		// heard takes a frame, given that all before next was heard or lost.
		heard := func(c *device, next int64) (then, skipped int64) {
			t.Helper()
			args := c.Expect("onNewMessage")
			c.OnNewMessage(args)
			c.AckAll()
			skipped, _ = args["skipped"].(int64)
			next += skipped
			for _, m := range args["messages"].([]any) {
				if i := m.(obj)["body"].(obj)["i"].(int64); i != next {
					t.Fatalf("%s got %d, want %d, with %d skipped", c.Name(), i, next, skipped)
				}
				next++
			}
			return next, skipped
		}
		next := int64(0)
		for next < total { // bob acks, and is at most told what was lost
			next, _ = heard(bob, next)
		}
		bob.Must(<-sent, "send")
		// Carol has the first, and a window full; now she acks.
		next = 0
		lost := int64(0)
		for next < total {
			var skipped int64
			next, skipped = heard(carol, next)
			lost += skipped
		}
		if lost == 0 {
			t.Error("carol was slow and lost nothing")
		}
	})
}

// A member who reads nothing delays nobody, and has it all at their next login or
// in history.
func TestContractGroupSlowMember(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, "--group-rate=0", "--group-bytes=32MiB", "--ack-timeout=2s", "--write-timeout=2s")
	eachCodecAlone(t, s, func(t *testing.T, w *world) {
		const total, size, deaf = 300, 8000, 3
		alice := w.online(w.alice, "phone", nil)
		bob := observe(w.online(w.bob, "phone", nil))
		id := w.groupOf(alice, "public", w.bob, w.carol)
		conv := "g:" + id
		before := closes(t, w, "4413")
		for i := range deaf {
			w.deaf(w.carol, fmt.Sprint("deaf", i))
		}
		fill := make([]byte, size)
		wait := alice.Background(conv, "m", total, func(cid string) any { return obj{"cid": cid, "fill": fill} })
		bob.until(total)
		if sent := wait(); len(bob.seqs) != total || len(sent) != total {
			t.Fatalf("bob got %d of %d messages", len(bob.seqs), len(sent))
		}
		wstest.Eventually(t, "all deaf sessions are closed as 4413", func() bool { return closes(t, w, "4413") >= before+deaf })
		carol := w.login(w.carol, "deaf0", obj{"groupBacklog": 50})
		all := carol.Pushes()
		check(t, "messages at the next login", len(messagesIn(all)), 50)
		check(t, "unreadTotal", syncedIn(all)["unreadTotal"], total)
		check(t, "history", len(carol.AllHistory(conv)), total)
	})
}
