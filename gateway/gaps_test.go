package gateway

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// post writes a send, and returns the id of the request.
func (c *client) post(conv, cid string) uint64 {
	c.t.Helper()
	return c.request("send", obj{"conv": conv, "cid": cid, "body": cid})
}

// outcomes reads the replies to requests, "ok" or the code of each.
func (c *client) outcomes(ids ...uint64) (list []string) {
	c.t.Helper()
	for _, id := range ids {
		frame := c.reply(id)
		if e, refused := frame["err"].(obj); refused {
			list = append(list, fmt.Sprint(e["code"]))
		} else {
			list = append(list, "ok")
		}
	}
	return list
}

func (c *client) wantOutcomes(want []string, ids ...uint64) {
	c.t.Helper()
	if got := c.outcomes(ids...); !slices.Equal(got, want) {
		c.t.Errorf("answers %v, want %v", got, want)
	}
}

// stored lists the cids of the messages that were applied since commands are recorded.
func (e *edge) stored() (cids []string) {
	for _, cmd := range e.store.applied() {
		switch c := cmd.(type) {
		case *command.Send:
			cids = append(cids, c.CID)
		case *command.SendGroup:
			cids = append(cids, c.CID)
		}
	}
	return cids
}

func (e *edge) wantStored(want ...string) {
	e.t.Helper()
	if got := e.stored(); !slices.Equal(got, want) {
		e.t.Errorf("stored %v, want %v", got, want)
	}
}

// deaf returns a client of alice that answers no pings.
func (e *edge) deaf(codec protocol.Codec) *client {
	e.t.Helper()
	c := e.dialWith(codec, dialOptions{noPongs: true})
	c.login("alice", "phone", nil)
	c.push("onSynced")
	return c
}

// What a client has sent to a conversation behind a message that was given up for want of a
// leader is refused too, until the client knows of that.
func TestGapsHoldBackWhatIsBehind(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.store.recordCommands()
		deaf := e.deaf(codec)
		deaf.call("createGroup", obj{"kind": "private", "group": "team"})
		for _, conv := range []string{"u:bob", "g:team"} {
			e.store.setLeaderless(true)
			deaf.wantOutcomes([]string{"unavailable"}, deaf.post(conv, "a"+conv))
			e.store.setLeaderless(false)
			time.Sleep(time.Minute / 2)
			// It may never have read that: its connection may be dead.
			deaf.wantOutcomes([]string{"unavailable", "unavailable"}, deaf.post(conv, "b"+conv), deaf.post(conv, "c"+conv))
		}
		deaf.wantOutcomes([]string{"ok"}, deaf.post("u:carol", "other"))
		e.wantStored("other")
		// It knows: it repeats them in their order.
		deaf.wantOutcomes([]string{"ok", "ok", "ok", "ok"}, deaf.post("u:bob", "au:bob"), deaf.post("u:bob", "bu:bob"), deaf.post("u:bob", "cu:bob"), deaf.post("u:bob", "du:bob"))
		e.wantStored("other", "au:bob", "bu:bob", "cu:bob", "du:bob")
	})
}

// A client that has answered the ping behind a refusal may go on as it likes.
func TestGapsEndWithAPong(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		e.store.recordCommands()
		alice := e.dial(codec)
		alice.login("alice", "phone", nil)
		alice.push("onSynced")
		e.store.setLeaderless(true)
		alice.wantOutcomes([]string{"unavailable"}, alice.post("u:bob", "a"))
		e.store.setLeaderless(false)
		synctest.Wait()
		alice.wantOutcomes([]string{"ok", "ok"}, alice.post("u:bob", "b"), alice.post("u:bob", "a"))
		e.wantStored("b", "a")
		if s := e.session("alice"); s.gaps.convs != nil || s.gaps.count != 0 || s.gapped.Load() {
			t.Errorf("gaps are left: %+v", s.gaps)
		}
	})
}

// Gaps are bounded, and a client that answers pings but sends on and on regardless of
// refusals is let through in the end.
func TestGapsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		alice := e.deaf(protocol.JSON)
		s := e.session("alice")
		e.store.setLeaderless(true)
		alice.wantOutcomes([]string{"unavailable"}, alice.post("u:bob", "a"))
		e.store.setLeaderless(false)
		for i := range 2 * maxGaps {
			alice.wantOutcomes([]string{"unavailable"}, alice.post("u:bob", fmt.Sprint(i)))
		}
		pong := func(number uint64) {
			s.closeKnownGaps([]byte{0, 0, 0, 0, 0, 0, byte(number >> 8), byte(number)})
		}
		if s.gaps.count != maxGaps {
			t.Errorf("%d gaps, want %d", s.gaps.count, maxGaps)
		}
		pong(maxGaps)
		alice.wantOutcomes([]string{"unavailable"}, alice.post("u:bob", "b"))
		time.Sleep(gapPatience + time.Second)
		pong(0)
		alice.wantOutcomes([]string{"unavailable"}, alice.post("u:bob", "b"))
		pong(1)
		alice.wantOutcomes([]string{"ok"}, alice.post("u:bob", "b"))
	})
}

// Conversations beyond the bound are not told apart: what is sent to them is refused until
// the client knows.
func TestGapsOfManyConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		alice := e.deaf(protocol.JSON)
		s := e.session("alice")
		e.store.setLeaderless(true)
		for i := range 2 * maxGaps {
			alice.wantOutcomes([]string{"unavailable"}, alice.post(fmt.Sprint("u:user", i), "a"))
		}
		e.store.setLeaderless(false)
		if n := len(s.gaps.convs); n != maxGaps+1 || s.gaps.count != n {
			t.Errorf("%d gaps of %d conversations, want %d", s.gaps.count, n, maxGaps+1)
		}
		last := fmt.Sprint("u:user", 2*maxGaps-1)
		alice.wantOutcomes([]string{"ok"}, alice.post("u:user0", "a"))
		alice.wantOutcomes([]string{"unavailable", "unavailable"}, alice.post(last, "a"), alice.post("u:other", "a"))
		s.closeKnownGaps(binary.BigEndian.AppendUint64(nil, s.gaps.last))
		alice.wantOutcomes([]string{"ok", "ok"}, alice.post(last, "b"), alice.post("u:other", "a"))
		if s.gaps.convs != nil || s.gaps.count != 0 || s.gapped.Load() {
			t.Errorf("gaps are left: %+v", s.gaps)
		}
	})
}

// No ping tells of a gap before the client was told, though several are refused at once.
func TestPingsComeBehindRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		var alice *client
		told := 0 // pings
		alice = e.dialWith(protocol.JSON, dialOptions{noPongs: true, onPing: func(payload []byte) {
			told++
			if number, refused := binary.BigEndian.Uint64(payload), len(alice.frames); number > uint64(refused) {
				t.Errorf("ping %d comes behind %d refusals", number, refused)
			}
		}})
		alice.login("alice", "phone", nil)
		alice.push("onSynced")
		s := e.session("alice")
		const senders, each = 4, 2000
		var all sync.WaitGroup
		for sender := range senders {
			all.Go(func() {
				for i := range each {
					r := request{Request: protocol.Request{ID: uint64(1 + sender*each + i), Op: protocol.OpSend}}
					s.refuseSend(r, protocol.UserConv("bob"), fmt.Sprint(r.ID), store.ErrNoLeader)
				}
			})
		}
		all.Wait()
		synctest.Wait()
		if told != senders*each {
			t.Errorf("%d pings, want %d", told, senders*each)
		}
	})
}

// A message says after which login of which device it was sent. Its session stays that of
// the login when the store knows it by another number.
func TestSendsNameTheirLogin(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		alice := e.online("alice", codec)
		first := e.session("alice").id()
		alice.call("createGroup", obj{"kind": "private", "group": "team"})
		e.store.recordCommands()
		alice.say("u:bob", "1")
		e.lose("alice")
		synctest.Wait()
		alice.say("u:bob", "2")
		time.Sleep(fenceFor)
		alice.say("u:bob", "3")
		alice.say("g:team", "4")
		origin := command.Origin{Device: command.HashDevice(e.session("alice").device), Login: first, Fence: true}
		old := origin
		old.Fence = false
		var got []command.Origin
		for _, cmd := range e.store.applied() {
			switch c := cmd.(type) {
			case *command.Send:
				got = append(got, c.Origin)
			case *command.SendGroup:
				got = append(got, c.Origin)
			}
		}
		if want := []command.Origin{origin, origin, old, old}; !slices.Equal(got, want) {
			t.Errorf("origins %v, want %v", got, want)
		}
	})
}

// A message that was refused for another reason holds back nothing.
func TestRefusalsAreNoGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		deaf := e.deaf(protocol.JSON)
		e.store.setDown(true)
		deaf.wantOutcomes([]string{"unavailable"}, deaf.post("u:bob", "a"))
		e.store.setDown(false)
		deaf.wantOutcomes([]string{"ok"}, deaf.post("u:bob", "b"))
	})
}
