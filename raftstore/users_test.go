package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func mustPropose(t *testing.T, s *Store, cmd command.Command) command.Result {
	t.Helper()
	r, err := s.Propose(t.Context(), cmd)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatalf("%T: %v", cmd, err)
	}
	return r
}

func makeGroup(t *testing.T, s *Store, id command.GroupID, owner command.UserID, members ...command.UserID) {
	t.Helper()
	mustPropose(t, s, &command.CreateGroup{
		Group: id, Owner: owner, Members: members, Kind: command.GroupPublic, Settings: command.GroupPublic.Settings(),
	})
}

func TestUsersAndGroupsArePaged(t *testing.T) {
	cfg := testConfig(t)
	cfg.Shards = 3
	s := open(t, cfg)
	const n = 250
	var want []command.UserID
	var groups []command.GroupID
	for i := range n {
		user := command.UserID(fmt.Sprintf("user%04d", i))
		send(t, s, message(user, user, i))
		want = append(want, user)
		if i%5 == 0 {
			id := command.GroupID(fmt.Sprintf("team%04d", i))
			makeGroup(t, s, id, user)
			groups = append(groups, id)
		}
	}
	login(t, s, want[3], "phone", &ear{})
	mustPropose(t, s, &command.SetUser{User: want[4], Suspended: new(true)})
	for _, limit := range []int{1, 7, 100, n, 1000} {
		var got []command.UserID
		for after, more := command.UserID(""), true; more; {
			page, again, err := s.Users(t.Context(), after, limit)
			if err != nil || len(page) == 0 || len(page) > limit {
				t.Fatalf("Users(%q, %d) = %d users, %v", after, limit, len(page), err)
			}
			for _, u := range page {
				got = append(got, u.User)
				in := u.User == want[3]
				if u.Exists != in || (u.Sessions == 1) != in || u.Suspended != (u.User == want[4]) || u.Bytes == 0 {
					t.Errorf("Users gives %+v", u)
				}
			}
			after, more = page[len(page)-1].User, again
		}
		if !slices.Equal(got, want) {
			t.Errorf("with limit %d there are %d users, want all %d in order", limit, len(got), n)
		}
		var ids []command.GroupID
		for after, more := command.GroupID(""), true; more; {
			page, again, err := s.Groups(t.Context(), after, limit)
			if err != nil || len(page) == 0 || len(page) > limit {
				t.Fatalf("Groups(%q, %d) = %d groups, %v", after, limit, len(page), err)
			}
			for _, g := range page {
				ids = append(ids, g.ID)
			}
			after, more = page[len(page)-1].ID, again
		}
		if !slices.Equal(ids, groups) {
			t.Errorf("with limit %d there are %d groups, want all %d in order", limit, len(ids), len(groups))
		}
	}
	total, shards, err := s.Stats(t.Context())
	if err != nil || len(shards) != 3 {
		t.Fatalf("Stats: %d shards, %v", len(shards), err)
	}
	sum := query.Counts{}
	for i := range shards {
		if shards[i].Users == 0 {
			t.Errorf("shard %d has no users", i)
		}
		sum.Add(&shards[i])
	}
	if total != sum || total.Users != n || total.Sessions != 1 || total.Groups != len(groups) || total.Conversations != n ||
		total.Messages != n || total.Bytes == 0 {
		t.Errorf("Stats = %+v, the shards together %+v", total, sum)
	}
}

func TestUserIsSeenAndErased(t *testing.T) {
	s := open(t, testConfig(t))
	a, b, c := userIn(s, 0, 0), userIn(s, 1, 0), userIn(s, 0, 1)
	if info, known, err := s.User(t.Context(), a); known || err != nil {
		t.Errorf("User of nobody = %+v, %v, %v", info, known, err)
	}
	var e ear
	login(t, s, a, "phone", &e)
	for i := range 5 {
		send(t, s, message(b, a, i))
		send(t, s, message(a, b, 10+i))
		send(t, s, message(c, a, 20+i))
	}
	block(t, s, a, c)
	makeGroup(t, s, "team", b, a)
	for i := range 3 {
		mustPropose(t, s, &command.SendGroup{Group: "team", User: b, ID: msgID(uint64(40 + i)), CID: fmt.Sprint(i), Body: []byte{1}})
	}
	eventually(t, "all arrives", func() bool {
		info, _, err := s.User(t.Context(), a)
		return err == nil && info.Messages == 15 && len(info.Groups) == 1
	})
	info, known, err := s.User(t.Context(), a)
	if err != nil || !known || !info.Exists || info.Queued != 10 || info.Conversations != 2 || info.Blocked != 1 ||
		len(info.Sessions) != 1 || info.Bytes == 0 || info.QueuedBytes == 0 || info.QueuedBytes >= info.Bytes {
		t.Errorf("User = %+v, %v, %v", info, known, err)
	}
	if info.Unread != 13 {
		t.Errorf("Unread = %d, want 10 and 3 of the group", info.Unread)
	}
	counts, err := s.Unread(t.Context(), a)
	want := []query.UnreadCount{{Peer: b, Unread: 5}, {Peer: c, Unread: 5}, {Group: "team", Unread: 3}}
	slices.SortFunc(want[:2], func(x, y query.UnreadCount) int { return strings.Compare(string(x.Peer), string(y.Peer)) })
	if err != nil || !slices.Equal(counts, want) {
		t.Errorf("Unread = %v, %v, want %v", counts, err, want)
	}
	if seqs, err := s.GroupUnreadSeqs(t.Context(), "team", a); err != nil || !slices.Equal(seqs, []uint64{1, 2, 3}) {
		t.Errorf("GroupUnreadSeqs = %v, %v, want 1 to 3", seqs, err)
	}

	// A read cursor goes forward, and back again.
	mustPropose(t, s, &command.ReadReport{User: a, Peer: c, Seq: 5})
	if r := mustPropose(t, s, &command.SetRead{User: a, Peer: c, Seq: 2}); r.Seq != 2 || r.Unread != 3 {
		t.Errorf("SetRead = cursor %d, %d unread, want 2 and 3", r.Seq, r.Unread)
	}
	if seqs, err := s.UnreadSeqs(t.Context(), a, c); err != nil || !slices.Equal(seqs, []uint64{3, 4, 5}) {
		t.Errorf("UnreadSeqs = %v, %v, want 3 to 5", seqs, err)
	}

	mustPropose(t, s, &command.SendGroup{Group: "team", User: a, ID: msgID(60), CID: "mine", Body: []byte{1}})
	kinds := map[string]int{}
	err = s.Export(t.Context(), a, func(row *store.ExportRow) error {
		switch {
		case row.User != nil:
			kinds["user"]++
		case row.Blocked != nil && *row.Blocked == c:
			kinds["blocked"]++
		case row.Conversation != nil:
			kinds["conversation"]++
		case row.Message != nil && row.Message.Group != "":
			if row.Message.From != a {
				t.Errorf("Export gives another's message in a group: %+v", row.Message)
			}
			kinds["said"]++
		case row.Message != nil:
			kinds["message"]++
		case row.Group != nil && row.Group.Info.ID == "team" && row.Group.Member.Role == command.RoleMember:
			kinds["group"]++
		default:
			t.Errorf("Export gives %+v", row)
		}
		return nil
	})
	if want := map[string]int{"user": 1, "blocked": 1, "conversation": 2, "message": 15, "group": 1, "said": 1}; err != nil || fmt.Sprint(kinds) != fmt.Sprint(want) {
		t.Errorf("Export gives %v, %v, want %v", kinds, err, want)
	}
	enough := errors.New("enough")
	if err := s.Export(t.Context(), a, func(*store.ExportRow) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Export = %v, want what yield returned", err)
	}

	makeGroup(t, s, "others", b)
	makeGroup(t, s, "silent", b, a)
	for _, of := range []struct {
		user command.UserID
		want []command.GroupID
	}{{a, []command.GroupID{"silent", "team"}}, {b, []command.GroupID{"others", "silent", "team"}}, {c, nil}} {
		if groups, err := s.Traces(t.Context(), of.user); err != nil || !slices.Equal(groups, of.want) {
			t.Errorf("Traces of %s = %v, %v, want %v", of.user, groups, err, of.want)
		}
	}
	mustPropose(t, s, &command.RemoveMembers{Group: "silent", Users: []command.UserID{a}})
	mustPropose(t, s, &command.RemoveMembers{Group: "team", Users: []command.UserID{a}})
	if groups, err := s.Traces(t.Context(), a); err != nil || !slices.Equal(groups, []command.GroupID{"team"}) {
		t.Errorf("Traces = %v, %v, want the group that has a message from him", groups, err)
	}
	if err := s.EraseUser(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session is kicked", func() bool { return slices.Equal(e.kicked(), []string{"admin"}) })
	eventually(t, "the block is gone", func() bool { return !s.blockedBy(t, c, a) })
	info, known, err = s.User(t.Context(), a)
	if err != nil || !known || info.Exists || info.Messages != 0 || info.Bytes != 0 || info.Unread != 0 || info.Blocked != 0 ||
		len(info.Sessions) != 0 || info.LastSeen != 0 {
		t.Errorf("User = %+v, %v, %v, want nothing of an erased user", info, known, err)
	}
	if n := len(cids(t, s, b, a)); n != 10 {
		t.Errorf("his peer sees %d messages, want all 10", n)
	}
	// The account can be used again.
	if r := send(t, s, message(a, b, 100)); r.Seq != 11 {
		t.Errorf("seq %d after an erased view of 10, want 11", r.Seq)
	}
	send(t, s, message(b, a, 101))
	eventually(t, "letters go on", func() bool { return len(cids(t, s, b, a)) == 12 && len(cids(t, s, a, b)) == 2 })
	if err := s.EraseUser(t.Context(), "nobody"); err != nil {
		t.Errorf("EraseUser of nobody: %v", err)
	}
}

// blockedBy reports whether peer has blocked a user, as the shard of that one knows.
func (s *Store) blockedBy(t *testing.T, user, peer command.UserID) bool {
	t.Helper()
	c, err := s.contact(user, peer)
	if err != nil {
		t.Fatal(err)
	}
	return c.BlockedBy
}

func TestReadsOfAClosedStore(t *testing.T) {
	s, err := Open(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	_, _, usersErr := s.Users(ctx, "", 10)
	_, shards, statsErr := s.Stats(ctx)
	_, _, userErr := s.User(ctx, "a")
	_, importErr := s.Import(ctx, store.ImportRequest{Stream: "s"}, rowsOf(talk("a", "b", 0, 2)))
	for i, err := range []error{usersErr, statsErr, userErr, importErr, s.EraseUser(ctx, "a"), s.Export(ctx, "a", nil)} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%d: %v, want ErrUnavailable", i, err)
		}
	}
	if len(shards) != 2 || shards[0] != (query.Counts{}) {
		t.Errorf("Stats = %v, want zeroes", shards)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := s.Users(canceled, "", 10); !errors.Is(err, context.Canceled) {
		t.Errorf("Users = %v, want context.Canceled", err)
	}
}
