package gateway

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// More sessions than pumpers may work wait for the answer of another node. One whose
// shard is here is served meanwhile, and the others once that node has answered.
func TestReadsElsewhereKeepNobodyWaiting(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		var waiting []*client
		for i := range mostWorking + 2 {
			waiting = append(waiting, e.online(fmt.Sprint("user", i), codec))
		}
		bob := e.online("bob", codec)
		post := func(to command.UserID) {
			e.do(&command.Send{User: "alice", To: to, CID: "1", Body: []byte{0xc0}})
			synctest.Wait()
		}
		answer := make(chan struct{})
		e.store.setElsewhere(func() { <-answer })
		for i := range waiting {
			post(command.UserID(fmt.Sprint("user", i)))
		}
		e.store.setElsewhere(nil)
		post("bob")
		bob.push("onNewMessage")
		close(answer)
		for _, c := range waiting {
			c.push("onNewMessage")
		}
	})
}

// Users whose history is read at another node hold no turn meanwhile.
func TestTurnsAreLeftForReadsElsewhere(t *testing.T) {
	both(t, func(t *testing.T, codec protocol.Codec) {
		e := newEdge(t, nil)
		var waiting []*client
		for i := range 20 {
			waiting = append(waiting, e.online(fmt.Sprint("user", i), codec))
		}
		alice := e.online("alice", codec)
		answer := make(chan struct{})
		e.store.setElsewhere(func() { <-answer })
		for _, c := range waiting {
			c.request("getMessage", obj{"conv": "u:alice"})
		}
		synctest.Wait()
		e.store.setElsewhere(nil)
		alice.call("getMessage", obj{"conv": "u:bob"})
		close(answer)
		for _, c := range waiting {
			c.reply(c.id)
		}
	})
}

// A pumper that finds too many waiting for other nodes does not wait too.
func TestPumpersThatAskAreBounded(t *testing.T) {
	var p pumpers
	for range maxAsking {
		if _, err := p.Leave(); err != nil {
			t.Fatalf("Leave() = %v, want nil", err)
		}
	}
	if _, err := p.Leave(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Leave() = %v, want ErrUnavailable", err)
	}
	p.Return()
	if _, err := p.Leave(); err != nil {
		t.Errorf("Leave() = %v, want nil", err)
	}
}
