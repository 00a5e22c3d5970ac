package client

import (
	"slices"
	"sync"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// maxSeen bounds the ids that are kept to recognize messages that are pushed
// again. With a cursor these are few. A login without one pushes at most the
// offline queue, the backlog of groups (1,000 messages each) and the recents
// (100).
const maxSeen = 8192

// A Cursor is how far a device has received, for its next login. Its texts are
// made by the server and opaque here.
type Cursor struct {
	Since string // in all one-to-one conversations; empty = a new device
	// Groups has the cursor of each group, the one that moved last at the end.
	// Past 200 groups the one that moved least recently is left out, and the next
	// login pushes its newest unread messages.
	Groups []protocol.GroupCursor
}

// held is what this device has received, if it has no store. With one it has the ids of
// what is in no store yet, or never will be.
type held struct {
	mu    sync.Mutex
	at    Cursor
	seen  map[protocol.ID]struct{}
	order []protocol.ID // ids in seen, as a ring: the oldest is at next
	next  int
}

func newHeld(at Cursor) *held {
	at.Groups = slices.Clone(at.Groups)
	return &held{at: at, seen: make(map[protocol.ID]struct{})}
}

// cursor returns where the next login goes on.
func (h *held) cursor() Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Cursor{Since: h.at.Since, Groups: slices.Clone(h.at.Groups)}
}

// move takes over the cursors of a frame that has been handled. It leaves since
// if the frame has none, and the groups that it does not name.
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

// begin takes over the cursor that creating or joining a group returned, unless
// the device has one of the group already: that is newer.
func (h *held) begin(group, cursor string) {
	h.mu.Lock()
	known := slices.ContainsFunc(h.at.Groups, func(g protocol.GroupCursor) bool { return g.Group == group })
	h.mu.Unlock()
	if cursor != "" && !known {
		h.move("", []protocol.GroupCursor{{Group: group, Cursor: cursor}})
	}
}

// has reports whether a message is held.
func (h *held) has(id protocol.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.seen[id]
	return ok
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
