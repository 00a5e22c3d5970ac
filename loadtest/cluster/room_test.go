//go:build linux

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// chatted is a room in which ann has written 1, 2 and 4, ben 3, and cat nothing. Each was
// pushed what others wrote; cat has read up to 2, and logged in anew after 3 was lost
// with her connection.
func chatted(t *testing.T) *room {
	t.Helper()
	r := newRoom("room", []string{"ann", "ben", "cat"})
	err := errors.Join(
		r.acknowledged(post{"ann", 1}, 1), r.acknowledged(post{"ann", 2}, 2),
		r.acknowledged(post{"ben", 1}, 3), r.acknowledged(post{"ann", 3}, 4),
		r.pushed("ann", 3, post{"ben", 1}, false),
		r.pushed("ben", 1, post{"ann", 1}, false), r.pushed("ben", 2, post{"ann", 2}, false), r.pushed("ben", 4, post{"ann", 3}, false),
		r.pushed("cat", 1, post{"ann", 1}, false), r.pushed("cat", 2, post{"ann", 2}, false), r.pushed("cat", 4, post{"ann", 3}, true))
	r.reported("cat", 2)
	missing := r.synced("cat", 4)
	if len(missing) != 1 || missing[0] != 3 {
		t.Fatalf("after a login that told of 4, and pushed it, %v are missing; want 3", missing)
	}
	if err := errors.Join(err, r.fetched("cat", 3, post{"ben", 1})); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRoomCatches plants one bug at a time.
func TestRoomCatches(t *testing.T) {
	for _, c := range []struct {
		bug, want string
		plant     func(r *room) error
	}{
		{"none", "", func(*room) error { return nil }},
		{"acknowledged and pushed to nobody", "ben was not pushed seq 5", func(r *room) error {
			return errors.Join(r.acknowledged(post{"ann", 4}, 5), r.pushed("cat", 5, post{"ann", 4}, false))
		}},
		{"one push lost, the next one comes", "cat was not pushed seq 5, post 4 of ann, before a later one", func(r *room) error {
			return errors.Join(r.acknowledged(post{"ann", 4}, 5), r.acknowledged(post{"ann", 5}, 6),
				r.pushed("ben", 5, post{"ann", 4}, false), r.pushed("ben", 6, post{"ann", 5}, false),
				r.pushed("cat", 6, post{"ann", 5}, false))
		}},
		{"one push lost, and found by the next login", "cat was not pushed seq 5, post 4 of ann, before a later one", func(r *room) error {
			err := errors.Join(r.acknowledged(post{"ann", 4}, 5), r.acknowledged(post{"ann", 5}, 6),
				r.pushed("ben", 5, post{"ann", 4}, false), r.pushed("ben", 6, post{"ann", 5}, false),
				r.pushed("cat", 6, post{"ann", 5}, false))
			r.synced("cat", 6)
			return errors.Join(err, r.fetched("cat", 5, post{"ann", 4}))
		}},
		{"one push lost while a login is under way", "cat was not pushed seq 5", func(r *room) error {
			err := errors.Join(r.acknowledged(post{"ann", 4}, 5), r.acknowledged(post{"ann", 5}, 6),
				r.pushed("ben", 5, post{"ann", 4}, false), r.pushed("ben", 6, post{"ann", 5}, false),
				r.pushed("cat", 6, post{"ann", 5}, true))
			r.synced("cat", 4)
			return err
		}},
		{"stored twice, acknowledged once", "ben has post 3 of ann as seq 5", func(r *room) error {
			return r.pushed("ben", 5, post{"ann", 3}, false)
		}},
		{"acknowledged as two", "post 3 of ann", func(r *room) error {
			return r.acknowledged(post{"ben", 2}, 4)
		}},
		{"pushed in another order", "was pushed seq 5", func(r *room) error {
			return errors.Join(r.acknowledged(post{"ann", 4}, 5), r.acknowledged(post{"ann", 5}, 6),
				r.pushed("ben", 6, post{"ann", 5}, false), r.pushed("ben", 5, post{"ann", 4}, false))
		}},
		{"pushed twice", "after seq 4", func(r *room) error { return r.pushed("ben", 4, post{"ann", 3}, false) }},
		{"stored in another order than sent", "post 5 of ann is seq 5, the one before it 6", func(r *room) error {
			return errors.Join(r.acknowledged(post{"ann", 4}, 6), r.acknowledged(post{"ann", 5}, 5))
		}},
		{"members see another order", "cat has post 2 of ben as seq 5", func(r *room) error {
			return errors.Join(r.acknowledged(post{"ann", 4}, 5), r.pushed("ben", 5, post{"ann", 4}, false), r.pushed("cat", 5, post{"ben", 2}, false))
		}},
		{"a seq that nobody wrote", "none as seq 5", func(r *room) error {
			return errors.Join(r.acknowledged(post{"ann", 4}, 6), r.pushed("ben", 6, post{"ann", 4}, false), r.pushed("cat", 6, post{"ann", 4}, false))
		}},
	} {
		t.Run(c.bug, func(t *testing.T) {
			r := chatted(t)
			err := c.plant(r)
			reports := r.unmet()
			for _, err := range []error{err, r.check()} {
				if err != nil {
					reports += "\n" + err.Error()
				}
			}
			if c.want == "" && reports != "" || !strings.Contains(reports, c.want) {
				t.Errorf("reports %q, want %q", reports, c.want)
			}
		})
	}
}

// TestRoomHistoryCatches has histories and readings of a node that differ from what was
// acknowledged.
func TestRoomHistoryCatches(t *testing.T) {
	body := func(n int) []byte {
		b, err := protocol.EncodeBody(map[string]any{"n": n})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	history := func() []client.Message {
		return []client.Message{
			{From: "ann", Seq: 1, Body: body(1)}, {From: "ann", Seq: 2, Body: body(2)},
			{From: "ben", Seq: 3, Body: body(1)}, {From: "ann", Seq: 4, Body: body(3)},
		}
	}
	for _, c := range []struct {
		bug, want string
		history   []client.Message
	}{
		{"none", "", history()},
		{"ends too early", "3 posts, want 4", history()[:3]},
		{"lost", "seq 3 comes where 2 was to be", append(history()[:1], history()[2:]...)},
		{"doubled", "seq 5 is post 3 of ann", append(history(), client.Message{From: "ann", Seq: 5, Body: body(3)})},
		{"another body", "seq 4 is post 9 of ann, want post 3 of ann", append(history()[:3], client.Message{From: "ann", Seq: 4, Body: body(9)})},
	} {
		err := chatted(t).checkHistory(c.history)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: check = %v, want %q", c.bug, err, c.want)
		}
	}
	for _, c := range []struct {
		bug, user string
		e         client.Conversation
		ok        bool
	}{
		{"none", "cat", client.Conversation{LastSeq: 4, ReadSeq: 2, Unread: 2}, true},
		{"none, of one who writes", "ben", client.Conversation{LastSeq: 4, ReadSeq: 3, Unread: 1}, true},
		{"unread", "cat", client.Conversation{LastSeq: 4, ReadSeq: 2, Unread: 3}, false},
		{"a read report is lost", "cat", client.Conversation{LastSeq: 4, Unread: 4}, false},
		{"the end", "cat", client.Conversation{LastSeq: 3, ReadSeq: 2, Unread: 2}, false},
	} {
		if err := chatted(t).checkEntry(c.user, c.e); (err == nil) != c.ok {
			t.Errorf("%s: %s is told %+v, and the check is %v", c.bug, c.user, c.e, err)
		}
	}
}
