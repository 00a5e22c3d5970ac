package shard

import "github.com/belfry-im/belfry/shard/command"

// Apply executes one committed batch. The same batches in the same order give
// the same state and results on every replica. It panics with an
// *InvariantError when the batch cannot be decoded or the state is broken; the
// state must not be used after that.
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
	out.HooksQueued = false
	s.out = out
	s.releaseImages(releasedPerApply)
	err := command.WalkBatch(batch, &s.commands,
		s.advanceTime,
		func(cmd command.Command) {
			out.Results = append(out.Results, command.Result{})
			s.execute(cmd, &out.Results[len(out.Results)-1])
		})
	if err != nil {
		panicInvariant("%v", err)
	}
}

// advanceTime moves the shard's time on. A new leader's clock may be behind, so time
// never goes back.
func (s *State) advanceTime(atMS int64) {
	s.now = max(s.now, atMS)
	s.byAge.advance(s.now)
}

func (s *State) execute(cmd command.Command, r *command.Result) {
	switch c := cmd.(type) {
	case *command.Send:
		s.applySend(c, r)
	case *command.Deliver:
		s.applyDeliver(c, r)
	case *command.TrimOutbox:
		s.applyTrimOutbox(c, r)
	case *command.ReadReport:
		s.applyReadReport(c, r)
	case *command.Login:
		s.applyLogin(c, r)
	case *command.Logout:
		s.applyLogout(c, r)
	case *command.Recall:
		s.applyRecall(c, r)
	case *command.DeleteMessages:
		s.applyDeleteMessages(c, r)
	case *command.DeleteConversation:
		s.applyDeleteConversation(c, r)
	case *command.SetConversation:
		s.applySetConversation(c, r)
	case *command.Block:
		s.applyBlock(c, r)
	case *command.PurgeExpired:
		s.applyPurgeExpired(c)
	case *command.RaiseCutoff:
		s.applyRaiseCutoff(c, r)
	case *command.Configure:
		s.applyConfigure(c)
	case *command.ConfigureHooks:
		s.applyConfigureHooks(c)
	case *command.TrimHookQueue:
		s.hooks.trim(c.UpTo)
	case *command.OpenSlots:
		s.applyOpenSlots(c, r)
	case *command.FreezeSlot:
		s.applyFreezeSlot(c, r)
	case *command.ImportSlot:
		s.applyImportSlot(c, r)
	case *command.RemoveSlot:
		s.applyRemoveSlot(c, r)
	case *command.SetUser:
		s.applySetUser(c, r)
	case *command.RefreshToken:
		s.applyRefreshToken(c, r)
	case *command.SetRead:
		s.applySetRead(c, r)
	case *command.EraseUser:
		s.applyEraseUser(c, r)
	case *command.Import:
		s.applyImport(c, r)
	case command.GroupCommand:
		s.executeGroup(c, r)
	default:
		panicInvariant("no way to execute %T", cmd)
	}
}

func (s *State) executeGroup(cmd command.GroupCommand, r *command.Result) {
	switch c := cmd.(type) {
	case *command.SendGroup:
		s.applySendGroup(c, r)
	case *command.ReadGroup:
		s.applyReadGroup(c, r)
	case *command.RecallGroup:
		s.applyRecallGroup(c, r)
	case *command.DeleteMessagesFrom:
		s.applyDeleteMessagesFrom(c, r)
	case *command.HideMessages:
		s.applyHideMessages(c, r)
	case *command.HideGroup:
		s.applyHideGroup(c, r)
	case *command.SetGroupView:
		s.applySetGroupView(c, r)
	case *command.CreateGroup:
		s.applyCreateGroup(c, r)
	case *command.AnswerOwner:
		s.applyAnswerOwner(c, r)
	case *command.Unban:
		s.applyUnban(c, r)
	case *command.JoinGroup:
		s.applyJoinGroup(c, r)
	case *command.AnswerJoin:
		s.applyAnswerJoin(c, r)
	case *command.LeaveGroup:
		s.applyLeaveGroup(c, r)
	case *command.AddMembers:
		s.applyAddMembers(c, r)
	case *command.RemoveMembers:
		s.applyRemoveMembers(c, r)
	case *command.SetMember:
		s.applySetMember(c, r)
	case *command.SetGroup:
		s.applySetGroup(c, r)
	case *command.DismissGroup:
		s.applyDismissGroup(c, r)
	case *command.ImportGroup:
		s.applyImportGroup(c, r)
	default:
		panicInvariant("no way to execute %T", cmd)
	}
}

func (s *State) applyConfigure(c *command.Configure) {
	s.limits = c.Limits.WithDefaults()
	if c.Epoch != 0 {
		s.epoch = c.Epoch
	}
	for _, sl := range s.slots {
		if sl == nil || sl.frozen {
			continue
		}
		for number := range sl.users.all {
			u := s.userAt(number)
			s.preserve(u)
			s.recountAllQueues(u)
		}
	}
}

// -
func (s *State) applyPurgeExpired(c *command.PurgeExpired) {
	sent := s.now - s.limits.DedupWindow.Milliseconds()
	for id := int(c.FirstSlot); id <= int(c.LastSlot); id++ {
		sl := s.slots[id]
		if sl == nil || sl.frozen {
			continue
		}
		var idle []uint32
		for number := range sl.users.all {
			u := s.userAt(number)
			if s.dedupDue(&u.dedup, sent) || s.removedDedupDue(u) || s.isDue(u) || u.group != nil && s.groupDue(u.group) || u.hasOldMembership(s.now) { // a user with nothing due need not be copied for a snapshot
				s.preserve(u)
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
			s.removeIdleUser(sl, number)
		}
	}
}
