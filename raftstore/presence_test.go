package raftstore

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// acquainted opens a store in which alice and bob, of different shards, have
// written to each other.
func acquainted(t *testing.T) (s *Store, alice, bob command.UserID) {
	s = open(t, testConfig(t))
	alice, bob = userIn(s, 0, 0), userIn(s, 1, 0)
	send(t, s, message(alice, bob, 1))
	eventually(t, "bob knows alice", func() bool { return len(cids(t, s, bob, alice)) == 1 })
	return s, alice, bob
}

func block(t *testing.T, s *Store, user, target command.UserID) {
	t.Helper()
	r, err := s.Propose(context.Background(), &command.Block{User: user, Target: target})
	if err != nil || r.Code != command.OK {
		t.Fatalf("Block = %+v, %v", r, err)
	}
	eventually(t, "the blocked user's shard knows", func() (knows bool) {
		if err := s.shardOf(target).here().local.ReadLocal(func(st *shard.State, _ int64) { knows = st.BlockedBy(target, user) }); err != nil {
			t.Fatal(err)
		}
		return knows
	})
}

func TestPresence(t *testing.T) {
	s, alice, bob := acquainted(t)
	stranger := userIn(s, 1, 1)
	login(t, s, stranger, "phone", &ear{})
	watching := &ear{}
	if seen, err := s.Presence(alice, []command.UserID{bob, stranger}); err != nil || len(seen) != 0 {
		t.Errorf("Presence = %v, %v; want nobody: none has written to her", seen, err)
	}
	send(t, s, message(bob, alice, 1))
	eventually(t, "alice has heard of bob", func() bool { return len(cids(t, s, alice, bob)) == 2 })
	if seen, err := s.SubscribePresence(alice, []command.UserID{bob}, watching); err != nil || len(seen) != 0 {
		t.Errorf("SubscribePresence = %v, %v; want nobody: he never logged in", seen, err)
	}
	gone := login(t, s, bob, "phone", &ear{})
	eventually(t, "bob's first coming is told", func() bool { return len(watching.heard()) > 0 })
	s.Unwatch(bob, gone.Session)
	do(t, s, &command.Logout{User: bob, Session: gone.Session})
	eventually(t, "bob's going is told", func() bool {
		heard := watching.heard()
		return !heard[len(heard)-1].Online
	})
	seen, err := s.SubscribePresence(alice, []command.UserID{bob, stranger}, watching)
	if err != nil || len(seen) != 1 || seen[bob].Online {
		t.Fatalf("SubscribePresence = %v, %v; want bob offline alone", seen, err)
	}
	came := s.Now()
	phone := login(t, s, bob, "phone", &ear{})
	last := func() (n int, online bool) {
		heard := watching.heard()
		if len(heard) == 0 {
			return 0, false
		}
		sig := heard[len(heard)-1]
		if sig.Kind != store.SignalPresence || sig.User != bob {
			t.Fatalf("heard %+v", sig)
		}
		return len(heard), sig.Online
	}
	eventually(t, "bob came online", func() bool { _, online := last(); return online })
	if seen, err := s.Presence(alice, []command.UserID{bob}); err != nil || !seen[bob].Online {
		t.Errorf("Presence = %v, %v; want bob online", seen, err)
	}
	s.Unwatch(bob, phone.Session) // first, as a gateway does
	left := s.Now()
	if seen, err := s.Presence(alice, []command.UserID{bob}); err != nil || seen[bob].Online || seen[bob].LastSeen < came || seen[bob].LastSeen > left {
		t.Errorf("Presence = %v, %v; want bob offline, and seen when he came", seen, err)
	}
	if _, err := s.Propose(context.Background(), &command.Logout{User: bob, Session: phone.Session, LastSeen: left}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "bob went", func() bool { n, online := last(); return n > 0 && !online })
	if seen, err := s.Presence(alice, []command.UserID{bob}); err != nil || seen[bob].Online || seen[bob].LastSeen != left {
		t.Errorf("Presence = %v, %v; want bob last seen at %d", seen, err, left)
	}

	block(t, s, bob, alice)
	n, _ := last()
	login(t, s, bob, "phone", &ear{})
	carol := &ear{} // told after alice would have been
	if _, err := s.SubscribePresence(bob, []command.UserID{alice}, carol); err != nil {
		t.Fatal(err)
	}
	login(t, s, alice, "phone", &ear{})
	eventually(t, "bob is told of alice", func() bool { return len(carol.heard()) > 0 })
	if now, _ := last(); now != n {
		t.Error("alice is told of bob, who has blocked her")
	}
	if seen, err := s.Presence(alice, []command.UserID{bob}); err != nil || len(seen) != 0 {
		t.Errorf("Presence of who has blocked the asker = %v, %v", seen, err)
	}
	s.UnsubscribePresence(watching)
	s.UnsubscribePresence(carol)
	if p := s.hub.presence; len(p.byUser) != 0 || len(p.byWatcher) != 0 {
		t.Errorf("left after unsubscribing: %v %v", p.byUser, p.byWatcher)
	}
}

func TestSubscriptionsAreBounded(t *testing.T) {
	p := newPresence()
	w := &ear{}
	var users []command.UserID
	for i := range store.MaxSubscriptions {
		users = append(users, command.UserID(fmt.Sprint(i)))
	}
	if err := p.subscribe("alice", users, w); err != nil {
		t.Fatal(err)
	}
	if err := p.subscribe("alice", users[:10], w); err != nil {
		t.Errorf("the same again: %v", err)
	}
	err := p.subscribe("alice", []command.UserID{"one more"}, w)
	if refused, ok := errors.AsType[*command.RefusedError](err); !ok || refused.Code != command.CodeBadRequest {
		t.Errorf("one too many: %v, want CodeBadRequest", err)
	}
	if err := p.subscribe("alice", []command.UserID{"one more"}, &ear{}); err != nil {
		t.Errorf("another watcher: %v", err)
	}
}

func TestEphemeral(t *testing.T) {
	s, alice, bob := acquainted(t)
	var phone, laptop, bobs ear
	from := login(t, s, alice, "phone", &phone)
	login(t, s, alice, "laptop", &laptop)
	login(t, s, bob, "phone", &bobs)
	m := &command.Send{User: alice, Session: from.Session, To: bob, ID: msgID(7), CID: "e", Body: []byte{1}}
	sent, err := s.SendEphemeral(m)
	if err != nil || sent.ID != m.ID || sent.Time == 0 || sent.Duplicate {
		t.Fatalf("SendEphemeral = %+v, %v", sent, err)
	}
	m.Body[0] = 2 // the caller's again
	for who, e := range map[command.UserID]*ear{bob: &laptop, alice: &bobs} {
		heard := e.heard()
		if len(heard) != 1 || heard[0].Kind != store.SignalEphemeral {
			t.Fatalf("heard %+v, want one message", heard)
		}
		if got := heard[0].Message; got.Peer != who || got.From != alice || got.Time != sent.Time || got.Seq != 0 || got.Body[0] != 1 {
			t.Errorf("message %+v, want it in the view with %s", got, who)
		}
	}
	if len(phone.heard()) != 0 {
		t.Error("the sending session got its own message")
	}
	block(t, s, bob, alice)
	_, err = s.SendEphemeral(m)
	if refused, ok := errors.AsType[*command.RefusedError](err); !ok || refused.Code != command.CodeForbidden {
		t.Errorf("blocked sender: %v, want CodeForbidden", err)
	}
	if _, err := s.SendEphemeral(&command.Send{User: alice}); err == nil {
		t.Error("message without receiver accepted")
	}
}

func TestTyping(t *testing.T) {
	s, alice, bob := acquainted(t)
	var e ear
	login(t, s, bob, "phone", &e)
	s.Typing(alice, bob)
	if heard := e.heard(); len(heard) != 1 || heard[0].Kind != store.SignalTyping || heard[0].User != alice {
		t.Fatalf("heard %+v, want alice typing", heard)
	}
	block(t, s, bob, alice)
	s.Typing(alice, bob)
	if heard := e.heard(); len(heard) != 1 {
		t.Errorf("heard %+v from a blocked user", heard[1:])
	}
}
