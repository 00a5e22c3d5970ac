package hooks

import (
	"errors"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/hooks/hookstest"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// TestStoreChanges checks the payloads of changes that the store tells of.
func TestStoreChanges(t *testing.T) {
	r := &hookstest.Receiver{}
	h := newHooks(t, r, false)
	sum, down := query.UnreadSum{Total: 7, Unmuted: 5}, errors.New("down")
	tell := func(user command.UserID, c query.Change, err error) {
		c.Time = 1000
		h.Change(&shard.HookChange{User: user, Change: c}, func() (query.UnreadSum, error) { return sum, err })
	}
	ranges := []query.Range{{From: 1, To: 3}, {From: 9, To: 9}}
	tell("bob", query.Change{Kind: query.ChangeRead, Peer: "alice", Seq: 9}, nil)
	tell("bob", query.Change{Kind: query.ChangeRead, Group: "team", Seq: 9}, down)
	tell("bob", query.Change{Kind: query.ChangeRecall, Peer: "alice", Ranges: ranges, By: "alice"}, nil)
	tell("", query.Change{Kind: query.ChangeRecall, Group: "team", Ranges: ranges[1:], By: "alice"}, nil)
	tell("bob", query.Change{Kind: query.ChangeMessagesDeleted, Peer: "alice", Ranges: ranges}, nil)
	tell("", query.Change{Kind: query.ChangeMessagesDeleted, Group: "team", Ranges: ranges, Sender: "alice"}, nil)
	tell("bob", query.Change{Kind: query.ChangeConversationDeleted, Group: "team", Seq: 9}, nil)
	h.ChangesLost(3)
	want := []string{
		`message.read {"user":"bob","conv":"u:alice","seq":9,"unreadTotal":7,"unreadUnmuted":5}`,
		`message.read {"user":"bob","conv":"g:team","seq":9}`,
		`message.recalled {"user":"bob","conv":"u:alice","ranges":[[1,3],[9,9]],"by":"alice"}`,
		`message.recalled {"conv":"g:team","ranges":[[9,9]],"by":"alice"}`,
		`message.deleted {"user":"bob","conv":"u:alice","seqs":[1,2,3,9]}`,
		`message.deleted {"conv":"g:team","ranges":[[1,3],[9,9]],"sender":"alice"}`,
		`message.deleted {"user":"bob","conv":"g:team","messages":false,"upTo":9}`,
		`dropped message overflow 3`,
	}
	if got := r.List(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("told of\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i := range r.Orders[1:] {
		if r.Orders[i] >= r.Orders[i+1] || r.IDs[i] == r.IDs[i+1] {
			t.Errorf("orders %v do not rise, or webhook-ids %v are the same", r.Orders, r.IDs)
		}
	}
}
