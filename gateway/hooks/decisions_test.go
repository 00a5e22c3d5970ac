package hooks

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/hooks/hookstest"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/webhook"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func newHooks(t testing.TB, r Receiver, failOpen bool) *Hooks {
	t.Helper()
	h, err := New(Config{Receiver: r, FailOpen: failOpen})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestStoreEvents checks the payloads of what the store tells of.
func TestStoreEvents(t *testing.T) {
	r := &hookstest.Receiver{}
	h := newHooks(t, r, false)
	m := &store.QueuedReading{
		Sum: query.UnreadSum{Total: 7, Unmuted: 5}, QueuedInfo: query.QueuedInfo{Unread: 2, Muted: true},
		Message: &query.Message{ID: command.MsgID{1}, Peer: "alice", From: "alice", Seq: 3, Time: 5, CID: []byte("c"), Body: []byte{0xa1, 'x'}},
	}
	queued := []string{string(queuedData("bob", m))}
	m.Message.Peer, m.Message.Group = "", "team"
	queued = append(queued, string(queuedData("bob", m)))
	id := protocol.ID(m.Message.ID).String()
	for i, conv := range []string{"u:alice", "g:team"} {
		want := `{"user":"bob","conv":"` + conv + `","message":{"id":"` + id + `","conv":"` + conv + `","from":"alice","seq":3,"time":5,"cid":"c","body":"x"},` +
			`"unread":2,"unreadTotal":7,"unreadUnmuted":5,"muted":true}`
		if queued[i] != want {
			t.Errorf("message.queued has\n%s\nwant\n%s", queued[i], want)
		}
	}
	h.Presence("bob", true, 4)
	h.GroupEvent(&query.GroupEvent{Kind: query.EventJoined, Group: "team", By: "alice", Users: []command.UserID{"bob", "carol"}, Time: 6, Arrival: 9})
	h.GroupEvent(&query.GroupEvent{Kind: query.EventChanged, Group: "team", Time: 6, Arrival: 10})
	h.QueuedLost(3)
	want := []string{
		`user.online {"user":"bob"}`,
		`group.joined {"group":"team","by":"alice","users":["bob","carol"]}`,
		`group.changed {"group":"team"}`,
		`dropped message.queued overflow 3`,
	}
	if got := r.List(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("told of\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.IDs[1] == r.IDs[2] || strings.Contains(strings.Join(r.IDs, ""), ".") {
		t.Errorf("webhook-ids %v: want one for each event, no dots", r.IDs)
	}
	for i := range r.Orders[1:] {
		if r.Orders[i] >= r.Orders[i+1] {
			t.Errorf("orders %v do not rise", r.Orders)
		}
	}
	for kind := query.EventCreated; kind <= query.EventJoinRequested; kind++ {
		before := len(r.List())
		h.GroupEvent(&query.GroupEvent{Kind: kind, Group: "g"})
		if got := r.List(); len(got) != before+1 || !slices.Contains(webhook.Events, strings.Fields(got[before])[0]) {
			t.Errorf("event kind %d told as %v", kind, got[before:])
		}
	}
}

// TestDecisionsAreBounded overfills the memory of decisions, by number and by bytes.
func TestDecisionsAreBounded(t *testing.T) {
	ds := newDecisions(time.Minute)
	now := time.Now()
	for n := range maxDecisions + 10 {
		d, mine := ds.claim(messageKey{cid: fmt.Sprint(n)}, 1, now)
		if !mine {
			t.Fatal("a decision that nobody made")
		}
		if n > 0 {
			ds.setAnswer(d, Answer{Kind: Accepted})
		}
	}
	if len(ds.queue) > maxDecisions || ds.bytes > maxDecisionBytes || len(ds.byKey) != len(ds.queue) {
		t.Errorf("%d decisions of %d bytes are kept", len(ds.queue), ds.bytes)
	}
	if _, mine := ds.claim(messageKey{cid: "0"}, 1, now); !mine {
		t.Error("the oldest decision is still kept")
	}
	body := make([]byte, 1<<20)
	for n := range 20 {
		d, _ := ds.claim(messageKey{user: "a", cid: fmt.Sprint(n)}, 1, now)
		ds.setAnswer(d, Answer{Kind: Accepted, Body: body})
	}
	if ds.bytes > maxDecisionBytes {
		t.Errorf("%d bytes are kept", ds.bytes)
	}
	if _, mine := ds.claim(messageKey{user: "a", cid: "19"}, 1, now.Add(time.Minute)); mine {
		t.Error("the newest decision is gone")
	}
	ds.claim(messageKey{cid: "x"}, 1, now.Add(time.Hour))
	if len(ds.queue) != 1 || len(ds.byKey) != 1 {
		t.Errorf("%d decisions are kept beyond their time", len(ds.queue)-1)
	}
	sum := 0
	for _, d := range ds.queue {
		sum += d.bytes
	}
	if sum != ds.bytes {
		t.Errorf("%d bytes counted, want %d", ds.bytes, sum)
	}
}

// A decision that one send failed by stays for another one that did not.
func TestDecisionOfWhatIsStoredOnce(t *testing.T) {
	ds := newDecisions(0)
	key := messageKey{"alice", "u:bob", "1"}
	d, _ := ds.claim(key, 1, time.Unix(1, 0))
	ds.setAnswer(d, Answer{Kind: Accepted})
	ds.beginSend(d)
	ds.beginSend(d)
	ds.endSend(d, false)
	if again, mine := ds.claim(key, 1, time.Unix(1, 0)); mine || again != d {
		t.Fatal("the decision is forgotten while a send goes on by it")
	}
	ds.endSend(d, true)
	if again, mine := ds.claim(key, 2, time.Unix(1, 0)); mine || again != d {
		t.Fatal("the decision of what is stored is forgotten")
	}

	key.cid = "2"
	d, _ = ds.claim(key, 1, time.Unix(1, 0))
	ds.setAnswer(d, Answer{Kind: Accepted})
	ds.beginSend(d)
	ds.endSend(d, false)
	ds.beginSend(d) // by who had it before it was forgotten
	ds.endSend(d, true)
	if again, mine := ds.claim(key, 1, time.Unix(1, 0)); mine || again != d {
		t.Error("the decision of what is stored is forgotten after a send that failed")
	}
}

// The store is not asked past the time by which the receiver has to be.
func TestStoreIsAskedInTime(t *testing.T) {
	h := newHooks(t, &hookstest.Receiver{Timeout: time.Minute}, false)
	for due, want := range map[time.Duration]Kind{time.Minute: Stored, -time.Minute: Undecided} {
		asked := false
		d := h.Decide(&Question{
			User: "alice", Args: &protocol.SendArgs{Conv: protocol.Conv{ID: "bob"}, CID: due.String(), Body: []byte{0xc0}}, Due: time.Now().Add(due),
			Stored: func() Answer { asked = true; return Answer{Kind: Stored} },
		})
		if d.Kind != want || asked != (want == Stored) {
			t.Errorf("with %v left: decision %d, want %d; the store was asked: %t", due, d.Kind, want, asked)
		}
	}
}
