package shard

// Apply executes one committed batch. The same batches in the same order give
// the same state and results on every replica. It panics with an
// *InvariantError when the batch cannot be decoded or the state is broken; the
// state must not be used after that.
func (s *State) Apply(batch []byte, out *Outcome) {
	out.Results = out.Results[:0]
	out.Touched = out.Touched[:0]
	out.Groups = out.Groups[:0]
	out.Members = out.Members[:0]
	out.Posted = out.Posted[:0]
	out.Kicked = out.Kicked[:0]
	out.Events = out.Events[:0]
	clear(out.Changes)
	out.Changes = out.Changes[:0]
	out.Stored = false
	s.out = out
	s.dropImages(imagesPerApply)
	err := walkBatch(batch, &s.commands,
		s.pass,
		func(cmd Command) {
			out.Results = append(out.Results, Result{})
			s.execute(cmd, &out.Results[len(out.Results)-1])
		})
	if err != nil {
		broken("%v", err)
	}
}

// pass has time go on. A new leader's clock may be behind: it never goes back.
func (s *State) pass(atMS int64) {
	s.now = max(s.now, atMS)
	s.ages.pass(s.now)
}

func (s *State) execute(cmd Command, r *Result) {
	switch c := cmd.(type) {
	case *Send:
		s.applySend(c, r)
	case *Deliver:
		s.applyDeliver(c, r)
	case *Trim:
		s.applyTrim(c, r)
	case *ReadReport:
		s.applyReadReport(c, r)
	case *Login:
		s.applyLogin(c, r)
	case *Logout:
		s.applyLogout(c, r)
	case *Recall:
		s.applyRecall(c, r)
	case *DeleteMessages:
		s.applyDeleteMessages(c, r)
	case *DeleteConversation:
		s.applyDeleteConversation(c, r)
	case *SetConversation:
		s.applySetConversation(c, r)
	case *Block:
		s.applyBlock(c, r)
	case *Expire:
		s.applyExpire(c)
	case *Retain:
		s.applyRetain(c, r)
	case *Configure:
		s.applyConfigure(c)
	case *ConfigureHooks:
		s.applyConfigureHooks(c)
	case *HooksDone:
		s.hooks.drop(c.UpTo)
	case *OpenSlots:
		s.applyOpenSlots(c, r)
	case *FreezeSlot:
		s.applyFreezeSlot(c, r)
	case *ImportSlot:
		s.applyImportSlot(c, r)
	case *DropSlot:
		s.applyDropSlot(c, r)
	case *SetUser:
		s.applySetUser(c, r)
	case *RefreshToken:
		s.applyRefreshToken(c, r)
	case *SetRead:
		s.applySetRead(c, r)
	case *EraseUser:
		s.applyEraseUser(c, r)
	case *Import:
		s.applyImport(c, r)
	case GroupCommand:
		s.executeGroup(c, r)
	default:
		broken("no way to execute %T", cmd)
	}
}

func (s *State) executeGroup(cmd GroupCommand, r *Result) {
	switch c := cmd.(type) {
	case *SendGroup:
		s.applySendGroup(c, r)
	case *ReadGroup:
		s.applyReadGroup(c, r)
	case *RecallGroup:
		s.applyRecallGroup(c, r)
	case *DeleteSender:
		s.applyDeleteSender(c, r)
	case *HideMessages:
		s.applyHideMessages(c, r)
	case *HideGroup:
		s.applyHideGroup(c, r)
	case *SetGroupView:
		s.applySetGroupView(c, r)
	case *CreateGroup:
		s.applyCreateGroup(c, r)
	case *AnswerOwner:
		s.applyAnswerOwner(c, r)
	case *Unban:
		s.applyUnban(c, r)
	case *JoinGroup:
		s.applyJoinGroup(c, r)
	case *AnswerJoin:
		s.applyAnswerJoin(c, r)
	case *LeaveGroup:
		s.applyLeaveGroup(c, r)
	case *AddMembers:
		s.applyAddMembers(c, r)
	case *RemoveMembers:
		s.applyRemoveMembers(c, r)
	case *SetMember:
		s.applySetMember(c, r)
	case *SetGroup:
		s.applySetGroup(c, r)
	case *DismissGroup:
		s.applyDismissGroup(c, r)
	case *ImportGroup:
		s.applyImportGroup(c, r)
	default:
		broken("no way to execute %T", cmd)
	}
}

func (s *State) applyConfigure(c *Configure) {
	s.limits = c.Limits.WithDefaults()
	if c.Epoch != 0 {
		s.epoch = c.Epoch
	}
	for _, sl := range s.slots {
		if sl == nil || sl.frozen {
			continue
		}
		for number := range sl.users.all {
			u := s.user(number)
			s.save(u)
			s.recountAll(u)
		}
	}
}

func (s *State) applyExpire(c *Expire) {
	sent := s.now - s.limits.DedupWindow.Milliseconds()
	for id := int(c.FirstSlot); id <= int(c.LastSlot); id++ {
		sl := s.slots[id]
		if sl == nil || sl.frozen {
			continue
		}
		var idle []uint32
		for number := range sl.users.all {
			u := s.user(number)
			if s.sentDue(&u.sent, sent) || s.pastDue(u) || s.isDue(u) || u.team != nil && s.teamDue(u.team) || u.hasStaleTeam(s.now) { // others need not be saved for a snapshot
				s.save(u)
				s.purgeDue(u)
				s.forgetSent(u, &u.sent, sent)
				s.forgetPast(u)
				s.forgetTeams(u)
				if u.team != nil {
					s.purgeTeam(u)
				}
			}
			if u.idle() {
				idle = append(idle, number)
			}
		}
		for _, number := range idle {
			s.forgetUser(sl, number)
		}
	}
}
