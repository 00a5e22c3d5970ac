package raftstore

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// idAt returns an id that was made at a time.
func idAt(ms int64, n byte) (id command.MsgID) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(ms)<<16)
	copy(id[:6], b[:6])
	id[15] = n
	return id
}

// A message is found in all its views, in as many steps as the caller likes.
func TestFindMessageInSteps(t *testing.T) {
	s := open(t, testConfig(t))
	id, group := idAt(s.Now(), 1), idAt(s.Now(), 2)
	for _, cmd := range []command.Command{
		&command.Send{User: "alice", To: "bob", ID: id, CID: "1", Body: []byte{1}},
		&command.CreateGroup{Group: "team", Owner: "alice", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings(), Salt: 1},
		&command.SendGroup{Group: "team", User: "alice", ID: group, CID: "2", Body: []byte{1}},
	} {
		if r, err := s.Propose(t.Context(), cmd); err != nil || r.Err() != nil {
			t.Fatal(err, r.Err())
		}
	}
	find := func(id command.MsgID, slots int) (places []query.MessagePlace, steps int) {
		for next := 0; next < command.Slots; steps++ {
			found, to, err := s.FindMessage(t.Context(), id, next, slots)
			if err != nil || to <= next {
				t.Fatalf("from slot %d on: next %d, %v", next, to, err)
			}
			places, next = append(places, found...), to
		}
		return places, steps
	}
	eventually(t, "the message is in both views", func() bool {
		places, steps := find(id, 5000)
		return len(places) == 2 && steps == 4
	})
	if places, _ := find(group, command.Slots); len(places) != 1 || places[0] != (query.MessagePlace{Group: "team", Seq: 1}) {
		t.Errorf("a group's message is at %v", places)
	}
	for _, other := range []command.MsgID{idAt(s.Now(), 3), idAt(s.Now()-2*idSlack.Milliseconds(), 1)} {
		if places, _ := find(other, command.Slots); len(places) != 0 {
			t.Errorf("an id that nothing has is at %v", places)
		}
	}
}

func TestViewOfANode(t *testing.T) {
	cfg := testConfig(t)
	cfg.Limits.OfflineMaxMessages = 2
	cfg.MemoryLimit, cfg.ReservedMemory = 8<<30, 4<<30
	s := open(t, cfg)
	for i := range byte(5) {
		cmd := &command.Send{User: "alice", To: "bob", ID: idAt(s.Now(), i), CID: string('a' + rune(i)), Body: []byte{1}}
		if r, err := s.Propose(t.Context(), cmd); err != nil || r.Err() != nil {
			t.Fatal(err, r.Err())
		}
	}
	eventually(t, "the view shows what bob's queue lost", func() bool {
		v, lost := s.View(), 0
		for _, r := range v.Replicas {
			for _, l := range r.Losses.Latest {
				if l.User != "bob" || l.Kind != "queue" || l.Last == 0 {
					t.Fatalf("lost: %+v", l)
				}
				lost += l.Messages
			}
		}
		return lost == 3 && v.Memory.Resident > 0
	})
	v := s.View()
	if len(v.Replicas) != 2 || v.Memory.DiskFree <= 0 || v.Memory.Used <= 0 {
		t.Fatalf("view = %+v", v)
	}
	// What is set aside is not in use.
	if v.Memory.Reserved != cfg.ReservedMemory || v.Memory.Used >= v.Memory.Reserved {
		t.Errorf("memory = %+v", v.Memory)
	}
	for i, r := range v.Replicas {
		age := time.Duration(s.Now()-r.Now) * time.Millisecond
		if r.Shard != uint32(i) || r.Term == 0 || r.Applied == 0 || r.Last < r.Applied || r.AppendP99 < r.AppendP50 || r.AppendP50 == 0 || r.Retention <= 0 || age < 0 {
			t.Errorf("replica = %+v", r)
		}
	}
}
