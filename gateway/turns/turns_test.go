package turns

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

// TestTurnsAreShared has one user want all slots: it gets an eighth of them, others are
// served meanwhile, and the user that holds fewest is next.
func TestTurnsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 16
		turns := New(places, places/8)
		served := make(chan string, 100)
		ctx, cancel := context.WithCancel(t.Context())
		want := func(who string, n int) {
			for range n {
				go func() {
					if turns.Acquire(ctx, who) {
						served <- who
					}
				}()
				synctest.Wait()
			}
		}
		count := func() map[string]int {
			synctest.Wait()
			n := make(map[string]int)
			for len(served) > 0 {
				n[<-served]++
			}
			return n
		}
		check := func(what string, want map[string]int) {
			t.Helper()
			if got := count(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: served %v, want %v", what, got, want)
			}
		}
		want("mallory", 96)
		check("one user", map[string]int{"mallory": 2})
		want("alice", 3)
		check("another one", map[string]int{"alice": 2})
		for n := range 6 {
			want(fmt.Sprint("user", n), 2)
		}
		check("until all are taken", map[string]int{"user0": 2, "user1": 2, "user2": 2, "user3": 2, "user4": 2, "user5": 2})
		want("bob", 1)
		check("all are taken", map[string]int{})
		turns.Release("mallory") // who wants it back
		check("bob has none", map[string]int{"bob": 1})
		turns.Release("bob")
		check("who has one is before who has two", map[string]int{"mallory": 1})
		cancel()
		check("after the end", map[string]int{})
		for _, who := range []string{"mallory", "mallory", "alice", "alice", "user0", "user0", "user1", "user1", "user2", "user2", "user3", "user3", "user4", "user4", "user5", "user5"} {
			turns.Release(who)
		}
		if turns.free != places || len(turns.users) != 0 {
			t.Errorf("%d places are free and %d users known, want %d and 0", turns.free, len(turns.users), places)
		}
	})
}
