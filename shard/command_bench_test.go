package shard

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

// hotCommands are those that most of a log consists of.
func hotCommands() []command.Command {
	body := make([]byte, 128)
	return []command.Command{
		&command.Send{User: "alice", Session: 7, To: "bob", CID: "12345", Body: body},
		&command.SendGroup{Group: "team", User: "alice", Session: 7, CID: "12345", Body: body},
		&command.ReadReport{User: "alice", Session: 7, Peer: "bob", Seq: 500, Auto: true},
		&command.Deliver{Letter: command.Letter{From: "alice", To: "bob", Number: 9, Kind: command.LetterMessage, Seq: 4, Time: storyTime, CID: "12345", Body: body}},
		&command.TrimOutbox{From: "alice", To: "bob", UpTo: 1000},
	}
}

func BenchmarkCommandAppend(b *testing.B) {
	for _, cmd := range hotCommands() {
		b.Run(fmt.Sprintf("%T", cmd), func(b *testing.B) {
			buf := make([]byte, 0, 1024)
			var encoder command.Encoder
			b.ReportAllocs()
			for b.Loop() {
				buf = encoder.Append(buf[:0], cmd)
			}
		})
	}
}

func BenchmarkCommandCheck(b *testing.B) {
	for _, cmd := range hotCommands() {
		b.Run(fmt.Sprintf("%T", cmd), func(b *testing.B) {
			encoded := command.AppendCommand(nil, cmd)
			var checker Checker
			b.ReportAllocs()
			for b.Loop() {
				if err := checker.Check(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCommandDecode(b *testing.B) {
	for _, cmd := range hotCommands() {
		b.Run(fmt.Sprintf("%T", cmd), func(b *testing.B) {
			batch := command.AppendCommand(command.AppendBatchHeader(nil, storyTime), cmd)
			set := command.NewSet(newCommand)
			b.ReportAllocs()
			for b.Loop() {
				if err := set.WalkBatch(batch, func(int64) {}, func(command.Kind, command.Command) {}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLetterAppend(b *testing.B) {
	letter := &hotCommands()[3].(*command.Deliver).Letter
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = command.AppendLetter(buf[:0], letter)
	}
}
