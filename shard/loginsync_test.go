package shard

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// TestKeepDropsTheOldest has a login keep so many of its recent conversations:
// those that fall out are not pushed, the queue is, whatever is kept.
func TestKeepDropsTheOldest(t *testing.T) {
	const users, unread, now = 6, 2, 1_800_000_000_000
	for n := range users + 2 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := NewState(0)
			var out Outcome
			apply := func(cmd command.Command) command.Result {
				s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, now), cmd), &out)
				return out.Results[0]
			}
			apply(openAll())
			for i := range users {
				from := command.UserID(fmt.Sprint("user", i))
				apply(&command.Send{User: from, To: "bob", CID: "c", Body: []byte{0xc0}})
				if i >= unread {
					apply(&command.ReadReport{User: "bob", Peer: from, Seq: 1})
				}
			}
			r := apply(&command.Login{User: "bob", Device: "phone"})
			sync := s.StartSync("bob", &r, query.RecentsOn, now)
			if sync.QueueLen() != unread || sync.Offline != unread {
				t.Fatalf("Queue() = %d, Offline = %d, want %d", sync.QueueLen(), sync.Offline, unread)
			}
			sync.KeepConversations(func(i int) bool { return i < n })
			kept := min(n, users)
			if len(sync.Conversations) != kept || sync.QueueLen() != unread {
				t.Fatalf("Keep(%d) leaves %d conversations and a queue of %d, want %d and %d", n, len(sync.Conversations), sync.QueueLen(), kept, unread)
			}
			var want []string
			for i := range unread {
				want = append(want, fmt.Sprint("user", i))
			}
			for i := max(unread, users-kept); i < users; i++ {
				want = append(want, fmt.Sprint("user", i))
			}
			var got []string
			var up query.Updates
			for more := true; more; more = up.More {
				s.NextSync("bob", sync, &up, 1, 1<<20, now)
				for i := range up.Messages {
					got = append(got, string(up.Messages[i].From))
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("Keep(%d): pushed %v, want %v", n, got, want)
			}
		})
	}
}

// A sync goes on at another replica, made from a snapshot. It pushes no message but those
// that it names, even if another one is at their place.
func TestSyncGoesOnElsewhere(t *testing.T) {
	b := newBench(t, command.Limits{})
	for i, from := range []command.UserID{"alice", "zoe", "alice", "zoe"} {
		b.send(from, "bob", fmt.Sprint(i))
	}
	sync := b.login("bob", "phone", "")
	other, err := Restore(bytes.NewReader(snapshot(b.s)), 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var up query.Updates
	for state, more := b.s, true; more; state, more = other, up.More {
		state.NextSync("bob", sync, &up, 1, 1<<20, b.now)
		for i := range up.Messages {
			got = append(got, string(up.Messages[i].Body))
		}
	}
	if want := []string{"0", "1", "2", "3"}; !slices.Equal(got, want) {
		t.Errorf("pushed %q, want %q", got, want)
	}
	sync = b.login("bob", "tablet", "")
	sync.Refs[1].Arrival++
	b.wantPushed("bob", sync, "0:1 2:2 3:2 ")
}
