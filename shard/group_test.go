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

// group makes a group of alice's with further members.
func (b *bench) group(id command.GroupID, kind command.GroupKind, members ...command.UserID) {
	b.t.Helper()
	r := b.do(&command.CreateGroup{
		Group: id, By: "alice", Owner: "alice", Kind: kind, Settings: kind.Settings(), Members: members, Salt: 7,
	})
	if err := r.Err(); err != nil || len(r.Failed) > 0 {
		b.t.Fatalf("create %s: %v, failed %v", id, err, r.Failed)
	}
}

func (b *bench) post(group command.GroupID, from command.UserID, text string) command.Result {
	b.t.Helper()
	b.ids++
	r := b.do(&command.SendGroup{Group: group, User: from, Session: 1, ID: command.MsgID{b.ids}, CID: text, Body: []byte(text)})
	if err := r.Err(); err != nil {
		b.t.Fatalf("%s posts %q to %s: %v", from, text, group, err)
	}
	return r
}

func (b *bench) view(user command.UserID, q query.GroupSyncAsk, backlog int) query.GroupSyncItem {
	b.t.Helper()
	views := b.s.SyncGroups(user, []query.GroupSyncAsk{q}, backlog, 1000, b.now).Items
	if len(views) != 1 {
		b.t.Fatalf("%s finds %d views of %s, want 1", user, len(views), q.Group)
	}
	return views[0]
}

func (b *bench) wantUnread(group command.GroupID, user command.UserID, want ...uint64) {
	b.t.Helper()
	if v := b.view(user, query.GroupSyncAsk{Group: group}, 0); v.Unread != len(want) {
		b.t.Errorf("unread of %s in %s = %d, want %d", user, group, v.Unread, len(want))
	}
	if got := b.s.GroupUnread(group, user, b.now); !slices.Equal(got, want) {
		b.t.Errorf("unread seqs of %s in %s = %v, want %v", user, group, got, want)
	}
}

// wantPage compares a member's newest page: messages as bodies, gaps as ranges.
func (b *bench) wantPage(group command.GroupID, user command.UserID, want string) {
	b.t.Helper()
	var p query.Page
	b.s.History(query.HistoryQuery{User: user, Group: group, Limit: 100, MaxBytes: 1 << 20}, &p, b.now)
	got := fmt.Sprintf("%d-%d", p.From, p.To)
	for _, m := range p.Updates.Messages {
		got += fmt.Sprintf(" %d:%s:%s", m.Seq, m.From, m.Body)
	}
	for _, g := range p.Gaps {
		got += fmt.Sprintf(" %s:%d-%d", g.Reason, g.From, g.To)
	}
	if got != want {
		b.t.Errorf("page of %s in %s = %q, want %q", user, group, got, want)
	}
}

func TestGroupUnreadFollowsTheLog(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate, "bob", "carol")
	for i := range 3 {
		b.post("team", "alice", fmt.Sprint("a", i))
	}
	b.wantUnread("team", "bob", 1, 2, 3)
	b.wantUnread("team", "alice")
	b.post("team", "bob", "b")
	b.wantUnread("team", "bob")
	b.wantUnread("team", "alice", 4)
	b.wantUnread("team", "carol", 1, 2, 3, 4)

	if r := b.do(&command.ReadGroup{Group: "team", User: "carol", Seq: 2}); r.Unread != 2 {
		t.Errorf("unread after readReport = %d, want 2", r.Unread)
	}
	b.do(&command.RecallGroup{Group: "team", By: "alice", Seq: 3})
	b.wantUnread("team", "carol", 4)
	b.do(&command.ReadGroup{Group: "team", User: "bob", Seq: 1, MayMoveBack: true})
	b.wantUnread("team", "bob", 2)
	b.do(&command.HideMessages{Group: "team", User: "bob", Session: 1, Seqs: []uint64{2}})
	b.wantUnread("team", "bob")
	b.wantPage("team", "bob", "1-4 1:alice:a0 4:bob:b deleted:2-2 recalled:3-3")
	b.wantPage("team", "carol", "1-4 1:alice:a0 2:alice:a1 4:bob:b recalled:3-3")
}

func TestMembersReadSinceTheirJoin(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate)
	b.post("team", "alice", "early")
	b.do(&command.AddMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}})
	b.post("team", "alice", "late")
	b.wantPage("team", "bob", "1-2 2:alice:late notMember:1-1")
	b.wantUnread("team", "bob", 2)

	b.group("open", command.GroupChatroom)
	b.post("open", "alice", "early")
	b.do(&command.JoinGroup{Group: "open", User: "bob"})
	b.wantPage("open", "bob", "1-1 1:alice:early")
	if v := b.view("bob", query.GroupSyncAsk{Group: "open"}, 20); v.CountsUnread || v.Unread != 0 || v.LastSeq != 1 {
		t.Errorf("view of a chatroom = %+v, want no unread and seq 1 as the last", v)
	}

	b.do(&command.LeaveGroup{Group: "team", User: "bob"})
	b.wantPage("team", "bob", "0-0")
	if got := b.s.GroupsOf("bob"); !slices.Equal(got, []query.GroupRef{{Group: "open"}}) {
		t.Errorf("groups of bob = %v, want open", got)
	}
}

func TestBacklogBehindACursor(t *testing.T) {
	b := newBench(t, command.Limits{})
	cursors := map[command.GroupID]string{}
	for id, kind := range map[command.GroupID]command.GroupKind{"team": command.GroupPrivate, "room": command.GroupChatroom} {
		b.group(id, kind, "bob")
		b.post(id, "alice", "seen")
		cursors[id] = b.view("bob", query.GroupSyncAsk{Group: id}, 0).Cursor
		for i := range 5 {
			b.post(id, "alice", fmt.Sprint(i))
		}
	}
	want := func(when string, group command.GroupID, backlog int, want ...uint64) {
		t.Helper()
		q := query.GroupSyncAsk{Group: group, Cursor: cursors[group], HasCursor: true}
		if got := b.view("bob", q, backlog).Push; !slices.Equal(got, want) {
			t.Errorf("%s: %d messages of %s to push = %v, want %v", when, backlog, group, got, want)
		}
	}
	for _, group := range []command.GroupID{"team", "room"} {
		want("unread", group, 5, 2, 3, 4, 5, 6)
		want("unread", group, 4, 3, 4, 5, 6)
		want("unread", group, 0)
		b.do(&command.ReadGroup{Group: group, User: "bob", Seq: 6})
		want("read elsewhere", group, 5, 2, 3, 4, 5, 6)
	}
	want("read elsewhere", "team", 4)
	want("read elsewhere", "room", 4, 3, 4, 5, 6)
}

func TestDeleteMessagesFrom(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate, "bob", "carol")
	for i := range 3 {
		b.post("team", "alice", fmt.Sprint("a", i))
		b.post("team", "bob", fmt.Sprint("b", i))
	}
	before := b.s.GroupArrival("team")
	if r := b.do(&command.DeleteMessagesFrom{Group: "team", Sender: "alice"}); r.Deleted != 3 {
		t.Errorf("deleted = %d, want 3", r.Deleted)
	}
	b.wantPage("team", "carol", "1-6 2:bob:b0 4:bob:b1 6:bob:b2 deleted:1-1 deleted:3-3 deleted:5-5")
	b.wantUnread("team", "carol", 2, 4, 6)
	var up query.Updates
	b.s.GroupUpdatesAfter("team", before, &up, 10, 1<<20, b.now)
	want := query.Change{Kind: query.ChangeRecall, Group: "team", Arrival: before + 1, Sender: "alice", Ranges: []query.Range{{From: 1, To: 5}}}
	if len(up.Changes) != 1 || fmt.Sprint(up.Changes[0]) != fmt.Sprint(want) {
		t.Errorf("changes = %+v, want %+v", up.Changes, want)
	}
	if r := b.do(&command.DeleteMessagesFrom{Group: "team", Sender: "alice"}); r.Deleted != 0 {
		t.Errorf("deleted again = %d, want 0", r.Deleted)
	}
	b.do(&command.DeleteMessagesFrom{Group: "team", Sender: "bob", Silent: true})
	if v := b.view("carol", query.GroupSyncAsk{Group: "team"}, 20); v.LastSeq != 0 || len(v.Push) != 0 || v.Unread != 0 {
		t.Errorf("view of an emptied group = %+v, want nothing to show", v)
	}
	if r := b.do(&command.DeleteMessagesFrom{Group: "none", Sender: "bob"}); r.Code != command.CodeNotFound {
		t.Errorf("code for an unknown group = %d, want not found", r.Code)
	}
}

func TestSyncGroups(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate, "bob")
	for i := range 30 {
		b.post("team", "alice", fmt.Sprint("a", i))
	}
	v := b.view("bob", query.GroupSyncAsk{Group: "team"}, 20)
	if len(v.Push) != 20 || v.Push[0] != 11 || v.Push[19] != 30 || v.Unread != 30 || v.LastSeq != 30 {
		t.Errorf("view = %+v, want the newest 20 of 30", v)
	}
	q := query.GroupSyncAsk{Group: "team", HasCursor: true, Cursor: v.Cursor}
	b.do(&command.RecallGroup{Group: "team", By: "alice", Seq: 30})
	b.post("team", "alice", "more")
	v = b.view("bob", q, 20)
	if !slices.Equal(v.Push, []uint64{31}) || v.Reset || v.Unread != 30 || len(v.Changes) != 1 || v.Changes[0].By != "alice" {
		t.Errorf("view with a cursor = %+v, want 31 and a recall", v)
	}
	q.Cursor = b.s.Cursor("bob", 3)
	if v = b.view("bob", q, 20); !v.Reset || len(v.Push) != 20 {
		t.Errorf("view with another's cursor = %+v, want a reset", v)
	}
}

// TestSyncGroupsInParts has a user in so many groups that a shard must not look at
// all of them in one go.
func TestSyncGroupsInParts(t *testing.T) {
	for _, c := range []struct {
		name     string
		groups   int
		messages int
		ttl      uint32
		most     int // groups that one call may look at
	}{{"many", 1000, 1, 0, 200}, {"long walks", 100, 400, 3600, 41}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, command.Limits{GroupRate: -1})
			queries := []query.GroupSyncAsk{{Group: "none"}}
			for i := range c.groups {
				id := command.GroupID(fmt.Sprint("group", i))
				b.group(id, command.GroupPrivate, "bob")
				for j := range c.messages {
					if r := b.do(&command.SendGroup{Group: id, User: "alice", CID: fmt.Sprint(j), Body: []byte{1}, TTL: c.ttl}); r.Code != command.OK {
						t.Fatalf("message %d: %+v", j, r)
					}
				}
				queries = append(queries, query.GroupSyncAsk{Group: id})
			}
			seen := make(map[command.GroupID]bool)
			for rest := queries; len(rest) > 0; {
				sync := b.s.SyncGroups("bob", rest, 20, 1000, b.now)
				if looked := len(rest) - len(sync.Remaining); looked == 0 || looked > c.most {
					t.Fatalf("looked at %d groups in one go, want 1 to %d", looked, c.most)
				}
				for _, v := range sync.Items {
					seen[v.Group] = true
					if v.Unread != c.messages || len(v.Push) != min(c.messages, 20) {
						t.Fatalf("%s: %d unread, %d to push, want %d and the newest 20", v.Group, v.Unread, len(v.Push), c.messages)
					}
				}
				rest = sync.Remaining
			}
			if len(seen) != len(queries)-1 {
				t.Errorf("%d views, want %d", len(seen), len(queries)-1)
			}
		})
	}
}

func TestMembershipVersions(t *testing.T) {
	b := newBench(t, command.Limits{})
	letter := func(kind command.LetterKind, version uint64) {
		r := b.do(&command.Deliver{Letter: command.Letter{Kind: kind, From: command.GroupID("team").Key(), To: "bob", Number: version}})
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
	}
	letter(command.LetterLeft, 8)
	letter(command.LetterJoined, 7)
	if got := b.s.GroupsOf("bob"); len(got) != 0 {
		t.Errorf("groups after a late joined = %v, want none", got)
	}
	letter(command.LetterJoined, 9)
	if got := b.s.GroupsOf("bob"); len(got) != 1 {
		t.Errorf("groups = %v, want team", got)
	}
	var up query.Updates
	b.s.UpdatesAfter("bob", 1, 0, &up, 10, 1<<20, b.now)
	if len(up.Changes) != 1 || up.Changes[0].Kind != query.ChangeGroupJoined || up.Changes[0].Group != "team" {
		t.Errorf("changes = %+v, want that bob joined team", up.Changes)
	}
	// They left, joined and left: that they joined was never told.
	letter(command.LetterLeft, 11)
	b.s.UpdatesAfter("bob", 1, up.Through, &up, 10, 1<<20, b.now)
	seen := up.Through
	letter(command.LetterLeft, 13)
	b.s.UpdatesAfter("bob", 1, seen, &up, 10, 1<<20, b.now)
	if len(up.Changes) != 1 || up.Changes[0].Kind != query.ChangeGroupLeft {
		t.Errorf("changes = %+v, want that bob left team once more", up.Changes)
	}
	seen = up.Through
	letter(command.LetterLeft, 12)
	if b.s.UpdatesAfter("bob", 1, seen, &up, 10, 1<<20, b.now); len(up.Changes) != 0 {
		t.Errorf("changes = %+v after an older letter, want none", up.Changes)
	}
}

// TestGroupLetterReplacesOlder lets a member come and go while their shard is away for
// longer than it knows of those who left: no older letter is there to bring him
// back.
func TestGroupLetterReplacesOlder(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPrivate)
	b.drop(command.SlotOf("dan"), 1)
	b.do(&command.AddMembers{Group: "team", Users: []command.UserID{"dan"}})
	b.do(&command.RemoveMembers{Group: "team", Users: []command.UserID{"dan"}})
	var waiting []command.Letter
	b.s.Letters(func(p Posted) bool {
		l, err := command.DecodeLetter(p.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, l)
		return true
	})
	if len(waiting) != 1 || waiting[0].Kind != command.LetterLeft || b.s.letterBytes != len(command.AppendLetter(nil, &waiting[0])) {
		t.Fatalf("%d bytes of letters wait, %v; want that dan left", b.s.letterBytes, waiting)
	}
	b.do(&command.TrimOutbox{From: command.GroupID("team").Key(), To: "dan", UpTo: waiting[0].Number - 1})
	if b.s.letterBytes == 0 {
		t.Error("the confirmation of an older letter took the newest")
	}
	b.do(&command.TrimOutbox{From: command.GroupID("team").Key(), To: "dan", UpTo: waiting[0].Number})
	if b.s.letterBytes != 0 {
		t.Errorf("%d bytes of letters wait after all is confirmed", b.s.letterBytes)
	}
}

func TestGroupRate(t *testing.T) {
	b := newBench(t, command.Limits{GroupRate: 10, GroupBurst: 3})
	b.group("team", command.GroupPrivate)
	try := func() command.Result {
		b.ids++
		return b.do(&command.SendGroup{Group: "team", User: "alice", ID: command.MsgID{b.ids}, CID: fmt.Sprint(b.ids), Body: []byte{1}})
	}
	for range 3 {
		if r := try(); r.Code != command.OK {
			t.Fatalf("within the burst: %+v", r)
		}
	}
	r := try()
	if r.Code != command.CodeRateLimited || r.RetryAfterMS != 100 {
		t.Fatalf("past the burst = %+v, want a retry after 100 ms", r)
	}
	b.now += r.RetryAfterMS
	if r := try(); r.Code != command.OK {
		t.Errorf("after the wait: %+v", r)
	}
}

func TestGroupOutlivesSnapshotAndDismissal(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("team", command.GroupPublic, "bob")
	b.do(&command.JoinGroup{Group: "team", User: "carol", Message: "please"})
	b.do(&command.SetMember{Group: "team", By: "alice", User: "bob", Role: command.RoleAdmin, MutedUntil: new(b.now + hourMS)})
	for i := range 300 {
		b.post("team", "alice", fmt.Sprint("a", i))
		b.now += 1000
	}
	b.do(&command.HideMessages{Group: "team", User: "bob", Session: 1, Seqs: []uint64{5, 6}})
	b.do(&command.DeleteMessagesFrom{Group: "team", Sender: "carol"})
	b.do(&command.RecallGroup{Group: "team", Seq: 9})

	var snapshot bytes.Buffer
	view := b.s.Snapshot()
	b.do(&command.RemoveMembers{Group: "team", By: "alice", Users: []command.UserID{"bob"}}) // not part of it
	for more := true; more; {
		var chunk []byte
		chunk, more = view.Next(nil)
		snapshot.Write(chunk)
	}
	view.Release()
	restored, err := Restore(&snapshot, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.s = restored
	b.wantUnread("team", "bob", slices.DeleteFunc(seqs(1, 300), func(n uint64) bool { return n == 5 || n == 6 || n == 9 })...)
	if m, _ := b.s.Member("team", "bob"); m.Role != command.RoleAdmin || m.MutedUntil == 0 {
		t.Errorf("bob = %+v, want a muted admin", m)
	}
	if got := b.s.JoinRequests("team"); len(got) != 1 || got[0].User != "carol" {
		t.Errorf("requests = %+v, want carol's", got)
	}
	if got := b.s.GroupsOf("bob"); len(got) != 1 {
		t.Errorf("groups of bob = %+v, want team", got)
	}

	if r := b.do(&command.DismissGroup{Group: "team", By: "bob"}); r.Code != command.CodeForbidden {
		t.Errorf("an admin dismisses: %+v, want forbidden", r)
	}
	b.do(&command.DismissGroup{Group: "team", By: "alice"})
	if _, ok := b.s.Group("team", "alice"); ok || len(b.s.GroupsOf("alice")) != 0 {
		t.Error("the group outlives its dismissal")
	}
	if r := b.do(&command.CreateGroup{Group: "team", By: "bob", Owner: "bob", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings()}); r.Code != command.CodeConflict {
		t.Errorf("another makes it again: %+v, want conflict", r)
	}
	b.group("team", command.GroupPrivate, "bob")
	if r := b.post("team", "alice", "again"); r.Seq != 301 {
		t.Errorf("seq after making it again = %d, want 301", r.Seq)
	}
	b.wantPage("team", "bob", "1-301 301:alice:again notMember:1-300")
}

func seqs(from, to uint64) (s []uint64) {
	for ; from <= to; from++ {
		s = append(s, from)
	}
	return s
}

// BenchmarkDeleteMessagesFrom is how long one command holds up a shard that deletes what
// a member has sent: half or all of 20,000 stored messages.
func BenchmarkDeleteMessagesFrom(b *testing.B) {
	const stored = 20_000
	for _, c := range []struct {
		name    string
		deleted int
	}{{"half", stored / 2}, {"all", stored}} {
		b.Run(c.name, func(b *testing.B) {
			longest := time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				g := newBench(b, command.Limits{GroupRate: -1})
				g.group("team", command.GroupChatroom)
				body := bytes.Repeat([]byte{1}, 128)
				for i := range stored {
					user := command.UserID("alice")
					if i%2 == 1 || c.deleted == stored {
						user = "bob"
					}
					g.do(&command.SendGroup{Group: "team", User: user, Admin: true, ID: command.MsgID{byte(i)}, CID: fmt.Sprint(i), Body: body})
				}
				b.StartTimer()
				start := time.Now()
				if r := g.do(&command.DeleteMessagesFrom{Group: "team", Sender: "bob"}); r.Deleted != c.deleted {
					b.Fatalf("deleted %d, want %d", r.Deleted, c.deleted)
				}
				longest = max(longest, time.Since(start))
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
		})
	}
}

func BenchmarkSyncGroups(b *testing.B) {
	g := newBench(b, command.Limits{GroupRate: -1})
	var queries []query.GroupSyncAsk
	for i := range 1000 {
		id := command.GroupID(fmt.Sprint("group", i))
		members := []command.UserID{"me"}
		for j := range 50 {
			members = append(members, command.UserID(fmt.Sprint("user", j)))
		}
		g.group(id, command.GroupPrivate, members...)
		for j := range 30 {
			g.post(id, "alice", fmt.Sprint(j))
		}
		queries = append(queries, query.GroupSyncAsk{Group: id})
	}
	b.ReportAllocs()
	slices, longest := 0, time.Duration(0)
	for b.Loop() {
		n := 0
		for rest := queries; len(rest) > 0; {
			start := time.Now()
			sync := g.s.SyncGroups("me", rest, 20, 1000, g.now)
			longest = max(longest, time.Since(start))
			n, rest, slices = n+len(sync.Items), sync.Remaining, slices+1
		}
		if n != 1000 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(slices), "µs/slice")
	b.ReportMetric(float64(longest.Microseconds()), "µs-longest")
}

// A group's messages may outlive those of users: a cutoff that is to take a few
// must not take all that are older than any user's.
func TestCutoffOfGroupsThatKeepLonger(t *testing.T) {
	const hour = 3_600_000
	b := newBench(t, command.Limits{HistoryTTL: time.Hour})
	b.group("team", command.GroupPublic)
	for i := range 50 {
		b.post("team", "alice", fmt.Sprint("m", i))
		b.now += hour
	}
	if cutoff := b.s.CutoffFor(1, b.now); cutoff > b.now-49*hour {
		t.Errorf("CutoffFor(1) = %d h ago, want before the second of 50 messages", (b.now-cutoff)/hour)
	}
}

// Whoever owns a live group cannot fill the shard with records of users whom he
// mutes, and those whose time is over make room.
func TestLiveGroupKeepsSoManySanctions(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("show", command.GroupLive)
	mute := func(i int) command.Code {
		return b.do(&command.SetMember{Group: "show", By: "alice", User: command.UserID(fmt.Sprint("u", i)), MutedUntil: new(b.now + 60_000)}).Code
	}
	for i := 1; i <= maxSanctions; i++ {
		if code := mute(i); code != command.OK {
			t.Fatalf("mute of user %d = %d, want OK", i, code)
		}
	}
	if code := mute(0); code != command.CodeRateLimited {
		t.Errorf("one more mute = %d, want rate limited", code)
	}
	r := b.do(&command.RemoveMembers{Group: "show", By: "alice", Users: []command.UserID{"u1", "u0"}, Ban: 5})
	if len(r.Failed) != 1 || r.Failed[0] != (command.MemberFailure{User: "u0", Code: command.CodeRateLimited}) {
		t.Errorf("bans of one who is muted and of one more: failed %v, want the one more, rate limited", r.Failed)
	}
	b.now += 60_000
	if code := mute(0); code != command.OK {
		t.Errorf("a mute once the others are over = %d, want OK", code)
	}
	if members, _ := b.s.Members("show", "", 10); len(members) != 2 || members[0].Role != command.RoleOwner || members[1].User != "u0" {
		t.Errorf("members = %+v, want alice and who is muted", members)
	}
	if info, _ := b.s.Group("show", "alice"); info.Members != 1 || info.Role != command.RoleOwner {
		t.Errorf("%d records, alice's role %d, want hers, and the owner's", info.Members, info.Role)
	}
	if got := len(b.s.group("show").group.sanctions.items); got != 1 {
		t.Errorf("%d sanctions are kept, want the one that lasts", got)
	}
}

func TestCountLeavesOutDismissedGroups(t *testing.T) {
	b := newBench(t, command.Limits{})
	b.group("kept", command.GroupPrivate)
	b.group("gone", command.GroupPrivate)
	b.do(&command.DismissGroup{Group: "gone", By: "alice"})
	if n := b.s.Count(0, command.Slots-1); n.Groups != 1 {
		t.Errorf("Count = %d groups, want the one that is not dismissed", n.Groups)
	}
}
