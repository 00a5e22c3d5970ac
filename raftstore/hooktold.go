package raftstore

import (
	"sync"
	"sync/atomic"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// maxTold bounds the calls that a toldHooks remembers after they have ended. Past it a
// leadership that begins here may tell Hooks again.
const maxTold = 16 * store.MaxOpenQueued

// A toldHooks is what Hooks were told at this node of the messages in a shard's queue. It
// outlives leaderships: one that begins here tells nothing again that an earlier one has
// told, though that could not have it removed from the queue, and all of them together
// have no more open than one may.
type toldHooks struct {
	open atomic.Int32 // calls that Hooks have not finished

	mu     sync.Mutex
	latest *hooker
	calls  map[toldHook]*hookCall
	upTo   uint64 // calls about messages up to this number are forgotten when they end
	began  bool
	read   uint64 // number of the last message that a leadership has read
}

// A toldHook names a message, by its number in the queue and its id, for one user.
type toldHook struct {
	number uint64
	id     command.MsgID
	user   command.UserID
}

type hookCall struct {
	hooker *hooker // that waits for the end
	over   bool
}

// begin makes h the hooker of a leadership that finds the queue empty up to a number. Unless
// this node is alone, another leader may have dealt with what is not there any more.
func (t *toldHooks) begin(h *hooker, upTo uint64, alone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest = h
	t.forget(upTo)
	if !alone || !t.began {
		t.began, t.read = true, max(t.read, upTo)
	}
}

// progress notes that the queue is empty up to a number, and was then read up to another. It
// returns how many messages were dropped from it unread.
func (t *toldHooks) progress(upTo, read uint64) (lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(upTo)
	lost = max(upTo, t.read) - t.read
	t.read = max(t.read, upTo, read)
	return lost
}

func (t *toldHooks) forget(upTo uint64) {
	if upTo <= t.upTo {
		return
	}
	t.upTo = upTo
	for key, call := range t.calls {
		if call.over && key.number <= upTo {
			delete(t.calls, key)
		}
	}
}

// add has h wait for the end of a call. fresh reports whether the call is to be made: if
// not, it is open since an earlier leadership, or over.
func (t *toldHooks) add(key toldHook, h *hooker) (fresh, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if call := t.calls[key]; call != nil {
		call.hooker = h
		return false, call.over
	}
	if t.calls == nil {
		t.calls = make(map[toldHook]*hookCall)
	}
	t.calls[key] = &hookCall{hooker: h}
	t.open.Add(1)
	return true, false
}

// end notes that Hooks have finished a call, or are closed if over is not set.
func (t *toldHooks) end(key toldHook, over bool) {
	t.mu.Lock()
	call := t.calls[key]
	h, latest := call.hooker, t.latest
	if call.over = over; !over || key.number <= t.upTo || len(t.calls) > maxTold {
		delete(t.calls, key)
	}
	t.open.Add(-1)
	t.mu.Unlock()
	h.postReturned(returnedHook{number: key.number, over: over})
	if latest != h {
		latest.signal() // there is room for another call
	}
}
