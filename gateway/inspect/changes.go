package inspect

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// keptChanges is how many administrative changes a node remembers, and keptRefused how many
// calls of tokens that may not make them: these are apart, so that none of them makes a
// change be forgotten. Past either the oldest is forgotten; the log has them all.
const keptChanges, keptRefused = 1000, 100

// mostText bounds each text of a change in bytes; what is longer is cut off.
const mostText = 300

// A Change is one call of administration that changed something or, if it failed, would
// have.
type Change struct {
	Time      int64  `json:"time" doc:"ms"`
	Node      string `json:"node" doc:"that was called"`
	Number    uint64 `json:"number" doc:"of the call at that node since its start, from 1"`
	Operation string `json:"operation"`
	Method    string `json:"method"`
	Path      string `json:"path"`
	Token     string `json:"token" doc:"its name, a part of its digest; empty = the server is open to everybody on its machine"`
	Remote    string `json:"remote" doc:"address of the caller"`
	Target    string `json:"target" doc:"what was changed"`
	Status    int    `json:"status"`
	Outcome   string `json:"outcome"`
	Duration  int64  `json:"durationMs"`
}

// A Mark is a place in the list of all nodes' changes, newest first. Zero is its beginning.
type Mark struct {
	Time   int64  `json:"time,omitempty"`
	Number uint64 `json:"number,omitempty"`
	Node   string `json:"node,omitempty"`
}

// Mark returns the place of a change.
func (c *Change) Mark() Mark { return Mark{c.Time, c.Number, c.Node} }

// Before reports whether a change is behind the mark, which is to be listed after it.
func (m Mark) Before(c *Change) bool { return m == Mark{} || compareMarks(m, c.Mark()) < 0 }

// compareMarks orders by time, the newest first, then by node, and at a node by number, the
// newest first.
func compareMarks(a, b Mark) int {
	if c := cmp.Compare(b.Time, a.Time); c != 0 {
		return c
	}
	if c := strings.Compare(a.Node, b.Node); c != 0 {
		return c
	}
	return cmp.Compare(b.Number, a.Number)
}

// SortChanges puts changes of several nodes into one list, newest first.
func SortChanges(all []Change) {
	slices.SortFunc(all, func(a, b Change) int { return compareMarks(a.Mark(), b.Mark()) })
}

// Changes are the newest administrative changes made at one node. The zero value is ready.
type Changes struct {
	Node string // for After; set before the first Add

	mu            sync.Mutex
	made, refused ring
	number        uint64 // of the last of both
}

// A ring holds the newest changes of a kind.
type ring struct {
	list   []Change
	oldest int // index in list, once that is full
}

func (r *ring) add(change Change, kept int) {
	if len(r.list) < kept {
		r.list = append(r.list, change)
		return
	}
	r.list[r.oldest] = change
	r.oldest = (r.oldest + 1) % kept
}

// Add notes a call of a token that may make it, whatever became of it. It sets Node and Number.
func (c *Changes) Add(change Change) { c.add(&c.made, change, keptChanges) }

// AddRefused notes a call of a token that lacks the scope for it.
func (c *Changes) AddRefused(change Change) { c.add(&c.refused, change, keptRefused) }

func (c *Changes) add(to *ring, change Change, kept int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range []*string{&change.Path, &change.Target, &change.Outcome} {
		*text = strings.ToValidUTF8(strings.Clone((*text)[:min(len(*text), mostText)]), "")
	}
	c.number++
	change.Node, change.Number = c.Node, c.number
	to.add(change, kept)
}

// After lists at most limit changes behind a mark, newest first.
func (c *Changes) After(mark Mark, limit int) (list []Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Concat(c.made.list, c.refused.list)
	SortChanges(all) // the wall clock may have jumped
	for i := range all {
		if len(list) < limit && mark.Before(&all[i]) {
			list = append(list, all[i])
		}
	}
	return list
}
