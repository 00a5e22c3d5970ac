// Package turns shares places among users.
package turns

import (
	"container/list"
	"context"
	"sync"
)

// Turns share places among users, so that none can keep the others out: one has some
// of them at most, and whoever has fewest is next.
type Turns struct {
	mu    sync.Mutex
	free  int
	most  int // places of one user
	users map[string]*turnUser
	// lines[n] has those who wait and hold n places, the one who came first first.
	// Who holds the most that one may stands in none.
	lines []list.List
}

type turnUser struct {
	held    int
	waiting []chan struct{} // closed when it is this one's turn
	line    *list.Element   // nil: in none
}

// New returns turns for places, of which a user has at most so many at a time.
func New(places, most int) *Turns {
	return &Turns{free: places, most: most, users: make(map[string]*turnUser), lines: make([]list.List, most)}
}

// Take waits for a place of a user until ctx ends. It reports whether there is one,
// which Give gives back.
func (t *Turns) Take(ctx context.Context, who string) bool {
	turn := make(chan struct{})
	t.mu.Lock()
	u := t.users[who]
	if u == nil {
		u = new(turnUser)
		t.users[who] = u
	}
	u.waiting = append(u.waiting, turn)
	t.place(u)
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
			t.place(u)
			t.forget(who, u)
			return false
		}
	}
	return true // it came just now
}

// Give gives a place of a user back.
func (t *Turns) Give(who string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.users[who]
	t.lift(u)
	u.held--
	t.free++
	t.place(u)
	t.next()
	t.forget(who, u)
}

// place has a user stand in the line that is his, if any.
func (t *Turns) place(u *turnUser) {
	wants := len(u.waiting) > 0 && u.held < t.most
	switch {
	case wants && u.line == nil:
		u.line = t.lines[u.held].PushBack(u)
	case !wants:
		t.lift(u)
	}
}

// lift takes a user out of his line, before what he holds changes.
func (t *Turns) lift(u *turnUser) {
	if u.line != nil {
		t.lines[u.held].Remove(u.line)
		u.line = nil
	}
}

// next gives free places to those whose turn it is.
func (t *Turns) next() {
	for n := 0; n < len(t.lines) && t.free > 0; {
		front := t.lines[n].Front()
		if front == nil {
			n++
			continue
		}
		u := front.Value.(*turnUser)
		t.lift(u)
		close(u.waiting[0])
		u.waiting = u.waiting[1:]
		u.held++
		t.free--
		t.place(u)
	}
}

func (t *Turns) forget(who string, u *turnUser) {
	if u.held == 0 && len(u.waiting) == 0 {
		delete(t.users, who)
	}
}
