package shard

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// commandsOf gives the commands of a batch as they are encoded.
func commandsOf(t testing.TB, batch []byte) (commands [][]byte) {
	t.Helper()
	d := decoder{b: batch}
	d.byte()
	d.int()
	for len(d.b) > 0 {
		before := d.b
		d.bytes()
		if d.err != nil {
			t.Fatal(d.err)
		}
		commands = append(commands, before[:len(before)-len(d.b)])
	}
	return commands
}

// FuzzCheckCommand compares Checker with what Apply decodes.
func FuzzCheckCommand(f *testing.F) {
	for _, batch := range story() {
		for _, c := range commandsOf(f, batch) {
			f.Add(c)
			f.Add(c[:len(c)-1])
			f.Add(slices.Concat(c, c))
		}
	}
	for _, cmd := range []Command{
		&Send{User: UserID(strings.Repeat("u", MaxName+1)), To: "bob", CID: "1"},
		&Send{User: "alice", To: "bob", CID: "\xff"},
		&Send{User: "alice", To: "bob", CID: "1", Mentions: []string{"bob", strings.Repeat("m", MaxName+1)}},
		&Send{User: "alice", To: "bob", CID: "1", Mentions: make([]string, maxMentions+1)},
		&Send{User: "alice", To: "bob", CID: "1", Body: make([]byte, maxBody+1)},
		&DeleteMessages{User: "alice", Peer: "bob", Seqs: make([]uint64, maxSeqs+1)},
		&Deliver{Letter: Letter{From: "zoe", To: "bob", Kind: LetterMessage}},
		&Expire{FirstSlot: Slots},
		&Deliver{Letter: Letter{From: "zoe", To: "bob", Number: 1, Kind: LetterJoined}},
		&Deliver{Letter: Letter{From: "group team", To: "bob", Number: 1, Kind: LetterMessage}},
		&Deliver{Letter: Letter{From: "group ", To: "bob", Number: 1, Kind: LetterLeft}},
		&Deliver{Letter: Letter{From: "zoe", To: "group team", Number: 1, Kind: LetterBlock}},
		&Send{User: "alice", To: "group team", CID: "1", Body: []byte{1}},
		&Login{User: "group team", Device: "phone"},
		&AddMembers{Group: "team", Users: []UserID{"bob", "group live"}},
		&AddMembers{Group: "team", Users: make([]UserID, maxUsers+1)},
		&CreateGroup{Group: GroupID(strings.Repeat("g", maxGroup+1)), Kind: GroupPublic, Settings: GroupPublic.Settings()},
		&CreateGroup{Group: "team", Kind: GroupLive + 1, Settings: GroupPublic.Settings()},
		&CreateGroup{Group: "team", Kind: GroupPublic, Name: strings.Repeat("n", MaxGroupName+1), Settings: GroupPublic.Settings()},
		&SetGroup{Group: "team", Properties: make([]byte, MaxGroupProperties+1)},
		&SetGroup{Group: "team", Settings: SettingsChange{Join: JoinOpen + 1, History: HistoryAll}},
		&SetGroup{Group: "team", Settings: SettingsChange{History: HistoryNone + 1, Unread: new(true)}},
		&RemoveMembers{Group: "team", Users: []UserID{"bob"}, Ban: MaxBan + 1},
		&SetMember{Group: "team", User: "bob", Role: RoleOwner},
		&JoinGroup{Group: "team", User: "bob", Message: strings.Repeat("m", MaxJoinMessage+1)},
		&HideMessages{Group: "team", User: "bob", Seqs: make([]uint64, maxSeqs+1)},
	} {
		f.Add(AppendCommand(nil, cmd))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check := new(Checker).Check(b)
		var cs commandSet
		commands := 0
		decode := walkBatch(slices.Concat(AppendBatchHeader(nil, storyTime), b), &cs, func(int64) {}, func(Command) { commands++ })
		if decodes := decode == nil && commands == 1; decodes != (check == nil) {
			t.Fatalf("Check: %v; Apply would decode %d commands, then: %v", check, commands, decode)
		}
	})
}

func TestCheckCommandAllocatesNothing(t *testing.T) {
	var checker Checker
	for _, cmd := range []Command{
		&Send{User: "alice", To: "bob", CID: "1", Mentions: []string{"bob"}, Body: make([]byte, 128)},
		&ReadReport{User: "alice", Peer: "bob", Seq: 1, Auto: true},
		&Deliver{Letter: Letter{From: "zoe", To: "bob", Number: 1, Kind: LetterMessage, CID: "1", Body: make([]byte, 128)}},
	} {
		b := AppendCommand(nil, cmd)
		n := testing.AllocsPerRun(1000, func() {
			if err := checker.Check(b); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("Check of a %T: %v allocations, want 0", cmd, n)
		}
	}
}

func TestAppendDeliver(t *testing.T) {
	for _, l := range []Letter{
		{From: "zoe", To: "bob", Number: 1, Kind: LetterMessage, Seq: 1, Time: storyTime, CID: "1", Mentions: []string{"bob"}, Body: make([]byte, 300)},
		{From: "zoe", To: "bob", Number: 2, Kind: LetterReceipt, Seq: 1, Time: -1},
	} {
		got := AppendDeliver([]byte("before"), AppendLetter(nil, &l))
		if want := AppendCommand([]byte("before"), &Deliver{Letter: l}); !bytes.Equal(got, want) {
			t.Errorf("AppendDeliver of letter %d = %x, want %x", l.Number, got, want)
		}
	}
}

func BenchmarkCheckCommand(b *testing.B) {
	cmd := AppendCommand(nil, &Send{User: "alice", To: "bob", CID: "12345", Body: make([]byte, 128)})
	var checker Checker
	b.ReportAllocs()
	for b.Loop() {
		if err := checker.Check(cmd); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	batch := AppendCommand(AppendBatchHeader(nil, storyTime), &Send{User: "alice", To: "bob", CID: "12345", Body: make([]byte, 128)})
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeBatch(batch); err != nil {
			b.Fatal(err)
		}
	}
}
