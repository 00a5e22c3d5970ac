package raftstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// churn hands leaderships over, of one shard after the other, until stop is closed.
func (c *testCluster) churn(stop <-chan struct{}, every time.Duration) (transfers int) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return transfers
		case <-time.After(every):
		}
		shard := i % len(c.m.Shards)
		from := c.leader(shard)
		ctx, cancel := context.WithTimeout(context.Background(), transferTimeout)
		if c.store(from).Transfer(ctx, uint32(shard), "") == nil {
			transfers++
		}
		cancel()
	}
}

// repeat proposes a command until it has an answer, as a client does.
func repeat(t *testing.T, s *Store, cmd command.Command) command.Result {
	t.Helper()
	for range 100 {
		r, err := s.Propose(t.Context(), cmd)
		switch {
		case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUnknown):
			time.Sleep(store.RetryAfter(err))
		case err != nil:
			t.Errorf("%T: %v", cmd, err)
			return r
		default:
			return r
		}
	}
	t.Errorf("%T: no answer to 100 attempts", cmd)
	return command.Result{}
}

// loginAgain is login, repeated while no leader answers. A login in doubt may have made a
// session, which the next one of its device ends.
func loginAgain(t *testing.T, s *Store, user command.UserID, device string) command.SessionID {
	t.Helper()
	for range 100 {
		sync, err := s.Login(t.Context(), &command.Login{User: user, Device: device}, query.RecentsOn, &ear{})
		if err == nil {
			return sync.Session
		}
		if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown) {
			t.Errorf("login of %s: %v", device, err)
			return 0
		}
		time.Sleep(store.RetryAfter(err))
	}
	t.Errorf("login of %s: no answer to 100 attempts", device)
	return 0
}

// groupCIDs lists the cids of a group's messages, oldest first.
func groupCIDs(t *testing.T, s *Store, group command.GroupID, member command.UserID) (list []string) {
	t.Helper()
	var page query.Page
	for after := uint64(0); ; after = page.To {
		q := query.HistoryQuery{User: member, Group: group, After: after, HasAfter: true, Limit: 100, MaxBytes: 1 << 20}
		if err := s.History(q, &page); err != nil {
			t.Fatalf("history of %s: %v", group, err)
		}
		for _, m := range page.Updates.Messages {
			list = append(list, string(m.From)+" "+string(m.CID))
		}
		if !page.More {
			return list
		}
	}
}

// Logins, groups and imports go on while leaderships move all the time.
func TestEverythingGoesOnThroughTransfers(t *testing.T) {
	c := newTestCluster(t, 3, 2, oftenElected)
	stop := make(chan struct{})
	var moving sync.WaitGroup
	transfers := 0
	moving.Go(func() { transfers = c.churn(stop, 150*time.Millisecond) })

	var work sync.WaitGroup
	s := c.store(0)
	alice := userIn(s, 0, 0)
	const devices = 8
	for d := range devices { // each logs in at another node, and out again, but for the last time
		work.Go(func() {
			s := c.store(d % 3)
			for n := range 10 {
				sync := loginAgain(t, s, alice, fmt.Sprint("device", d))
				if n < 9 {
					repeat(t, s, &command.Logout{User: alice, Session: sync})
				}
			}
		})
	}
	group := command.GroupID("team")
	members := []command.UserID{userIn(s, 0, 1), userIn(s, 1, 1), userIn(s, 0, 2), userIn(s, 1, 2)}
	if r := repeat(t, s, &command.CreateGroup{Group: group, By: members[0], Owner: members[0], Kind: command.GroupPrivate,
		Settings: command.GroupPrivate.Settings(), Members: members[1:]}); r.Err() != nil {
		t.Fatal(r.Err())
	}
	const messages = 400
	for i, user := range members {
		work.Go(func() {
			s := c.store(i % 3)
			for n := range messages {
				m := groupMessage(group, user, 1000*i+n)
				if r := repeat(t, s, m); r.Err() != nil {
					t.Errorf("%s to the group: %v", user, r.Err())
				}
			}
		})
	}
	const rows = 2000
	from, to := userIn(s, 0, 3), userIn(s, 1, 3)
	work.Go(func() {
		history := talk(from, to, importBase(s), rows)
		for n := range 100 {
			r, err := c.store(n%3).Import(t.Context(), store.ImportRequest{Stream: "old"}, rowsOf(history))
			if err == nil && r.Rows == rows {
				return
			}
			if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown) {
				t.Errorf("Import = %+v, %v", r, err)
				return
			}
			time.Sleep(store.RetryAfter(err))
		}
		t.Error("Import: no answer to 100 attempts")
	})
	work.Wait()
	close(stop)
	moving.Wait()
	t.Logf("%d transfers", transfers)
	if transfers == 0 {
		t.Error("no leadership was handed over")
	}
	c.ready()
	for i := range c.nodes {
		s := c.store(i)
		infos, err := s.Sessions(t.Context(), alice)
		if err != nil || len(infos) != devices {
			t.Errorf("node %d lists %d sessions, %v, want one for each of %d devices", i, len(infos), err, devices)
		}
		got := groupCIDs(t, s, group, members[0])
		if len(got) != len(members)*messages {
			t.Errorf("node %d reads %d messages of the group, want %d", i, len(got), len(members)*messages)
		}
		for m := range members {
			var own []int
			for _, cid := range got {
				var name string
				var n int
				if _, err := fmt.Sscanf(cid, "%s c%d", &name, &n); err != nil {
					t.Fatal(err)
				}
				if name == string(members[m]) {
					own = append(own, n)
				}
			}
			if len(own) != messages || !slices.IsSorted(own) {
				t.Errorf("node %d reads %d messages of %s, in order: %v", i, len(own), members[m], slices.IsSorted(own))
			}
		}
		for _, view := range [...][2]command.UserID{{from, to}, {to, from}} {
			if got := cids(t, s, view[0], view[1]); len(got) != rows || got[0] != "c0" || got[rows-1] != fmt.Sprint("c", rows-1) {
				t.Errorf("node %d reads %d imported rows of %s, want %d", i, len(got), view[0], rows)
			}
		}
	}
}
