package shard

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// commandsOf returns the commands of a batch as they are encoded.
func commandsOf(t testing.TB, batch []byte) (commands [][]byte) {
	t.Helper()
	d := codec.Decoder{B: batch}
	d.Byte()
	d.Int()
	for len(d.B) > 0 {
		before := d.B
		d.Bytes()
		if d.Err != nil {
			t.Fatal(d.Err)
		}
		commands = append(commands, before[:len(before)-len(d.B)])
	}
	return commands
}

// decodeBatch checks that Apply can decode every command of a batch.
func decodeBatch(b []byte) error {
	return command.NewSet(newCommand).WalkBatch(b, func(int64) {}, func(command.Kind, command.Command) {})
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
	for _, cmd := range []command.Command{
		&command.Send{User: command.UserID(strings.Repeat("u", command.MaxName+1)), To: "bob", CID: "1"},
		&command.Send{User: "alice", To: "bob", CID: "\xff"},
		&command.Send{User: "alice", To: "bob", CID: "1", Mentions: []string{"bob", strings.Repeat("m", command.MaxName+1)}},
		&command.Send{User: "alice", To: "bob", CID: "1", Mentions: make([]string, command.MaxMentions+1)},
		&command.Send{User: "alice", To: "bob", CID: "1", Body: make([]byte, command.MaxBody+1)},
		&command.DeleteMessages{User: "alice", Peer: "bob", Seqs: make([]uint64, command.MaxSeqs+1)},
		&command.Deliver{Letter: command.Letter{From: "zoe", To: "bob", Kind: command.LetterMessage}},
		&command.PurgeExpired{FirstSlot: command.Slots},
		&command.Deliver{Letter: command.Letter{From: "zoe", To: "bob", Number: 1, Kind: command.LetterJoined}},
		&command.Deliver{Letter: command.Letter{From: "group team", To: "bob", Number: 1, Kind: command.LetterMessage}},
		&command.Deliver{Letter: command.Letter{From: "group ", To: "bob", Number: 1, Kind: command.LetterLeft}},
		&command.Deliver{Letter: command.Letter{From: "zoe", To: "group team", Number: 1, Kind: command.LetterBlock}},
		&command.Send{User: "alice", To: "group team", CID: "1", Body: []byte{1}},
		&command.Login{User: "group team", Device: "phone"},
		&command.AddMembers{Group: "team", Users: []command.UserID{"bob", "group live"}},
		&command.AddMembers{Group: "team", Users: make([]command.UserID, command.MaxUsers+1)},
		&command.CreateGroup{Group: command.GroupID(strings.Repeat("g", command.MaxGroup+1)), Kind: command.GroupPublic, Settings: command.GroupPublic.Settings()},
		&command.CreateGroup{Group: "team", Kind: command.GroupLive + 1, Settings: command.GroupPublic.Settings()},
		&command.CreateGroup{Group: "team", Kind: command.GroupPublic, Name: strings.Repeat("n", command.MaxGroupName+1), Settings: command.GroupPublic.Settings()},
		&command.SetGroup{Group: "team", Properties: make([]byte, command.MaxGroupProperties+1)},
		&command.SetGroup{Group: "team", Settings: command.SettingsChange{Join: command.JoinOpen + 1, History: command.HistoryAll}},
		&command.SetGroup{Group: "team", Settings: command.SettingsChange{History: command.HistoryNone + 1, Unread: new(true)}},
		&command.RemoveMembers{Group: "team", Users: []command.UserID{"bob"}, Ban: command.MaxBan + 1},
		&command.SetMember{Group: "team", User: "bob", Role: command.RoleOwner},
		&command.JoinGroup{Group: "team", User: "bob", Message: strings.Repeat("m", command.MaxJoinMessage+1)},
		&command.HideMessages{Group: "team", User: "bob", Seqs: make([]uint64, command.MaxSeqs+1)},
	} {
		f.Add(command.AppendCommand(nil, cmd))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check := new(Checker).Check(b)
		commands := 0
		batch := slices.Concat(command.AppendBatchHeader(nil, storyTime), b)
		decode := command.NewSet(newCommand).WalkBatch(batch, func(int64) {}, func(command.Kind, command.Command) { commands++ })
		if decodes := decode == nil && commands == 1; decodes != (check == nil) {
			t.Fatalf("Check: %v; Apply would decode %d commands, then: %v", check, commands, decode)
		}
	})
}

func TestCheckCommandAllocatesNothing(t *testing.T) {
	var checker Checker
	for _, cmd := range []command.Command{
		&command.Send{User: "alice", To: "bob", CID: "1", Mentions: []string{"bob"}, Body: make([]byte, 128)},
		&command.ReadReport{User: "alice", Peer: "bob", Seq: 1, Auto: true},
		&command.Deliver{Letter: command.Letter{From: "zoe", To: "bob", Number: 1, Kind: command.LetterMessage, CID: "1", Body: make([]byte, 128)}},
	} {
		b := command.AppendCommand(nil, cmd)
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
	for _, l := range []command.Letter{
		{From: "zoe", To: "bob", Number: 1, Kind: command.LetterMessage, Seq: 1, Time: storyTime, CID: "1", Mentions: []string{"bob"}, Body: make([]byte, 300)},
		{From: "zoe", To: "bob", Number: 2, Kind: command.LetterReceipt, Seq: 1, Time: -1},
	} {
		got := command.AppendDeliver([]byte("before"), command.AppendLetter(nil, &l))
		if want := command.AppendCommand([]byte("before"), &command.Deliver{Letter: l}); !bytes.Equal(got, want) {
			t.Errorf("AppendDeliver of letter %d = %x, want %x", l.Number, got, want)
		}
	}
}

func BenchmarkCheckCommand(b *testing.B) {
	cmd := command.AppendCommand(nil, &command.Send{User: "alice", To: "bob", CID: "12345", Body: make([]byte, 128)})
	var checker Checker
	b.ReportAllocs()
	for b.Loop() {
		if err := checker.Check(cmd); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	batch := command.AppendCommand(command.AppendBatchHeader(nil, storyTime), &command.Send{User: "alice", To: "bob", CID: "12345", Body: make([]byte, 128)})
	b.ReportAllocs()
	for b.Loop() {
		if err := decodeBatch(batch); err != nil {
			b.Fatal(err)
		}
	}
}
