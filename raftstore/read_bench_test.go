package raftstore

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// BenchmarkRead times what sessions ask for often. None of these reads may allocate
// for the question.
func BenchmarkRead(b *testing.B) {
	cfg := testConfig(b)
	cfg.Limits.GroupRate, cfg.Limits.GroupBurst = 1<<30, 1<<30
	s := open(b, cfg)
	alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
	send(b, s, message(alice, alice, 1))
	send(b, s, message(alice, bob, 1))
	group := groupIn(s, 0, 0)
	createGroup(b, s, group, command.GroupPrivate, alice, bob)
	do(b, s, groupMessage(group, alice, 1))
	var updates query.Updates
	n := 0
	ephemeral, live := message(alice, bob, 0), groupMessage(group, alice, 7)
	for _, c := range []struct {
		name string
		read func() error
	}{
		{"Since", func() error { return s.Since(alice, 0, 0, &updates, 10, 1<<20) }},
		{"GroupSince", func() error { return s.GroupSince(group, 0, &updates, 10, 1<<20) }},
		{"Typing", func() error { s.Typing(alice, bob); return nil }},
		{"SendEphemeral", func() error {
			n++
			ephemeral.CID = fmt.Sprint(n)
			_, err := s.SendEphemeral(ephemeral)
			return err
		}},
		{"SendLive", func() error {
			n++
			live.CID = fmt.Sprint(n)
			_, err := s.SendLive(live)
			return err
		}},
		{"Eligibility", func() error { return s.Eligibility(alice, []command.UserID{bob})[0].Err }},
		{"Cursor", func() error { s.Cursor(group.Key(), 5); return nil }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
