package shard

import (
	"bytes"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// What a Sent query finds is what the send is answered with, and asking changes nothing.
func TestSentFindsRepeats(t *testing.T) {
	const found, conflict, unknown = "found", "conflict", "unknown"
	const minute = 60 * 1000
	for name, test := range map[string]struct {
		ttl      uint32
		original uint64 // of the first send
		later    int64  // ms until it is repeated
		cut      bool   // the cutoff passes it meanwhile
		other    bool   // the repeat has another body
		retry    bool
		want     string
	}{
		"in the window":                      {want: found},
		"just in the window":                 {later: 5*minute - 1, want: found},
		"just past it":                       {later: 5 * minute, want: unknown},
		"another body":                       {other: true, want: conflict},
		"another body, searched for":         {other: true, retry: true, want: conflict},
		"replaced":                           {original: command.HashBody([]byte("body")), want: found},
		"past the window":                    {later: 6 * minute, want: unknown},
		"past it, searched for":              {later: 6 * minute, retry: true, want: found},
		"another body, past it":              {later: 6 * minute, retry: true, other: true, want: unknown},
		"replaced, past it":                  {later: 6 * minute, retry: true, original: command.HashBody([]byte("body")), want: unknown},
		"gone from the log":                  {ttl: 1, later: 6 * minute, retry: true, want: found},
		"gone from the log, another body":    {ttl: 1, later: 6 * minute, retry: true, other: true, want: unknown},
		"gone from the log, not searched":    {ttl: 1, later: 6 * minute, want: unknown},
		"older than the cutoff":              {later: 6 * minute, cut: true, retry: true, want: unknown},
		"gone and older than the cutoff":     {ttl: 1, later: 6 * minute, cut: true, retry: true, want: unknown},
		"older than history":                 {later: 8 * 24 * 60 * minute, retry: true, want: unknown},
		"gone and older than history":        {ttl: 1, later: 8 * 24 * 60 * minute, retry: true, want: unknown},
		"replaced, in the window, other one": {original: command.HashBody([]byte("body")), other: true, want: conflict},
	} {
		for _, group := range []command.GroupID{"", "team"} {
			b := newBench(t, command.Limits{})
			b.login("alice", "phone", "")
			if group != "" {
				b.do(&command.CreateGroup{
					Group: group, By: "alice", Owner: "alice", Kind: command.GroupPublic, Salt: 7,
					Settings: command.GroupPublic.Settings(), Members: []command.UserID{"bob"},
				})
			}
			send := func(body string, original uint64, retry bool) command.Result {
				if group != "" {
					return b.do(&command.SendGroup{Group: group, User: "alice", Session: 1, ID: command.MsgID{1}, CID: "c", Body: []byte(body), TTL: test.ttl, Original: original, Retry: retry})
				}
				return b.do(&command.Send{User: "alice", Session: 1, To: "bob", ID: command.MsgID{1}, CID: "c", Body: []byte(body), TTL: test.ttl, Original: original, Retry: retry})
			}
			stored := "body"
			if test.original != 0 {
				stored = "replaced"
			}
			first := send(stored, test.original, false)
			if first.Code != command.OK {
				t.Fatalf("%s %s: %+v", name, group, first)
			}
			b.now += test.later
			b.expire()
			if test.cut {
				b.do(&command.RaiseCutoff{Cutoff: first.Time, MaxWork: 1000})
			}
			body := "body"
			if test.other {
				body = "other"
			}
			q := query.Sent{User: "alice", CID: "c", Body: command.HashBody([]byte(body)), Retry: test.retry}
			if q.Group = group; group == "" {
				q.Peer = "bob"
			}
			before := snapshot(b.s)
			if err := b.s.Answer(&q, b.now); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(snapshot(b.s), before) {
				t.Errorf("%s %s: the question changed the state", name, group)
			}
			got := unknown
			switch {
			case q.Found && q.Conflict:
				got = conflict
			case q.Found:
				got = found
			}
			if got != test.want {
				t.Errorf("%s %s: %s, want %s", name, group, got, test.want)
			}
			switch r := send(body, 0, test.retry); {
			case got == found && (!r.Duplicate || r.ID != q.ID || r.Seq != q.Seq || r.Time != q.Time):
				t.Errorf("%s %s: found %+v, the repeat is answered with %+v", name, group, q, r)
			case got == conflict && r.Code != command.CodeConflict:
				t.Errorf("%s %s: a conflict, and the repeat is answered with %+v", name, group, r)
			case got == unknown && r.Duplicate:
				t.Errorf("%s %s: not found, and the repeat is answered with %+v", name, group, r)
			}
		}
	}
}
