package raftstore

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A slowWay is the way to a shard's leader, on which things stay until it is released.
type slowWay struct {
	find func() leaderEnd

	mu       sync.Mutex
	released bool
	waiting  []func()
}

// slowDown has all that a node asks of a shard's leader stay on its way.
func slowDown(sh *shardRef) *slowWay {
	ln := sh.line
	ln.mu.Lock()
	defer ln.mu.Unlock()
	w := &slowWay{find: ln.find}
	ln.find = func() leaderEnd { return w }
	ln.park()
	return w
}

func (w *slowWay) send(op *operation, done func(*peer.Answer)) (kept bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.released {
		return w.pass(op, done)
	}
	w.waiting = append(w.waiting, func() {
		if _, err := w.pass(op, done); err != nil {
			done(&peer.Answer{Err: peer.ErrBroken}) // to be sent again
		}
	})
	return true, nil
}

func (w *slowWay) pass(op *operation, done func(*peer.Answer)) (kept bool, err error) {
	to := w.find()
	if to == nil {
		return false, peer.ErrBroken
	}
	return to.send(op, done)
}

func (w *slowWay) release() {
	w.mu.Lock()
	w.released = true
	waiting := w.waiting
	w.mu.Unlock()
	for _, pass := range waiting {
		pass()
	}
}

// What a device sent before it logged in elsewhere may stay on its way for so long that it
// comes behind what the device has sent since. It is not stored then, unless its command
// does not say where it comes from: that shows that it does come behind.
func TestClusterEndedSessionsAreFenced(t *testing.T) {
	const old, later = 3, 0 // the old node has no replicas, so that it never leads
	c := newTestCluster(t, 4, 1, nil)
	createGroup(t, c.store(later), "team", command.GroupPrivate, "alice", "bob")
	for _, fenced := range []bool{true, false} {
		for _, group := range []bool{false, true} {
			t.Run(fmt.Sprintf("fenced=%v/group=%v", fenced, group), func(t *testing.T) {
				device := fmt.Sprint("phone", fenced, group)
				message := func(cid string, login command.SessionID, id byte) command.Command {
					var origin command.Origin
					if fenced {
						origin = command.Origin{Device: command.HashDevice(device), Login: login, Fence: true}
					}
					cid += device
					if group {
						return &command.SendGroup{Group: "team", User: "alice", Session: login, ID: command.MsgID{id}, CID: cid, Body: []byte{1}, Origin: origin}
					}
					return &command.Send{User: "alice", Session: login, To: "bob", ID: command.MsgID{id}, CID: cid, Body: []byte{1}, Origin: origin}
				}
				way := slowDown(c.store(old).shards()[0])
				var answers sync.WaitGroup
				late := make([]answer, 3)
				for i, cid := range []string{"a", "b", "c"} {
					answers.Add(1)
					c.store(old).Submit(message(cid, 1, byte(i+1)), func(r command.Result, err error) {
						late[i] = answer{result: r, err: err}
						answers.Done()
					})
				}
				// The client repeats "b" in its next session, and has given up the others.
				b := repeat(t, c.store(later), message("b", 2, 11))
				d := repeat(t, c.store(later), message("d", 2, 12))
				way.release()
				answers.Wait()
				for i, a := range late {
					if errors.Is(a.err, store.ErrUnavailable) || errors.Is(a.err, store.ErrUnknown) {
						t.Fatalf("message %d: %v", i, a.err)
					}
				}
				if r := late[1].result; r.Code != command.OK || !r.Duplicate || r.Seq != b.Seq {
					t.Errorf("the repeated message = %+v, want a duplicate of seq %d", r, b.Seq)
				}
				for _, i := range []int{0, 2} {
					switch r := late[i].result; {
					case fenced && r.Code != command.CodeOvertaken:
						t.Errorf("message %d = %+v, want that it was overtaken", i, r)
					case !fenced && (r.Code != command.OK || r.Seq <= d.Seq):
						t.Errorf("message %d = %+v, want a seq above %d", i, r, d.Seq)
					}
				}
			})
		}
	}
}
