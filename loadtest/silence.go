package loadtest

import (
	"sync"
	"time"
)

// Silences measures how long clients' sends wait without any being answered: for
// each client, and for all together. A refusal is no answer. It is made for the
// clients of one run, and safe for concurrent use.
type Silences struct {
	now func() time.Duration // since the run's epoch

	mu       sync.Mutex
	from, to time.Duration // longest counts what lies between them
	expected time.Duration // when Expect was called last
	all      silence
	clients  []silence // by their numbers
}

// A silence is that of one client, or of all.
type silence struct {
	waiting int           // sends without an answer
	since   time.Duration // the last answer, or, if nothing waited then, the next send
	longest time.Duration // in the time that is measured
	// sinceMark is the longest that ended after the last mark; it may have begun
	// before.
	sinceMark time.Duration
	answered  bool // a send since the last Expect
}

func newSilences(now func() time.Duration) *Silences { return &Silences{now: now} }

// measure makes longest count what lies between two times, and forget the rest.
func (s *Silences) measure(from, to time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from, s.to = from, to
	s.all.longest = 0
	for i := range s.clients {
		s.clients[i].longest = 0
	}
}

// sent notes a send that was meant to happen at a time.
func (s *Silences) sent(client int, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for client >= len(s.clients) {
		s.clients = append(s.clients, silence{})
	}
	s.all.sent(at)
	s.clients[client].sent(at)
}

func (s *silence) sent(at time.Duration) {
	if s.waiting == 0 {
		s.since = max(s.since, at)
	}
	s.waiting++
}

// answered notes the answer to a send that was meant to happen at a time; given up
// is one that will never come.
func (s *Silences) answered(client int, at, now time.Duration, givenUp bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range []*silence{&s.all, &s.clients[client]} {
		one.waiting--
		if !givenUp {
			one.end(s, now)
			one.answered = one.answered || at >= s.expected
		}
	}
}

func (s *silence) end(of *Silences, now time.Duration) {
	s.longest = max(s.longest, min(now, of.to)-max(s.since, of.from))
	s.sinceMark = max(s.sinceMark, now-s.since)
	s.since = now
}

// longest returns the longest silence of all clients together, and that of the
// client that had the longest, in the time that is measured.
func (s *Silences) longest() (all, client time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := min(s.now(), s.to)
	of := func(one *silence) time.Duration {
		if one.waiting == 0 {
			return one.longest
		}
		return max(one.longest, now-max(one.since, s.from))
	}
	for i := range s.clients {
		client = max(client, of(&s.clients[i]))
	}
	return of(&s.all), client
}

// Mark begins what SinceMark tells of.
func (s *Silences) Mark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.mark()
	for i := range s.clients {
		s.clients[i].mark()
	}
}

func (s *silence) mark() { s.sinceMark = 0 }

// SinceMark returns the longest silence since the last mark, of all clients
// together and of each, by its number. What lasts still counts up to now.
func (s *Silences) SinceMark() (all time.Duration, clients []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	of := func(one *silence) time.Duration {
		if one.waiting == 0 {
			return one.sinceMark
		}
		return max(one.sinceMark, now-one.since)
	}
	clients = make([]time.Duration, len(s.clients))
	for i := range s.clients {
		clients[i] = of(&s.clients[i])
	}
	return of(&s.all), clients
}

// Expect begins what Unanswered tells of.
func (s *Silences) Expect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected = s.now()
	for i := range s.clients {
		s.clients[i].answered = false
	}
}

// Unanswered returns the numbers of clients that have got no answer to anything
// that they were to send since Expect was called last.
func (s *Silences) Unanswered() (clients []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.clients {
		if !s.clients[i].answered {
			clients = append(clients, i)
		}
	}
	return clients
}
