package shard

import "github.com/belfry-im/belfry/shard/command"

// Apply executes one committed batch and fills in out. The same batches in the same
// order give the same state and results on every replica. It panics with an
// *InvariantError if the batch cannot be decoded or the state is broken; the state must
// not be used after that.
func (s *State) Apply(batch []byte, out *Outcome) {
	out.Results = out.Results[:0]
	out.Users = out.Users[:0]
	out.Groups = out.Groups[:0]
	out.Members = out.Members[:0]
	out.Posted = out.Posted[:0]
	out.Kicked = out.Kicked[:0]
	out.Events = out.Events[:0]
	clear(out.Changes)
	out.Changes = out.Changes[:0]
	clear(out.Checksums)
	out.Checksums = out.Checksums[:0]
	out.HooksQueued = false
	s.out = out
	s.releaseImages(releasedPerApply)
	if len(s.leaving) > 0 {
		s.tick++
	}
	err := s.commands.WalkBatch(batch, s.advanceTime, func(k command.Kind, cmd command.Command) {
		out.Results = append(out.Results, command.Result{})
		kinds[k].apply(s, cmd, &out.Results[len(out.Results)-1])
	})
	if err != nil {
		panicInvariant("%v", err)
	}
}

// advanceTime moves the shard's time on. Time never goes back, although the clock of a
// new leader may be behind that of the last.
func (s *State) advanceTime(atMS int64) {
	s.now = max(s.now, atMS)
	s.byAge.advance(s.now)
}

func (s *State) applyConfigure(c *command.Configure, _ *command.Result) {
	if c.Version <= s.version {
		return
	}
	s.version = c.Version
	before := s.limits
	s.limits = c.Limits.WithDefaults()
	if !sameExpiry(&s.limits, &before) {
		s.expiryRules++
	}
	s.epoch = max(s.epoch, c.Epoch)
	s.hooks.setLimit(c.HookBytes)
}

// sameExpiry reports whether messages leave queues and history after the same times under
// both limits.
func sameExpiry(a, b *command.Limits) bool {
	return a.OfflineTTL == b.OfflineTTL && a.HistoryTTL == b.HistoryTTL && a.GroupTTL == b.GroupTTL
}

func (s *State) applyPurgeExpired(c *command.PurgeExpired, _ *command.Result) {
	sent := s.now - s.limits.DedupWindow.Milliseconds()
	for id := int(c.FirstSlot); id <= int(c.LastSlot); id++ {
		sl := s.slots[id]
		if sl == nil || sl.frozen {
			continue
		}
		var idle []uint32
		for number := range sl.users.all {
			u := s.userAt(number)
			if s.outdated(u) || s.dedupDue(&u.dedup, sent) || s.removedDedupDue(u) || s.isDue(u) || u.group != nil && s.groupDue(u.group) || u.hasOldMembership(s.now) { // only then, because a snapshot may have to copy the user
				s.prepare(u)
				s.purgeDue(u)
				s.forgetDedup(u, &u.dedup, sent)
				s.forgetRemovedDedup(u)
				s.forgetMemberships(u)
				if u.group != nil {
					s.purgeGroup(u)
				}
			}
			if u.idle() {
				idle = append(idle, number)
			}
		}
		for _, number := range idle {
			s.removeUser(sl, number)
		}
	}
}
