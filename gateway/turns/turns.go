// Package turns provides a semaphore that is fair to users.
package turns

import (
	"container/list"
	"context"
	"sync"
)

// Turns is a semaphore whose slots are shared fairly among users. Each user holds at most
// most slots, and a free slot goes to the waiting user who holds the fewest.
type Turns struct {
	mu    sync.Mutex
	free  int
	most  int // limit of a user's slots
	users map[string]*turnUser
	// queues[n] holds the users who wait and hold n slots, in the order in which they
	// came. A user who holds most slots is in no queue.
	queues []list.List
}

type turnUser struct {
	held    int
	waiting []chan struct{} // one for each waiting call; closed when it gets a slot
	element *list.Element   // in the queue, nil if in none
}

// New returns a semaphore with slots slots, of which a user may hold most.
func New(slots, most int) *Turns {
	return &Turns{free: slots, most: most, users: make(map[string]*turnUser), queues: make([]list.List, most)}
}

// Acquire waits for a slot for a user until ctx ends. It reports whether the user has got
// one; then the caller must call Release.
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
	return true // it got a slot just before ctx ended
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

// enqueue puts a user into the queue for the slots held, or takes the user out if no slot
// is wanted or allowed.
func (t *Turns) enqueue(u *turnUser) {
	wants := len(u.waiting) > 0 && u.held < t.most
	switch {
	case wants && u.element == nil:
		u.element = t.queues[u.held].PushBack(u)
	case !wants:
		t.dequeue(u)
	}
}

// dequeue takes a user out of the queue. It must be called before the number of slots held
// changes.
func (t *Turns) dequeue(u *turnUser) {
	if u.element != nil {
		t.queues[u.held].Remove(u.element)
		u.element = nil
	}
}

// next gives free slots to users, those with the fewest slots first.
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

// forget drops a user who holds no slots and does not wait.
func (t *Turns) forget(who string, u *turnUser) {
	if u.held == 0 && len(u.waiting) == 0 {
		delete(t.users, who)
	}
}
