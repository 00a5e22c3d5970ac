package raftstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// importBase is a time, in ms, that rows of tests begin at: an hour ago.
func importBase(s *Store) int64 { return s.Now() - time.Hour.Milliseconds() }

// talk makes n rows of two users in turn, a second apart.
func talk(a, b command.UserID, base int64, n int) []store.ImportRow {
	rows := make([]store.ImportRow, n)
	for i := range rows {
		rows[i] = store.ImportRow{From: a, To: b, Time: base + int64(i)*1000, CID: fmt.Sprintf("c%d", i), Body: []byte{0xa1, 'x'}}
		if i%2 == 1 {
			rows[i].From, rows[i].To = b, a
		}
	}
	return rows
}

func rowsOf(rows []store.ImportRow) iter.Seq2[store.ImportRow, error] {
	return func(yield func(store.ImportRow, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func wantImport(t *testing.T, s *Store, req store.ImportRequest, rows []store.ImportRow, want store.ImportResult) {
	t.Helper()
	got, err := s.Import(t.Context(), req, rowsOf(rows))
	if err != nil || got != want {
		t.Fatalf("Import = %+v, %v, want %+v", got, err, want)
	}
}

// views is what both users see of a conversation.
func views(t *testing.T, s *Store, a, b command.UserID) (messages [2][]query.Message) {
	t.Helper()
	for i, user := range []command.UserID{a, b} {
		page := new(query.Page)
		peer := []command.UserID{b, a}[i]
		if err := s.History(query.HistoryQuery{User: user, Peer: peer, HasAfter: true, Limit: 1000, MaxBytes: 1 << 30}, page); err != nil {
			t.Fatal(err)
		}
		messages[i] = page.Updates.Messages
	}
	return messages
}

func TestImportFillsBothViews(t *testing.T) {
	s := open(t, testConfig(t))
	a, b := userIn(s, 0, 0), userIn(s, 1, 0)
	base := importBase(s)
	rows := talk(a, b, base, 30)
	rows[3].Mentions = []string{"x"}
	rows[4].TTL = 7200
	req := store.ImportRequest{Stream: "old"}
	wantImport(t, s, req, rows[:20], store.ImportResult{Rows: 20, Stored: 20})
	req.Offset = 20
	wantImport(t, s, req, rows[20:], store.ImportResult{Rows: 10, Stored: 10})
	both := views(t, s, a, b)
	for i, side := range both {
		if len(side) != 30 {
			t.Fatalf("view %d has %d messages, want 30", i, len(side))
		}
		for j, m := range side {
			if m.Seq != uint64(j+1) || m.Time != base+int64(j)*1000 || m.From != rows[j].From || string(m.CID) != rows[j].CID ||
				m.ID != both[0][j].ID || m.TTL != rows[j].TTL || !slices.Equal(m.Mentions, rows[j].Mentions) {
				t.Errorf("view %d, message %d = %+v, want that of %+v", i, j, m, rows[j])
			}
		}
	}
	sums := []map[uint16]uint64{checksums(s, 0), checksums(s, 1)}

	// The same again changes nothing, whole or in other pieces.
	req.Offset = 0
	wantImport(t, s, req, rows, store.ImportResult{Rows: 30, Known: 30})
	req.Offset = 10
	wantImport(t, s, req, rows[10:25], store.ImportResult{Rows: 15, Known: 15})
	for id, sum := range sums {
		if !equalSums(sum, checksums(s, id)) {
			t.Errorf("a repeated import changed shard %d", id)
		}
	}

	// All is read, and the next message goes on.
	for _, user := range []command.UserID{a, b} {
		if info, known, err := s.User(t.Context(), user); err != nil || !known || info.Unread != 0 || info.Messages != 30 || info.Exists {
			t.Errorf("User(%s) = %+v, %v, %v", user, info, known, err)
		}
	}
	if r := send(t, s, message(a, b, 1)); r.Seq != 31 {
		t.Errorf("seq %d after 30 imported ones, want 31", r.Seq)
	}
	eventually(t, "the message arrives", func() bool { return len(cids(t, s, b, a)) == 31 })
	req.Offset = 0
	wantImport(t, s, req, rows, store.ImportResult{Rows: 30, Known: 30})

	// A row more has come too late.
	req.Offset = 30
	_, err := s.Import(t.Context(), req, rowsOf(talk(a, b, s.Now()-1, 1)))
	if e, ok := errors.AsType[*store.ImportError](err); !ok || e.Code != command.CodeConflict || e.Line != 1 || e.Field != "conv" {
		t.Errorf("Import behind a message = %v, want a conflict", err)
	}
}

func TestImportRefusals(t *testing.T) {
	s := open(t, testConfig(t))
	a, b, c := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 0, 1)
	send(t, s, message(a, c, 1))
	base := importBase(s)
	long := command.UserID(strings.Repeat("n", 65))
	for _, tc := range []struct {
		name   string
		spoil  func(row *store.ImportRow)
		field  string
		code   command.Code
		stored uint64 // rows before it
	}{
		{"no sender", func(row *store.ImportRow) { row.From = "" }, "from", command.CodeBadRequest, 5},
		{"long sender", func(row *store.ImportRow) { row.From = long }, "from", command.CodeBadRequest, 5},
		{"no receiver", func(row *store.ImportRow) { row.To = "" }, "to", command.CodeBadRequest, 5},
		{"long receiver", func(row *store.ImportRow) { row.To = long }, "to", command.CodeBadRequest, 5},
		{"user and group", func(row *store.ImportRow) { row.Group = "team" }, "to", command.CodeBadRequest, 5},
		{"long cid", func(row *store.ImportRow) { row.CID = string(long) }, "cid", command.CodeBadRequest, 5},
		{"no body", func(row *store.ImportRow) { row.Body = nil }, "body", command.CodeBadRequest, 5},
		{"negative time", func(row *store.ImportRow) { row.Time = -1 }, "time", command.CodeBadRequest, 5},
		{"time falls", func(row *store.ImportRow) { row.Time = base - 1 }, "time", command.CodeBadRequest, 5},
		{"future", func(row *store.ImportRow) { row.Time = s.Now() + 60_000 }, "time", command.CodeBadRequest, 5},
		{"other messages", func(row *store.ImportRow) { row.From, row.To = c, a }, "conv", command.CodeConflict, 5},
		{"no such group", func(row *store.ImportRow) { row.To, row.Group = "", "nogroup" }, "group", command.CodeNotFound, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			user := command.UserID("u" + strings.ReplaceAll(tc.name, " ", "-"))
			rows := talk(user, b, base, 9)
			tc.spoil(&rows[5])
			got, err := s.Import(t.Context(), store.ImportRequest{Stream: tc.name}, rowsOf(rows))
			e, ok := errors.AsType[*store.ImportError](err)
			if !ok || e.Line != 6 || e.Field != tc.field || e.Code != tc.code || e.Message == "" {
				t.Errorf("Import = %v, want code %d of %s in line 6", err, tc.code, tc.field)
			}
			if want := (store.ImportResult{Rows: tc.stored, Stored: tc.stored}); got != want {
				t.Errorf("Import = %+v, want %+v", got, want)
			}
			if n := len(cids(t, s, user, b)); n != int(tc.stored) {
				t.Errorf("%d rows are stored, want %d", n, tc.stored)
			}
			// Mended, the same request does the rest.
			rows[5] = talk(user, b, base, 9)[5]
			wantImport(t, s, store.ImportRequest{Stream: tc.name}, rows, store.ImportResult{Rows: 9, Known: 5, Stored: 4})
		})
	}
	for _, stream := range []string{"", string(long)} {
		if _, err := s.Import(t.Context(), store.ImportRequest{Stream: stream}, rowsOf(nil)); err == nil {
			t.Errorf("Import of stream %q is taken", stream)
		}
	}
	broken := errors.New("broken line")
	got, err := s.Import(t.Context(), store.ImportRequest{Stream: "s"}, func(yield func(store.ImportRow, error) bool) {
		_ = yield(talk("p", "q", base, 1)[0], nil) && yield(store.ImportRow{}, broken)
	})
	if !errors.Is(err, broken) || got.Stored != 1 {
		t.Errorf("Import = %+v, %v, want 1 row stored and %v", got, err, broken)
	}
}

func TestImportSkipsWhatHasExpired(t *testing.T) {
	s := open(t, testConfig(t))
	a, b := userIn(s, 0, 0), userIn(s, 1, 0)
	if r, err := s.Propose(t.Context(), &command.SetUser{User: b, HistoryTTL: new(30 * 24 * time.Hour)}); err != nil || r.Code != command.OK {
		t.Fatal(r, err)
	}
	day := 24 * time.Hour.Milliseconds()
	var rows []store.ImportRow
	for _, days := range []int64{40, 20, 10, 3, 2} {
		rows = append(rows, store.ImportRow{From: a, To: b, Time: s.Now() - days*day, CID: fmt.Sprint(days), Body: []byte{1}})
	}
	rows[4].TTL = 60
	wantImport(t, s, store.ImportRequest{Stream: "old"}, rows, store.ImportResult{Rows: 5, Stored: 3, Expired: 2})
	if got := cids(t, s, a, b); !slices.Equal(got, []string{"3"}) {
		t.Errorf("the sender sees %v, want what is not older than a week", got)
	}
	if got := cids(t, s, b, a); !slices.Equal(got, []string{"20", "10", "3"}) {
		t.Errorf("the receiver sees %v, want what is not older than 30 days", got)
	}
	wantReceipt(t, s, b, a, 3, 1)
	if r := send(t, s, message(a, b, 1)); r.Seq != 2 {
		t.Errorf("seq %d, want 2", r.Seq)
	}
}

func TestImportUnreadAndWatchers(t *testing.T) {
	s := open(t, testConfig(t))
	a, b := userIn(s, 0, 0), userIn(s, 1, 0)
	var e ear
	first := login(t, s, b, "phone", &e)
	wakes := func() int {
		if _, err := s.Sessions(t.Context(), b); err != nil { // whoever came before is told by then
			t.Fatal(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.wakes
	}
	before := wakes()
	rows := talk(a, b, importBase(s), 5) // a sends the odd ones
	wantImport(t, s, store.ImportRequest{Stream: "old", Unread: true}, rows, store.ImportResult{Rows: 5, Stored: 5})
	if n := wakes() - before; n != 0 {
		t.Errorf("an import woke a session %d times", n)
	}
	seqs, err := s.UnreadSeqs(t.Context(), b, a)
	if err != nil || !slices.Equal(seqs, []uint64{1, 3, 5}) {
		t.Errorf("UnreadSeqs = %v, %v, want 1, 3, 5", seqs, err)
	}
	counts, err := s.Unread(t.Context(), b)
	if err != nil || !slices.Equal(counts, []query.UnreadCount{{Peer: a, Unread: 3}}) {
		t.Errorf("Unread = %v, %v", counts, err)
	}
	// What comes next is pushed, what was imported not.
	send(t, s, message(a, b, 1))
	var batch query.Updates
	eventually(t, "the message arrives", func() bool {
		if err := s.Since(b, first.Session, first.Arrival, &batch, 100, 1<<20); err != nil {
			t.Fatal(err)
		}
		return len(batch.Messages) > 0
	})
	if len(batch.Messages) != 1 || batch.Messages[0].Seq != 6 {
		t.Errorf("Since = %d messages, the first %d, want seq 6 alone", len(batch.Messages), batch.Messages[0].Seq)
	}
	// A device without cursor gets the queue.
	sync := login(t, s, b, "tablet", &e)
	if sync.Offline != 4 || sync.UnreadTotal != 4 {
		t.Errorf("a new device finds %d offline messages, %d unread, want 4", sync.Offline, sync.UnreadTotal)
	}
}

// TestImportGoesOnAfterACrash repeats an import of which one side alone came to
// be stored.
func TestImportGoesOnAfterACrash(t *testing.T) {
	s := open(t, testConfig(t))
	a, b := userIn(s, 0, 0), userIn(s, 1, 0)
	rows := talk(a, b, importBase(s), 10)
	req := store.ImportRequest{Stream: "old"}
	im := importer{store: s, req: req, stream: streamOf("old"), views: make(map[importKey]*importView)}
	for _, row := range rows {
		if err := im.add(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.readViews(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := im.plan(); err != nil {
		t.Fatal(err)
	}
	im.order = im.order[:1]
	if err := im.commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, m := len(cids(t, s, a, b)), len(cids(t, s, b, a)); n != 10 || m != 0 {
		t.Fatalf("the views hold %d and %d messages, want 10 and 0", n, m)
	}
	wantImport(t, s, req, rows, store.ImportResult{Rows: 10, Stored: 10})
	both := views(t, s, a, b)
	if len(both[0]) != 10 || len(both[1]) != 10 {
		t.Fatalf("the views hold %d and %d messages, want 10", len(both[0]), len(both[1]))
	}
	wantReceipt(t, s, b, a, 5, 5)
	wantReceipt(t, s, b, a, 10, 9)
}

// wantReceipt reports a message as read, and wants its sender to be told by his
// own seq.
func wantReceipt(t *testing.T, s *Store, reader, sender command.UserID, seq, want uint64) {
	t.Helper()
	if r, err := s.Propose(t.Context(), &command.ReadReport{User: reader, Peer: sender, Seq: seq}); err != nil || r.Code != command.OK {
		t.Fatal(r, err)
	}
	eventually(t, fmt.Sprintf("%s knows that %d is read", sender, want), func() bool {
		list, err := s.Recents(t.Context(), sender, 1<<20)
		return err == nil && len(list.Conversations) > 0 && list.Conversations[0].PeerReadSeq == want
	})
}

// BenchmarkImport imports a million rows, as they come from a file in order of
// time, of 100,000 users who have 10 rows with each of 2 others. It reports the
// rates of the slowest and fastest tenth, and what the importer itself holds.
func BenchmarkImport(b *testing.B) {
	for _, shards := range []int{1, 4} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			for b.Loop() {
				benchmarkImport(b, shards)
			}
		})
	}
}

func benchmarkImport(b *testing.B, shards int) {
	const rows, users = 1_000_000, 100_000
	cfg := testConfig(b)
	cfg.Shards = shards
	s, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	names := make([]command.UserID, users)
	for i := range names {
		names[i] = command.UserID(fmt.Sprintf("user%d", i))
	}
	body := append([]byte{0xd9, 126}, strings.Repeat("x", 126)...)
	base := s.Now() - 24*time.Hour.Milliseconds()
	var before, after runtime.MemStats
	slowest, fastest := 1e18, 0.0
	runtime.ReadMemStats(&before)
	start := time.Now()
	lap := start
	res, err := s.Import(context.Background(), store.ImportRequest{Stream: "bench"}, func(yield func(store.ImportRow, error) bool) {
		for i := range rows {
			if n := rows / 10; i > 0 && i%n == 0 {
				rate := float64(n) / time.Since(lap).Seconds()
				slowest, fastest, lap = min(slowest, rate), max(fastest, rate), time.Now()
			}
			from := i % users
			if !yield(store.ImportRow{From: names[from], To: names[(from+1)%users], Time: base + int64(i), Body: body}, nil) {
				return
			}
		}
	})
	if err != nil || res.Stored != rows {
		b.Fatalf("Import = %+v, %v", res, err)
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	state := 0
	for _, sh := range s.shards() {
		state += stateSize(sh)
	}
	b.ReportMetric(rows/took.Seconds(), "rows/s")
	b.ReportMetric(slowest, "slowest-rows/s")
	b.ReportMetric(fastest, "fastest-rows/s")
	b.ReportMetric(float64(state)/rows, "state-B/row")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/rows, "alloc-B/row")
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)-int64(state))/(1<<20), "heap-beside-state-MiB")
}

// Rows that were planned for other seqs than they would get are not stored, or the other
// user's would name other messages. Planned again, they are.
func TestImportIsPlannedAgain(t *testing.T) {
	s := open(t, testConfig(t))
	a, b := userIn(s, 0, 0), userIn(s, 1, 0)
	im := importer{store: s, req: store.ImportRequest{Stream: "old"}, stream: streamOf("old"), views: make(map[importKey]*importView)}
	for _, row := range talk(a, b, importBase(s), 4) {
		if err := im.add(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.readViews(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := im.plan(); err != nil {
		t.Fatal(err)
	}
	for _, v := range im.order {
		v.next++
	}
	if err := im.commit(t.Context()); !errors.Is(err, errPlannedWrong) {
		t.Fatalf("commit of what was planned for other seqs: %v, want %v", err, errPlannedWrong)
	}
	for i, side := range views(t, s, a, b) {
		if len(side) != 0 {
			t.Errorf("view %d has %d messages, want none", i, len(side))
		}
	}
	im.forgetPlan()
	if err := im.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (store.ImportResult{Rows: 4, Stored: 4}); im.result != want {
		t.Errorf("the import = %+v, want %+v", im.result, want)
	}
	for i, side := range views(t, s, a, b) {
		if len(side) != 4 {
			t.Errorf("view %d has %d messages, want 4", i, len(side))
		}
	}
}
