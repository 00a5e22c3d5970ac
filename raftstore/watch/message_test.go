package watch

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/versions"
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

var samples = []item{
	{kind: kindAlive},
	{kind: kindInterest, interest: Interest{Key: Key{Kind: KeySession, User: "alice", Session: 1 << 60}, UpTo: 300, Background: true, Stalled: true, Seen: -1}},
	{kind: kindInterest, interest: Interest{Key: Key{Kind: KeySession, User: "alice", Session: 3}, End: true, Acks: &store.Acks{
		UpTo: 7, Groups: map[command.GroupID]store.Span{"a": {From: 1, To: 2}, "b": {From: 3, To: 1 << 40}},
	}}},
	{kind: kindInterest, interest: Interest{Key: Key{Kind: KeyGroup, Group: "team"}, UpTo: 9}},
	{kind: kindInterest, interest: Interest{Key: Key{Kind: KeyPresence, User: "bob"}, Online: OnlineYes}},
	{kind: kindConfirmed, number: 9},
	{kind: kindRefused},
	{kind: kindWake, user: "alice", session: 9},
	{kind: kindKick, number: 1, user: "alice", session: 9, reason: "sameDevice"},
	{kind: kindGone, user: "alice", session: 9},
	{kind: kindSignal, user: "alice", session: 9, signal: store.Signal{Kind: store.SignalTyping, User: "bob", Group: "team", Time: 99}},
	{kind: kindWakeGroup, group: "team"},
	{kind: kindWakeMember, group: "team", user: "bob"},
	{kind: kindPresence, user: "bob", online: true},
	{kind: kindAcks, wanted: true},
	{kind: kindSignalGroup, message: &query.Message{Group: "team", From: "bob", Session: 3, Arrival: 9, Time: 5, CID: []byte("c"), Mentions: []string{"alice"}, Body: []byte{0xc0}}},
}

func TestItemsThereAndBack(t *testing.T) {
	w := newWriter()
	var want []item
	for i := range samples {
		w.scope(uint32(i/4), 1<<50)
		w.add(&samples[i])
		it := samples[i]
		it.shard, it.term = uint32(i/4), 1<<50
		want = append(want, it)
	}
	var got []item
	if err := items(w.bytes(), func(it *item) error { got = append(got, *it); return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("item %d = %+v, want %+v", i, got[i], want[i])
		}
	}
	other := append([]byte{version + 1}, w.bytes()[1:]...)
	if err := items(other, func(*item) error { return nil }); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("message of another version: %v", err)
	}
}

// The items of the next version have more fields, and there are more of them. One that
// has to be understood is refused.
func TestItemsOfNextVersion(t *testing.T) {
	longer := func(w *writer, it *item) {
		codec.Item(&w.Coder, func(x *codec.Coder) {
			it.fields(x)
			x.B = append(x.B, "more"...)
		})
	}
	w := newWriter()
	longer(w, &item{kind: kindScope, shard: 3, term: 4})
	for i := range samples {
		longer(w, &samples[i])
		longer(w, &item{kind: versions.Optional + kind(i)})
	}
	var got []item
	if err := items(w.B, func(it *item) error { got = append(got, *it); return nil }); err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(samples)
	for i := range want {
		want[i].shard, want[i].term = 3, 4
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("items arrive as %+v, want %+v", got, want)
	}
	longer(w, &item{kind: kinds})
	err := items(w.B, func(*item) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "is not known: this binary is older") {
		t.Errorf("with an item that is not optional: %v", err)
	}
}

// What was read is written as the same bytes, and nothing panics.
func FuzzItems(f *testing.F) {
	for i := range samples {
		w := newWriter()
		w.add(&samples[i])
		f.Add(w.bytes())
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		var read []item
		if items(message, func(it *item) error { read = append(read, *it); return nil }) != nil {
			return
		}
		w := newWriter()
		for i := range read {
			w.scope(read[i].shard, read[i].term)
			w.add(&read[i])
		}
		var again []item
		if err := items(w.B, func(it *item) error { again = append(again, *it); return nil }); err != nil {
			t.Fatalf("written again: %v", err)
		}
		if !reflect.DeepEqual(read, again) {
			t.Errorf("written again: %+v, want %+v", again, read)
		}
	})
}

// A signal is kept, so it must not lie in the memory of its message.
func TestSignalsHaveMemoryOfTheirOwn(t *testing.T) {
	w := newWriter()
	w.add(&item{kind: kindSignal, user: "alice", session: 1, signal: store.Signal{
		Kind: store.SignalEphemeral, User: "bob", Message: &query.Message{From: "bob", CID: []byte("cid"), Body: []byte("body")},
	}})
	message := w.bytes()
	var m *query.Message
	if err := items(message, func(it *item) error { m = it.signal.Message; return nil }); err != nil {
		t.Fatal(err)
	}
	clear(message)
	if !bytes.Equal(m.Body, []byte("body")) || !bytes.Equal(m.CID, []byte("cid")) {
		t.Errorf("body %q, cid %q", m.Body, m.CID)
	}
}
