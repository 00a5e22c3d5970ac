package watch

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// told returns all items that wait in an audience.
func told(t *testing.T, a *Audience) (all []item) {
	t.Helper()
	for message := a.next(); message != nil; message = a.next() {
		if err := items(message, func(it *item) error { all = append(all, *it); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func kindsOf(items []item) (kinds []kind) {
	for i := range items {
		kinds = append(kinds, items[i].kind)
	}
	return kinds
}

func TestWakesCoalesce(t *testing.T) {
	a := newAudience("node1", nil)
	s, g := a.Session("alice", 7), a.Group("team")
	s.Wake()
	a.attach()
	if got := kindsOf(told(t, a)); !reflect.DeepEqual(got, []kind{kindAcks}) {
		t.Errorf("told %v, want nothing of before the stream", got)
	}
	for range 100 {
		s.Wake()
		g.Wake()
		g.WakeMember("bob")
	}
	got := told(t, a)
	if want := []kind{kindWake, kindWakeGroup, kindWakeMember}; !reflect.DeepEqual(kindsOf(got), want) {
		t.Errorf("told %v, want %v", kindsOf(got), want)
	}
	if got[0].user != "alice" || got[0].session != 7 || got[1].group != "team" || got[2].group != "team" || got[2].user != "bob" {
		t.Errorf("told %+v", got)
	}
	s.Wake() // it was told: this is another one
	for n := range maxMembers + 1 {
		g.WakeMember(command.UserID(fmt.Sprint("user", n)))
	}
	got = told(t, a)
	if want := []kind{kindWake, kindWakeMember}; !reflect.DeepEqual(kindsOf(got), want) || got[1].user != "" {
		t.Errorf("told %+v, want one wake for all members", got)
	}
	s.Wake()
	g.Wake()
	a.detach()
	a.attach()
	s.Wake()
	g.Wake()
	got = told(t, a)
	if want := []kind{kindAcks, kindWake, kindWakeGroup}; !reflect.DeepEqual(kindsOf(got), want) {
		t.Errorf("told %v in a new stream, want %v", kindsOf(got), want)
	}
}

// Kicks are told until they are confirmed, in streams that come later too, and before
// that the session is gone.
func TestKicksOutliveStreams(t *testing.T) {
	a := newAudience("node1", nil)
	for n := range 3 {
		a.Session("alice", command.SessionID(n)).Kick(fmt.Sprint("reason", n))
	}
	a.attach()
	a.Gone(1, 2, "alice", 0)
	kicks := func() (reasons []string) {
		for _, it := range told(t, a) {
			if it.kind == kindKick {
				reasons = append(reasons, fmt.Sprint(it.number, " ", it.session, " ", it.reason))
			} else if it.kind == kindGone && len(reasons) == 0 {
				t.Error("gone before kicked")
			}
		}
		return reasons
	}
	if got, want := kicks(), []string{"1 0 reason0", "2 1 reason1", "3 2 reason2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if got := kicks(); got != nil {
		t.Errorf("told %q again in the same stream", got)
	}
	a.confirm(2)
	a.detach()
	a.Session("alice", 9).Kick("late")
	a.attach()
	if got, want := kicks(), []string{"3 2 reason2", "4 9 late"}; !reflect.DeepEqual(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	a.confirm(1000) // of another process: no more than there are
	a.detach()
	a.attach()
	if got := kicks(); got != nil {
		t.Errorf("told %q, want nothing", got)
	}
	a.Session("alice", 10).Kick("last")
	if got, want := kicks(), []string{"5 10 last"}; !reflect.DeepEqual(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// A node that stays away is forgotten, with its kicks. One that comes back in time is not.
func TestAbsentNodesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(&lostHost{lost: make(chan string, 10)}, Config{Keep: time.Minute})
		visit := func() (end linkEnd, a *Audience) {
			end, there := newLink(nil)
			go s.Serve(t.Context(), "node1", there)
			synctest.Wait()
			return end, s.visitors["node1"].audience
		}
		first, a := visit()
		first.Close()
		synctest.Wait()
		a.Session("alice", 1).Kick("first")
		time.Sleep(time.Minute - 1)
		second, again := visit()
		if again != a {
			t.Error("the node is another one when it comes back")
		}
		time.Sleep(2 * time.Second)
		if s.visitors["node1"] == nil {
			t.Error("a connected node is forgotten")
		}
		second.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(s.visitors) > 0 {
			t.Error("a node that stays away is kept")
		}
		third, a := visit()
		if len(a.kicks) > 0 || a.firstKick != 1 {
			t.Errorf("%d kicks of a node that was forgotten", len(a.kicks))
		}
		third.Close()
		s.Close()
	})
}

// The stream to a node that is in the cluster no more ends, and is not opened again until
// that node leads again.
func TestForgottenLeadersAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 0)
		n := w.nodes[0]
		k := Key{Kind: KeySession, User: "alice", Session: 1}
		n.watch(k)
		var ends []linkEnd
		f := NewFollower(n, func(context.Context, string) (Conn, error) {
			here, there := newLink(nil)
			ends = append(ends, there)
			return here, nil
		}, Config{})
		hears := func(end linkEnd, number uint64) {
			t.Helper()
			message, err := end.Recv()
			if err != nil {
				t.Fatal(err)
			}
			err = items(message, func(it *item) error {
				if it.kind == kindInterest && it.term == number && it.interest.Key == k {
					return nil
				}
				return fmt.Errorf("told %+v, want %+v in term %d", it, k, number)
			})
			if err != nil {
				t.Error(err)
			}
		}
		f.SetLeader(0, "old", 1)
		synctest.Wait()
		hears(ends[0], 1)
		f.Forget("nobody")
		f.Forget("old")
		synctest.Wait()
		if _, err := ends[0].Recv(); err == nil {
			t.Error("the stream to a node that was forgotten goes on")
		}
		f.Tell(0, k, nil)
		time.Sleep(time.Hour)
		if len(ends) != 1 || len(f.peers) != 0 {
			t.Errorf("%d streams to %d nodes, want the first one alone", len(ends), len(f.peers))
		}
		f.SetLeader(0, "old", 1)
		synctest.Wait()
		hears(ends[1], 1)
		ends[1].Close()
		f.Close()
		w.close()
	})
}

// Signals come in order. Those that do not fit are dropped and counted.
func TestSignalsAreBounded(t *testing.T) {
	dropped := 0
	a := newAudience("node1", func(n int) { dropped += n })
	a.attach()
	g, body := a.Group("show"), make([]byte, 10_000)
	most := maxSignalBytes / len(body)
	for n := range 2 * most {
		g.Signal(&query.Message{Group: "show", Seq: uint64(n), Body: body})
	}
	n := uint64(0)
	for _, it := range told(t, a) {
		if it.kind != kindSignalGroup {
			continue
		}
		if it.message.Seq != n || len(it.message.Body) != len(body) {
			t.Fatalf("message %d, want %d", it.message.Seq, n)
		}
		n++
	}
	if int(n) > most+1 || int(n) < most*9/10 || int(n)+dropped != 2*most {
		t.Errorf("told %d, dropped %d of %d; want about half of them", n, dropped, 2*most)
	}
	a.Session("alice", 1).Signal(store.Signal{Kind: store.SignalTyping, User: "bob", Time: 5})
	if got := told(t, a); len(got) != 1 || got[0].signal != (store.Signal{Kind: store.SignalTyping, User: "bob", Time: 5}) {
		t.Errorf("told %+v", got)
	}
}

// A lostHost counts nodes that were lost.
type lostHost struct{ lost chan string }

func (h *lostHost) Watch(*Audience, uint32, uint64, []Interest) bool { return true }
func (h *lostHost) Lost(a *Audience)                                 { h.lost <- a.Node() }

// A node that is frozen, with a stream that stays open, is lost after a while; one that
// has nothing to say is not.
func TestFrozenNodesAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &lostHost{lost: make(chan string, 2)}
		s := NewServer(h, Config{})
		frozen, there := newLink(nil)
		ended := make(chan error, 2)
		go func() { ended <- s.Serve(t.Context(), "frozen", there) }()
		w := newWorld(t, 1, 1, 0)
		quiet := NewFollower(w.nodes[0], func(context.Context, string) (Conn, error) {
			here, there := newLink(nil)
			go s.Serve(t.Context(), "quiet", there)
			return here, nil
		}, Config{})
		quiet.SetLeader(0, "host", 1)
		start := time.Now()
		if err := <-ended; !errors.Is(err, errSilent) {
			t.Errorf("Serve = %v, want errSilent", err)
		}
		if took := time.Since(start); took < defaultSilence || took > 2*defaultSilence {
			t.Errorf("lost after %v, want about %v", took, defaultSilence)
		}
		if got := <-h.lost; got != "frozen" {
			t.Errorf("lost %s, want frozen", got)
		}
		time.Sleep(time.Minute)
		select {
		case got := <-h.lost:
			t.Errorf("lost %s, want nobody else", got)
		default:
		}
		frozen.Close()
		quiet.Close()
		s.Close()
		w.close()
	})
}

// A new stream of a node ends the earlier one first, so that nothing of the earlier one
// stays.
func TestStreamsOfANodeFollowOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &lostHost{lost: make(chan string, 10)}
		s := NewServer(h, Config{})
		first, there := newLink(nil)
		go s.Serve(t.Context(), "node1", there)
		synctest.Wait()
		second, there := newLink(nil)
		go s.Serve(t.Context(), "node1", there)
		synctest.Wait()
		if len(h.lost) != 1 {
			t.Errorf("%d were lost, want the first stream's", len(h.lost))
		}
		if _, err := first.Recv(); err == nil {
			_, err = first.Recv()
			if err == nil {
				t.Error("the first stream goes on")
			}
		}
		if _, err := second.Recv(); err != nil {
			t.Errorf("the second stream: %v", err)
		}
		second.Close()
		s.Close()
	})
}

// What a leader says of a shard after another one has become known is not believed.
func TestDeposedLeadersAreNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1, 0)
		n := w.nodes[0]
		n.watch(Key{Kind: KeySession, User: "alice", Session: 1})
		n.watch(Key{Kind: KeySession, User: "bob", Session: 2})
		ends := make(map[string]linkEnd)
		f := NewFollower(n, func(_ context.Context, to string) (Conn, error) {
			here, there := newLink(nil)
			ends[to] = there
			return here, nil
		}, Config{})
		say := func(from string, term uint64, it item) {
			m := newWriter()
			m.scope(0, term)
			m.add(&it)
			ends[from].Send(m.bytes())
			synctest.Wait()
		}
		f.SetLeader(0, "old", 1)
		synctest.Wait()
		f.SetLeader(0, "new", 2)
		synctest.Wait()
		say("old", 1, item{kind: kindGone, user: "alice", session: 1})
		say("old", 1, item{kind: kindPresence, user: "carol", online: true})
		say("new", 2, item{kind: kindGone, user: "bob", session: 2})
		if got := fmt.Sprint(n.told); got != fmt.Sprint(map[Key]string{{Kind: KeySession, User: "bob", Session: 2}: "gone"}) {
			t.Errorf("told %s, want that bob's session is gone", got)
		}
		if n.online["carol"] != OnlineUnknown {
			t.Error("carol is online, says a deposed leader")
		}
		for _, e := range ends {
			e.Close()
		}
		f.Close()
		w.close()
	})
}
