package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// A modelServer has one conversation and answers getMessage about it, in the simplest way:
// the entry of seq n is at n-1.
type modelServer struct {
	conv    protocol.Conv
	entries []modelEntry
	asked   int
	covered func(seq uint64) bool // what the client has: asking for it is a fault
	faults  []string
}

type modelEntry struct {
	message Message
	gap     string // why there is none; empty = there is one
}

func (s *modelServer) add(body string, ttl uint32, now int64) {
	seq := uint64(len(s.entries) + 1)
	m := Message{ID: protocol.ID{1, byte(seq >> 8), byte(seq)}, Conv: s.conv, From: "bob", Seq: seq, Time: now, CID: []byte(fmt.Sprint(seq)), TTL: ttl}
	m.Body, _ = protocol.EncodeBody(body)
	s.entries = append(s.entries, modelEntry{message: m})
}

func (s *modelServer) set(seq uint64, gap string) {
	if e := &s.entries[seq-1]; e.gap == "" {
		e.gap = gap
	}
}

// fetch answers a request, and notes those for what the client has.
func (s *modelServer) fetch(_ context.Context, args *protocol.GetMessageArgs) (Page, error) {
	s.asked++
	p := s.page(args)
	newest := args.Before == 0 && !args.HasAfter && args.To == 0 // its page reaches down over gaps, whatever is known of them
	for seq := p.From; seq <= p.To && p.To > 0; seq++ {
		if newest && s.entries[seq-1].gap != "" {
			continue
		}
		if s.covered != nil && s.covered(seq) {
			s.faults = append(s.faults, fmt.Sprintf("request %+v covers %d, which the client has", *args, seq))
		}
	}
	return p, nil
}

// page is the server's history: a page that accounts for each seq, reaches over gaps up to
// the next message, and says whether there is more.
func (s *modelServer) page(args *protocol.GetMessageArgs) (p Page) {
	first, last := uint64(1), uint64(len(s.entries))
	limit := args.Limit
	if limit == 0 {
		limit = protocol.DefaultPageLimit
	}
	ascending := true
	switch {
	case args.Before > 0:
		last, ascending = min(last, args.Before-1), false
	case args.HasAfter:
		first = args.After + 1
	case args.To > 0:
		first, last = args.From, min(last, args.To)
	default:
		ascending = false
	}
	if first > last {
		return p
	}
	p.From, p.To = first, last
	seq, step := first, 1
	if !ascending {
		seq, step = last, -1
	}
	for ; seq >= first && seq <= last; seq += uint64(step) {
		e := &s.entries[seq-1]
		if e.gap == "" && len(p.Messages) == limit {
			if p.More = true; ascending {
				p.To = seq - 1
			} else {
				p.From = seq + 1
			}
			break
		}
		if e.gap == "" {
			p.Messages = append(p.Messages, e.message)
			continue
		}
		p.Gaps = append(p.Gaps, protocol.Gap{From: seq, To: seq, Reason: e.gap})
	}
	if !ascending {
		slices.Reverse(p.Messages)
		slices.Reverse(p.Gaps)
	}
	p.Gaps = joined(p.Gaps)
	return p
}

// joined joins neighbouring gaps of one reason.
func joined(gaps []protocol.Gap) (out []protocol.Gap) {
	for _, g := range gaps {
		if n := len(out); n > 0 && out[n-1].Reason == g.Reason && out[n-1].To+1 == g.From {
			out[n-1].To = g.To
			continue
		}
		out = append(out, g)
	}
	return out
}

// narrowed returns the server's page as the store may give it: a page that is full does not
// look for gaps behind its last message, where the store knows nothing. Unless the newest
// seq is known there may always be more.
func narrowed(p Page, got *Page, tail bool) Page {
	if !got.More || got.From == 0 || len(got.Messages) == 0 || len(p.Messages) == 0 {
		return p
	}
	from, to := got.From, got.To
	if first, last := p.Messages[0].Seq, p.Messages[len(p.Messages)-1].Seq; from > first || to < last {
		return p
	}
	gaps := p.Gaps
	p.Gaps = nil
	for _, g := range gaps {
		if g.From, g.To = max(g.From, from), min(g.To, to); g.From <= g.To {
			p.Gaps = append(p.Gaps, g)
		}
	}
	p.More = p.More || p.From < from || p.To > to || !tail
	p.From, p.To = max(p.From, from), min(p.To, to)
	return p
}

func describe(p Page) string {
	var seqs []uint64
	for _, m := range p.Messages {
		seqs = append(seqs, m.Seq)
	}
	return fmt.Sprint(p.From, "-", p.To, " ", seqs, " ", p.Gaps, " more ", p.More)
}

// testDisk returns a store in memory for tests without a client.
func testDisk(t interface{ Fatal(...any) }, open OpenStore) *disk {
	d, err := openDisk(&Config{Store: open, Service: "test", Device: "phone"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestGapFilling compares pages with those of the server, over a store with random holes,
// while messages come, are deleted, recalled and expire. No request may cover a seq that the
// store accounts for, and a page that is complete takes none.
func TestGapFilling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		conv := protocol.UserConv("bob")
		s := &modelServer{conv: conv}
		d := testDisk(t, Memory())
		defer d.Close()
		update := func(f func(*store.Tx)) {
			t.Helper()
			if err := d.Update(f); err != nil {
				t.Fatal(err)
			}
		}
		var runs []store.Run
		look := func() {
			if err := d.View(func(tx *store.Tx) { runs = tx.Runs(conv) }); err != nil {
				t.Fatal(err)
			}
			for i, r := range runs {
				if r.From > r.To || i > 0 && (runs[i-1].To >= r.From || runs[i-1].To+1 == r.From && runs[i-1].Kind == r.Kind) {
					t.Fatalf("runs %v overlap or touch", runs)
				}
			}
		}
		s.covered = func(seq uint64) bool {
			return slices.ContainsFunc(runs, func(r store.Run) bool {
				return r.From <= seq && seq <= r.To && r.Kind != store.Lost
			})
		}
		f := filler{disk: d, fetch: s.fetch}
		push := func(seq uint64) { // as the server does: what is gone is not pushed
			if e := s.entries[seq-1]; e.gap == "" {
				update(func(tx *store.Tx) { tx.Receive(&e.message, "alice", 1, false) })
			}
		}
		anySeq := func(label string) uint64 {
			return rapid.Uint64Range(1, max(uint64(len(s.entries)), 1)).Draw(t, label)
		}
		history := func(reason string, n uint64) {
			if len(s.entries) > 0 && n <= uint64(len(s.entries)) {
				s.set(n, reason)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { look() },
			"messages": func(rt *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(rt, "n") {
					s.add("hello", 0, int64(1000+len(s.entries)))
				}
				d.forgetTails() // the client was away
			},
			"push": func(rt *rapid.T) {
				s.add("pushed", 0, int64(1000+len(s.entries)))
				push(uint64(len(s.entries)))
				if rapid.Bool().Draw(rt, "live") {
					d.knowTail(conv)
				}
			},
			"old push": func(rt *rapid.T) {
				if len(s.entries) > 0 {
					push(anySeq("seq"))
				}
			},
			"expire": func(rt *rapid.T) { // what is held is kept: only holes are asked for
				for range rapid.IntRange(1, 8).Draw(rt, "n") {
					seq := anySeq("seq")
					if !s.covered(seq) {
						history(rapid.SampledFrom([]string{protocol.GapExpired, protocol.GapEvicted}).Draw(rt, "reason"), seq)
					}
				}
			},
			"own ttl": func(rt *rapid.T) { // over at once, by the server's clock as by ours
				s.add("short", 1, 1000)
				if rapid.Bool().Draw(rt, "pushed") {
					push(uint64(len(s.entries)))
					d.knowTail(conv)
				} else {
					d.forgetTails()
				}
				s.set(uint64(len(s.entries)), protocol.GapExpired)
			},
			"recall": func(rt *rapid.T) {
				from := anySeq("from")
				to := min(from+rapid.Uint64Range(0, 5).Draw(rt, "n"), uint64(len(s.entries)))
				if from > to {
					return
				}
				for seq := from; seq <= to; seq++ { // what is gone before stays gone for its reason
					if s.entries[seq-1].gap == "" {
						s.set(seq, protocol.GapRecalled)
						update(func(tx *store.Tx) {
							tx.Recall(&protocol.Recall{Conv: conv, Ranges: []protocol.Range{{From: seq, To: seq}}}, "alice")
						})
					}
				}
			},
			"delete": func(rt *rapid.T) {
				seq := anySeq("seq")
				if seq <= uint64(len(s.entries)) && s.entries[seq-1].gap == "" {
					s.set(seq, protocol.GapDeleted)
					update(func(tx *store.Tx) { tx.DeleteMessages(conv, []uint64{seq}, "alice") })
				}
			},
			"lose": func(rt *rapid.T) {
				from := anySeq("from")
				if to := min(from+10, uint64(len(s.entries))); from <= to {
					update(func(tx *store.Tx) { tx.Lose(protocol.Lost{Conv: conv, From: from, To: to}) })
				}
			},
			"sweep": func(*rapid.T) { update(func(t *store.Tx) { t.Sweep("alice") }) },
			"page": func(rt *rapid.T) {
				look()
				q := store.Query{Limit: rapid.IntRange(1, 30).Draw(rt, "limit")}
				args := &protocol.GetMessageArgs{Conv: conv, Limit: q.Limit}
				switch rapid.IntRange(0, 4).Draw(rt, "form") {
				case 0:
				case 1:
					q.Before = rapid.Uint64Range(1, uint64(len(s.entries))+3).Draw(rt, "before")
					args.Before = q.Before
				case 2:
					q.After = rapid.Uint64Range(1, uint64(len(s.entries))+3).Draw(rt, "after")
					args.After, args.HasAfter = q.After, true
				case 3:
					q.FromStart, args.HasAfter = true, true
				case 4:
					q.From = rapid.Uint64Range(1, uint64(len(s.entries))+3).Draw(rt, "from")
					q.To = q.From + rapid.Uint64Range(0, 50).Draw(rt, "n")
					args.From, args.To = q.From, q.To
				}
				asked := s.asked
				got, err := f.counting(look).page(t.Context(), conv, q)
				if err != nil {
					t.Fatal(err)
				}
				_, _, tail, err := f.stored(conv, q)
				if err != nil {
					t.Fatal(err)
				}
				if want := narrowed(s.page(args), &got, tail); describe(got) != describe(want) {
					t.Fatalf("page %+v = %s, want %s; runs %v", q, describe(got), describe(want), runs)
				}
				if s.asked-asked > 20 {
					t.Fatalf("%d requests for one page", s.asked-asked)
				}
				// The same page again takes no request, if the newest is known.
				asked = s.asked
				if again, err := f.page(t.Context(), conv, q); err != nil || describe(again) != describe(got) || s.asked > asked {
					t.Fatalf("again %+v = %s, %v with %d requests, want %s", q, describe(again), err, s.asked-asked, describe(got))
				}
				for _, fault := range s.faults {
					t.Fatal(fault)
				}
			},
		})
	})
}

// counting returns f with a hook before each request, when the store has changed.
func (f filler) counting(look func()) *filler {
	fetch := f.fetch
	f.fetch = func(ctx context.Context, args *protocol.GetMessageArgs) (Page, error) {
		look()
		return fetch(ctx, args)
	}
	return &f
}

// TestScenario18: a client that holds 1-5 and 9 and asks for the last ten fetches 6-8, and then
// nothing.
func TestScenario18(t *testing.T) {
	conv := protocol.UserConv("bob")
	s := &modelServer{conv: conv}
	d := testDisk(t, Memory())
	defer d.Close()
	for seq := range 9 {
		s.add(fmt.Sprint(seq), 0, int64(seq))
	}
	err := d.Update(func(tx *store.Tx) {
		for _, seq := range []int{1, 2, 3, 4, 5, 9} {
			tx.Receive(&s.entries[seq-1].message, "alice", 1, false)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	d.knowTail(conv)
	var asked []protocol.GetMessageArgs
	f := filler{disk: d, fetch: func(ctx context.Context, args *protocol.GetMessageArgs) (Page, error) {
		asked = append(asked, *args)
		return s.fetch(ctx, args)
	}}
	for range 2 {
		p, err := f.page(t.Context(), conv, store.Query{Limit: 10})
		if got, want := describe(p), "1-9 [1 2 3 4 5 6 7 8 9] [] more false"; err != nil || got != want {
			t.Fatalf("page = %s, %v, want %s", got, err, want)
		}
	}
	if len(asked) != 1 || cmp.Or(asked[0].From, 0) != 6 || asked[0].To != 8 {
		t.Errorf("requests %+v, want one for 6-8", asked)
	}
}
