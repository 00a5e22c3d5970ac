package inspect

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// keptOften is how many pairs an Often counts at a time.
	keptOften = 64
	// often is the span of one count; what is told is of the last one to two.
	often = 10 * time.Minute
	// leastOften is from how many times on it is told of what is no fault if it happens once.
	leastOften = 3
)

// An Often finds what happens often: pairs of words, such as a user and a device. It takes
// constant memory whatever comes: a new pair takes the place of the one with the lowest
// count, and inherits that as its error (Metwally's space saving). The zero value is ready.
type Often struct {
	mu          sync.Mutex
	began       time.Time
	now, before []pair // at most keptOften each, in no order
}

type pair struct {
	a, b  string
	count int
	error int // so much of count may be others'
	last  int64
}

// A Count is a pair, how often it came at least, and when last (ms).
type Count struct {
	A, B  string
	Count int
	Last  int64
}

// Add counts a pair. It takes some 100 ns, and allocates only for the first pairs.
func (o *Often) Add(a, b string, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn(at)
	least := 0
	for i := range o.now {
		p := &o.now[i]
		if p.a == a && p.b == b {
			p.count++
			p.last = at.UnixMilli()
			return
		}
		if p.count < o.now[least].count {
			least = i
		}
	}
	fresh := pair{a: a, b: b, count: 1, last: at.UnixMilli()}
	if len(o.now) < keptOften {
		o.now = append(o.now, fresh)
		return
	}
	fresh.error = o.now[least].count
	fresh.count += fresh.error
	o.now[least] = fresh
}

// Forget leaves out pairs that begin with a.
func (o *Often) Forget(a string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	of := func(p pair) bool { return p.a == a }
	o.now, o.before = slices.DeleteFunc(o.now, of), slices.DeleteFunc(o.before, of)
}

// turn begins another span if the present one is over. The caller holds mu.
func (o *Often) turn(at time.Time) {
	switch since := at.Sub(o.began); {
	case since < often:
		return
	case since < 2*often:
		o.now, o.before = o.before[:0], o.now
	default:
		o.now, o.before = o.now[:0], o.before[:0]
	}
	o.began = at
}

// Most returns the limit pairs that came most often, and at least leastOften times.
func (o *Often) Most(limit int, at time.Time) []Count {
	list := slices.DeleteFunc(o.All(at), func(c Count) bool { return c.Count < leastOften })
	return list[:min(limit, len(list))]
}

// All returns all pairs that it knows came at least once, those that came most often first.
func (o *Often) All(at time.Time) []Count {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn(at)
	var list []Count
	for _, span := range [][]pair{o.now, o.before} {
		for _, p := range span {
			i := slices.IndexFunc(list, func(c Count) bool { return c.A == p.a && c.B == p.b })
			if i < 0 {
				list = append(list, Count{A: p.a, B: p.b})
				i = len(list) - 1
			}
			list[i].Count += p.count - p.error
			list[i].Last = max(list[i].Last, p.last)
		}
	}
	slices.SortStableFunc(list, func(a, b Count) int { return cmp.Compare(b.Count, a.Count) })
	return list
}
