package chatui

import (
	"fmt"
	"testing"
)

func TestTranscript(t *testing.T) {
	seqs := func(l *transcript) (list []uint64) {
		for _, e := range l.entries {
			list = append(list, e.seq)
		}
		return list
	}
	t.Run("order", func(t *testing.T) {
		l := &transcript{conv: "u:bob"}
		l.add(entry{cid: "a", from: "alice"})
		for _, seq := range []uint64{5, 3, 4, 5, 9} {
			l.add(entry{seq: seq, from: "bob"})
		}
		l.stored("a", 7, 0)
		if got := fmt.Sprint(seqs(l)); got != "[3 4 5 7 9]" {
			t.Errorf("seqs = %s, want [3 4 5 7 9]", got)
		}
	})
	t.Run("stored twice", func(t *testing.T) {
		l := &transcript{conv: "u:bob"}
		l.add(entry{cid: "a", from: "alice"})
		l.add(entry{seq: 1, from: "alice"}) // history was faster than the answer
		l.stored("a", 1, 0)
		if got := fmt.Sprint(seqs(l)); got != "[1]" {
			t.Errorf("seqs = %s, want [1]", got)
		}
	})
	t.Run("bound", func(t *testing.T) {
		l := &transcript{conv: "u:bob", complete: true}
		for i := range maxEntries + 10 {
			l.add(entry{seq: uint64(i + 1)})
		}
		if len(l.entries) != maxEntries || l.oldest() != 11 || l.complete {
			t.Errorf("%d entries from %d on, complete %t; want %d from 11 on", len(l.entries), l.oldest(), l.complete, maxEntries)
		}
	})
	t.Run("recall of one sender", func(t *testing.T) {
		l := &transcript{conv: "g:team"}
		l.add(entry{seq: 1, from: "bob"})
		l.add(entry{seq: 2, from: "carol"})
		l.unread = 2
		l.recall("alice", 1, 2, "bob")
		l.recall("alice", 1, 2, "bob")
		if !l.entries[0].recalled || l.entries[1].recalled || l.unread != 1 {
			t.Errorf("recalled = %t, %t, unread %d; want true, false, 1", l.entries[0].recalled, l.entries[1].recalled, l.unread)
		}
	})
	t.Run("logs", func(t *testing.T) {
		m := newModel("alice")
		for i := range maxLogs + 5 {
			m.log(fmt.Sprint("u:", i))
		}
		if len(m.logs) != maxLogs {
			t.Errorf("%d logs, want %d", len(m.logs), maxLogs)
		}
	})
}
