// Package turns is a semaphore that is fair to users.
package turns

import (
	"container/list"
	"context"
	"sync"
)

// Turns is a semaphore whose slots are shared fairly among users: a user holds some of
// them at most, and the one that holds fewest is next.
type Turns struct {
	mu    sync.Mutex
	free  int
	most  int // slots of one user
	users map[string]*turnUser
	// queues[n] has the users that wait and hold n slots, in the order in which they came.
	// A user that holds most slots is in none.
	queues []list.List
}

type turnUser struct {
	held    int
	waiting []chan struct{} // each closed when it has a slot
	element *list.Element   // in its queue, nil: in none
}

// New returns a semaphore of slots, of which a user holds at most so many.
func New(slots, most int) *Turns {
	return &Turns{free: slots, most: most, users: make(map[string]*turnUser), queues: make([]list.List, most)}
}

// Acquire waits for a slot for a user until ctx ends. It reports whether the user has got
// one, which Release gives back.
func (t *Turns) Acquire(ctx context.Context, who string) bool {
	turn := make(chan struct{})
	t.mu.Lock()
	u := t.users[who]
	if u == nil {
		u = new(turnUser)
		t.users[who] = u
	}
	u.waiting = append(u.waiting, turn)
	t.enqueue(u)
	t.next()
	t.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range u.waiting {
		if u.waiting[i] == turn {
			u.waiting = append(u.waiting[:i], u.waiting[i+1:]...)
			t.enqueue(u)
			t.forget(who, u)
			return false
		}
	}
	return true // it has got one just now
}

// Release gives back a slot of a user.
func (t *Turns) Release(who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[who]
	t.dequeue(u)
	u.held--
	t.free++
	t.enqueue(u)
	t.next()
	t.forget(who, u)
}

// enqueue puts a user into the queue that it belongs in, if any.
func (t *Turns) enqueue(u *turnUser) {
	wants := len(u.waiting) > 0 && u.held < t.most
	switch {
	case wants && u.element == nil:
		u.element = t.queues[u.held].PushBack(u)
	case !wants:
		t.dequeue(u)
	}
}

// dequeue removes a user from its queue, before the number of slots that it holds changes.
func (t *Turns) dequeue(u *turnUser) {
	if u.element != nil {
		t.queues[u.held].Remove(u.element)
		u.element = nil
	}
}

// next gives free slots to the users whose turn it is.
func (t *Turns) next() {
	for n := 0; n < len(t.queues) && t.free > 0; {
		front := t.queues[n].Front()
		if front == nil {
			n++
			continue
		}
		u := front.Value.(*turnUser)
		t.dequeue(u)
		close(u.waiting[0])
		u.waiting = u.waiting[1:]
		u.held++
		t.free--
		t.enqueue(u)
	}
}

// forget removes a user that holds and waits for nothing.
func (t *Turns) forget(who string, u *turnUser) {
	if u.held == 0 && len(u.waiting) == 0 {
		delete(t.users, who)
	}
}
