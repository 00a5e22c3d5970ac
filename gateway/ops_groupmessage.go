package gateway

import (
	"github.com/belfry-im/belfry/gateway/hooks"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// sendGroup sends a message to a group.
func (s *session) sendGroup(r request, args *protocol.SendArgs, d *hooks.Decision) error {
	group := command.GroupID(args.Conv.ID)
	live := s.inLive(group)
	if live || args.HasTTL && args.TTL == 0 {
		cmd := s.sendGroupCommand(r, args, group)
		return s.sendLive(r, args, &cmd, live, d)
	}
	if err := s.checkGaps(args.Conv, args.CID); err != nil {
		return err
	}
	m := newSending()
	m.group, m.session, m.id, m.receivedAt = s.sendGroupCommand(r, args, group), s, r.ID, r.receivedAt
	m.event, m.decision = s.gateway.config.Hooks.Sending(s.user, args), d
	m.group.Original = d.Original()
	s.addPending(r)
	s.submits.Add(1)
	s.gateway.backend.Submit(&m.group, m.done)
	return nil
}

// sendGroupCommand returns the command that sends a message to a group. Its body may
// lie in the frame.
func (s *session) sendGroupCommand(r request, args *protocol.SendArgs, group command.GroupID) command.SendGroup {
	return command.SendGroup{
		Group: group, User: s.user, Session: s.id(), ID: newMessageID(s.gateway.backend.Now()), CID: args.CID,
		Body: args.Body, TTL: args.TTL, Retry: args.Retry, Mentions: args.Mentions, Origin: s.origin(r),
	}
}

// sendLive sends a message that is not stored to the sessions that are connected. live
// says that the session is in the group, and that this is a live one.
func (s *session) sendLive(r request, args *protocol.SendArgs, cmd *command.SendGroup, live bool, d *hooks.Decision) error {
	b := s.gateway.backend
	if !live {
		info, exists, err := b.Group(cmd.Group, s.user)
		if err != nil {
			return err
		}
		if exists && !info.Settings.StoresMessages {
			return &refusal{code: protocol.CodeForbidden, message: "conv: you are not a member of this group"}
		}
	}
	result, err := b.SendLive(cmd)
	if err != nil {
		return err
	}
	s.replySent(r, args, &result, d)
	return nil
}

// storedGroup returns the group of a conversation. It refuses a live group, which
// stores no messages.
func (s *session) storedGroup(conv protocol.Conv) (command.GroupID, error) {
	group := command.GroupID(conv.ID)
	if s.inLive(group) {
		return "", &refusal{code: protocol.CodeNotFound, message: "conv: a live group keeps no messages"}
	}
	return group, nil
}

func (s *session) readGroup(r request, args *protocol.ReadReportArgs) error {
	group, err := s.storedGroup(args.Conv)
	if err != nil {
		return err
	}
	cmd := &command.ReadGroup{Group: group, User: s.user, Session: s.id(), Seq: args.Seq}
	if c, again := s.beginGroupChange(r, cmd); !again {
		c.propose(cmd, func(result command.Result) protocol.OK { return &protocol.ReadReportOK{Unread: result.Unread} })
	}
	return nil
}

func (s *session) recallGroup(r request, args *protocol.RecallArgs) error {
	if err := s.allowGroupChange(); err != nil {
		return err
	}
	group, err := s.storedGroup(args.Conv)
	if err != nil {
		return err
	}
	s.proposeChange(r, &command.RecallGroup{Group: group, By: s.user, Seq: args.Seq})
	return nil
}

func (s *session) hideMessages(r request, args *protocol.DeleteMessageArgs) error {
	group, err := s.storedGroup(args.Conv)
	if err != nil {
		return err
	}
	s.proposeChange(r, &command.HideMessages{Group: group, User: s.user, Session: s.id(), Seqs: args.Seqs})
	return nil
}

func (s *session) hideGroup(r request, args *protocol.DeleteConversationArgs) error {
	group, err := s.storedGroup(args.Conv)
	if err != nil {
		return err
	}
	s.proposeChange(r, &command.HideGroup{Group: group, User: s.user, Session: s.id(), Messages: args.Messages})
	return nil
}

func (s *session) setGroupView(r request, args *protocol.SetConversationArgs) error {
	group, err := s.storedGroup(args.Conv)
	if err != nil {
		return err
	}
	s.proposeChange(r, &command.SetGroupView{Group: group, User: s.user, Muted: args.Muted, Pinned: args.Pinned, Unread: args.Unread})
	return nil
}
