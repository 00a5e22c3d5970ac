// Package versions is the rule by which nodes of different versions of Belfry understand
// each other while a cluster is upgraded node by node: each node works with those of the
// version before its own and of the one after.
//
//   - A hello says which versions of each protocol its node reads, from the oldest to
//     the newest. Two nodes that have no version of a protocol in common refuse each
//     other, and say which of them is older.
//   - A message begins with its version. A node writes the newest one that its reader
//     reads as well, and refuses what is not in its own range. A new version is for what
//     an older node would misread.
//   - Anything else is added without one. What a message consists of (parts of a status,
//     items of a watch, requests, answers, questions) has its length before it. A later
//     binary may append fields to it: who does not know them skips them, and who knows
//     them takes them for zero where they are missing. So fields that are optional go to
//     the end, none is ever removed, and nothing is appended to the elements of a list.
//   - An item of an unknown kind is skipped if its kind is Optional. Any other is refused,
//     with an error that names it and says which side is older: its writer relied on its
//     being understood.
//   - JSON follows the same rule by names: unknown fields are skipped, unknown kinds and
//     versions are refused.
//   - What all replicas apply, the entries of logs and snapshots, allows no skipping:
//     there a field, a kind or a version that is not known is refused, by the leader when
//     another node asks for it, and by the program when it is in its log. So nothing new
//     is written before all nodes of the cluster read it, those included that are not
//     running; Commands and Snapshots say what each one reads.
package versions

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Optional is the lowest kind of items that whoever does not know them skips.
const Optional = 0x80

// Protocols that have versions. Their names travel.
const (
	Link      = "link"      // hello, the frames of control connections, and entries of Raft
	Status    = "status"    // what a node tells all others of itself
	Exchange  = "exchange"  // what is asked of leaders
	Watch     = "watch"     // what wakes sessions
	Placement = "placement" // its commands, maps and snapshots
	Commands  = "commands"  // entries of the logs of shards
	Snapshots = "snapshots" // states of shards
)

// A Range is the versions of a protocol that a binary reads. It writes Newest, to whoever
// reads that.
type Range struct {
	Oldest int `json:"oldest"`
	Newest int `json:"newest"`
}

// Only returns the range of a protocol that has one version.
func Only(version int) Range { return Range{version, version} }

func (r Range) String() string {
	if r.Oldest == r.Newest {
		return strconv.Itoa(r.Newest)
	}
	return fmt.Sprintf("%d to %d", r.Oldest, r.Newest)
}

// Check returns an error unless a version is in the range. what names what has it.
func (r Range) Check(what string, version int) error {
	switch {
	case version > r.Newest:
		return fmt.Errorf("%s of version %d: its writer is newer than this binary, which knows %v", what, version, r)
	case version < r.Oldest:
		return fmt.Errorf("%s of version %d: its writer is older than this binary, which knows %v", what, version, r)
	}
	return nil
}

// Unknown returns what to do about an item whose kind is not known: nil to skip it, else
// the error with which to refuse it.
func Unknown(what string, kind byte) error {
	if kind == 0 {
		return fmt.Errorf("%s of kind 0", what)
	}
	if kind >= Optional {
		return nil
	}
	return fmt.Errorf("%s of kind %d is not known: this binary is older than its writer", what, kind)
}

// A Set has the ranges of a node's protocols, by name.
type Set map[string]Range

// Strings returns the ranges as text, by protocol; nil if s is nil.
func (s Set) Strings() map[string]string {
	if s == nil {
		return nil
	}
	texts := make(map[string]string, len(s))
	for protocol, r := range s {
		texts[protocol] = r.String()
	}
	return texts
}

// maxSet bounds the protocols of a Set, and maxName the bytes of a name.
const (
	maxSet  = 64
	maxName = 64
)

// Fits returns an error unless two nodes have a version in common of each protocol that
// both know. It names the protocol and says which side is older.
func (s Set) Fits(peer Set) error {
	if len(peer) == 0 {
		return errors.New("the peer does not say which versions it speaks")
	}
	if len(peer) > maxSet {
		return fmt.Errorf("the peer speaks %d protocols, want at most %d", len(peer), maxSet)
	}
	for _, protocol := range slices.Sorted(maps.Keys(peer)) {
		theirs := peer[protocol]
		if len(protocol) > maxName {
			return fmt.Errorf("the peer speaks a protocol whose name has %d bytes, want at most %d", len(protocol), maxName)
		}
		if theirs.Oldest < 1 || theirs.Newest < theirs.Oldest {
			return fmt.Errorf("%s: versions %d to %d are no range", protocol, theirs.Oldest, theirs.Newest)
		}
		own, known := s[protocol]
		switch {
		case !known:
		case theirs.Newest < own.Oldest:
			return fmt.Errorf("%s: the peer is too old: it speaks version %v, this node %v", protocol, theirs, own)
		case own.Newest < theirs.Oldest:
			return fmt.Errorf("%s: this node is too old: it speaks version %v, the peer %v", protocol, own, theirs)
		}
	}
	return nil
}
