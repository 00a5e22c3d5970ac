package gateway

import (
	"slices"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A repeat of a request is known as such; a request that uses an id anew is not,
// whatever the id stood for before.
func TestRepeats(t *testing.T) {
	const deletion, report, none = 11, 22, 0
	tests := []struct {
		name     string
		ids      []uint64
		contents []uint64
		same     bool // the last request is known by what the first was
	}{
		{"the same again", []uint64{1, 1}, []uint64{deletion, deletion}, true},
		{"the same after others", []uint64{1, 2, 3, 1}, []uint64{deletion, report, none, deletion}, true},
		{"another content", []uint64{1, 1}, []uint64{deletion, report}, false},
		{"a send in between", []uint64{1, 1, 1}, []uint64{deletion, none, deletion}, false},
		{"another change in between", []uint64{1, 1, 1}, []uint64{deletion, report, deletion}, false},
		{"after more changes than are kept", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 1}, []uint64{
			deletion, report, report, report, report, report, report, report, report, report, report, report, report, report, report, report, report, deletion,
		}, false},
		{"another id", []uint64{1, 2}, []uint64{deletion, deletion}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p repeats
			var known []any
			for i, id := range test.ids {
				if test.contents[i] == none {
					p.used(id)
				} else {
					known = append(known, p.identity(id, test.contents[i]))
				}
			}
			if got := known[0] == known[len(known)-1]; got != test.same {
				t.Errorf("known by the same = %v, want %v", got, test.same)
			}
		})
	}
}

func TestCutRanges(t *testing.T) {
	type ranges []query.Range
	run := func(from, to uint64) query.Range { return query.Range{From: from, To: to} }
	tests := []struct {
		in, head, rest ranges
	}{
		{nil, nil, nil},
		{ranges{run(1, 5)}, ranges{run(1, 5)}, nil},
		{ranges{run(1, 6)}, ranges{run(1, 5)}, ranges{run(6, 6)}},
		{ranges{run(1, 2), run(4, 6), run(9, 9)}, ranges{run(1, 2), run(4, 6)}, ranges{run(9, 9)}},
		{ranges{run(1, 3), run(5, 9)}, ranges{run(1, 3), run(5, 6)}, ranges{run(7, 9)}},
	}
	for _, test := range tests {
		head, rest := cutRanges(test.in, 5)
		if !slices.Equal(ranges(head), test.head) || !slices.Equal(ranges(rest), test.rest) {
			t.Errorf("cutRanges(%v, 5) = %v, %v, want %v, %v", test.in, head, rest, test.head, test.rest)
		}
	}
}

func TestMergeLost(t *testing.T) {
	var lost []query.Lost
	for i := range uint64(maxLost + 1) {
		peer := command.UserID("alice")
		if i > maxLost/2 {
			peer = "bob"
		}
		lost = append(lost, query.Lost{Peer: peer, From: 2*i + 1, To: 2*i + 1, Count: 1})
	}
	if got := mergeLost(lost[:maxLost]); len(got) != maxLost {
		t.Errorf("mergeLost of %d runs = %d, want them as they are", maxLost, len(got))
	}
	got, half := mergeLost(lost), uint64(maxLost/2)
	want := []query.Lost{
		{Peer: "alice", From: 1, To: 2*half + 1, Count: maxLost/2 + 1},
		{Peer: "bob", From: 2*half + 3, To: 2*maxLost + 1, Count: maxLost / 2},
	}
	if !slices.Equal(got, want) {
		t.Errorf("mergeLost = %+v, want %+v", got, want)
	}
}
