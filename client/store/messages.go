package store

import (
	"bytes"
	"fmt"
	"math"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// readMessage decodes a message of a conversation from its entry.
func (t *Tx) readMessage(conv protocol.Conv, key, value []byte) record {
	r := &t.record
	t.decode(value, r)
	r.Conv, r.Seq = conv, lastNumber(key)
	return *r
}

// message returns the message at a seq, and whether it is held.
func (t *Tx) message(conv protocol.Conv, seq uint64) (record, bool) {
	t.key = appendSeqKey(t.key[:0], keyMessage, conv, seq)
	b := t.kv.Get(t.key)
	if b == nil {
		return record{}, false
	}
	return t.readMessage(conv, t.key, b), true
}

// messages yields those of from..to that are held and have not expired.
func (t *Tx) messages(conv protocol.Conv, from, to uint64, descending bool, yield func(*record) bool) {
	var r record
	for k, v := range t.kv.Scan(seqKey(keyMessage, conv, from), seqKey(keyMessage, conv, to+1), descending) {
		r = t.readMessage(conv, k, v)
		if t.err != nil || !t.expired(&r.Message) && !yield(&r) {
			return
		}
	}
}

// eachMessage yields the entries of a range of keys of messages, of whichever conversations.
func (t *Tx) eachMessage(from, to []byte, descending bool, yield func(key, value []byte, r *record) bool) {
	var conv protocol.Conv
	var text []byte // of conv
	var r record
	for k, v := range t.kv.Scan(from, to, descending) {
		if of := k[1:max(len(k)-seqTail, 1)]; text == nil || !bytes.Equal(of, text) {
			text = append(text[:0], of...)
			var err error
			if conv, err = protocol.ParseConv(string(of)); err != nil {
				t.fail(fmt.Errorf("%w: %w", ErrCorrupt, err))
			}
		}
		r = t.readMessage(conv, k, v)
		if t.err != nil || !yield(k, v, &r) {
			return
		}
	}
}

// end returns when a message with a ttl is over, ms.
func end(m *protocol.Message) int64 { return m.Time + int64(m.TTL)*1000 }

func (t *Tx) expired(m *protocol.Message) bool { return m.TTL > 0 && end(m) <= t.now }

func (t *Tx) put(m *protocol.Message, login uint64) {
	t.record = record{*m, login}
	t.key = appendSeqKey(t.key[:0], keyMessage, m.Conv, m.Seq)
	t.set(t.key, &t.record)
	t.hold(m.Conv, m.Seq)
	if m.TTL > 0 {
		t.kv.Put(expiryKey(end(m), m.Conv, m.Seq), nil)
	}
}

// drop removes the messages of from..to that are held, as far as which says so.
func (t *Tx) drop(conv protocol.Conv, from, to uint64, which func(*record) bool) (dropped []uint64) {
	var expiries [][]byte
	for k, v := range t.kv.Scan(seqKey(keyMessage, conv, from), seqKey(keyMessage, conv, to+1), false) {
		r := t.readMessage(conv, k, v)
		if t.err != nil {
			return nil
		}
		if which(&r) {
			dropped = append(dropped, r.Seq)
			if r.TTL > 0 {
				expiries = append(expiries, expiryKey(end(&r.Message), conv, r.Seq))
			}
		}
	}
	for _, seq := range dropped {
		t.kv.Delete(seqKey(keyMessage, conv, seq))
	}
	for _, k := range expiries {
		t.kv.Delete(k)
	}
	return dropped
}

func all(*record) bool { return true }

// sweptAtOnce bounds the expired messages that one transaction removes. Until they are
// removed they are left out where messages are read.
const sweptAtOnce = 256

// Sweep removes messages whose ttl is over, at most sweptAtOnce of them, and returns how
// many it has gone over. They count as unread no more, as with the server.
func (t *Tx) Sweep(user string) int {
	var keys [][]byte
	for k := range t.kv.Scan([]byte{keyExpiry}, numberKey(keyExpiry, uint64(max(t.now, 0))+1), false) {
		if keys = append(keys, bytes.Clone(k)); len(keys) == sweptAtOnce {
			break
		}
	}
	gone := make(map[protocol.Conv]uint64) // of these conversations, so many unread messages
	for _, k := range keys {
		t.kv.Delete(k)
		conv, ok := convOf(k, 9, seqTail)
		if !ok {
			t.fail(ErrCorrupt)
			return 0
		}
		seq := lastNumber(k)
		if r, held := t.message(conv, seq); held && t.expired(&r.Message) {
			t.kv.Delete(seqKey(keyMessage, conv, seq))
			t.setRun(conv, seq, seq, Expired)
			n := gone[conv]
			if e := t.entry(conv); e.counts(&r, user) {
				n++
			}
			gone[conv] = n
		}
	}
	for conv, n := range gone {
		t.refresh(conv, n, user)
	}
	return len(keys)
}

// Receive takes in a message that the server has pushed in the session of a login, and
// reports whether this device never had it. It had a message that is held, with that
// id, and what its user has deleted or somebody has recalled.
//
// With autoRead the user has read it, if it is of a one-to-one conversation.
func (t *Tx) Receive(m *protocol.Message, user string, login uint64, autoRead bool) (fresh bool) {
	switch t.kindFor(m.Conv, m.Seq) {
	case Deleted, Recalled:
		return false
	case Held:
		if r, ok := t.message(m.Conv, m.Seq); ok && r.ID == m.ID {
			if r.login != login {
				t.put(m, login) // a reset of this session keeps it
			}
			return false
		}
	}
	t.put(m, login)
	e := t.entry(m.Conv)
	e.Listed, e.Marked, e.Followed = true, false, true
	if m.Seq > e.LastSeq {
		e.LastSeq, e.Time = m.Seq, m.Time
	}
	e.End = max(e.End, m.Seq)
	switch {
	case m.From == user && m.Conv.Group, autoRead && !m.Conv.Group:
		t.read(&e, m.Conv, m.Seq, user)
	case m.From != user && m.Seq > e.base() && !e.Uncounted:
		e.Unread++
	}
	t.setEntry(m.Conv, &e)
	return true
}

// Sent takes in a message that the server has stored for this device.
func (t *Tx) Sent(m *protocol.Message, user string, login uint64) {
	t.Receive(m, user, login, false)
}

// Import takes in a message from elsewhere, unless its seq is accounted for.
func (t *Tx) Import(m *protocol.Message, user string) {
	if !t.runAt(m.Conv, m.Seq).Kind.missing() {
		return
	}
	t.put(m, 0)
	e := t.entry(m.Conv)
	e.Listed = true
	if m.Seq > e.LastSeq {
		e.LastSeq, e.Time = m.Seq, m.Time
	}
	e.End = max(e.End, m.Seq)
	t.setEntry(m.Conv, &e)
}

// Covered takes in a page of the server's history. Where it says other than the store,
// the store is newer: what was pushed, deleted or recalled since stays so.
func (t *Tx) Covered(conv protocol.Conv, p *protocol.PageOK, user string, login uint64) {
	if p.To == 0 {
		return
	}
	for i := range p.Messages {
		m := &p.Messages[i]
		if m.Conv == conv && m.Seq >= p.From && m.Seq <= p.To && t.runAt(conv, m.Seq).Kind.missing() {
			t.put(m, login)
		}
	}
	for _, g := range p.Gaps {
		t.fill(conv, max(g.From, p.From), min(g.To, p.To), kindOf(g.Reason), Kind.missing)
	}
	// A server accounts for every seq of a page. If one does not, asking again would not help.
	t.fill(conv, p.From, p.To, Evicted, Kind.missing)
	e := t.entry(conv)
	e.End = max(e.End, p.To)
	for i := range p.Messages {
		if m := &p.Messages[i]; m.Seq > e.LastSeq {
			e.LastSeq, e.Time = m.Seq, m.Time
		}
	}
	t.lower(&e, conv, 0, user) // now that it is known whose they are
	t.setEntry(conv, &e)
}

// Recall marks messages of ranges as recalled: those of sender, or all if that is empty.
func (t *Tx) Recall(p *protocol.Recall, user string) {
	var gone uint64
	for _, r := range p.Ranges {
		if r.From == 0 || r.To < r.From || r.To >= maxSeq {
			continue
		}
		t.reach(p.Conv, r.To)
		e := t.entry(p.Conv)
		dropped := t.drop(p.Conv, r.From, r.To, func(m *record) bool {
			of := p.Sender == "" || m.From == p.Sender
			if of && e.counts(m, user) {
				gone++
			}
			return of
		})
		if p.Sender == "" {
			t.setRun(p.Conv, r.From, r.To, Recalled)
			continue
		}
		for _, seq := range dropped {
			t.setRun(p.Conv, seq, seq, Recalled)
		}
	}
	t.refresh(p.Conv, gone, user)
}

// DeleteMessages removes messages for good: they are not asked for again.
func (t *Tx) DeleteMessages(conv protocol.Conv, seqs []uint64, user string) {
	var gone uint64
	for _, seq := range seqs {
		if seq > 0 && seq < maxSeq {
			t.reach(conv, seq)
			e := t.entry(conv)
			t.drop(conv, seq, seq, func(m *record) bool {
				if e.counts(m, user) {
					gone++
				}
				return true
			})
			t.setRun(conv, seq, seq, Deleted)
		}
	}
	t.refresh(conv, gone, user)
}

// DeleteConversation takes a conversation off the list, unless messages came after upTo.
// With messages it deletes those up to there, too.
func (t *Tx) DeleteConversation(conv protocol.Conv, upTo uint64, messages bool, user string) {
	e := t.entry(conv)
	var gone uint64
	if upTo > e.base() {
		gone = t.passed(&e, conv, upTo, user)
	}
	if messages && upTo > 0 && upTo < maxSeq {
		t.drop(conv, 1, upTo, all)
		t.setRun(conv, 1, upTo, Deleted)
	}
	e.Floor = max(e.Floor, upTo)
	if e.LastSeq <= upTo {
		e.Listed = false
	}
	t.setEntry(conv, &e)
	t.refresh(conv, gone, user)
}

// Forget removes all that is stored of a conversation, its place in the outbox excepted.
func (t *Tx) Forget(conv protocol.Conv) {
	t.drop(conv, 0, maxSeq-1, all)
	t.flushEntry()
	t.kv.Delete(convKey(keyEntry, conv))
	t.setRun(conv, 1, maxSeq-2, Unknown)
}

// Reset drops all that did not come in the session of a login: the server's data are
// those of another time, and its seqs may name other messages. first is the first delivery
// of that session, 0 if it has none yet.
func (t *Tx) Reset(login, first uint64) {
	t.flush()
	for _, prefix := range []byte{keyRun, keyEntry, keyExpiry, keyCursor} {
		t.clear(prefix)
	}
	if first == 0 {
		t.clear(keyDelivery)
	} else {
		t.DropDeliveries(first - 1)
	}
	var keep []protocol.Message
	var drop [][]byte
	t.eachMessage([]byte{keyMessage}, []byte{keyMessage + 1}, false, func(k, _ []byte, r *record) bool {
		if r.login == login {
			keep = append(keep, r.Message)
		} else {
			drop = append(drop, bytes.Clone(k))
		}
		return true
	})
	if t.err != nil {
		return
	}
	for _, k := range drop {
		t.kv.Delete(k)
	}
	t.restore(keep, login)
}

// ResetConv is Reset for one conversation, a group. Of the messages that it drops none is
// passed to the application any more.
func (t *Tx) ResetConv(conv protocol.Conv, login uint64) {
	var keep []protocol.Message
	t.eachMessage(seqKey(keyMessage, conv, 0), seqKey(keyMessage, conv, maxSeq), false, func(_, _ []byte, r *record) bool {
		if r.login == login {
			keep = append(keep, r.Message)
		}
		return true
	})
	t.Forget(conv)
	t.kv.Delete(append([]byte{keyCursor}, conv.ID...))
	t.restore(keep, login)
}

// restore puts back messages of the session of a login, in place of all that was known of
// their conversations.
func (t *Tx) restore(keep []protocol.Message, login uint64) {
	for i := range keep {
		m := &keep[i]
		t.put(m, login)
		e := t.entry(m.Conv)
		e.Listed, e.Followed = true, true
		if m.Seq > e.LastSeq {
			e.LastSeq, e.Time, e.End = m.Seq, m.Time, m.Seq
		}
		t.setEntry(m.Conv, &e)
	}
}

func (t *Tx) clear(prefix byte) {
	var keys [][]byte
	for k := range t.kv.Scan([]byte{prefix}, []byte{prefix + 1}, false) {
		keys = append(keys, append([]byte{}, k...))
	}
	for _, k := range keys {
		t.kv.Delete(k)
	}
}

// Lose notes that limits took from..to from the offline queue.
func (t *Tx) Lose(l protocol.Lost) {
	if l.To >= maxSeq {
		return
	}
	t.fill(l.Conv, l.From, l.To, Lost, func(k Kind) bool { return k == Unknown })
	t.reach(l.Conv, l.To)
}

// reach notes that a seq is taken.
func (t *Tx) reach(conv protocol.Conv, seq uint64) {
	if e := t.entry(conv); seq > e.End {
		e.End = seq
		t.setEntry(conv, &e)
	}
}

// Message returns the message at a seq, or why there is none: see Page.
func (t *Tx) Message(conv protocol.Conv, seq uint64) (m protocol.Message, reason string) {
	if seq == 0 || seq > math.MaxInt64-2 {
		return protocol.Message{}, ReasonUnknown
	}
	k := t.runAt(conv, seq).Kind
	if k != Held {
		return protocol.Message{}, reasons[k]
	}
	r, _ := t.message(conv, seq)
	if t.expired(&r.Message) {
		return protocol.Message{}, protocol.GapExpired
	}
	return r.Message, ""
}
