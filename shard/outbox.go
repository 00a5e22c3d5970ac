package shard

import (
	"bytes"
	"iter"

	"github.com/belfry-im/belfry/shard/command"
)

// keptLetterBuf bounds the buffer in which letters are encoded between two of them.
const keptLetterBuf = 64 << 10

// An outQueue holds the letters of one user to another that no TrimOutbox has confirmed
// yet.
type outQueue struct {
	to    command.UserID
	first uint64   // number of the first letter
	bytes [][]byte // encoded letters, in order; each is immutable and shared with Posted
}

// postLetter numbers a letter of conversation i. If the receiver is in this shard and
// no earlier letter waits, the letter is applied at once; otherwise it waits in the
// outbox.
func (s *State) postLetter(u *user, i int, l *command.Letter) {
	c := &u.convs.items[i]
	c.lettersOut++
	l.Number = c.lettersOut
	if c.outbox == 0 {
		if sl := s.slotFor(l.To); sl != nil {
			var r command.Result
			s.deliver(sl, l, &r)
			if r.Code != command.OK {
				panicInvariant("letter %d from %s to %s in one shard: %s", l.Number, l.From, l.To, r.Detail)
			}
			return
		}
		c.outbox = u.newOutQueue(l.To, l.Number)
	}
	b := s.encodeLetter(l)
	q := &u.outbox[c.outbox-1]
	q.bytes = append(q.bytes, b)
	s.letterBytes += len(b)
	s.out.Posted = append(s.out.Posted, Posted{From: l.From, To: l.To, Number: l.Number, Bytes: b})
}

// encodeLetter returns an encoded letter in as many bytes as it takes: it stays for as
// long as it waits.
func (s *State) encodeLetter(l *command.Letter) []byte {
	buf := command.AppendLetter(s.letterBuf[:0], l)
	if s.letterBuf = nil; cap(buf) <= keptLetterBuf {
		s.letterBuf = buf
	}
	return bytes.Clone(buf)
}

// newOutQueue makes an empty queue and returns 1 + its index in u.outbox.
func (u *user) newOutQueue(to command.UserID, first uint64) uint32 {
	for i := range u.outbox {
		if len(u.outbox[i].bytes) == 0 {
			u.outbox[i] = outQueue{to: to, first: first}
			return uint32(i + 1)
		}
	}
	u.outbox = append(u.outbox, outQueue{to: to, first: first})
	return uint32(len(u.outbox))
}

func (s *State) applyTrimOutbox(c *command.TrimOutbox, r *command.Result) {
	sl := s.slotFor(c.From)
	if sl == nil {
		r.Code = command.CodeMoved
		return
	}
	u := s.userMut(sl, c.From, false)
	if u == nil {
		return
	}
	if u.group != nil {
		s.trimGroupLetter(u, c.To, c.UpTo)
		return
	}
	i := s.findConv(u, c.To)
	if i < 0 || u.convs.items[i].outbox == 0 {
		return
	}
	cv := &u.convs.items[i]
	q := &u.outbox[cv.outbox-1]
	for len(q.bytes) > 0 && q.first <= c.UpTo {
		s.letterBytes -= len(q.bytes[0])
		q.bytes = q.bytes[1:]
		q.first++
	}
	if len(q.bytes) > 0 {
		return
	}
	*q = outQueue{}
	cv.outbox = 0
	for len(u.outbox) > 0 && u.outbox[len(u.outbox)-1].to == "" {
		u.outbox = u.outbox[:len(u.outbox)-1]
	}
	if len(u.outbox) == 0 {
		u.outbox = nil
	}
}

// Letters yields all letters that wait, those of one user to another in order. A new
// leader has to send them again.
func (s *State) Letters(yield func(Posted) bool) {
	for number := range s.slots {
		for p := range s.SlotLetters(uint16(number)) {
			if !yield(p) {
				return
			}
		}
	}
}

// SlotLetters is Letters for one slot, which has moved here or was thawed.
func (s *State) SlotLetters(number uint16) iter.Seq[Posted] {
	return func(yield func(Posted) bool) {
		if !s.Owns(number) {
			return
		}
		for _, u := range s.usersByName(s.slots[number]) {
			if u.group != nil && !u.yieldGroupLetters(yield) {
				return
			}
			for _, q := range u.outbox {
				for n, b := range q.bytes {
					if !yield(Posted{From: u.name, To: q.to, Number: q.first + uint64(n), Bytes: b}) {
						return
					}
				}
			}
		}
	}
}

// yieldGroupLetters yields the waiting letters of a group in order of the receiver's
// name. It returns false if yield did.
func (u *user) yieldGroupLetters(yield func(Posted) bool) bool {
	for _, name := range u.group.letterNames() {
		n := u.group.letters[name]
		if !yield(Posted{From: u.name, To: name, Number: n.version, Bytes: n.bytes}) {
			return false
		}
	}
	return true
}
