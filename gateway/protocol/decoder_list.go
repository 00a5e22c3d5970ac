package protocol

import "fmt"

// users reads a list of users whose length is between shortest and longest. If it
// is empty, the result is nil.
func (d *decoder) users(shortest, longest int) []string {
	a := d.array()
	if !d.checkLength(a, shortest, longest) {
		return nil
	}
	vs := make([]string, 0, a.n)
	for d.elem(&a) {
		vs = append(vs, d.user())
	}
	d.endArray(a)
	return vs
}

// groupList reads a list of groups of at most a length. If it is empty, the result is nil.
func (d *decoder) groupList(longest int) []string {
	a := d.array()
	if !d.checkLength(a, 0, longest) {
		return nil
	}
	var vs []string
	for d.elem(&a) {
		vs = append(vs, d.group())
	}
	d.endArray(a)
	return vs
}

// seqs reads a list of seqs whose length is between shortest and longest. If it is
// empty, the result is nil.
func (d *decoder) seqs(shortest, longest int) []uint64 {
	a := d.array()
	if !d.checkLength(a, shortest, longest) {
		return nil
	}
	vs := make([]uint64, 0, a.n)
	for d.elem(&a) {
		vs = append(vs, d.uint(1, MaxInt))
	}
	d.endArray(a)
	return vs
}

// checkLength checks the length of a list, and reports whether there are elements to
// read.
func (d *decoder) checkLength(a array, shortest, longest int) bool {
	if d.err == nil && (a.n < shortest || a.n > longest) {
		d.fail(fmt.Sprintf("must have %d-%d elements", shortest, longest))
	}
	return d.err == nil && a.n > 0
}

// seqRange reads [from, to].
func (d *decoder) seqRange() (from, to uint64) {
	const rule = "must be [from, to] with 1 <= from <= to"
	a := d.array()
	if d.err == nil && a.n != 2 {
		d.fail(rule)
	}
	if d.elem(&a) {
		from = d.uint(1, MaxInt)
	}
	if d.elem(&a) {
		to = d.uint(1, MaxInt)
	}
	d.endArray(a)
	if d.err == nil && from > to {
		d.fail(rule)
	}
	return from, to
}

// groupCursors reads a map {group: cursor} of at most longest groups, each of
// which may come once.
func (d *decoder) groupCursors(longest int) []GroupCursor {
	o := d.object()
	n := d.entries(o)
	if d.err == nil && n > longest {
		d.fail(fmt.Sprintf("must have at most %d groups", longest))
	}
	if d.err != nil || n == 0 {
		for d.next(&o) {
			d.skip()
		}
		return nil
	}
	gs := make([]GroupCursor, 0, n)
	for d.next(&o) {
		if !isName(o.key, MaxGroupLen) {
			d.fail(groupKeys)
			break
		}
		g := GroupCursor{Group: string(o.key), Cursor: d.text(0, MaxFrame)}
		for i := range gs {
			if gs[i].Group == g.Group {
				d.fail("must name each group once")
			}
		}
		gs = append(gs, g)
	}
	if len(gs) == 0 { // all cursors were null
		return nil
	}
	return gs
}

// The fewest bytes that elements of long lists take. They are those of msgpack,
// which is never longer than JSON. A list whose length cannot be true for its
// bytes is refused before anything is allocated.
const (
	messageLen      = len("\x85\xa2id\xbaULIDULIDULIDULIDULIDULIDUL\xa4conv\xa3u:a\xa4from\xa1a\xa3cid\xa1c\xa4body\xc0")
	conversationLen = len("\x84\xa4conv\xa3u:a\xa7lastSeq\x01\xa4time\x01\xa7readSeq\x01")
	lostLen         = len("\x84\xa4conv\xa3u:a\xa4from\x01\xa2to\x01\xa5count\x01")
	gapLen          = len("\x83\xa4from\x01\xa2to\x01\xa6reason\xa0")
	rangeLen        = len("\x92\x01\x01")
	presenceLen     = len("\xa1a\x82\xa6online\xc2\xa8lastSeen\x00")
	memberLen       = len("\x81\xa4user\xa1a")
	failureLen      = len("\x82\xa4user\xa1a\xa4code\xa1x")
	joinRequestLen  = len("\x82\xa4user\xa1a\xa4time\x00")
	groupLen        = len("\x82\xa5group\xa1a\xa4kind\xa4live")
	groupCursorLen  = len("\xa1g\xa1x")
	seqLen          = len("\x01")
	userLen         = len("\xa1a")
)

// openList opens an array and allocates a list for its elements. Each element
// takes at least elemLen bytes of the frame.
func openList[T any](d *decoder, elemLen int) ([]T, array) {
	a := d.array()
	if d.err == nil && a.n > (len(d.data)-d.pos)/elemLen {
		d.fail(fmt.Sprintf("must have elements of at least %d bytes", elemLen))
	}
	if d.err != nil {
		return nil, array{}
	}
	return make([]T, a.n), a
}

// makeEntries allocates a list for the entries of the map that o has just opened.
// Each entry takes at least entryLen bytes of the frame.
func makeEntries[T any](d *decoder, o object, entryLen int) []T {
	n := d.entries(o)
	if d.err == nil && n > (len(d.data)-d.pos)/entryLen {
		d.fail("must have longer entries")
	}
	if d.err != nil {
		return nil
	}
	return make([]T, 0, n)
}

// groupCursorList reads a map {group: cursor} of any number of groups.
func (d *decoder) groupCursorList() []GroupCursor {
	o := d.object()
	gs := makeEntries[GroupCursor](d, o, groupCursorLen)
	for d.next(&o) {
		g := GroupCursor{Group: string(o.key), Cursor: d.text(1, MaxFrame)}
		d.check(ValidGroup(g.Group), "groupCursors", groupKeys)
		gs = append(gs, g)
	}
	return gs
}
