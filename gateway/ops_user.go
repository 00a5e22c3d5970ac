package gateway

import (
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

func (s *session) block(r request) error   { return s.setBlock(r, false) }
func (s *session) unblock(r request) error { return s.setBlock(r, true) }

func (s *session) setBlock(r request, undo bool) error {
	var args protocol.BlockArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if args.User == string(s.user) {
		return &refusal{code: protocol.CodeBadRequest, message: "user: must be somebody else"}
	}
	cmd := &command.Block{User: s.user, Session: s.id(), Target: command.UserID(args.User), Undo: undo}
	s.proposeIdentified(r, cmd, &cmd.Request)
	return nil
}

func (s *session) getBlocked(r request) error {
	if err := s.decode(r, new(protocol.NoArgs), (*session).allowScan); err != nil {
		return err
	}
	ctx, cancel := s.requestContext()
	defer cancel()
	blocked, err := r.reads.Blocked(ctx, s.user)
	if err != nil {
		return err
	}
	users := make([]string, len(blocked))
	for i, u := range blocked {
		users[i] = string(u)
	}
	s.reply(r, &protocol.BlockedOK{Users: users})
	return nil
}

func (s *session) typing(r request) error {
	var args protocol.TypingArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if peer := command.UserID(args.Conv.ID); args.Conv.Group {
		if group := command.GroupID(args.Conv.ID); !s.inLive(group) && s.allowTyping() {
			if err := s.gateway.backend.TypingGroup(s.user, group); err != nil {
				return err
			}
		}
	} else if peer != s.user && s.allowTyping() {
		s.gateway.backend.Typing(s.user, peer)
	}
	s.reply(r, nil)
	return nil
}

// typingBurst is how many notices of typing a session may send at once; then it may
// send one a second. Further ones are dropped.
const typingBurst = 5

func (s *session) allowTyping() bool {
	if s.typingLimit == nil {
		s.typingLimit = rate.NewLimiter(1, typingBurst)
	}
	if s.typingLimit.Allow() {
		return true
	}
	s.gateway.metrics.drops.WithLabelValues("too many notices of typing").Inc()
	return false
}

func (s *session) getPresence(r request) error {
	return s.replyPresence(r, s.gateway.backend.Presence)
}

func (s *session) subscribePresence(r request) error {
	return s.replyPresence(r, func(asker command.UserID, users []command.UserID) (map[command.UserID]store.Presence, error) {
		s.subscribed = true // also if it fails: an unnecessary UnsubscribePresence does no harm
		return s.gateway.backend.SubscribePresence(asker, users, s)
	})
}

func (s *session) replyPresence(r request, ask func(command.UserID, []command.UserID) (map[command.UserID]store.Presence, error)) error {
	var args protocol.PresenceArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if wait, ok := s.gateway.presences.AllowN(string(s.user), len(args.Users)); !ok {
		return &refusal{protocol.CodeRateLimited, "users: you are asking for the presence of too many users", wait}
	}
	users := make([]command.UserID, len(args.Users))
	for i, u := range args.Users {
		users[i] = command.UserID(u)
	}
	known, err := ask(s.user, users)
	if err != nil {
		return err
	}
	reply := new(protocol.PresenceOK)
	for user, p := range known {
		reply.Presence = append(reply.Presence, protocol.UserPresence{User: string(user), Online: p.Online, LastSeen: p.LastSeen})
	}
	slices.SortFunc(reply.Presence, func(a, b protocol.UserPresence) int { return strings.Compare(a.User, b.User) })
	s.reply(r, reply)
	return nil
}
