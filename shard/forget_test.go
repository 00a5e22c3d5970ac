package shard

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// ghosts are members whom nobody but the group knows.
func ghosts(n int) (users []command.UserID) {
	for i := range n {
		users = append(users, command.UserID(fmt.Sprintf("ghost%d", i)))
	}
	return users
}

func (b *bench) expire() { b.do(&command.PurgeExpired{FirstSlot: 0, LastSlot: command.Slots - 1}) }

// Who was put into a group, never came and was removed again is forgotten once no
// late letter can bring the membership back. Whoever else there is, is not.
func TestIdleUsersAreForgotten(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate, "alice")
	b.login("alice", "phone", "")
	users := ghosts(100)
	b.do(&command.AddMembers{Group: "team", Users: users})
	empty := b.s.Count(0, command.Slots-1)
	b.send("ghost1", "alice", "written in his name")
	b.do(&command.SetUser{User: "ghost2", Suspended: new(true)})
	b.login("ghost3", "phone", "")
	b.do(&command.Block{User: "alice", Target: "ghost4"})
	b.do(&command.Block{User: "alice", Target: "ghost4", Undo: true})
	b.do(&command.RemoveMembers{Group: "team", Users: users[:99]}) // ghost99 stays
	b.now += keptLeftMS - 1
	b.expire()
	if n := b.s.Count(0, command.Slots-1).Users; n != empty.Users {
		t.Errorf("%d users while letters may be under way, want %d", n, empty.Users)
	}
	b.now += 1000 // versions ran ahead of the clock
	b.expire()
	if n := b.s.Count(0, command.Slots-1).Users; n != 6 { // with alice and ghost99
		t.Errorf("%d users are left, want 6", n)
	}
	for _, user := range []command.UserID{"alice", "ghost1", "ghost2", "ghost3", "ghost4", "ghost99"} {
		if !b.s.HasUser(user) {
			t.Errorf("%s is forgotten", user)
		}
	}
	b.do(&command.SetUser{User: "ghost2", Suspended: new(false)})
	b.do(&command.EraseUser{User: "ghost2", MaxWork: 100})
	if b.s.HasUser("ghost2") {
		t.Error("a user of whom nothing was left is known after he was erased")
	}
	b.do(&command.EraseUser{User: "ghost3", MaxWork: 100}) // whose sessions have numbers
	if !b.s.HasUser("ghost3") {
		t.Error("the number of his last session is forgotten")
	}
	b.send("alice", "ghost0", "who is as new")
	b.wantPushed("ghost0", b.login("ghost0", "phone", ""), "who is as new:1 ")
}

// A snapshot has the users that were there when it began, in order, also when one
// is removed, and made again, before it is written.
func TestIdleUserForgottenDuringASnapshot(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupChatroom, "alice")
	users := ghosts(2000)
	b.do(&command.AddMembers{Group: "team", Users: users})
	b.do(&command.RemoveMembers{Group: "team", Users: users})
	b.now += (8 * 24 * time.Hour).Milliseconds()
	var sums [command.Slots]uint64
	for slot := range sums {
		sums[slot] = b.s.Checksum(uint16(slot))
	}
	w := b.s.Snapshot()
	CutFine(w, 4<<10, frameBytes)
	data, more := w.Next(nil)
	b.expire()
	if b.s.HasUser(users[0]) || b.s.HasUser(users[1999]) {
		t.Fatal("nobody was forgotten")
	}
	b.send("alice", users[0], "hello again")
	for more {
		data, more = w.Next(data)
	}
	w.Release()
	restored, err := Restore(bytes.NewReader(data), 1)
	if err != nil {
		t.Fatal(err)
	}
	for slot := range sums {
		if got := restored.Checksum(uint16(slot)); got != sums[slot] {
			t.Fatalf("slot %d is another one in the snapshot", slot)
		}
	}
	b.do(&command.AddMembers{Group: "team", Users: users}) // their places are used again
	if got, _ := b.s.Members("team", "", 3000); len(got) != len(users)+1 || len(b.s.GroupsOf(users[7])) != 1 {
		t.Errorf("%d members", len(got))
	}
}
