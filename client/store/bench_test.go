package store

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// fill writes 100,000 messages, 100 in each of 1,000 conversations, as a client receives them.
func fill(b *testing.B) (path string) {
	path = filepath.Join(b.TempDir(), "alice.db")
	s := openStore(b, path)
	body, _ := protocol.EncodeBody(map[string]any{"text": "a message of some eighty bytes, as people write them when they have little to say"})
	for seq := range uint64(100) {
		err := s.Update(func(t *Tx) {
			for conv := range 1000 {
				m := protocol.Message{
					ID: protocol.ID{byte(conv >> 8), byte(conv), byte(seq)}, Conv: protocol.UserConv(fmt.Sprint("user", conv)), From: "bob",
					Seq: seq + 1, Time: int64(seq)*1000 + int64(conv), CID: []byte("c"), Body: body,
				}
				t.Receive(&m, "alice", 1, false)
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

func openStore(b *testing.B, path string) *Store {
	db, err := OpenFile(path)
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(db, "host", "phone", nil)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkStore reads a file with 100,000 messages. What it needs: open < 100 ms, a list < 5 ms,
// a page < 2 ms.
func BenchmarkStore(b *testing.B) {
	path := fill(b)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			openStore(b, path).Close()
		}
	})
	s := openStore(b, path)
	defer s.Close()
	b.Run("list of 100 conversations of 1000", func(b *testing.B) {
		for b.Loop() {
			if err := s.View(func(t *Tx) { t.Conversations(0, 100) }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("list of 1000 conversations", func(b *testing.B) {
		for b.Loop() {
			if err := s.View(func(t *Tx) { t.Conversations(0, 1000) }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("page of 20", func(b *testing.B) {
		conv := protocol.UserConv("user500")
		for b.Loop() {
			err := s.View(func(t *Tx) {
				if p, hole := t.Page(conv, Query{Before: 60, Limit: 20}, true); len(p.Messages) != 20 || hole != nil {
					b.Fatalf("%d messages, hole %v", len(p.Messages), hole)
				}
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("search for a word", func(b *testing.B) {
		for b.Loop() {
			err := s.View(func(t *Tx) { t.Search(Search{Text: "nothing", Words: true, Limit: 20}) })
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
