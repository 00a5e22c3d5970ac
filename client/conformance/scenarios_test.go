package conformance

import (
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// delivery has the scenarios of docs/semantics.md about what a device gets, by their numbers there.
var delivery = []scenario{
	{name: "01 offline messages come in order, before synced, once", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2", "m3")
		d := r.device("bob", "phone", nil).synced()
		d.gets("m1", "m2", "m3")
		for _, e := range d.all() {
			if e["on"] == "synced" {
				r.failf("synced came before the messages")
			} else if e["on"] == "messages" {
				break
			}
		}
		r.equal("local messages", d.local(r.conv("alice")).cids(), []string{"m1", "m2", "m3"})
		for i, m := range d.local(r.conv("alice")).messages {
			r.equal("the body of a stored message", m["body"], Obj{"text": fmt.Sprintf("m%d", i+1)})
			r.equal("its time", m["time"], d.messages()[i]["time"])
		}
		d.lists(r.conv("alice"), "unread", 0)
	}},
	{name: "02 a second device gets the last message through recents, and the rest by asking", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2", "m3")
		first := r.device("bob", "phone", nil).synced()
		first.gets("m1", "m2", "m3")
		first.awaitFrame("ack", 1, func(f *Frame) bool { return f.FromClient && f.Op == "ack" })
		first.quit()
		second := r.device("bob", "laptop", nil).synced()
		second.gets("m3")
		r.equal("the page", second.get(r.conv("alice"), nil).cids(), []string{"m1", "m2", "m3"})
		r.equal("what was fetched", second.fetched(0, r.conv("alice")), []int64{1, 2})
		r.equal("messages handed over", second.cids(""), []string{"m3"})
	}},
	{name: "03 with manual reads every new device gets the unread, until a report", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2", "m3")
		manual := Obj{"manualRead": true}
		first := r.device("bob", "phone", manual).synced()
		first.gets("m1", "m2", "m3")
		second := r.device("bob", "laptop", manual).synced()
		second.gets("m1", "m2", "m3")
		second.lists(r.conv("alice"), "unread", 3)
		r.equal("unread after the report", Int(second.do("readReport", Obj{"conv": r.conv("alice"), "seq": 3})["unread"]), int64(0))
		first.await("the other device's report", func() bool { return first.count("readReport") == 1 })
		first.lists(r.conv("alice"), "unread", 0)
		r.equal("the receipt", alice.Expect("onReadReceipt")["seq"], int64(3))
		third := r.device("bob", "tablet", Obj{"manualRead": true, "recents": "quiet"}).synced()
		third.gets()
	}},
	{name: "04 what a report leaves unread is pushed again", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2", "m3")
		first := r.device("bob", "phone", Obj{"manualRead": true}).synced()
		first.gets("m1", "m2", "m3")
		first.do("readReport", Obj{"conv": r.conv("alice"), "seq": 2})
		second := r.device("bob", "laptop", Obj{"manualRead": true}).synced()
		second.gets("m3")
		second.lists(r.conv("alice"), "unread", 1)
	}},
	{name: "07 a message that is over is not delivered, one without life is stored nowhere", play: func(r *run) {
		alice := r.peer("alice")
		alice.Request("send", wstest.Obj{"conv": r.conv("bob"), "cid": "short", "body": "x", "ttl": 1})
		r.says(alice, r.conv("bob"), "long")
		r.eventually("the message is over", func() bool {
			page := alice.Request("getMessage", wstest.Obj{"conv": r.conv("bob")})
			return len(page["messages"].([]any)) == 1
		})
		d := r.device("bob", "phone", nil).synced()
		d.gets("long")
		r.equal("the gap", d.get(r.conv("alice"), nil).reason(1), "expired")
		d.do("sendNow", Obj{"conv": r.conv("alice"), "body": "now"})
		m := alice.Message()
		r.equal("what was sent to who is there", []any{m.Body, m.Seq}, []any{"now", int64(0)})
		r.equal("local messages", d.local(r.conv("alice")).cids(), []string{"long"})
	}},
	{name: "08 a group: the newest unread are pushed, the rest is fetched, exactly", play: func(r *run) {
		alice := r.peer("alice")
		group := "g:" + r.user("team")
		alice.Request("createGroup", wstest.Obj{"group": r.user("team"), "kind": "private", "members": []any{r.user("bob"), r.user("carol")}})
		r.says(alice, group, numbered("m", 50)...)
		d := r.device("bob", "phone", nil).synced()
		d.gets(numbered("m", 50)[30:]...)
		d.lists(group, "unread", 50)
		r.equal("the page", d.get(group, nil).cids(), numbered("m", 50))
		r.equal("what was fetched", d.fetched(0, group), seqs(1, 30))
		mark := d.proxy.Len()
		r.equal("the page again", d.get(group, nil).cids(), numbered("m", 50))
		r.equal("requests for it", len(d.requests(mark, "getMessage")), 0)
		r.equal("unread after a report", Int(d.do("readReport", Obj{"conv": group, "seq": 50})["unread"]), int64(0))
	}},
	{name: "a group that counts no unread shows none, until it counts", play: func(r *run) {
		alice := r.peer("alice")
		group := "g:" + r.user("hall")
		phone := r.device("bob", "phone", nil).synced() // hears of the group as it joins it
		alice.Request("createGroup", Obj{"group": r.user("hall"), "kind": "chatroom", "members": []any{r.user("bob")}})
		laptop := r.device("bob", "laptop", Obj{"recents": "off"}).synced() // by its login
		shows := func(d *device, lastSeq, unread int64) {
			r.t.Helper()
			d.lists(group, "lastSeq", lastSeq)
			r.equal(d.name+": unread", Int(d.conversation(group)["unread"]), unread)
		}
		r.says(alice, group, "m1", "m2")
		for _, d := range []*device{phone, laptop} {
			d.gets("m1", "m2")
			shows(d, 2, 0)
		}
		phone.quit()
		phone.synced()
		r.says(alice, group, "m3")
		phone.gets("m1", "m2", "m3")
		shows(phone, 3, 0)
		alice.Request("setGroup", Obj{"group": r.user("hall"), "unread": true})
		for _, d := range []*device{phone, laptop} {
			d.lists(group, "unread", 3)
		}
		r.says(alice, group, "m4")
		for _, d := range []*device{phone, laptop} {
			d.lists(group, "unread", 4)
		}
		r.equal("unread at the server", Int(phone.do("readReport", Obj{"conv": group, "seq": 1})["unread"]), int64(3))
	}},
	{name: "09 recents quiet: the list without messages; off: neither", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1")
		first := r.device("bob", "phone", nil).synced()
		first.gets("m1")
		first.awaitFrame("ack", 1, func(f *Frame) bool { return f.FromClient && f.Op == "ack" })
		first.quit()
		quiet := r.device("bob", "quiet", Obj{"recents": "quiet"}).synced()
		quiet.gets()
		quiet.lists(r.conv("alice"), "lastSeq", 1)
		off := r.device("bob", "off", Obj{"recents": "off"}).synced()
		off.gets()
		off.unlists(r.conv("alice"))
	}},
	{name: "10 what a device has is not pushed to it again", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2")
		d := r.device("bob", "phone", nil).synced()
		d.gets("m1", "m2")
		d.quit()
		mark := d.proxy.Len()
		d.synced()
		r.equal("logins with a cursor", d.requests(mark, "login")[0]["since"] != nil, true)
		r.equal("frames with messages", len(d.proxy.Frames(mark, isPush("onNewMessage"))), 0)
		d.gets("m1", "m2")
		r.equal("local messages", d.local(r.conv("alice")).cids(), []string{"m1", "m2"})
	}},
	{name: "12 history of groups begins at the join, or at the beginning, or is not there", play: func(r *run) {
		alice := r.peer("alice")
		for _, g := range []struct{ name, kind, history string }{{"since", "private", "sinceJoin"}, {"all", "private", "all"}} {
			alice.Request("createGroup", wstest.Obj{"group": r.user(g.name), "kind": g.kind, "history": g.history})
			r.says(alice, "g:"+r.user(g.name), numbered(g.name, 4)...)
			alice.Request("addMembers", wstest.Obj{"group": r.user(g.name), "users": []any{r.user("bob")}})
			r.says(alice, "g:"+r.user(g.name), g.name+"5")
		}
		d := r.device("bob", "phone", nil).synced()
		since := d.get("g:"+r.user("since"), nil)
		r.equal("since the join", since.cids(), []string{"since5"})
		r.equal("what was before", since.reason(4), "notMember")
		r.equal("all", d.get("g:"+r.user("all"), nil).cids(), numbered("all", 5))
		mark := d.proxy.Len()
		r.equal("what was before, again", d.get("g:"+r.user("since"), nil).reason(1), "notMember")
		r.equal("requests for it", len(d.requests(mark, "getMessage")), 0)
	}},
	{name: "14 a recall reaches devices that are there and devices that are away", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2", "m3")
		d := r.device("bob", "phone", nil).synced()
		d.gets("m1", "m2", "m3")
		alice.Request("recall", wstest.Obj{"conv": r.conv("bob"), "seq": 2})
		d.await("the recall", func() bool { return d.count("recall") == 1 })
		r.equal("local messages", d.local(r.conv("alice")).cids(), []string{"m1", "m3"})
		r.equal("the gap", d.local(r.conv("alice")).reason(2), "recalled")
		d.crash()
		alice.Request("recall", wstest.Obj{"conv": r.conv("bob"), "seq": 3})
		mark := d.proxy.Len()
		d.synced()
		d.await("the recall after the login", func() bool { return d.count("recall") == 2 })
		r.equal("local messages", d.local(r.conv("alice")).cids(), []string{"m1"})
		r.equal("the page", d.get(r.conv("alice"), nil).cids(), []string{"m1"})
		r.equal("requests for it", len(d.requests(mark, "getMessage")), 0)
		d.refused("recall", Obj{"conv": r.conv("alice"), "seq": 1}, "forbidden")
	}},
	{name: "14 a recall that is too late", flags: []string{"--recall-window=1s"}, play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "before")
		d := r.device("bob", "phone", nil).synced()
		d.do("send", Obj{"conv": r.conv("alice"), "cid": "m1", "body": 1})
		seq := d.settled(r.conv("alice"), "m1")["seq"]
		m := alice.Message()
		r.eventually("the window is over", func() bool {
			return alice.Request("ping", nil)["serverTime"].(int64) > m.Time+1000
		})
		d.refused("recall", Obj{"conv": r.conv("alice"), "seq": seq}, "too_late")
	}},
	{name: "16 devices agree on the order, and nothing is lost when both sides write", play: func(r *run) {
		alice := r.peer("alice")
		first := r.device("bob", "phone", nil).synced()
		second := r.device("bob", "laptop", nil).synced()
		done := alice.Background(r.conv("bob"), "a", 40, func(cid string) any { return cid })
		for _, cid := range numbered("b", 40) {
			first.do("send", Obj{"conv": r.conv("alice"), "cid": cid, "body": cid})
		}
		done()
		for _, cid := range numbered("b", 40) {
			first.settled(r.conv("alice"), cid)
		}
		first.await("alice's messages", func() bool { return len(first.cids(r.user("alice"))) == 40 })
		second.await("all messages", func() bool { return len(second.messages()) == 80 })
		here, there := first.local(r.conv("alice")), second.local(r.conv("alice"))
		r.equal("seqs", here.seqs(), seqs(1, 80))
		r.equal("messages on the other device", there.cids(), here.cids())
		var mine []string
		for _, cid := range here.cids() {
			if cid[0] == 'b' {
				mine = append(mine, cid)
			}
		}
		r.equal("the order of what was sent", mine, numbered("b", 40))
	}},
	{name: "21 a login during a burst: every message once, in order", play: func(r *run) {
		alice := r.peer("alice")
		done := alice.Background(r.conv("bob"), "m", 300, func(cid string) any { return cid })
		d := r.device("bob", "phone", nil).synced()
		done()
		d.await("all messages", func() bool { return len(d.messages()) >= 300 })
		var order []int64
		for _, m := range d.messages() {
			order = append(order, Int(m["seq"]))
		}
		r.equal("seqs handed over", order, seqs(1, 300))
	}},
	{name: "26 the phone's link dies, the laptop goes on, the phone returns", play: func(r *run) {
		alice := r.peer("alice")
		phone := r.device("bob", "phone", nil).synced()
		laptop := r.device("bob", "laptop", nil).synced()
		r.says(alice, r.conv("bob"), "m1")
		phone.gets("m1")
		laptop.gets("m1")
		phone.awaitFrame("ack", 1, func(f *Frame) bool { return f.FromClient && f.Op == "ack" })
		synced := phone.count("synced")
		phone.proxy.Refuse(true)
		phone.proxy.Cut()
		r.says(alice, r.conv("bob"), "m2", "m3")
		alice.Request("recall", wstest.Obj{"conv": r.conv("bob"), "seq": 1})
		laptop.gets("m1", "m2", "m3")
		laptop.do("send", Obj{"conv": r.conv("alice"), "cid": "b1", "body": "from the laptop"})
		laptop.settled(r.conv("alice"), "b1")
		phone.proxy.Refuse(false)
		phone.resynced(synced)
		phone.gets("m1", "m2", "m3", "b1")
		phone.await("the recall", func() bool { return phone.count("recall") == 1 })
		r.equal("local messages", phone.local(r.conv("alice")).cids(), []string{"m2", "m3", "b1"})
	}},
	{name: "27 a device whose acks were lost returns with its cursor", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2", "m3")
		d := r.device("bob", "phone", nil)
		d.proxy.Intercept(drops("ack"))
		d.synced()
		d.gets("m1", "m2", "m3")
		d.quit()
		d.proxy.Intercept(nil)
		mark := d.proxy.Len()
		d.synced()
		r.equal("frames with messages", len(d.proxy.Frames(mark, isPush("onNewMessage"))), 0)
		d.lists(r.conv("alice"), "unread", 0)
		r.equal("unread at the server", Int(d.proxy.Frames(mark, isPush("onSynced"))[0].Body["unreadTotal"]), int64(0))
		d.gets("m1", "m2", "m3")
	}},
}

func isPush(op string) func(*Frame) bool {
	return func(f *Frame) bool { return !f.FromClient && !f.Reply && f.Op == op }
}

// drops loses all frames of a client with an op.
func drops(op string) func(*Frame) Action {
	return func(f *Frame) Action {
		if f.FromClient && f.Op == op {
			return Drop
		}
		return Pass
	}
}

// once does this with the first frame that matches.
func once(action Action, match func(*Frame) bool) func(*Frame) Action {
	done := false
	return func(f *Frame) Action {
		if !done && match(f) {
			done = true
			return action
		}
		return Pass
	}
}

// seqs are the numbers from first to last.
func seqs(first, last int64) (list []int64) {
	for seq := first; seq <= last; seq++ {
		list = append(list, seq)
	}
	return list
}

var scenarios = slices.Concat(delivery, sending, keeping, lives)
