package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// keeping has the scenarios about what a device keeps, and what it asks for.
var keeping = []scenario{
	{name: "18 the vectors of gap filling", play: gapVectors},
	{name: "19 the process dies between push and ack", play: func(r *run) {
		alice := r.peer("alice")
		d := r.device("bob", "phone", nil)
		d.proxy.Intercept(drops("ack"))
		d.synced()
		r.says(alice, r.conv("bob"), "m1", "m2", "m3")
		d.gets("m1", "m2", "m3")
		d.crash()
		d.proxy.Intercept(nil)
		r.says(alice, r.conv("bob"), "m4")
		d.synced()
		d.await("m4", func() bool { return slices.Contains(d.cids(""), "m4") })
		d.gets("m1", "m2", "m3", "m4")
		r.equal("local messages", d.local(r.conv("alice")).cids(), numbered("m", 4))
	}},
	{name: "19 the process dies at many moments while messages come", play: func(r *run) {
		alice := r.peer("alice")
		d := r.device("bob", "phone", nil)
		d.synced()
		done := alice.Background(r.conv("bob"), "m", 200, func(cid string) any { return cid })
		for n := 1; n <= 5; n++ {
			r.eventually("some more messages", func() bool { return len(d.stored(r.conv("alice"))) >= 30*n })
			d.crash()
			d.synced()
		}
		done()
		r.eventually("all messages are stored", func() bool { return len(d.stored(r.conv("alice"))) == 200 })
		r.equal("seqs in the store", d.stored(r.conv("alice")), seqs(1, 200))
	}},
	{name: "the list and messages are there without a network", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2")
		d := r.device("bob", "phone", nil).synced()
		d.do("send", Obj{"conv": r.conv("alice"), "cid": "b1", "body": "hi"})
		d.settled(r.conv("alice"), "b1")
		d.quit()
		d.proxy.Refuse(true)
		d.open()
		d.lists(r.conv("alice"), "lastSeq", 3)
		r.equal("local messages", d.local(r.conv("alice")).cids(), []string{"m1", "m2", "b1"})
		r.equal("a page that is complete", d.get(r.conv("alice"), Obj{"before": 3, "limit": 2}).cids(), []string{"m1", "m2"})
	}},
	{name: "what was deleted stays deleted when the rest is fetched", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), numbered("m", 9)...)
		first := r.device("bob", "phone", nil).synced()
		first.gets(numbered("m", 9)...)
		first.awaitFrame("ack", 1, func(f *Frame) bool { return f.FromClient && f.Op == "ack" })
		d := r.device("bob", "laptop", Obj{"recents": "quiet"}).synced()
		d.get(r.conv("alice"), Obj{"range": []int{4, 6}})
		d.do("deleteMessages", Obj{"conv": r.conv("alice"), "seqs": []int{5}, "local": true})
		d.do("deleteMessages", Obj{"conv": r.conv("alice"), "seqs": []int{8}})
		want := []string{"m1", "m2", "m3", "m4", "m6", "m7", "m9"}
		r.equal("the page", d.get(r.conv("alice"), nil).cids(), want)
		d.crash()
		d.synced()
		page := d.get(r.conv("alice"), nil)
		r.equal("the page after a restart", page.cids(), want)
		r.equal("why they are gone", []string{page.reason(5), page.reason(8)}, []string{"deleted", "deleted"})
		r.equal("local messages", d.local(r.conv("alice")).cids(), want)
		r.eventually("the other device hears of what was deleted everywhere, and of that alone", func() bool {
			return slices.Equal(first.local(r.conv("alice")).cids(), []string{"m1", "m2", "m3", "m4", "m5", "m6", "m7", "m9"})
		})
	}},
	{name: "what is deleted locally before it was fetched does not come back", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), numbered("m", 5)...)
		first := r.device("bob", "phone", nil).synced()
		first.gets(numbered("m", 5)...)
		first.awaitFrame("ack", 1, func(f *Frame) bool { return f.FromClient && f.Op == "ack" })
		d := r.device("bob", "laptop", Obj{"recents": "quiet"}).synced()
		d.do("deleteMessages", Obj{"conv": r.conv("alice"), "seqs": []int{3}, "local": true})
		r.equal("the page", d.get(r.conv("alice"), nil).cids(), []string{"m1", "m2", "m4", "m5"})
	}},
	{name: "a conversation that was deleted comes back with a new message", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2")
		d := r.device("bob", "phone", nil).synced()
		d.gets("m1", "m2")
		d.do("deleteConversation", Obj{"conv": r.conv("alice"), "messages": true})
		d.unlists(r.conv("alice"))
		r.equal("local messages", d.local(r.conv("alice")).cids(), []string{})
		r.says(alice, r.conv("bob"), "m3")
		d.gets("m1", "m2", "m3")
		d.lists(r.conv("alice"), "lastSeq", 3)
		r.equal("the page", d.get(r.conv("alice"), nil).cids(), []string{"m3"})
	}},
	{name: "without storage nothing is written", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2")
		d := r.device("bob", "phone", Obj{"withoutStorage": true}).synced()
		d.gets("m1", "m2")
		d.quit()
		r.equal("what the driver's folder holds", files(d.options["store"].(string)), 0)
	}},
	{name: "storage is off for one conversation", play: func(r *run) {
		alice, carol := r.peer("alice"), r.peer("carol")
		r.says(alice, r.conv("bob"), "m1")
		d := r.device("bob", "phone", nil)
		d.proxy.Storeless()
		d.synced()
		d.gets("m1")
		d.do("disableStorage", Obj{"conv": r.conv("alice")})
		r.says(alice, r.conv("bob"), "m2")
		d.gets("m1", "m2")
		r.says(carol, r.conv("bob"), "c1")
		d.gets("m1", "m2", "c1")
		r.equal("the page, from the server", d.get(r.conv("alice"), nil).cids(), []string{"m1", "m2"})
		d.quit()
		d.synced()
		d.proxy.Refuse(true)
		d.proxy.Cut()
		r.equal("local messages", d.local(r.conv("alice")).cids(), []string{})
		r.equal("those of another conversation", d.local(r.conv("carol")).cids(), []string{"c1"})
		d.gets("m1", "m2", "c1")
	}},
	{name: "what limits took is named, and fetched when asked for", flags: []string{"--offline-max-messages=5"}, play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), numbered("m", 12)...)
		d := r.device("bob", "phone", Obj{"manualRead": true}).synced()
		d.gets(numbered("m", 12)[7:]...)
		lost := objects(d.on("synced")[0]["lost"])
		r.equal("lost", len(lost), 1)
		r.equal("the run", []any{lost[0]["conv"], Int(lost[0]["from"]), Int(lost[0]["to"])}, []any{r.conv("alice"), int64(1), int64(7)})
		r.equal("why they are not in the local page", d.local(r.conv("alice")).reason(7), "lost")
		r.equal("the page", d.get(r.conv("alice"), nil).cids(), numbered("m", 12))
		r.equal("what was fetched", d.fetched(0, r.conv("alice")), seqs(1, 7))
		r.equal("local messages", d.local(r.conv("alice")).cids(), numbered("m", 12))
	}},
}

// stored are the seqs of a conversation in the store, however many.
func (d *device) stored(conv string) []int64 {
	var all []int64
	for after := int64(0); ; {
		p := pageOf(d.do("localMessages", Obj{"conv": conv, "after": after, "limit": 100}))
		if len(p.messages) == 0 {
			return all
		}
		all = append(all, p.seqs()...)
		after = all[len(all)-1]
	}
}

// files is how many files are in a folder.
func files(folder string) int {
	list, _ := os.ReadDir(folder)
	return len(list)
}

// gapVectors plays gateway/protocol/testdata/gaps.json: the conversation with each case's
// own peer is made by the user's other device, so that this one holds nothing of it but
// what it has fetched.
func gapVectors(r *run) {
	type gone struct {
		From, To int64
		Reason   string
	}
	var vectors []struct {
		Name   string
		Newest int64
		Gone   []gone
		Held   [][2]int64
		Ask    Obj
		Seqs   []int64
		Gaps   []gone
		More   bool
		Must   [][2]int64
	}
	b, err := os.ReadFile(wstest.InRepo("gateway", "protocol", "testdata", "gaps.json"))
	r.must(err, "vectors")
	r.must(json.Unmarshal(b, &vectors), "vectors")
	other := r.peer("bob")
	for i, v := range vectors {
		conv := r.conv(fmt.Sprintf("peer%d", i))
		for _, cid := range numbered("m", int(v.Newest)) {
			other.Request("send", wstest.Obj{"conv": conv, "cid": cid, "body": cid})
		}
		for _, g := range v.Gone {
			for seq := g.From; seq <= g.To; seq++ {
				switch g.Reason {
				case "recalled":
					other.Request("recall", wstest.Obj{"conv": conv, "seq": seq})
				case "deleted":
					other.Request("deleteMessage", wstest.Obj{"conv": conv, "seqs": []any{seq}})
				default:
					r.failf("%s: the suite makes no %s", v.Name, g.Reason)
				}
			}
		}
	}
	d := r.device("bob", "phone", Obj{"recents": "quiet"}).synced()
	for i, v := range vectors {
		conv := r.conv(fmt.Sprintf("peer%d", i))
		for _, h := range v.Held {
			d.get(conv, Obj{"range": h})
		}
		mark := d.proxy.Len()
		p := d.get(conv, v.Ask)
		r.equal(v.Name+": messages", p.seqs(), append([]int64{}, v.Seqs...))
		r.equal(v.Name+": more", p.more, v.More)
		for _, g := range v.Gaps {
			r.equal(fmt.Sprintf("%s: why %d is gone", v.Name, g.From), []string{p.reason(g.From), p.reason(g.To)}, []string{g.Reason, g.Reason})
		}
		got := d.fetched(mark, conv)
		for _, m := range v.Must {
			for seq := m[0]; seq <= m[1]; seq++ {
				if !slices.Contains(got, seq) {
					r.failf("%s: fetched %v, which lacks %d", v.Name, got, seq)
				}
			}
		}
		if len(v.Must) == 0 {
			r.equal(v.Name+": requests", len(d.requests(mark, "getMessage")), 0)
		}
		mark = d.proxy.Len()
		r.equal(v.Name+": messages, again", d.get(conv, v.Ask).seqs(), append([]int64{}, v.Seqs...))
		r.equal(v.Name+": requests, again", len(d.requests(mark, "getMessage")), 0)
	}
}
