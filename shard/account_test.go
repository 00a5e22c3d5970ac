package shard

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func TestRefusalsOfAdministrators(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.login("alice", "phone", "")
	b.send("alice", "bob", "a")
	b.group("team", command.GroupPrivate)
	b.group("show", command.GroupLive)
	b.do(&command.SetUser{User: "carol", Suspended: new(true)})
	b.do(&command.SetUser{User: "dave", TokensFrom: new(b.now + 700)})
	row := func(change func(*command.ImportRow)) []command.ImportRow {
		rows := []command.ImportRow{{Row: 1, Time: b.now - 10, CID: "c", Body: []byte{1}, From: "bob"}, {Row: 2, Time: b.now, CID: "c", Body: []byte{1}, From: "bob"}}
		if change != nil {
			change(&rows[1])
		}
		return rows
	}
	open := row(nil)
	for name, tc := range map[string]struct {
		cmd  command.Command
		code command.Code
		seq  uint64
	}{
		"set nobody":             {&command.SetUser{}, command.CodeBadRequest, 0},
		"negative time":          {&command.SetUser{User: "alice", HistoryTTL: new(-time.Second)}, command.CodeBadRequest, 0},
		"too long a time":        {&command.SetUser{User: "alice", HistoryTTL: new(command.MaxHistoryTTL + 1)}, command.CodeBadRequest, 0},
		"tokens before 1970":     {&command.SetUser{User: "alice", TokensFrom: new(int64(-1))}, command.CodeBadRequest, 0},
		"suspended":              {&command.Login{User: "carol", Device: "d", IssuedAt: b.now}, command.CodeForbidden, 0},
		"old token":              {&command.Login{User: "dave", Device: "d", IssuedAt: b.now - 1}, command.CodeUnauthorized, 0},
		"token of unknown time":  {&command.Login{User: "dave", Device: "d"}, command.CodeUnauthorized, 0},
		"refresh no session":     {&command.RefreshToken{User: "alice", Session: 9}, command.CodeNotFound, 0},
		"refresh nobody":         {&command.RefreshToken{User: "nobody", Session: 1}, command.CodeNotFound, 0},
		"read of nobody":         {&command.SetRead{User: "nobody", Peer: "alice"}, command.CodeNotFound, 0},
		"read with a stranger":   {&command.SetRead{User: "alice", Peer: "nobody"}, command.CodeNotFound, 0},
		"import for nobody":      {&command.Import{Peer: "bob", Rows: open}, command.CodeBadRequest, 0},
		"import from nobody":     {&command.Import{User: "bob", Rows: open}, command.CodeBadRequest, 0},
		"import of nothing":      {&command.Import{User: "bob", Peer: "eve"}, command.CodeBadRequest, 0},
		"import into messages":   {&command.Import{User: "bob", Peer: "alice", Rows: open}, command.CodeConflict, 1},
		"number 0":               {&command.Import{User: "eve", Peer: "bob", Rows: row(func(r *command.ImportRow) { r.Row = 0 })}, command.CodeBadRequest, 0},
		"number twice":           {&command.Import{User: "eve", Peer: "bob", Rows: row(func(r *command.ImportRow) { r.Row = 1 })}, command.CodeBadRequest, 1},
		"time falls":             {&command.Import{User: "eve", Peer: "bob", Rows: row(func(r *command.ImportRow) { r.Time = b.now - 11 })}, command.CodeBadRequest, 2},
		"future":                 {&command.Import{User: "eve", Peer: "bob", Rows: row(func(r *command.ImportRow) { r.Time = b.now + 1 })}, command.CodeBadRequest, 2},
		"no body":                {&command.Import{User: "eve", Peer: "bob", Rows: row(func(r *command.ImportRow) { r.Body = nil })}, command.CodeBadRequest, 2},
		"no cid":                 {&command.Import{User: "eve", Peer: "bob", Rows: row(func(r *command.ImportRow) { r.CID = "" })}, command.CodeBadRequest, 2},
		"import to no group":     {&command.ImportGroup{Group: "nogroup", Rows: open}, command.CodeNotFound, 0},
		"import to a live group": {&command.ImportGroup{Group: "show", Rows: open}, command.CodeBadRequest, 0},
		"no sender":              {&command.ImportGroup{Group: "team", Rows: row(func(r *command.ImportRow) { r.From = "" })}, command.CodeBadRequest, 2},
		"no rows":                {&command.ImportGroup{Group: "team"}, command.CodeBadRequest, 0},
	} {
		t.Run(name, func(t *testing.T) {
			before := snapshot(b.s)
			r := b.do(tc.cmd)
			if r.Code != tc.code || r.Detail == "" || r.Seq != tc.seq {
				t.Errorf("code %d, seq %d (%s), want code %d, seq %d", r.Code, r.Seq, r.Detail, tc.code, tc.seq)
			}
			if !bytes.Equal(before, snapshot(b.s)) {
				t.Error("a refused command changed the state")
			}
		})
	}
	// A token has the second in which it was issued.
	if r := b.do(&command.Login{User: "dave", Device: "d", IssuedAt: b.now}); r.Code != command.OK {
		t.Errorf("login with a token of the same second: %v", r.Err())
	}
	for _, cmd := range []command.Command{
		&command.SetUser{User: "zoe"}, &command.RefreshToken{User: "zoe"}, &command.SetRead{User: "zoe"}, &command.EraseUser{User: "zoe"}, &command.Import{User: "zoe"},
	} {
		if r := (&bench{t: t, s: NewState(2)}).do(cmd); r.Code != command.CodeMoved {
			t.Errorf("%T without its slot = %d, want %d", cmd, r.Code, command.CodeMoved)
		}
	}
	if r := b.do(&command.EraseUser{User: "nobody"}); r.Code != command.OK {
		t.Errorf("EraseUser of nobody = %d, want OK", r.Code)
	}
}

// TestSettingsSurviveASnapshot also takes one while they change.
func TestSettingsSurviveASnapshot(t *testing.T) {
	b := newBench(t, command.Limits{})
	for i, device := range []string{"a", "b"} {
		b.do(&command.Login{User: "alice", Device: device, IssuedAt: int64(1000 * i)})
	}
	b.do(&command.SetUser{User: "alice", HistoryTTL: new(1000 * time.Hour), TokensFrom: new(int64(1000))})
	b.do(&command.SetUser{User: "bob", Suspended: new(true)})
	b.send("carol", "dave", "x")
	rows := []command.ImportRow{{Row: 4, Time: b.now, CID: "c", Body: []byte{1}}, {Row: 9, Own: true, Time: b.now, CID: "d", Body: []byte{1}}}
	b.do(&command.Import{User: "eve", Peer: "fay", Stream: 7, Rows: rows})
	b.do(&command.Import{User: "eve", Peer: "gus", Stream: 8, Unread: true, Rows: rows})
	want := snapshot(b.s)

	w := b.s.Snapshot()
	CutFine(w, 1, 2)
	var data []byte
	var more bool
	for range 3 {
		data, more = w.Next(data)
	}
	b.do(&command.SetUser{User: "alice", HistoryTTL: new(time.Duration(0)), Suspended: new(true)})
	b.do(&command.EraseUser{User: "eve", MaxWork: 100})
	b.do(&command.SetUser{User: "bob", Suspended: new(false)})
	b.do(&command.EraseUser{User: "carol", MaxWork: 100})
	for more {
		data, more = w.Next(data)
	}
	w.Release()
	for name, image := range map[string][]byte{"at once": want, "late": data} {
		s, err := Restore(bytes.NewReader(image), 1)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(snapshot(s), want) {
			t.Errorf("%s: the snapshot of what was restored differs", name)
		}
		alice, _ := s.User("alice", b.now)
		if alice.Settings != (command.UserSettings{HistoryTTL: 1000 * time.Hour, TokensFrom: 1000}) || len(alice.Sessions) != 1 {
			t.Errorf("%s: alice = %+v", name, alice)
		}
		if bob, _ := s.User("bob", b.now); !bob.Settings.Suspended {
			t.Errorf("%s: bob = %+v, want him suspended", name, bob)
		}
		if status := s.ImportStatus("eve", "fay", 7, b.now); !status.AcceptsRows || status.Row != 9 || status.Next != 3 {
			t.Errorf("%s: import of eve and fay = %+v", name, status)
		}
		if seqs := s.UnreadSeqs("eve", "gus", b.now); !slices.Equal(seqs, []uint64{1}) {
			t.Errorf("%s: unread of eve = %v, want 1", name, seqs)
		}
	}
}

func TestLongerHistory(t *testing.T) {
	b := newBench(t, command.Limits{HistoryTTL: time.Hour, OfflineTTL: time.Hour, GroupTTL: time.Hour})
	hour := time.Hour.Milliseconds()
	b.do(&command.SetUser{User: "bob", HistoryTTL: new(3 * time.Hour)})
	b.send("alice", "bob", "a")
	page := func(user, peer command.UserID) int {
		var p query.Page
		b.s.History(query.HistoryQuery{User: user, Peer: peer, Limit: 100, MaxBytes: 1 << 20}, &p, b.now)
		return len(p.Updates.Messages)
	}
	b.now += 2 * hour
	b.do(&command.PurgeExpired{LastSlot: command.Slots - 1})
	if alice, bob := page("alice", "bob"), page("bob", "alice"); alice != 0 || bob != 1 {
		t.Errorf("after 2h alice sees %d messages, bob %d, want 0 and 1", alice, bob)
	}
	if info, _ := b.s.User("bob", b.now); info.Unread != 0 || info.Messages != 1 {
		t.Errorf("after 2h bob has %d unread of %d messages, want none of 1: the queue's time is not longer", info.Unread, info.Messages)
	}
	// A cutoff for want of memory looks for old messages as far back as they are kept.
	if cutoff := b.s.CutoffFor(1, b.now); cutoff > b.now-hour {
		t.Errorf("CutoffFor(1) = %d ms ago, want more than an hour", b.now-cutoff)
	}
	b.do(&command.SetUser{User: "bob", HistoryTTL: new(time.Duration(0))})
	if bob := page("bob", "alice"); bob != 0 {
		t.Errorf("without the longer time bob sees %d messages, want none", bob)
	}
	b.do(&command.SetUser{User: "bob", HistoryTTL: new(30 * time.Hour)})
	if bob := page("bob", "alice"); bob != 0 {
		t.Errorf("bob sees %d messages again, want none", bob)
	}
}

// TestEraseGivesBackMemory erases all users, in steps, and wants nothing left of
// their messages.
func TestEraseGivesBackMemory(t *testing.T) {
	b := newBench(t, command.Limits{NewConversations: -1})
	const users, peers = 20, 30
	for i := range users {
		for j := range peers {
			from, to := loadUser(i), loadUser((i+j)%users)
			b.do(&command.Send{User: from, To: to, ID: command.MsgID{byte(i), byte(j)}, CID: fmt.Sprint(j), Body: make([]byte, 200)})
			b.do(&command.DeleteMessages{User: from, Peer: to, Seqs: []uint64{1}})
		}
	}
	for i := range users {
		steps := 0
		for from := uint64(0); ; steps++ {
			r := b.do(&command.EraseUser{User: loadUser(i), From: uint32(from), MaxWork: 10})
			if from = r.Seq; from == 0 {
				break
			}
		}
		if steps < 3 {
			t.Errorf("erased within %d steps, want at least 3", steps)
		}
	}
	usage := b.s.Usage()
	if usage.Messages != 0 || usage.Dedupe != 0 || usage.Letters != 0 {
		t.Errorf("after all users are erased %+v is left", usage)
	}
	if n := b.s.Count(0, command.Slots-1); n != (query.Counts{Users: users}) {
		t.Errorf("Count = %+v, want %d users and nothing else", n, users)
	}
	restored, err := Restore(bytes.NewReader(snapshot(b.s)), 1)
	if err != nil {
		t.Fatal(err)
	}
	if r := (&bench{t: t, s: restored, now: b.now, ids: 200}).send(loadUser(0), loadUser(1), "again"); r.Seq < 2 {
		t.Errorf("seq %d after the erasure, want to go on", r.Seq)
	}
}

// BenchmarkEraseUser erases a user with a full history of small messages in many
// conversations, and reports the longest single command of the quietest run.
func BenchmarkEraseUser(b *testing.B) {
	quietest := time.Hour
	for b.Loop() {
		longest := time.Duration(0)
		b.StopTimer()
		bench := newBench(b, command.Limits{NewConversations: -1, UserBytes: 4 << 20})
		data := command.AppendBatchHeader(nil, bench.now)
		for i := range 60_000 {
			data = command.AppendCommand(data, &command.Deliver{Letter: command.Letter{
				From: loadUser(i % 20_000), To: "alice", Number: uint64(1 + i/20_000), Kind: command.LetterMessage, Seq: uint64(1 + i/20_000),
				Time: bench.now, CID: "c", Body: []byte{1},
			}})
		}
		bench.s.Apply(data, &bench.out)
		b.StartTimer()
		for from, steps := uint64(0), 0; ; steps++ {
			start := time.Now()
			r := bench.do(&command.EraseUser{User: "alice", From: uint32(from), MaxWork: 8192})
			longest = max(longest, time.Since(start))
			if from = r.Seq; from == 0 {
				break
			}
		}
		quietest = min(quietest, longest)
	}
	b.ReportMetric(float64(quietest.Microseconds()), "longest-µs")
}
