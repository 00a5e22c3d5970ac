//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// oneStay is a crowd of one guest, who is in a group while the second of three
// messages is sent; the administrator deletes that one when he says so.
func oneStay(kind string) (*crowd, *crowdGroup, *phone) {
	g := newCrowdGroup("g", kind)
	for i, cid := range []string{"a", "b", "c"} {
		at := int64(10 * i)
		s := &sent{from: "alice", cid: cid, body: []byte{1}, begun: at + 1, answered: at + 2}
		g.sends, g.byCID[cid] = append(g.sends, s), s
		if err := g.place(s, uint64(i+1), protocol.ID{byte(i)}, int64(i)); err != nil {
			panic(err)
		}
	}
	g.members["bob"] = []*membership{{span: span{begun: 5, sure: 6, ending: 15, ended: 16}}}
	c := &crowd{groups: []*crowdGroup{g}, away: []string{"bob"}, told: map[hook]string{}, acked: map[hook]bool{}}
	p := newPhone(c, "bob")
	p.synced = 1
	c.phones = []*phone{p}
	p.sights[g].got[2] = true
	c.told[hook{"bob", "g:g", 2}] = "queued_1"
	return c, g, p
}

// TestCrowdCatches plants one bug at a time.
func TestCrowdCatches(t *testing.T) {
	for _, c := range []struct {
		bug, want string
		plant     func(c *crowd, g *crowdGroup, p *phone) error
	}{
		{"none", "", func(*crowd, *crowdGroup, *phone) error { return nil }},
		{"lost", "misses seq 2", func(_ *crowd, g *crowdGroup, p *phone) error {
			delete(p.sights[g].got, 2)
			return nil
		}},
		{"leaked", "has seq 3", func(_ *crowd, g *crowdGroup, p *phone) error {
			p.sights[g].got[3] = true
			return nil
		}},
		{"not told that it is gone", "was not told that seq 2", func(_ *crowd, g *crowdGroup, _ *phone) error {
			g.removals = []*removal{{begun: 20, ended: 21, seq: 2}}
			return nil
		}},
		{"no message.queued", "bob was not told of g, seq 2", func(c *crowd, _ *crowdGroup, _ *phone) error {
			clear(c.told)
			return nil
		}},
		{"acked instead", "", func(c *crowd, _ *crowdGroup, _ *phone) error {
			clear(c.told)
			c.acked[hook{"bob", "g:g", 2}] = true
			return nil
		}},
		{"message.queued twice", "as queued_1 and as queued_2", func(c *crowd, _ *crowdGroup, _ *phone) error {
			return c.queued("bob", "g:g", &queuedMessage{From: "alice", CID: "b", Seq: 2, Body: []byte("1"), hookID: "queued_2"})
		}},
		{"message.queued for no member", "sent while they were no member", func(c *crowd, g *crowdGroup, _ *phone) error {
			return c.queued("bob", "g:g", &queuedMessage{From: "alice", CID: "c", Seq: 3, Body: []byte("1")})
		}},
		{"another body", "has body", func(_ *crowd, g *crowdGroup, _ *phone) error {
			_, err := g.witness(&protocol.Message{From: "alice", CID: []byte("b"), Seq: 2, ID: protocol.ID{1}, Time: 1, Body: []byte{2}})
			return err
		}},
		{"another seq", "and also seq 4", func(_ *crowd, g *crowdGroup, _ *phone) error {
			_, err := g.witness(&protocol.Message{From: "alice", CID: []byte("b"), Seq: 4, ID: protocol.ID{1}, Time: 1, Body: []byte{1}})
			return err
		}},
		{"one seq for two", "seq 3 is", func(_ *crowd, g *crowdGroup, _ *phone) error {
			_, err := g.witness(&protocol.Message{From: "alice", CID: []byte("b"), Seq: 3, ID: protocol.ID{1}, Time: 1, Body: []byte{1}})
			return err
		}},
		{"refused and there", "which was refused", func(_ *crowd, g *crowdGroup, _ *phone) error {
			g.byCID["b"].refused = true
			_, err := g.witness(&protocol.Message{From: "alice", CID: []byte("b"), Seq: 2, ID: protocol.ID{1}, Time: 1, Body: []byte{1}})
			return err
		}},
	} {
		t.Run(c.bug, func(t *testing.T) {
			crowd, g, p := oneStay(protocol.KindPrivate)
			reports := []string{}
			if err := c.plant(crowd, g, p); err != nil {
				reports = append(reports, err.Error())
			}
			reports = append(reports, p.missing(), p.leaked(), crowd.untold())
			if all := strings.Join(reports, ""); c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("reports %q, want %q", all, c.want)
			}
		})
	}
}

// TestHistoryCheckCatches has a history that is not what the crowd knows.
func TestHistoryCheckCatches(t *testing.T) {
	message := func(seq uint64, cid string) *protocol.Message {
		return &protocol.Message{From: "alice", CID: []byte(cid), Seq: seq, ID: protocol.ID{byte(seq - 1)}, Time: int64(seq - 1), Body: []byte{1}}
	}
	for _, c := range []struct {
		bug, want string
		plant     func(v *visit, g *crowdGroup, h *history)
	}{
		{"none", "", func(*visit, *crowdGroup, *history) {}},
		{"a message is missing", "is missing: expired", func(_ *visit, _ *crowdGroup, h *history) {
			delete(h.messages, 2)
			h.gaps[2] = "expired"
		}},
		{"a wrong reason", "because it is evicted", func(_ *visit, g *crowdGroup, h *history) {
			g.removals = []*removal{{begun: 20, ended: 21, seq: 2, reason: gapRecalled}}
			delete(h.messages, 2)
			h.gaps[2] = "evicted"
		}},
		{"gone and shown", "is shown, and is gone", func(_ *visit, g *crowdGroup, _ *history) {
			g.removals = []*removal{{begun: 20, ended: 21, seq: 2, reason: gapRecalled}}
		}},
		{"of before their membership", "sent while they were no member", func(_ *visit, _ *crowdGroup, h *history) {
			h.messages[1] = message(1, "a")
		}},
		{"unread", "1 are unread", func(v *visit, _ *crowdGroup, _ *history) { v.synced.Groups[0].Unread = 1 }},
		{"ends too early", "goes to seq 2", func(_ *visit, _ *crowdGroup, h *history) { h.to = 2 }},
		{"the read cursor", "the read cursor is 3", func(v *visit, _ *crowdGroup, _ *history) {
			v.synced.Groups[0].ReadSeq, v.synced.Groups[0].Unread = 3, 0
		}},
	} {
		t.Run(c.bug, func(t *testing.T) {
			crowd, g, _ := oneStay(protocol.KindPrivate)
			g.members["bob"] = []*membership{{span: span{begun: 5, sure: 6}}}
			v := &visit{synced: protocol.Synced{Groups: []protocol.Conversation{{Conv: protocol.GroupConv("g"), Unread: 2}}}}
			h := &history{messages: map[uint64]*protocol.Message{2: message(2, "b"), 3: message(3, "c")}, gaps: map[uint64]string{1: gapNotMember}, to: 3}
			c.plant(v, g, h)
			_, err := crowd.checkGroup(v, "bob", g, h)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("check = %v, want %q", err, c.want)
			}
		})
	}
}
