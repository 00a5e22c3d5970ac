package loadtest

import (
	"fmt"
	"sync"
)

// maxHoles bounds the messages of a stream that may be missing when later ones
// have come. Those were refused and sent again, so there are at most a window's
// worth.
const maxHoles = 1 << 12

// A Stream is what one user sends another: messages numbered 1, 2, 3 … by a
// counter in their bodies. Sender and receiver share it, so that the receiver
// knows what was sent. It is safe for concurrent use.
type Stream struct {
	id       uint32
	from, to string
	size     int // of a body

	mu        sync.Mutex
	sent      uint64
	delivered uint64 // each message once
	next      uint64 // lowest counter above all that were delivered
	// holes are the counters below next that were not delivered.
	holes map[uint64]struct{}
	// excused are those that the sender sent again before they were delivered or
	// answered: later messages may come before them.
	excused map[uint64]struct{}
	refused uint64 // messages given up: refused for good
}

// NewStream returns stream number id of a run. Its bodies have size bytes, from
// MinBody to MaxBody.
func NewStream(id uint32, from, to string, size int) *Stream {
	return &Stream{
		id: id, from: from, to: to, size: bodySize(size),
		next: 1, holes: map[uint64]struct{}{}, excused: map[uint64]struct{}{},
	}
}

func (s *Stream) String() string { return s.from + " → " + s.to }

// take counts one more message as sent and returns its number.
func (s *Stream) take() (counter uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	return s.sent
}

// count returns how many messages were sent.
func (s *Stream) count() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// excuse notes that a message is sent once more: it may come later than its
// number says.
func (s *Stream) excuse(counter uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, hole := s.holes[counter]
	if counter >= s.next || hole {
		s.excused[counter] = struct{}{}
	}
}

// giveUp notes that the server refused a message for good.
func (s *Stream) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
}

// deliver notes that the receiver got a message for the first time, and returns
// an error if that is out of order.
func (s *Stream) deliver(counter uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if counter == 0 || counter > s.sent {
		return fmt.Errorf("message %d came, but only %d were sent", counter, s.sent)
	}
	_, hole := s.holes[counter]
	_, excused := s.excused[counter]
	switch {
	case counter >= s.next:
		if len(s.holes)+int(counter-s.next) > maxHoles {
			return fmt.Errorf("message %d came, want %d: more than %d are missing", counter, s.next, maxHoles)
		}
		for c := s.next; c < counter; c++ {
			s.holes[c] = struct{}{}
		}
		s.next = counter + 1
	case !hole:
		return fmt.Errorf("message %d came again under another seq, want %d", counter, s.next)
	case !excused:
		delete(s.holes, counter)
		s.delivered++
		return fmt.Errorf("message %d came after %d, want them in the order sent", counter, s.next-1)
	}
	delete(s.holes, counter)
	delete(s.excused, counter)
	s.delivered++
	return nil
}

// settled returns an error if a message is missing once nothing is under way any
// more.
func (s *Stream) settled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := s.sent - s.refused
	if s.delivered == want {
		return nil
	}
	lost := s.next // if there is no hole, the end is missing
	for c := range s.holes {
		lost = min(lost, c)
	}
	return fmt.Errorf("%s: %d messages were delivered, want %d; message %d is the first that is missing", s, s.delivered, want, lost)
}
