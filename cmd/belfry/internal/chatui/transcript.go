package chatui

import (
	"slices"
	"strings"
)

// Bounds of what a chat keeps in memory. Past them the oldest is dropped; the
// server still has it.
const (
	maxLogs    = 500
	maxEntries = 2000
)

// An entry is one message on the screen.
type entry struct {
	seq      uint64 // 0 until the server has stored it
	cid      string
	from     string
	text     string // not yet safe to print
	time     int64  // ms
	recalled bool
	failed   string // why it will not be sent
}

// A transcript is what the chat holds of one conversation.
type transcript struct {
	conv    string
	entries []entry // by seq; what is not stored yet at the end
	lastSeq uint64  // newest the server has named
	readSeq uint64  // my read cursor
	// peerReadSeq is the newest of my messages that the peer has read.
	peerReadSeq uint64
	unread      int
	firstNew    uint64 // seq that the mark of what is new stands before; 0 = none
	typingUntil int64  // ms
	loaded      bool   // its newest page was asked for
	complete    bool   // nothing older can be fetched
	gapsFrom    uint64 // from here to its oldest entry there are gaps alone; 0 = not known
}

// peer returns the name that people read for a conversation: of the other
// user, or of the group.
func peer(conv string) string { return strings.TrimPrefix(conv, "u:") }

// add inserts an entry by its seq. If history and a push overlap, an entry
// with that seq exists already: the newer one replaces it.
func (l *transcript) add(e entry) {
	if e.seq == 0 {
		l.entries = append(l.entries, e)
		l.trim()
		return
	}
	l.lastSeq = max(l.lastSeq, e.seq)
	i, found := l.find(e.seq)
	if found {
		e.recalled = e.recalled || l.entries[i].recalled
		l.entries[i] = e
		return
	}
	l.entries = slices.Insert(l.entries, i, e)
	l.trim()
}

func (l *transcript) trim() {
	if n := len(l.entries) - maxEntries; n > 0 {
		l.entries = slices.Delete(l.entries, 0, n)
		l.complete, l.gapsFrom = false, 0
	}
}

// find returns the index of a seq among the stored entries.
func (l *transcript) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(l.entries, seq, func(e entry, seq uint64) int {
		switch {
		case e.seq == seq:
			return 0
		case e.seq == 0 || e.seq > seq: // not stored yet: behind all that is
			return 1
		}
		return -1
	})
}

// stored turns the entry that waits under cid into the message with seq.
func (l *transcript) stored(cid string, seq uint64, time int64) {
	i := slices.IndexFunc(l.entries, func(e entry) bool { return e.cid == cid && e.seq == 0 })
	if i < 0 {
		return
	}
	e := l.entries[i]
	e.seq, e.time = seq, time
	l.entries = slices.Delete(l.entries, i, i+1)
	l.add(e)
}

func (l *transcript) failed(cid, why string) {
	for i := range l.entries {
		if e := &l.entries[i]; e.cid == cid && e.seq == 0 {
			e.failed = why
		}
	}
}

// recall marks the messages from..to as recalled, of one sender only if
// sender is set. Recalled messages do not count as unread.
func (l *transcript) recall(me string, from, to uint64, sender string) {
	for i := range l.entries {
		e := &l.entries[i]
		if e.seq == 0 || e.recalled || e.seq < from || e.seq > to || sender != "" && e.from != sender {
			continue
		}
		e.recalled = true
		if e.from != me && e.seq > l.readSeq && l.unread > 0 {
			l.unread--
		}
	}
}

func (l *transcript) remove(seqs []uint64) {
	l.entries = slices.DeleteFunc(l.entries, func(e entry) bool {
		return e.seq != 0 && slices.Contains(seqs, e.seq)
	})
}

// read moves the user's read cursor and counts the unread above it.
func (l *transcript) read(me string, seq uint64) {
	if seq <= l.readSeq {
		return
	}
	l.readSeq = seq
	l.unread = 0
	for _, e := range l.entries {
		if e.seq > seq && e.from != me && !e.recalled {
			l.unread++
		}
	}
}

// oldest returns the first stored seq of the transcript, 0 if there is none.
func (l *transcript) oldest() uint64 {
	if len(l.entries) == 0 {
		return l.gapsFrom
	}
	if l.gapsFrom > 0 {
		return min(l.entries[0].seq, l.gapsFrom)
	}
	return l.entries[0].seq
}

// lastOwn returns the newest message of the user that can still be recalled.
func (l *transcript) lastOwn(me string) (uint64, bool) {
	for _, e := range slices.Backward(l.entries) {
		if e.from == me && e.seq != 0 && !e.recalled {
			return e.seq, true
		}
	}
	return 0, false
}

// mark returns the sign that shows how far a message of the user has come.
func (l *transcript) mark(me string, e entry) string {
	switch {
	case e.from != me:
		return ""
	case e.failed != "":
		return "✗"
	case e.seq == 0:
		return "…"
	case e.seq <= l.peerReadSeq:
		return "✓✓"
	}
	return "✓"
}
