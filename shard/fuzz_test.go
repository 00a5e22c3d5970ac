package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/cespare/xxhash/v2"
)

// storyTime is when the story below is told, ms.
const storyTime = 1_700_000_000_000

// story is a batch of each kind of command, for states and inputs that fuzzing
// begins with. alice, bob and the groups share the shard, zoe's slot is elsewhere.
func story() [][]byte {
	open, carol := &command.OpenSlots{Epoch: 1}, command.SlotOf("carol")
	for _, name := range []string{"alice", "bob", "dave", "group team", "group live", "group old", "carol"} {
		open.Slots = append(open.Slots, command.SlotRange{First: command.SlotOf(name), Last: command.SlotOf(name)})
	}
	send := func(from, to command.UserID, cid string, ttl uint32) *command.Send {
		return &command.Send{User: from, To: to, ID: command.MsgID{1}, CID: cid, Body: []byte{0xa1, 'x'}, TTL: ttl, Mentions: []string{"bob"}}
	}
	imported := func(user, peer command.UserID, own bool) *command.Import {
		return &command.Import{User: user, Peer: peer, Stream: 7, Unread: true, Rows: []command.ImportRow{
			{Row: 1, Own: own, Time: storyTime - 1000, ID: command.MsgID{2}, CID: "i", Body: []byte{1}},
			{Row: 3, Own: !own, Peer: 2, Time: storyTime, TTL: 60, ID: command.MsgID{3}, CID: "j", Mentions: []string{"bob"}, Body: []byte{2}},
		}}
	}
	batches := [][]command.Command{
		{open, &command.BeginMove{Slot: carol, Move: 1}, &command.FreezeSlot{Slot: carol, Move: 1, Attempt: 1}, &command.DropSlot{Slot: carol, Move: 1, Epoch: 2, MaxWork: 1}},
		{&command.Configure{Version: 1, Limits: command.Limits{OfflineMaxMessages: 3, UserBytes: 300}}},
		{&command.Configure{Version: 2, Limits: command.Limits{OfflineMaxMessages: 3, UserBytes: 300}, HookBytes: 100}},
		{&command.Login{User: "alice", Device: "phone", Platform: "ios", AutoRead: true, HasCursor: true, Cursor: "?"}},
		{send("alice", "bob", "1", 0), send("alice", "bob", "1", 0), send("alice", "zoe", "2", 7), send("bob", "alice", "3", 0)},
		{send("alice", "bob", "4", 1), send("alice", "bob", "5", 0), send("alice", "bob", "6", 0), send("alice", "alice", "7", 0)},
		{&command.ReadReport{User: "bob", Session: 1, Request: command.Request{ID: 1, Hash: 2}, Peer: "alice", Seq: 2}},
		{&command.Recall{User: "alice", Session: 1, Request: command.Request{ID: 2, Hash: 3}, Peer: "bob", Seq: 5}},
		{&command.DeleteMessages{User: "bob", Peer: "alice", Seqs: []uint64{3, 4}}},
		{&command.SetConversation{User: "bob", Peer: "alice", Muted: new(true)}},
		{&command.Block{User: "alice", Target: "zoe"}},
		{&command.Deliver{Letter: command.Letter{From: "zoe", To: "bob", Number: 1, Kind: command.LetterMessage, Seq: 1, CID: "z", Body: []byte{1}}}},
		{&command.TrimOutbox{From: "alice", To: "zoe", UpTo: 1}, &command.TrimHookQueue{UpTo: 1}},
		{&command.DeleteConversation{User: "bob", Peer: "zoe", Messages: true}},
		{&command.PurgeExpired{LastSlot: command.Slots - 1}},
		{&command.RaiseCutoff{Cutoff: storyTime + 3500, MaxWork: 1000}},
		{&command.Logout{User: "alice", Session: 1, LastSeen: 7}},
		{&command.Login{User: "alice", Device: "tablet", IssuedAt: storyTime}, &command.RefreshToken{User: "alice", Session: 2, IssuedAt: storyTime + 1}},
		{&command.SetUser{User: "bob", HistoryTTL: new(30 * 24 * time.Hour), Suspended: new(true), TokensFrom: new(int64(storyTime))}},
		{imported("bob", "dave", true), imported("dave", "bob", false), &command.SetRead{User: "bob", Peer: "dave"}},
		{&command.CreateGroup{Group: "old", Owner: "alice", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings(), Members: []command.UserID{"bob"}}},
		{&command.ImportGroup{Group: "old", Stream: 7, Unread: true, Rows: []command.ImportRow{{Row: 1, From: "bob", Time: storyTime, CID: "i", Body: []byte{1}}}}},
		{&command.EraseUser{User: "dave", MaxWork: 1}},
	}
	batches = append(batches, groupStory()...)
	encoded := make([][]byte, len(batches))
	for i, cmds := range batches {
		encoded[i] = command.AppendBatchHeader(nil, storyTime+int64(i)*1000)
		for _, cmd := range cmds {
			encoded[i] = command.AppendCommand(encoded[i], cmd)
		}
	}
	return encoded
}

func storyState() *State {
	s := NewState(1)
	var out Outcome
	for _, batch := range story() {
		s.Apply(batch, &out)
	}
	return s
}

func snapshot(s *State) (b []byte) {
	w := s.Snapshot()
	defer w.Release()
	for more := true; more; {
		b, more = w.Next(b)
	}
	return b
}

func FuzzDecodeBatch(f *testing.F) {
	for _, batch := range story() {
		f.Add(batch)
	}
	old := storyState()
	slot := command.SlotOf("bob")
	var out Outcome
	old.Apply(command.AppendCommand(command.AppendBatchHeader(nil, storyTime), &command.BeginMove{Slot: slot, Move: 1}), &out)
	for _, size := range []int{100, command.MaxCopy} {
		batch := command.AppendBatchHeader(nil, storyTime)
		last := uint64(0)
		for _, cmd := range CopyAll(f, old, slot, 1, size) {
			batch, last = command.AppendCommand(batch, cmd), cmd.Number
		}
		f.Add(batch)
		batch = command.AppendCommand(batch, &command.FlipSlot{Slot: slot, Move: 1, Last: last, Epoch: 2})
		f.Add(command.AppendCommand(batch, &command.DiscardSlot{Slot: slot, Move: 1, MaxWork: 1}))
	}
	image := snapshot(old)
	f.Fuzz(func(t *testing.T, b []byte) {
		undecodable := decodeBatch(b)
		seeded, err := Restore(bytes.NewReader(image), 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*State{NewState(1), seeded} {
			broken := apply(s, b)
			switch {
			case undecodable != nil && broken == nil:
				t.Fatalf("Apply took a batch that decodeBatch refuses: %v", undecodable)
			case undecodable == nil && broken != nil && !imports(b):
				t.Fatalf("Apply of a batch that decodes: %v", broken)
			case broken == nil:
				readAll(s)
			}
		}
	})
}

// apply executes a batch and returns what it panicked with, if that was an
// *InvariantError. Other panics are the caller's.
func apply(s *State, b []byte) (broken error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *InvariantError:
			broken = v
		default:
			panic(v)
		}
	}()
	var out Outcome
	s.Apply(b, &out)
	return nil
}

// imports reports whether a batch brings a slot, whose bytes another shard made
// and whose numbers are taken on trust.
func imports(b []byte) (found bool) {
	err := command.NewSet(newCommand).WalkBatch(b, func(int64) {}, func(_ command.Kind, cmd command.Command) {
		_, is := cmd.(*command.CopySlot)
		found = found || is
	})
	return err == nil && found
}

// readAll asks everything about everybody.
func readAll(s *State) {
	var up query.Updates
	var p query.Page
	now := s.Now()
	for _, name := range []command.UserID{"alice", "bob", "zoe", ""} {
		s.Recents(name, 1<<20, now)
		s.Conversations(name, 0, 10, 1<<20, now)
		sync := s.StartSync(name, &command.Result{}, query.RecentsOn, now)
		s.NextSync(name, sync, &up, 100, 1<<20, now)
		s.UpdatesAfter(name, 1, 0, &up, 100, 1<<20, now)
		for _, peer := range []command.UserID{"alice", "bob", "zoe"} {
			s.History(query.HistoryQuery{User: name, Peer: peer, Limit: 100, MaxBytes: 1 << 20}, &p, now)
			s.History(query.HistoryQuery{User: name, Peer: peer, HasAfter: true, Limit: 1, MaxBytes: 1}, &p, now)
		}
		s.User(name, now)
		s.Unread(name, now)
		s.UnreadSeqs(name, "alice", now)
		s.ImportStatus(name, "alice", 7, now)
		s.SeqOf(name, "alice", command.MsgID{1})
		for _, q := range []query.Query{
			&query.TraceMessage{User: name, Peer: "alice", Seq: 1}, &query.TraceMessage{User: name, Peer: "alice", ID: command.MsgID{1}},
			&query.FindMessage{SlotRange: query.SlotRange{Last: command.Slots - 1}, ID: command.MsgID{1}, To: 1 << 60},
		} {
			_ = s.Answer(q, s.Now())
		}
		s.ConversationsOf(name, 0, 10, now)
		s.Checksum(command.SlotOf(string(name)))
		readGroups(s, name, &up, &p)
	}
	s.Letters(func(Posted) bool { return true })
	s.Count(0, command.Slots-1)
	s.AppendUsers(nil, 0, command.Slots-1, "", "")
	s.AppendGroups(nil, 0, command.Slots-1, "", "")
}

func FuzzDecodeLetter(f *testing.F) {
	for kind := command.LetterMessage; kind <= command.LetterUnblock; kind++ {
		f.Add(command.AppendLetter(nil, &command.Letter{
			From: "alice", To: "bob", Number: 3, Kind: kind, Seq: 7, Time: storyTime,
			CID: "c", TTL: 60, Mentions: []string{"bob", ""}, Body: []byte("body"),
		}))
	}
	for kind := command.LetterMessage; kind <= command.LetterLeft; kind++ {
		f.Add(command.AppendLetter(nil, &command.Letter{From: "group team", To: "bob", Number: 3, Kind: kind, Seq: 1, Time: storyTime}))
	}
	f.Add(command.AppendLetter(nil, &command.Letter{From: "group ", To: "bob", Number: 3, Kind: command.LetterJoined}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := command.DecodeLetter(b)
		if err != nil {
			return
		}
		again := command.AppendLetter(nil, &l)
		l2, err := command.DecodeLetter(again)
		if err != nil {
			t.Fatalf("DecodeLetter(AppendLetter(%+v)): %v", l, err)
		}
		if third := command.AppendLetter(nil, &l2); !bytes.Equal(again, third) {
			t.Fatalf("letter = %x, want %x as before", third, again)
		}
	})
}

// restoreBytes bounds what Restore may allocate: what any state costs, and a
// multiple of its input. The least user, of some 15 bytes, is a struct and an
// entry of a map.
func restoreBytes(input int) uint64 { return 3<<20 + 32*uint64(input) }

// movingState is storyState with bob's slot frozen to leave it, and carol's about to come.
func movingState(t testing.TB) *State {
	s, other := storyState(), newBench(t, command.Limits{})
	bob, carol := command.SlotOf("bob"), command.SlotOf("carol")
	for n := range 10 {
		other.send("carol", "bob", fmt.Sprint("m", n))
	}
	other.must(&command.BeginMove{Slot: carol, Move: 2})
	batch := command.AppendBatchHeader(nil, storyTime)
	for _, cmd := range []command.Command{
		&command.BeginMove{Slot: bob, Move: 1}, &command.ReadReport{User: "bob", Peer: "alice", Seq: 3}, &command.FreezeSlot{Slot: bob, Move: 1, Attempt: 1},
	} {
		batch = command.AppendCommand(batch, cmd)
	}
	for _, cmd := range CopyAll(t, other.s, carol, 2, 300)[:2] {
		batch = command.AppendCommand(batch, cmd)
	}
	var out Outcome
	s.Apply(batch, &out)
	if a, _ := s.Arriving(carol); a.Place.Number != 2 || s.arriving[carol].partial == nil {
		t.Fatalf("carol's slot is at %+v, want the middle of a user", a)
	}
	return s
}

func FuzzRestore(f *testing.F) {
	s := storyState()
	whole := snapshot(s)
	f.Add(whole, false)
	f.Add(whole[:len(whole)/2], false)
	for _, name := range []command.UserID{"alice", "bob", "dave", "group team", "group live", "group old"} {
		f.Add(appendUser(s, s.lookup(name)), true)
	}
	f.Add(snapshot(movingState(f)), false)
	f.Fuzz(func(t *testing.T, b []byte, record bool) {
		if record {
			b = frameRecord(b)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := Restore(bytes.NewReader(b), 1)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > restoreBytes(len(b)) {
			t.Errorf("Restore of %d bytes allocated %d, want at most %d", len(b), n, restoreBytes(len(b)))
		}
		if err != nil {
			return
		}
		again, err := Restore(bytes.NewReader(snapshot(s)), 1)
		if err != nil {
			t.Fatalf("Restore of a restored state: %v", err)
		}
		for slot := range uint16(command.Slots) {
			if got, want := ArrivingSum(again, slot), ArrivingSum(s, slot); got != want {
				t.Fatalf("what has come of slot %d adds up to %x, want %x", slot, got, want)
			}
			if s.slots[slot] == nil {
				continue
			}
			if got, want := again.Checksum(slot), s.Checksum(slot); got != want {
				t.Fatalf("Checksum(%d) = %x, want %x", slot, got, want)
			}
		}
	})
}

// appendUser returns the frames of a user.
func appendUser(s *State, u *user) (b []byte) {
	for enc := (userEncoder{u: u, limit: frameBytes}); ; {
		frame := enc.appendNext(s, nil, true)
		if len(frame) == 0 {
			return b
		}
		b = appendFrame(b, frame)
	}
}

// frameRecord makes a snapshot, sound but for one user's frames, so that
// fuzzing gets past the checksum.
func frameRecord(record []byte) []byte {
	s := NewState(1)
	x := codec.NewWriter(append(append([]byte{frameHeader}, snapshotMagic...), snapshotVersion))
	s.headerFields(&x)
	b := appendFrame(nil, x.B)
	b = appendFrame(b, codec.AppendBool(codec.AppendUint([]byte{frameSlot}, 7), false))
	b = append(b, record...)
	return appendFrame(b, binary.LittleEndian.AppendUint64([]byte{frameEnd}, xxhash.Sum64(b)))
}

func TestFramedRecordIsRestored(t *testing.T) {
	s := storyState()
	for _, name := range []command.UserID{"alice", "group team"} {
		if _, err := Restore(bytes.NewReader(frameRecord(appendUser(s, s.lookup(name)))), 1); err != nil {
			t.Errorf("Restore of the record of %s = %v, want nil", name, err)
		}
	}
}

func TestRestoreRefusesWhatIsNoSnapshot(t *testing.T) {
	whole := snapshot(storyState())
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	newer := bytes.Clone(whole)
	newer[bytes.Index(newer, []byte(snapshotMagic))+len(snapshotMagic)]++
	for name, b := range map[string][]byte{
		"empty": nil, "truncated": whole[:len(whole)-1], "flipped": flipped, "newer": newer, "text": []byte("not a snapshot at all"),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Restore(bytes.NewReader(b), 1); err == nil {
				t.Error("Restore = nil, want an error")
			}
		})
	}
	if _, err := Restore(bytes.NewReader(whole), 1); err != nil {
		t.Errorf("Restore = %v, want nil", err)
	}
}

func TestApplyPanicsOnUndecodable(t *testing.T) {
	good := story()[3]
	for name, b := range map[string][]byte{
		"empty": nil, "version": {99}, "truncated": good[:len(good)-1], "trailing": append(bytes.Clone(good), 1, 200),
	} {
		t.Run(name, func(t *testing.T) {
			err := apply(NewState(1), b)
			if _, ok := errors.AsType[*InvariantError](err); !ok {
				t.Errorf("Apply panicked with %v, want an *InvariantError", err)
			}
		})
	}
}

// TestRestoreAllocatesLittle restores users with as much as possible of one
// thing in as few bytes as possible: what fuzzing is too slow to find.
func TestRestoreAllocatesLittle(t *testing.T) {
	const many = 100_000
	sessions := make([]session, many)
	for i := range sessions {
		sessions[i].number = command.SessionID(i + 1)
	}
	answered := make([]session, many/keptAnswers)
	for i := range answered {
		answered[i] = session{number: command.SessionID(i + 1), answers: make([]answer, keptAnswers)}
	}
	tests := map[string]func(*State, *user){
		"sessions": func(_ *State, u *user) { u.sessions = sessions },
		"answers":  func(_ *State, u *user) { u.sessions = answered },
		"marks": func(s *State, u *user) {
			s.extraMut(u, &u.convs.items[s.openConv(u, "p")]).tombstones.replace(s.arena, slices.Repeat([]tombstone{{reason: gapDeleted}}, many))
		},
		"lost": func(s *State, u *user) {
			s.extraMut(u, &u.convs.items[s.openConv(u, "p")]).lost.replace(s.arena, make([]lostRun, many))
		},
		"gone": func(s *State, u *user) {
			s.extraMut(u, &u.convs.items[s.openConv(u, "p")]).gone.replace(s.arena, slices.Repeat([]goneRun{{reason: gapExpired}}, many))
		},
		"sent": func(s *State, u *user) {
			s.openConv(u, "p")
			for range many {
				s.addDedup(&u.dedup, &dedupRecord{})
			}
		},
		"letters": func(s *State, u *user) {
			i := s.openConv(u, "p")
			u.convs.items[i].outbox = u.newOutQueue("p", 1)
			for n := range uint64(many / 10) {
				l := command.AppendLetter(nil, &command.Letter{From: u.name, To: "p", Number: n + 1, Kind: command.LetterBlock})
				u.outbox[0].bytes = append(u.outbox[0].bytes, l)
			}
		},
		"entries": func(s *State, u *user) {
			i := s.openConv(u, "p")
			s.out = &Outcome{}
			for range many {
				s.storeEntry(u, i, &ring.Entry{Flags: ring.Own})
			}
		},
		"imports": func(s *State, u *user) {
			for i := range many / 10 {
				s.setImport(u, s.openConv(u, command.UserID(strconv.Itoa(i))), importRecord{row: 1})
			}
		},
		"conversations": func(s *State, u *user) {
			for i := range many / 10 {
				s.openConv(u, command.UserID(strconv.Itoa(i)))
			}
		},
	}
	for name, fill := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewState(1)
			u := &user{name: "u"}
			fill(s, u)
			checkRestoreBytes(t, frameRecord(appendUser(s, u)))
		})
	}
	t.Run("users", func(t *testing.T) {
		s := NewState(1)
		s.slots[7] = &slot{}
		for i := range many / 10 {
			s.newUser(s.slots[7], command.UserID(strconv.Itoa(i)))
		}
		checkRestoreBytes(t, snapshot(s))
	})
}

func checkRestoreBytes(t *testing.T, b []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Restore(bytes.NewReader(b), 1)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > restoreBytes(len(b)) {
		t.Errorf("Restore of %d bytes allocated %d, want at most %d", len(b), n, restoreBytes(len(b)))
	} else {
		t.Logf("Restore of %d bytes allocated %d: %v", len(b), n, err)
	}
}
