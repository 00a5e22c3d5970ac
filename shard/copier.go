package shard

import (
	"encoding/binary"
	"slices"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
)

// slotVersion is the version of CopySlot.Data: version, the old shard's time and limits,
// then the frames of users, each behind its length, and after the last one frames of
// records for webhooks. A user who is larger than one CopySlot is cut anywhere.
const slotVersion = 5

// A CopyPlace says up to where the copy of a slot has come.
type CopyPlace struct {
	Number  uint64         // of the last CopySlot; 0 = none came yet
	Chain   uint64         // its NextChain
	Round   uint64         // tick of the old shard at which the last round began; 0 = none began
	Through uint64         // Round of the last round that has ended
	After   command.UserID // last user that the round has brought; "" = none, or the round has ended
	Hooks   uint64         // number of records for webhooks that came
	Final   bool           // all is here
}

// A Copier makes the CopySlots of a move from the state of the old shard. It is used with
// the lock that guards Apply, and for one leadership: another leader begins one anew with
// the place that the new shard has (State.Arriving).
type Copier struct {
	slot   uint16
	move   command.Move
	place  CopyPlace
	listed bool             // names is that of the round
	names  []command.UserID // users that the round still has to bring, in order
	user   command.UserID   // the user that rest is of
	rest   []byte           // what is left of a user who was cut
}

// NewCopier returns a Copier that goes on at a place.
func NewCopier(slot uint16, move command.Move, from CopyPlace) *Copier {
	return &Copier{slot: slot, move: move, place: from}
}

// Place returns up to where the copy will have come with the last CopySlot that was made.
func (c *Copier) Place() CopyPlace { return c.place }

// Next makes the next CopySlot, with about maxBytes, at most command.MaxCopy. After one
// with Ended it begins another round, which may be empty. It returns nil after one with
// Final. The error is ErrNotMoving or ErrTooManyChanges.
func (c *Copier) Next(s *State, maxBytes int) (*command.CopySlot, error) {
	sl, lv, err := s.copied(c.slot, c.move)
	if err != nil || c.place.Final {
		return nil, err
	}
	maxBytes = min(maxBytes, command.MaxCopy)
	if c.place.Round == c.place.Through && len(c.rest) == 0 {
		c.place.Round, c.place.After, c.listed = s.tick, "", false
	}
	if !c.listed {
		c.list(s, sl, lv)
	}
	cmd := c.follow(command.CopySlot{Round: c.place.Round})
	if len(c.rest) > 0 {
		cmd.Joins = true
		c.cut(cmd, maxBytes)
	} else {
		cmd.Data = s.appendCopyHeader(nil)
		empty := len(cmd.Data)
		c.addUsers(s, sl, cmd, maxBytes)
		if len(c.names) == 0 && !cmd.Cut && (!sl.frozen || c.place.Round < lv.frozenAt || c.addHooks(lv, cmd, empty, maxBytes)) {
			cmd.Ended = true
			c.place.Through, c.place.After = c.place.Round, ""
		}
	}
	cmd.After = c.place.After
	c.place.Chain = cmd.NextChain()
	return cmd, nil
}

// follow makes cmd follow the last CopySlot.
func (c *Copier) follow(cmd command.CopySlot) *command.CopySlot {
	c.place.Number++
	cmd.Slot, cmd.Move, cmd.Number, cmd.Chain = c.slot, c.move, c.place.Number, c.place.Chain
	return &cmd
}

// Reopen makes the CopySlot that takes back one with Final.
func (c *Copier) Reopen() *command.CopySlot {
	c.place.Hooks, c.place.Final = 0, false
	cmd := c.follow(command.CopySlot{Reopen: true})
	c.place.Chain = cmd.NextChain()
	return cmd
}

// list lists the users that a round has to bring.
func (c *Copier) list(s *State, sl *slot, lv *leaving) {
	c.listed, c.names = true, c.names[:0]
	if c.place.Through == 0 {
		for number := range sl.users.all {
			if name := s.userAt(number).name; name > c.place.After {
				c.names = append(c.names, name)
			}
		}
	}
	for name, tick := range lv.changes {
		if name <= c.place.After || tick <= c.place.Through || c.place.Through == 0 && s.inSlot(sl, name) != nil {
			continue
		}
		c.names = append(c.names, name)
	}
	slices.Sort(c.names)
}

// addUsers adds users to cmd while there is room. The first one who does not fit is cut if
// there is nothing else in it.
func (c *Copier) addUsers(s *State, sl *slot, cmd *command.CopySlot, maxBytes int) {
	empty := len(cmd.Data)
	for len(c.names) > 0 {
		name := c.names[0]
		u := s.inSlot(sl, name)
		if u == nil {
			if len(cmd.Gone) == command.MaxCopyGone {
				return
			}
			cmd.Gone = append(cmd.Gone, name)
			c.names, c.place.After = c.names[1:], name
			continue
		}
		before := len(cmd.Data)
		if before > empty && before+s.copyBytes(u) > maxBytes {
			return // it is not worth while to try
		}
		cmd.Data = s.appendUser(cmd.Data, u)
		if len(cmd.Data) > maxBytes {
			if before > empty {
				cmd.Data = cmd.Data[:before]
				return
			}
			c.names, c.user = c.names[1:], name
			c.rest, cmd.Data = cmd.Data, nil
			c.cut(cmd, maxBytes)
			return
		}
		c.names, c.place.After = c.names[1:], name
	}
}

// cut adds the next part of a user who is larger than one CopySlot.
func (c *Copier) cut(cmd *command.CopySlot, maxBytes int) {
	n := min(len(c.rest), max(maxBytes, 1))
	cmd.Data, c.rest = c.rest[:n], c.rest[n:]
	if cmd.Cut = len(c.rest) > 0; !cmd.Cut {
		c.place.After, c.rest = c.user, nil
	}
}

// addHooks adds records for webhooks in a round that began after the slot was frozen, while
// there is room. It reports whether all are in: then the copy is final.
func (c *Copier) addHooks(lv *leaving, cmd *command.CopySlot, empty, maxBytes int) (final bool) {
	for c.place.Hooks < lv.hooks.last {
		if len(cmd.Data) > empty && len(cmd.Data)+hookChunkBytes+binary.MaxVarintLen64 > maxBytes {
			return false
		}
		frame := []byte{frameHookRecords}
		for r := range lv.hooks.recordsAfter(c.place.Hooks) {
			if len(frame)+maxHookRecord > hookChunkBytes {
				break
			}
			frame = codec.AppendUint(codec.AppendBytes(codec.AppendBytes(frame, r.key), r.peer), r.seq)
			c.place.Hooks = r.number
		}
		cmd.Data = appendFrame(cmd.Data, frame)
	}
	cmd.Final, c.place.Final = true, true
	return true
}

// appendCopyHeader appends what CopySlot.Data begins with.
func (s *State) appendCopyHeader(dst []byte) []byte {
	x := codec.NewWriter(append(dst, slotVersion))
	codec.Int(&x, &s.now)
	s.limits.Fields(&x)
	return x.B
}

// appendUser appends the frames of a user, each behind its length.
func (s *State) appendUser(dst []byte, u *user) []byte {
	var frame []byte
	for enc := (userEncoder{u: u, limit: frameBytes, expiryRules: s.expiryRules}); ; {
		if frame = enc.appendNext(s, frame[:0], true); len(frame) == 0 {
			return dst
		}
		dst = appendFrame(dst, frame)
	}
}
