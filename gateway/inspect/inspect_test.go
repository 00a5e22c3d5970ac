package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// Pages of the changes of several nodes are one list without gaps or repeats, also of
// changes of one moment.
func TestPagesOfChangesOfSeveralNodes(t *testing.T) {
	nodes := []*Changes{{Node: "a"}, {Node: "b"}, {Node: "c"}}
	for i := range 100 {
		add := nodes[i%3].Add
		if i%5 == 0 {
			add = nodes[i%3].AddRefused
		}
		add(Change{Time: int64(i / 7), Operation: fmt.Sprint(i)})
	}
	seen := make(map[string]bool)
	var mark Mark
	var last Change
	for {
		var page []Change
		for _, n := range nodes {
			page = append(page, n.After(mark, 8)...)
		}
		SortChanges(page)
		if len(page) == 0 {
			break
		}
		for _, c := range page[:min(8, len(page))] {
			if seen[c.Operation] {
				t.Fatalf("change %s is listed twice", c.Operation)
			}
			if last.Operation != "" && c.Time > last.Time {
				t.Fatalf("change %s is newer than the one before it", c.Operation)
			}
			seen[c.Operation], last = true, c
		}
		mark = last.Mark()
	}
	if len(seen) != 100 {
		t.Errorf("%d changes are listed, want 100", len(seen))
	}
}

func TestOldChangesAreForgotten(t *testing.T) {
	const refused, made = keptRefused + 10, keptChanges + 10
	c := Changes{Node: "a"}
	for i := range refused {
		c.AddRefused(Change{Time: int64(i), Status: 403})
	}
	list := c.After(Mark{}, 2*keptChanges)
	if len(list) != keptRefused || list[0].Number != refused || list[keptRefused-1].Number != 11 {
		t.Errorf("%d refused calls from %d to %d", len(list), list[0].Number, list[len(list)-1].Number)
	}
	for i := range made {
		c.Add(Change{Time: int64(refused + i)})
	}
	for i := range refused { // makes no change be forgotten
		c.AddRefused(Change{Time: int64(refused + made + i), Status: 403})
	}
	list = c.After(Mark{}, 2*keptChanges)
	if len(list) != keptRefused+keptChanges || list[keptRefused-1].Status != 403 {
		t.Fatalf("%d calls, want %d refused ones and %d changes", len(list), keptRefused, keptChanges)
	}
	list = list[keptRefused:]
	if list[0].Number != refused+made || list[keptChanges-1].Number != refused+11 {
		t.Errorf("changes from %d to %d", list[0].Number, list[len(list)-1].Number)
	}
}

// What comes often is found among any number of others, with a count that is not too high.
func TestOftenFindsWhatComesOften(t *testing.T) {
	var o Often
	now := time.UnixMilli(1_000_000)
	for i := range 10_000 {
		o.Add("stranger", fmt.Sprint(i), now)
		if i%10 == 0 {
			o.Add("bob", "laptop", now)
		}
	}
	most := o.Most(5, now)
	if len(most) == 0 || most[0].A != "bob" || most[0].B != "laptop" || most[0].Count > 1000 || most[0].Count < 500 || most[0].Last != now.UnixMilli() {
		t.Errorf("most = %+v, want bob, up to 1000 times", most)
	}
	if slices.ContainsFunc(most, func(c Count) bool { return c.A == "stranger" }) {
		t.Errorf("strangers who came once are among %+v", most)
	}
	// It is told of for one further span, and then no more.
	if most := o.Most(5, now.Add(often+time.Second)); len(most) == 0 {
		t.Error("forgotten after one span")
	}
	if most := o.Most(5, now.Add(2*often+2*time.Second)); len(most) != 0 {
		t.Errorf("after two spans there is %+v", most)
	}
}

func TestOftenAllocatesNothing(t *testing.T) {
	var o Often
	now := time.UnixMilli(1_000_000)
	words := make([]string, 200)
	for i := range words {
		words[i] = fmt.Sprint(i)
		o.Add("user", words[i], now)
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() { o.Add("user", words[i%200], now); i++ }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// peers answer for other nodes.
type peers struct {
	others []*Local
	lost   []string
	broken []string
}

func (p *peers) Look(ctx context.Context, request []byte, each func(string, []byte, error)) {
	for _, name := range p.lost {
		each(name, nil, errors.New("not connected"))
	}
	for _, name := range p.broken {
		each(name, []byte("{"), nil)
	}
	for _, l := range p.others {
		answer, err := l.Answer(ctx, request)
		each(l.Node, answer, err)
	}
}

type someSessions struct{ list []Session }

func (s someSessions) InspectSessions(string) []Session { return slices.Clone(s.list) }
func (s someSessions) InspectFrames(_ string, n uint64) ([]Frame, bool) {
	for _, of := range s.list {
		if of.Session == n {
			return []Frame{{Op: "ping"}}, true
		}
	}
	return nil, false
}
func (someSessions) InspectForget(string) {}
func (s someSessions) InspectRefused(user string) []RefusedLogin {
	return []RefusedLogin{{User: user, Refused: len(s.list)}}
}
func (s someSessions) InspectSick(int) Sick { return Sick{Closed: []Closed{{Code: 4413}}} }

func TestGather(t *testing.T) {
	a, b := New("a"), New("b")
	a.SetSessions(someSessions{[]Session{{Session: 1}}})
	b.SetSessions(someSessions{[]Session{{Session: 2}}})
	b.Settings = []Setting{{Name: "recents"}}
	a.Peers = &peers{others: []*Local{b, a}, lost: []string{"d"}, broken: []string{"c"}}

	reports, missing := a.Gather(t.Context(), Request{What: WhatSessions, User: "bob"})
	if len(reports) != 2 || reports[0].Node != "a" || reports[1].Sessions[0].Session != 2 || reports[1].Sessions[0].Node != "b" ||
		len(reports[1].Refused) != 1 || reports[1].Refused[0].User != "bob" || reports[1].Refused[0].Node != "b" {
		t.Errorf("reports = %+v", reports)
	}
	if !slices.Equal(missing, []string{"c", "d"}) {
		t.Errorf("missing = %v, want c and d", missing)
	}
	reports, _ = a.Gather(t.Context(), Request{What: WhatFrames, User: "bob", Session: 2})
	if reports[0].HasFrame || !reports[1].HasFrame || reports[1].Frames[0].Op != "ping" {
		t.Errorf("frames = %+v", reports)
	}
	reports, _ = a.Gather(t.Context(), Request{What: WhatSick, Limit: 5})
	if reports[0].Sick.Closed[0].Node != "a" || reports[1].Sick.Closed[0].Node != "b" {
		t.Errorf("sick = %+v", reports)
	}
	reports, _ = a.Gather(t.Context(), Request{What: WhatSettings})
	if len(reports[0].Settings) != 0 || reports[1].Settings[0].Node != "b" {
		t.Errorf("settings = %+v", reports)
	}
	if _, err := a.Answer(t.Context(), []byte("nonsense")); err == nil {
		t.Error("a request that is no JSON is answered")
	}
	alone := New("alone")
	if reports, missing := alone.Gather(t.Context(), Request{What: WhatView}); len(reports) != 1 || reports[0].View != nil || len(missing) != 0 {
		t.Errorf("a node alone: %+v, missing %v", reports, missing)
	}
}
