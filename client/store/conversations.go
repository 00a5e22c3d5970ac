package store

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// An Entry is what is stored of a conversation beside its messages.
type Entry struct {
	End         uint64 // highest seq that is known to be taken
	LastSeq     uint64 // of the newest message that can be shown; 0 = none
	Time        int64  // of that message or, if there is none, of the last that was; ms
	ReadSeq     uint64
	Unread      uint64
	PeerReadSeq uint64
	Floor       uint64 // what lies at or below counts as unread no more
	Listed      bool
	Muted       bool
	Pinned      bool
	Marked      bool // as unread, by the user
	// Followed says that End was the newest seq at the cursor, or is newer: a login with a
	// cursor is told of all that is above it. An import, or a page from the middle of the
	// history, does not say so.
	Followed  bool
	Uncounted bool // a group whose messages do not count as unread
}

// entry returns what is stored of a conversation; a zero Entry if nothing is.
func (t *Tx) entry(conv protocol.Conv) (e Entry) {
	if t.last.conv == conv {
		return t.last.Entry
	}
	if b := t.kv.Get(convKey(keyEntry, conv)); b != nil {
		t.decode(b, &e)
	}
	return e
}

// Entry is entry, for readers outside.
func (t *Tx) Entry(conv protocol.Conv) Entry { return t.entry(conv) }

func (t *Tx) setEntry(conv protocol.Conv, e *Entry) {
	if t.last.conv != conv {
		t.flushEntry()
	}
	t.last = lastEntry{conv, *e}
}

// A lastEntry is the Entry that was set last. It is written when another one is set: most
// messages that come together are of one conversation.
type lastEntry struct {
	conv protocol.Conv // zero = there is none
	Entry
}

func (t *Tx) flushEntry() {
	if t.last.conv.ID != "" {
		t.check(t.last.conv) // whatever has a conversation in its key comes with an entry of that
		t.set(convKey(keyEntry, t.last.conv), &t.last.Entry)
		t.last = lastEntry{}
	}
}

// check refuses a conversation that convOf would not find in a key.
func (t *Tx) check(conv protocol.Conv) {
	if _, err := protocol.ParseConv(conv.String()); err != nil {
		t.fail(fmt.Errorf("%w: %w", ErrValue, err))
	}
}

// maxCounted bounds the unread messages of a conversation that are counted. With more of
// them Unread is lowered by what is known to have gone, no further.
const maxCounted = 10_000

// base is the seq up to which nothing counts as unread.
func (e *Entry) base() uint64 { return max(e.ReadSeq, e.Floor) }

// counts reports whether a message is one that is unread.
func (e *Entry) counts(m *record, user string) bool {
	return m.From != user && m.Seq > e.base() && !e.Uncounted
}

// read moves the read cursor of e, which only goes forward, and counts what is unread.
func (t *Tx) read(e *Entry, conv protocol.Conv, seq uint64, user string) {
	if seq > e.ReadSeq {
		gone := t.passed(e, conv, seq, user)
		e.ReadSeq = seq
		t.lower(e, conv, gone, user)
	}
}

// passed counts the messages that are unread no more when the base of e moves to seq.
func (t *Tx) passed(e *Entry, conv protocol.Conv, seq uint64, user string) uint64 {
	if e.Unread == 0 || seq >= e.End {
		return 0 // lower needs it not
	}
	return t.unread(conv, e.base()+1, seq, user)
}

// unread counts the messages of others that are held, up to maxCounted.
func (t *Tx) unread(conv protocol.Conv, from, to uint64, user string) (n uint64) {
	if from > to {
		return 0
	}
	t.messages(conv, from, to, false, func(m *record) bool {
		if m.From != user {
			n++
		}
		return n < maxCounted
	})
	return n
}

// lower takes messages that have gone, or were read, off Unread: gone of them were held and
// counted. Of others that have gone the store does not know whose they were, so it
// keeps as many as there can be. Unread so is never below the server's number, and equal
// to it when the store accounts for all that lies above the base; the next onSynced says it
// anew.
func (t *Tx) lower(e *Entry, conv protocol.Conv, gone uint64, user string) {
	from := e.base() + 1
	if e.Unread == 0 || from > e.End {
		e.Unread = 0
		return
	}
	held := t.unread(conv, from, e.End, user)
	e.Unread = min(e.Unread, max(e.Unread-min(gone, e.Unread), held))
	if held < maxCounted {
		e.Unread = min(e.Unread, held+t.missing(conv, from, e.End))
	}
}

// missing counts the seqs of from..to that the server may have messages of.
func (t *Tx) missing(conv protocol.Conv, from, to uint64) (n uint64) {
	for seq := from; seq <= to && t.err == nil; {
		r := t.runAt(conv, seq)
		end := min(r.To, to)
		if r.Kind.missing() {
			n += end - seq + 1
		}
		seq = end + 1
	}
	return n
}

// refresh finds the newest message of a conversation again, after messages have gone, of
// which gone counted as unread.
func (t *Tx) refresh(conv protocol.Conv, gone uint64, user string) {
	e := t.entry(conv)
	t.findLast(conv, &e)
	t.lower(&e, conv, gone, user)
	t.setEntry(conv, &e)
}

func (t *Tx) findLast(conv protocol.Conv, e *Entry) {
	if _, ok := t.message(conv, e.LastSeq); ok || t.runAt(conv, e.LastSeq).Kind.missing() && e.LastSeq > 0 {
		return
	}
	e.LastSeq = 0
	t.messages(conv, 1, max(e.End, 1), true, func(m *record) bool {
		e.LastSeq, e.Time = m.Seq, m.Time
		return false
	})
	if e.LastSeq == 0 {
		e.Listed = false
	}
}

// skipDeleted takes the newest message that is held for the last one, if that was deleted
// on this device alone, or since the login that tells of it.
func (t *Tx) skipDeleted(conv protocol.Conv, e *Entry) {
	if e.LastSeq > 0 && t.runAt(conv, e.LastSeq).Kind == Deleted {
		t.messages(conv, 1, e.LastSeq, true, func(m *record) bool {
			e.LastSeq, e.Time = m.Seq, m.Time
			return false
		})
	}
}

// deletedIn reports whether any of from..to was deleted.
func (t *Tx) deletedIn(conv protocol.Conv, from, to uint64) bool {
	for seq := from; seq <= to && t.err == nil; {
		r := t.runAt(conv, seq)
		if r.Kind == Deleted {
			return true
		}
		seq = r.To + 1
	}
	return false
}

// Read notes that the user has read a conversation up to seq. One beyond the newest means
// the newest.
func (t *Tx) Read(conv protocol.Conv, seq uint64, user string) {
	e := t.entry(conv)
	e.Marked = false
	t.read(&e, conv, min(seq, e.End), user)
	t.setEntry(conv, &e)
}

// SetUnread takes over the server's count of what is unread.
func (t *Tx) SetUnread(conv protocol.Conv, n int) {
	e := t.entry(conv)
	e.Unread = uint64(max(n, 0))
	t.setEntry(conv, &e)
}

// Reported notes that the user has read a conversation up to seq, and takes over the count
// of what is unread that the server gave in its answer. newest is the Entry.End of before
// the report: what came since may not be in that count.
func (t *Tx) Reported(conv protocol.Conv, seq uint64, count int, newest uint64, user string) {
	t.Read(conv, seq, user)
	e := t.entry(conv)
	e.Unread = uint64(max(count, 0)) + t.unread(conv, max(e.base(), newest)+1, e.End, user)
	if e.Followed { // it counted what came since, or counts what is to come
		e.Unread = min(e.Unread, e.End-min(e.ReadSeq, e.End))
	}
	t.setEntry(conv, &e)
}

// Confirm says again, after Synced, what the server has agreed to in that session meanwhile:
// that the user has read a conversation up to seq. No more than most of what was there at the
// login is unread then; -1 = not told.
func (t *Tx) Confirm(conv protocol.Conv, seq uint64, most int, user string) {
	if t.Disabled(conv) {
		return
	}
	t.Read(conv, seq, user)
	if e := t.entry(conv); most >= 0 && e.Unread > uint64(most) {
		t.SetUnread(conv, most)
	}
}

// Follow notes that the newest seq of a conversation is known: see Entry.Followed.
func (t *Tx) Follow(conv protocol.Conv) {
	if e := t.entry(conv); !e.Followed {
		e.Followed = true
		t.setEntry(conv, &e)
	}
}

// Receipt notes that the peer has read the user's messages up to seq.
func (t *Tx) Receipt(conv protocol.Conv, seq uint64) {
	e := t.entry(conv)
	e.PeerReadSeq = max(e.PeerReadSeq, seq)
	t.setEntry(conv, &e)
}

// Change takes over the user's settings of a conversation.
func (t *Tx) Change(p *protocol.ConversationChanged) {
	e := t.entry(p.Conv)
	e.Muted, e.Pinned, e.Marked = p.Muted, p.Pinned, p.Unread
	t.setEntry(p.Conv, &e)
}

// Count takes over whether messages of a group count as unread. If they do from now on,
// all above the read cursor are: as many as there can be, see lower.
func (t *Tx) Count(conv protocol.Conv, uncounted bool, user string) {
	e := t.entry(conv)
	if e.Uncounted == uncounted {
		return
	}
	e.Uncounted, e.Unread = uncounted, 0
	if base := e.base(); !uncounted && base < e.End {
		e.Unread = e.End - base
		t.lower(&e, conv, 0, user)
	}
	t.setEntry(conv, &e)
}

// Unlist takes a conversation off the list; its messages stay.
func (t *Tx) Unlist(conv protocol.Conv) {
	e := t.entry(conv)
	if e.Listed {
		e.Listed = false
		t.setEntry(conv, &e)
	}
}

// Synced takes over the lists of an onSynced that are whole, less what was deleted on this
// device: the server may not know of it, or not have known yet. With autoRead what is unread
// in one-to-one conversations has been pushed, and counts as read.
func (t *Tx) Synced(p *protocol.Synced, user string, autoRead bool) {
	for t.Sweep(user) == sweptAtOnce { // the server counts none of these
	}
	named := make(map[protocol.Conv]bool)
	for _, list := range [][]protocol.Conversation{p.Conversations, p.Users, p.Groups} {
		for i := range list {
			c := &list[i]
			if named[c.Conv] || t.Disabled(c.Conv) {
				continue
			}
			named[c.Conv] = true
			e := t.entry(c.Conv)
			e.Listed, e.Followed = e.Listed || e.Floor == 0 || c.LastSeq > e.Floor, true
			e.End = max(e.End, c.LastSeq)
			if c.LastSeq >= e.LastSeq {
				e.LastSeq, e.Time = c.LastSeq, c.Time
				t.skipDeleted(c.Conv, &e)
			}
			e.ReadSeq = c.ReadSeq
			e.PeerReadSeq = max(e.PeerReadSeq, c.PeerReadSeq)
			e.Unread = uint64(c.Unread)
			if autoRead && !c.Conv.Group {
				e.ReadSeq, e.Unread = max(e.ReadSeq, e.LastSeq), 0
			}
			if e.Floor > e.ReadSeq || t.deletedIn(c.Conv, e.base()+1, e.End) {
				t.lower(&e, c.Conv, 0, user)
			}
			e.Muted, e.Pinned, e.Marked, e.Uncounted = c.Muted, c.Pinned, c.Marked, c.Uncounted
			t.setEntry(c.Conv, &e)
		}
	}
	var read []protocol.Conv // what is unread is always named
	t.entries(func(conv protocol.Conv, e *Entry) {
		if !named[conv] && e.Unread > 0 {
			read = append(read, conv)
		}
	})
	for _, conv := range read {
		t.SetUnread(conv, 0)
	}
	for _, l := range p.Lost {
		if !t.Disabled(l.Conv) {
			t.Lose(l)
		}
	}
}

func (t *Tx) entries(f func(protocol.Conv, *Entry)) {
	t.flushEntry()
	var e Entry
	for k, v := range t.kv.Scan([]byte{keyEntry}, []byte{keyEntry + 1}, false) {
		conv, ok := convOf(k, 1, 0)
		if !ok && t.err == nil {
			t.err = ErrCorrupt
		}
		if t.decode(v, &e); t.err != nil {
			return
		}
		f(conv, &e)
	}
}

// Conversations lists the conversations: the pinned ones first, then the one with the
// newest message. It leaves out skip of them and returns at most limit, each with its
// last message if that is held. unread sums up over all.
func (t *Tx) Conversations(skip, limit int) (list []protocol.Conversation, more bool, unread, unmuted int) {
	t.entries(func(conv protocol.Conv, e *Entry) {
		if !e.Listed {
			return
		}
		if unread += int(e.Unread); !e.Muted {
			unmuted += int(e.Unread)
		}
		list = append(list, protocol.Conversation{
			Conv: conv, LastSeq: e.LastSeq, Time: e.Time, ReadSeq: e.ReadSeq, Unread: int(e.Unread),
			PeerReadSeq: e.PeerReadSeq, Muted: e.Muted, Pinned: e.Pinned, Marked: e.Marked, Uncounted: e.Uncounted,
		})
	})
	slices.SortFunc(list, func(a, b protocol.Conversation) int {
		if a.Pinned != b.Pinned {
			if a.Pinned {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Conv.ID, b.Conv.ID))
	})
	list = list[min(skip, len(list)):]
	if more = len(list) > limit; more {
		list = list[:limit]
	}
	for i := range list {
		c := &list[i]
		if m, ok := t.message(c.Conv, c.LastSeq); ok && !t.expired(&m.Message) {
			c.Last = &m.Message
		}
	}
	return list, more, unread, unmuted
}

// Disabled reports whether nothing is to be stored of a conversation.
func (t *Tx) Disabled(conv protocol.Conv) bool { return t.kv.Get(convKey(keyDisabled, conv)) != nil }

// Disable says whether nothing is to be stored of a conversation, and if so removes what is.
func (t *Tx) Disable(conv protocol.Conv, off bool) {
	if !off {
		t.kv.Delete(convKey(keyDisabled, conv))
		return
	}
	t.check(conv)
	t.Forget(conv)
	t.kv.Put(convKey(keyDisabled, conv), []byte{1})
}

// AllDisabled lists the conversations that are Disabled.
func (t *Tx) AllDisabled() (convs []protocol.Conv) {
	for k := range t.kv.Scan([]byte{keyDisabled}, []byte{keyDisabled + 1}, false) {
		if conv, ok := convOf(k, 1, 0); ok {
			convs = append(convs, conv)
		}
	}
	return convs
}
