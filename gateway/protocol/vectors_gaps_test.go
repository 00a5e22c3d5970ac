package protocol

import (
	"fmt"
	"slices"
	"testing"
)

// A gapVector is a line of gaps.json: a conversation as the server has it, what a
// device holds of it, and what a page of it is then.
type gapVector struct {
	Name   string      `json:"name"`
	Newest uint64      `json:"newest"` // seqs 1 to newest are messages or gone
	Gone   []goneRange `json:"gone"`
	Held   [][2]uint64 `json:"held"`
	Ask    gapAsk      `json:"ask"`

	Seqs []uint64    `json:"seqs"` // of the page's messages
	Gaps []goneRange `json:"gaps"` // between the first and the last of them
	More bool        `json:"more"`
	// Must are the seqs that have to be asked for. What is in held must not be.
	Must [][2]uint64 `json:"must"`
}

type goneRange struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Reason string `json:"reason"`
}

type gapAsk struct {
	Before uint64     `json:"before,omitempty"`
	After  *uint64    `json:"after,omitempty"`
	Range  *[2]uint64 `json:"range,omitempty"`
	Limit  int        `json:"limit"`
}

// gapCases lack what fill adds.
var gapCases = []gapVector{
	{Name: "the last ten of nine, with a hole", Newest: 9, Held: [][2]uint64{{1, 5}, {9, 9}}, Ask: gapAsk{Limit: 10}},
	{Name: "the last ten of nine, complete", Newest: 9, Held: [][2]uint64{{1, 9}}, Ask: gapAsk{Limit: 10}},
	{Name: "nothing held", Newest: 9, Ask: gapAsk{Limit: 4}},
	{Name: "everything, nothing held", Newest: 9, Ask: gapAsk{Limit: 20}},
	{Name: "the newest alone is held", Newest: 9, Held: [][2]uint64{{9, 9}}, Ask: gapAsk{Limit: 4}},
	{Name: "the newest is missing", Newest: 9, Held: [][2]uint64{{1, 8}}, Ask: gapAsk{Limit: 4}},
	{Name: "the limit ends before the hole", Newest: 20, Held: [][2]uint64{{10, 20}}, Ask: gapAsk{Limit: 8}},
	{Name: "the limit ends in the hole", Newest: 20, Held: [][2]uint64{{1, 5}, {16, 20}}, Ask: gapAsk{Limit: 8}},
	{Name: "two holes", Newest: 20, Held: [][2]uint64{{1, 4}, {8, 11}, {15, 20}}, Ask: gapAsk{Limit: 20}},
	{Name: "many holes", Newest: 20, Held: [][2]uint64{{2, 2}, {4, 4}, {6, 6}, {8, 8}, {10, 10}, {20, 20}}, Ask: gapAsk{Before: 12, Limit: 20}},
	{Name: "gone seqs that are held are not asked for", Newest: 9, Gone: []goneRange{{3, 6, GapRecalled}}, Held: [][2]uint64{{1, 9}}, Ask: gapAsk{Limit: 10}},
	{Name: "a hole of gone seqs", Newest: 9, Gone: []goneRange{{4, 6, GapDeleted}}, Held: [][2]uint64{{1, 3}, {7, 9}}, Ask: gapAsk{Limit: 10}},
	{Name: "a hole whose edge is gone", Newest: 9, Gone: []goneRange{{6, 6, GapRecalled}}, Held: [][2]uint64{{1, 5}, {9, 9}}, Ask: gapAsk{Limit: 10}},
	{Name: "neighbours with different reasons", Newest: 12, Gone: []goneRange{{3, 4, GapDeleted}, {5, 7, GapRecalled}, {9, 9, GapDeleted}}, Held: [][2]uint64{{1, 3}, {12, 12}}, Ask: gapAsk{Limit: 20}},
	{Name: "gone seqs do not count for the limit", Newest: 20, Gone: []goneRange{{8, 17, GapRecalled}}, Held: [][2]uint64{{19, 20}}, Ask: gapAsk{Limit: 6}},
	{Name: "before, complete", Newest: 20, Held: [][2]uint64{{1, 12}}, Ask: gapAsk{Before: 13, Limit: 5}},
	{Name: "before, to the beginning", Newest: 20, Held: [][2]uint64{{3, 12}}, Ask: gapAsk{Before: 10, Limit: 20}},
	{Name: "before 1", Newest: 5, Held: [][2]uint64{{5, 5}}, Ask: gapAsk{Before: 1, Limit: 5}},
	{Name: "after 0, with a hole", Newest: 20, Held: [][2]uint64{{1, 2}, {6, 9}}, Ask: gapAsk{After: new(uint64(0)), Limit: 7}},
	{Name: "after, complete", Newest: 20, Held: [][2]uint64{{4, 20}}, Ask: gapAsk{After: new(uint64(3)), Limit: 20}},
	{Name: "after, up to the newest", Newest: 20, Held: [][2]uint64{{1, 10}}, Ask: gapAsk{After: new(uint64(8)), Limit: 20}},
	{Name: "a range with holes", Newest: 20, Held: [][2]uint64{{3, 5}, {10, 12}}, Ask: gapAsk{Range: &[2]uint64{4, 14}, Limit: 20}},
	{Name: "a range, complete", Newest: 20, Gone: []goneRange{{6, 6, GapDeleted}}, Held: [][2]uint64{{3, 15}}, Ask: gapAsk{Range: &[2]uint64{4, 14}, Limit: 20}},
	{Name: "a range that the limit ends", Newest: 20, Held: [][2]uint64{{4, 5}}, Ask: gapAsk{Range: &[2]uint64{4, 14}, Limit: 4}},
	{Name: "a range of one", Newest: 20, Held: [][2]uint64{{1, 6}, {8, 20}}, Ask: gapAsk{Range: &[2]uint64{7, 7}, Limit: 20}},
	{Name: "a range of gone seqs", Newest: 20, Gone: []goneRange{{5, 9, GapRecalled}}, Held: [][2]uint64{{6, 8}}, Ask: gapAsk{Range: &[2]uint64{5, 9}, Limit: 20}},
}

// fill computes the page as the server would answer it to a device that holds
// nothing: local and fetched parts together must be the same.
func (v *gapVector) fill() {
	gone := make(map[uint64]string)
	for _, g := range v.Gone {
		for seq := g.From; seq <= g.To; seq++ {
			gone[seq] = g.Reason
		}
	}
	held := func(seq uint64) bool {
		return slices.ContainsFunc(v.Held, func(r [2]uint64) bool { return r[0] <= seq && seq <= r[1] })
	}
	first, last, down := uint64(1), v.Newest, true
	switch {
	case v.Ask.Before != 0:
		last = v.Ask.Before - 1
	case v.Ask.After != nil:
		first, down = *v.Ask.After+1, false
	case v.Ask.Range != nil:
		first, last, down = v.Ask.Range[0], v.Ask.Range[1], false
	}
	var view []uint64
	for seq := first; seq <= last; seq++ {
		view = append(view, seq)
	}
	if down {
		slices.Reverse(view)
	}
	walked := 0
	v.Seqs, v.Gaps, v.Must = []uint64{}, []goneRange{}, [][2]uint64{}
	for i, seq := range view {
		if gone[seq] != "" {
			continue
		}
		if len(v.Seqs) == v.Ask.Limit {
			v.More = true
			break
		}
		v.Seqs, walked = append(v.Seqs, seq), i+1
	}
	if !v.More {
		walked = len(view) // to the end, which may be gone
	}
	walk := slices.Sorted(slices.Values(view[:walked]))
	slices.Sort(v.Seqs)
	for _, seq := range walk {
		if n := len(v.Must); held(seq) {
		} else if n > 0 && v.Must[n-1][1] == seq-1 {
			v.Must[n-1][1] = seq
		} else {
			v.Must = append(v.Must, [2]uint64{seq, seq})
		}
		if reason := gone[seq]; reason != "" {
			if n := len(v.Gaps); n > 0 && v.Gaps[n-1].To == seq-1 && v.Gaps[n-1].Reason == reason {
				v.Gaps[n-1].To = seq
			} else {
				v.Gaps = append(v.Gaps, goneRange{seq, seq, reason})
			}
		}
	}
	if v.Gone == nil {
		v.Gone = []goneRange{}
	}
	if v.Held == nil {
		v.Held = [][2]uint64{}
	}
}

// TestGapVectors writes what the cases come to, and checks by hand those that the
// rules name.
func TestGapVectors(t *testing.T) {
	var vectors []any
	said := make(map[string]string)
	for _, v := range gapCases {
		v.fill()
		said[v.Name] = fmt.Sprint(v.Seqs, v.Gaps, v.More, v.Must)
		vectors = append(vectors, v)
	}
	for name, want := range map[string]string{
		"the last ten of nine, with a hole":    "[1 2 3 4 5 6 7 8 9] [] false [[6 8]]",
		"the last ten of nine, complete":       "[1 2 3 4 5 6 7 8 9] [] false []",
		"the limit ends in the hole":           "[13 14 15 16 17 18 19 20] [] true [[13 15]]",
		"a hole of gone seqs":                  "[1 2 3 7 8 9] [{4 6 deleted}] false [[4 6]]",
		"gone seqs do not count for the limit": "[5 6 7 18 19 20] [{8 17 recalled}] true [[5 18]]",
		"a range that the limit ends":          "[4 5 6 7] [] true [[6 7]]",
	} {
		if said[name] != want {
			t.Errorf("%s: %s, want %s", name, said[name], want)
		}
	}
	wantVectors(t, "gaps.json", vectors)
}
