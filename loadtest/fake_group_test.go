package loadtest

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A fakeGroup is a group of a fakeServer: a list. Its cursors are seqs.
type fakeGroup struct {
	id      string
	live    bool
	members map[string]bool
	log     []protocol.Message
	origins []string // the session that sent each
}

// perFrame is how many messages of a group a fakeServer puts into a frame.
const perFrame = 3

func (s *fakeServer) handleGroup(session *fakeSession, r *protocol.Request) (ok protocol.OK, known bool) {
	var members protocol.MembersArgs
	switch r.Op {
	case protocol.OpCreateGroup:
		var args protocol.CreateGroupArgs
		if err := args.Decode(r.Args); err != nil {
			s.t.Error(err)
		}
		g := &fakeGroup{id: fmt.Sprintf("g%d", len(s.groups)+1), live: args.Kind == protocol.KindLive, members: map[string]bool{session.user: true}}
		s.groups[g.id] = g
		for _, u := range args.Members {
			g.members[u] = true
		}
		return &protocol.CreateGroupOK{Group: g.id}, true
	case protocol.OpAddMembers:
		if err := members.Decode(r.Args); err != nil {
			s.t.Error(err)
		}
		var done protocol.AddMembersOK
		for _, u := range members.Users {
			if slices.Contains(s.faults.failed, u[len(u)-1:]) {
				done.Failed = append(done.Failed, protocol.MemberFailure{User: u, Code: protocol.CodeNotFound})
				continue
			}
			s.groups[members.Group].members[u] = true
			done.Added = append(done.Added, u)
		}
		return &done, true
	case protocol.OpJoinGroup:
		var args protocol.GroupArgs
		if err := args.Decode(r.Args); err != nil {
			s.t.Error(err)
		}
		s.groups[args.Group].members[session.user] = true
		return &protocol.JoinGroupOK{}, true
	case protocol.OpGetGroups:
		var all protocol.GroupsOK
		for _, g := range s.groups {
			if g.members[session.user] {
				all.Groups = append(all.Groups, protocol.GroupOK{Group: g.id, Kind: protocol.KindPublic})
			}
		}
		return &all, true
	}
	return nil, false
}

func (s *fakeSession) origin() string { return fmt.Sprint(s.user, " ", s.number) }

func (s *fakeServer) storeGroup(session *fakeSession, group string, m protocol.Message) protocol.SendOK {
	g := s.groups[group]
	m.Conv = protocol.GroupConv(group)
	m.Ephemeral = g.live
	ok := protocol.SendOK{ID: m.ID, Time: m.Time}
	if !g.live {
		m.Seq = uint64(len(g.log) + 1)
		ok.Seq = m.Seq
	}
	g.log, g.origins = append(g.log, m), append(g.origins, session.origin())
	for name := range g.members {
		u := s.user(name)
		if u.session == nil || u.session == session && !s.faults.echo {
			continue
		}
		u.groups[group]++
		pushes := []protocol.Message{m}
		if s.faults.groupPush != nil {
			pushes = s.faults.groupPush(name, u.groups[group], m)
		}
		for _, p := range pushes {
			u.session.groupMessages(g, p)
		}
	}
	return ok
}

// groupMessages pushes messages of a group, as many as it puts into a frame as
// soon as it has them.
func (s *fakeSession) groupMessages(g *fakeGroup, messages ...protocol.Message) {
	for len(messages) > 0 {
		n := min(len(messages), perFrame)
		p := protocol.NewMessage{D: s.d + 1, Messages: messages[:n]}
		s.d++
		if last := messages[n-1]; !g.live {
			p.GroupCursors = []protocol.GroupCursor{{Group: g.id, Cursor: strconv.FormatUint(last.Seq, 10)}}
		}
		p.Skipped, p.Messages[0].TTL = int(p.Messages[0].TTL), 0 // where a test plants what was skipped
		s.write(protocol.AppendNewMessage(nil, s.codec, &p))
		messages = messages[n:]
	}
}

// loginGroups pushes the backlog of groups.
func (s *fakeServer) loginGroups(session *fakeSession, args *protocol.LoginArgs, synced *protocol.Synced) {
	for _, g := range s.groups {
		if !g.members[args.Token] || g.live {
			continue
		}
		from := 0
		for _, cursor := range args.Groups {
			if cursor.Group == g.id {
				from, _ = strconv.Atoi(cursor.Cursor)
			}
		}
		entry := protocol.Conversation{Conv: protocol.GroupConv(g.id), Cursor: strconv.Itoa(len(g.log)), LastSeq: uint64(len(g.log)), Unread: len(g.log)}
		if synced.UnreadTotal += entry.Unread; len(synced.Conversations) < 100 {
			synced.Conversations = append(synced.Conversations, entry)
		} else {
			synced.Groups = append(synced.Groups, entry)
		}
		var backlog []protocol.Message
		for i, m := range g.log[max(from, len(g.log)-args.GroupBacklog):] {
			if len(args.Groups) > 0 && s.faults.resume != nil {
				s.resumed++
				backlog = append(backlog, s.faults.resume(s.resumed, m)...)
			} else if g.origins[max(from, len(g.log)-args.GroupBacklog)+i] != session.origin() {
				backlog = append(backlog, m)
			}
		}
		session.groupMessages(g, backlog...)
	}
}

func (s *fakeServer) groupPage(args *protocol.GetMessageArgs) protocol.OK {
	log := s.groups[args.Conv.ID].log
	page := &protocol.PageOK{From: uint64(len(log)), To: uint64(len(log))}
	if args.From > 0 {
		to := min(args.To, args.From+uint64(args.Limit)-1)
		page = &protocol.PageOK{Messages: slices.Clone(log[args.From-1 : to]), From: args.From, To: to}
	}
	if s.faults.page != nil {
		s.faults.page(page)
	}
	return page
}
