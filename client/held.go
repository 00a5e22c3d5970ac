package client

import (
	"slices"
	"sync"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// maxSeen bounds the ids by which a repeated message is known. A cursor covers
// all but what a login without one pushes: the offline queue, the backlog of
// groups (1,000 messages each) and the recents (100).
const maxSeen = 8192

// A Cursor says where a device stands, for its next login. Its texts are the
// server's own and opaque.
type Cursor struct {
	Since string // in all one-to-one conversations; empty = a new device
	// Groups is where it stands in each group, the one that moved last at the
	// end. Past 200 the group that was silent longest is left out and starts
	// with its newest unread messages.
	Groups []protocol.GroupCursor
}

// held is what this device has. It is the seam of the local store: what keeps
// messages, ids and cursors on disk takes its place, with these methods.
type held struct {
	mu    sync.Mutex
	at    Cursor
	seen  map[protocol.ID]struct{}
	order []protocol.ID // ids in seen; from next on, oldest first, and then around
	next  int
}

func newHeld(at Cursor) *held {
	at.Groups = slices.Clone(at.Groups)
	return &held{at: at, seen: make(map[protocol.ID]struct{})}
}

// cursor is where the next login starts.
func (h *held) cursor() Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Cursor{Since: h.at.Since, Groups: slices.Clone(h.at.Groups)}
}

// move takes over the cursors of a frame that has been handled. Absent ones
// stay as they are.
func (h *held) move(since string, groups []protocol.GroupCursor) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if since != "" {
		h.at.Since = since
	}
	for _, moved := range groups {
		kept := slices.DeleteFunc(h.at.Groups, func(g protocol.GroupCursor) bool { return g.Group == moved.Group })
		h.at.Groups = append(kept, moved)
	}
	if n := len(h.at.Groups) - protocol.MaxLoginGroups; n > 0 {
		h.at.Groups = slices.Delete(h.at.Groups, 0, n)
	}
}

// begin takes over the cursor of a group that the user has come to, unless the
// device stands somewhere in it: then that is newer.
func (h *held) begin(group, cursor string) {
	h.mu.Lock()
	known := slices.ContainsFunc(h.at.Groups, func(g protocol.GroupCursor) bool { return g.Group == group })
	h.mu.Unlock()
	if cursor != "" && !known {
		h.move("", []protocol.GroupCursor{{Group: group, Cursor: cursor}})
	}
}

// add notes a message as held and reports whether it is new.
func (h *held) add(id protocol.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.seen[id]; ok {
		return false
	}
	h.seen[id] = struct{}{}
	if len(h.order) < maxSeen {
		h.order = append(h.order, id)
		return true
	}
	delete(h.seen, h.order[h.next])
	h.order[h.next] = id
	h.next = (h.next + 1) % maxSeen
	return true
}
