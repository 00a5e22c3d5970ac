package conformance

import (
	"fmt"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// sending has the scenarios about what a device sends.
var sending = []scenario{
	{name: "15 a cid twice is one message; with another body it is a conflict", play: func(r *run) {
		d := r.device("alice", "phone", nil).synced()
		conv := r.conv("bob")
		d.do("send", Obj{"conv": conv, "cid": "c1", "body": Obj{"a": 1}})
		first := d.settled(conv, "c1")
		r.equal("the outcome", first["state"], "stored")
		d.quit()
		d.synced()
		before := d.count("settled")
		d.do("send", Obj{"conv": conv, "cid": "c1", "body": Obj{"a": 1}})
		d.await("the second outcome", func() bool { return d.count("settled") > before })
		again := d.settled(conv, "c1")
		r.equal("the second outcome", []any{again["state"], again["seq"], again["id"]}, []any{"stored", first["seq"], first["id"]})
		other := r.device("alice", "laptop", nil).synced()
		other.do("send", Obj{"conv": conv, "cid": "c1", "body": Obj{"a": 2}})
		refused := other.settled(conv, "c1")
		r.equal("another body", []any{refused["state"], refused["code"]}, []any{"refused", "conflict"})
		bob := r.s.Login(r.t, r.user("bob"), "peer", nil)
		r.equal("what bob has", texts(bob.Sync().Messages), []string{"c1"})
	}},
	{name: "20 the server dies right after its answer, and comes back", flags: []string{}, play: func(r *run) {
		d := r.device("alice", "phone", nil).synced()
		d.do("send", Obj{"conv": r.conv("bob"), "cid": "c1", "body": "x"})
		d.settled(r.conv("bob"), "c1")
		synced := d.count("synced")
		r.s.Kill()
		d.do("send", Obj{"conv": r.conv("bob"), "cid": "c2", "body": "y"})
		r.s.Restart()
		d.resynced(synced)
		d.settled(r.conv("bob"), "c2")
		bob := r.s.Login(r.t, r.user("bob"), "peer", nil)
		r.equal("what bob has", texts(bob.Sync().Messages), []string{"c1", "c2"})
		r.equal("what alice has", d.local(r.conv("bob")).cids(), []string{"c1", "c2"})
	}},
	{name: "20 the server dies before its answer arrives, and comes back", flags: []string{}, play: func(r *run) {
		d := r.device("alice", "phone", nil).synced()
		synced := d.count("synced")
		d.proxy.Intercept(once(Cut, isReply("send")))
		d.do("send", Obj{"conv": r.conv("bob"), "cid": "c1", "body": "x"})
		d.awaitFrame("the answer", 1, isReply("send"))
		d.proxy.Intercept(nil)
		r.s.Kill()
		r.s.Restart()
		d.resynced(synced)
		r.equal("the outcome", d.settled(r.conv("bob"), "c1")["state"], "stored")
		bob := r.s.Login(r.t, r.user("bob"), "peer", nil)
		r.equal("what bob has", texts(bob.Sync().Messages), []string{"c1"})
	}},
	{name: "what is sent offline goes out once and in order", play: func(r *run) {
		d := r.device("alice", "phone", nil)
		d.proxy.Refuse(true)
		d.open()
		for i, cid := range numbered("c", 20) {
			d.do("send", Obj{"conv": r.conv([]string{"bob", "carol"}[i%2]), "cid": cid, "body": cid})
		}
		r.equal("outcomes before there is a connection", d.count("settled"), 0)
		d.proxy.Refuse(false)
		for i, cid := range numbered("c", 20) {
			r.equal("the outcome of "+cid, d.settled(r.conv([]string{"bob", "carol"}[i%2]), cid)["seq"], d.settledSeq(cid, i/2+1))
		}
		for i, name := range []string{"bob", "carol"} {
			var want []string
			for n := i; n < 20; n += 2 {
				want = append(want, fmt.Sprintf("c%d", n+1))
			}
			peer := r.s.Login(r.t, r.user(name), "peer", nil)
			r.equal("what "+name+" has", texts(peer.Sync().Messages), want)
			r.equal("what alice has", d.local(r.conv(name)).cids(), want)
		}
	}},
	{name: "the outbox outlives the process, killed before it was ever online", play: func(r *run) {
		d := r.device("alice", "phone", nil)
		d.proxy.Refuse(true)
		d.open()
		for _, cid := range numbered("c", 10) {
			d.do("send", Obj{"conv": r.conv("bob"), "cid": cid, "body": cid})
		}
		d.crash()
		d.proxy.Refuse(false)
		d.synced()
		d.do("send", Obj{"conv": r.conv("bob"), "cid": "later", "body": "later"})
		d.settled(r.conv("bob"), "later")
		bob := r.s.Login(r.t, r.user("bob"), "peer", nil)
		r.equal("what bob has", texts(bob.Sync().Messages), append(numbered("c", 10), "later"))
		r.equal("what alice has", d.local(r.conv("bob")).cids(), append(numbered("c", 10), "later"))
		mark := d.proxy.Len()
		d.quit()
		d.synced()
		r.equal("sends after one more restart", len(d.requests(mark, "send")), 0)
	}},
	{name: "the outbox outlives the process, killed with answers on their way", play: func(r *run) {
		d := r.device("alice", "phone", nil)
		d.proxy.Intercept(func(f *Frame) Action {
			if isReply("send")(f) {
				return Drop
			}
			return Pass
		})
		d.synced()
		for _, cid := range numbered("c", 5) {
			d.do("send", Obj{"conv": r.conv("bob"), "cid": cid, "body": cid})
		}
		d.awaitFrame("an answer", 1, isReply("send"))
		d.crash()
		d.proxy.Intercept(nil)
		d.synced()
		for _, cid := range numbered("c", 5) {
			r.equal("the outcome of "+cid, d.settled(r.conv("bob"), cid)["state"], "stored")
		}
		bob := r.s.Login(r.t, r.user("bob"), "peer", nil)
		r.equal("what bob has", texts(bob.Sync().Messages), numbered("c", 5))
	}},
	{name: "an answer that is lost on the way: the message is stored once all the same", play: func(r *run) {
		d := r.device("alice", "phone", nil).synced()
		for n := range 5 {
			cid := fmt.Sprintf("c%d", n)
			d.proxy.Intercept(once(Cut, isReply("send")))
			d.do("send", Obj{"conv": r.conv("bob"), "cid": cid, "body": n})
			out := d.settled(r.conv("bob"), cid)
			r.equal("the outcome", []any{out["state"], Int(out["seq"])}, []any{"stored", int64(n + 1)})
		}
		bob := r.s.Login(r.t, r.user("bob"), "peer", nil)
		r.equal("what bob has", texts(bob.Sync().Messages), []string{"c0", "c1", "c2", "c3", "c4"})
	}},
	{name: "a refusal for good is told and does not hold up what follows", play: func(r *run) {
		bob := r.peer("bob")
		bob.Request("block", wstest.Obj{"user": r.user("alice")})
		d := r.device("alice", "phone", nil).synced()
		d.do("send", Obj{"conv": r.conv("bob"), "cid": "c1", "body": 1})
		d.do("send", Obj{"conv": r.conv("carol"), "cid": "c2", "body": 2})
		out := d.settled(r.conv("bob"), "c1")
		r.equal("the outcome", []any{out["state"], out["code"]}, []any{"refused", "forbidden"})
		r.equal("the other", d.settled(r.conv("carol"), "c2")["state"], "stored")
		d.quit()
		mark := d.proxy.Len()
		d.synced()
		r.equal("sends after a restart", len(d.requests(mark, "send")), 0)
	}},
	{name: "bodies come back equal", play: bodies("json")},
	{name: "bodies come back equal by msgpack", play: bodies("msgpack")},
}

// settledSeq is a number as events have it.
func (d *device) settledSeq(cid string, seq int) any {
	for _, e := range d.on("settled") {
		if e["cid"] == cid && Int(e["seq"]) == int64(seq) {
			return e["seq"]
		}
	}
	return seq
}

func isReply(op string) func(*Frame) bool {
	return func(f *Frame) bool { return f.Reply && f.Op == op }
}

func texts(list []wstest.Message) []string {
	cids := []string{}
	for _, m := range list {
		cids = append(cids, m.CID)
	}
	return cids
}

// bodies sends values of each kind to the SDK and has it send them back.
func bodies(codec string) func(r *run) {
	return func(r *run) {
		alice := r.peer("alice")
		d := r.device("bob", "phone", Obj{"codec": codec}).synced()
		deep := any([]any{})
		for range 31 {
			deep = []any{deep}
		}
		values := []any{
			nil, true, "text \u2028 \U0001F600 \"\\", int64(0), int64(-1), int64(1<<53 - 1), int64(-(1<<53 - 1)),
			int64(1<<53 + 1), int64(-1 << 63), int64(1<<63 - 1), 0.5, -1e300, []byte{0, 255, 128}, []byte{},
			[]any{}, wstest.Obj{}, wstest.Obj{"": nil, "a": []any{int64(1), wstest.Obj{"b": []byte("c")}}, "__proto__": "x"},
			wstest.Obj{"$bin": "YWI=", "x": int64(1)}, deep,
		}
		for i, v := range values {
			alice.Request("send", wstest.Obj{"conv": r.conv("bob"), "cid": fmt.Sprint(i), "body": v})
		}
		d.await("all of them", func() bool { return len(d.messages()) == len(values) })
		d.quit()
		d.synced()
		page := d.local(r.conv("alice"))
		r.equal("how many are stored", len(page.messages), len(values))
		for i, m := range page.messages {
			d.do("send", Obj{"conv": r.conv("alice"), "cid": fmt.Sprintf("back%d", i), "body": m["body"]})
		}
		for i, v := range values {
			m := alice.Message()
			r.equal(fmt.Sprintf("body %d, %v", i, v), m.Body, v)
		}
	}
}
