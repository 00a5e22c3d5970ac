package store

import (
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestSyncedAndDeleted: an onSynced of what was before, or of a server that knows nothing of it,
// neither lists a conversation again that was deleted here, nor counts or shows what was.
func TestSyncedAndDeleted(t *testing.T) {
	team := protocol.GroupConv("team")
	for _, tc := range []struct {
		name   string
		delete func(*Tx)
		want   Entry
	}{
		{"conversation", func(tx *Tx) { tx.DeleteConversation(team, 3, false, "alice") },
			Entry{End: 3, LastSeq: 3, Time: 3, Floor: 3, Followed: true}},
		{"conversation with messages", func(tx *Tx) { tx.DeleteConversation(team, 3, true, "alice") },
			Entry{End: 3, LastSeq: 3, Time: 3, Floor: 3, Followed: true}},
		{"newest message", func(tx *Tx) { tx.DeleteMessages(team, []uint64{3}, "alice") },
			Entry{End: 3, LastSeq: 2, Time: 2, Unread: 2, Listed: true, Followed: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Open(Memory(), "host", "phone", nil)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Update(func(tx *Tx) {
				for seq := range uint64(3) {
					tx.Receive(&protocol.Message{
						ID: protocol.ID{1, byte(seq)}, Conv: team, Seq: seq + 1, Time: int64(seq + 1), From: "bob", Body: []byte{0xc0},
					}, "alice", 1, true)
				}
				tc.delete(tx)
				tx.Synced(&protocol.Synced{Conversations: []protocol.Conversation{{Conv: team, LastSeq: 3, Time: 3, Unread: 3}}}, "alice", true)
				if got := tx.Entry(team); got != tc.want {
					t.Errorf("entry %+v, want %+v", got, tc.want)
				}
				tx.Synced(&protocol.Synced{Conversations: []protocol.Conversation{{Conv: team, LastSeq: 5, Time: 5, Unread: 5}}}, "alice", true)
				if got := tx.Entry(team); !got.Listed || got.LastSeq != 5 || got.Unread != tc.want.Unread+2 {
					t.Errorf("entry %+v, want it listed, with two more unread", got)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
