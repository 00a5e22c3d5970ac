package chatui

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// membersShown is how many members /members lists.
const membersShown = 100

// makeGroup makes a private group and opens it.
func (m *model) makeGroup(group string, users []string) []job {
	conv := groupConv + group
	return []job{func(ctx context.Context) any {
		_, failed, err := m.net.CreateGroup(ctx, client.NewGroup{Group: group, Kind: protocol.KindPrivate, Members: users})
		return done{what: withFailures("You made "+conv+".", failed), err: err, then: func() { m.current = conv }}
	}}
}

func (m *model) joinGroup(group string) []job {
	conv := groupConv + group
	return []job{func(ctx context.Context) any {
		pending, err := m.net.JoinGroup(ctx, group, "")
		if pending {
			return done{what: "An admin of " + conv + " has to let you in.", err: err}
		}
		return done{what: "You are in " + conv + ".", err: err, then: func() { m.current = conv }}
	}}
}

// inGroup carries out a command about the group on the screen.
func (m *model) inGroup(in input) []job {
	conv := m.current
	group, ok := strings.CutPrefix(conv, groupConv)
	if !ok {
		m.note("This is no group. Say /to g:GROUP first.")
		return nil
	}
	return []job{func(ctx context.Context) any {
		switch in.command {
		case "add":
			failed, err := m.net.AddMembers(ctx, group, in.users...)
			return done{what: withFailures("Added.", failed), err: err}
		case "mute", "unmute", "ban", "unban":
			return m.moderate(ctx, group, in)
		case "muteall", "unmuteall":
			on := in.command == "muteall"
			what := map[bool]string{true: "Only owner and admins write here now.", false: "All may write here again."}[on]
			return done{what: what, err: m.net.SetGroup(ctx, group, client.GroupSetting{MutedAll: &on})}
		case "own":
			return done{what: conv + " is yours.", err: m.net.AnswerOwner(ctx, group, true)}
		case "leave":
			return done{what: "You left " + conv + ".", err: m.net.LeaveGroup(ctx, group), then: func() { m.current = "" }}
		}
		members, more, err := m.net.Members(ctx, group, "", membersShown)
		return done{what: listMembers(members, more), err: err}
	}}
}

const (
	muteTime = time.Hour
	banTime  = 24 * time.Hour
)

// moderate mutes or bans users, or undoes that.
func (m *model) moderate(ctx context.Context, group string, in input) done {
	if in.command == "ban" {
		failed, err := m.net.BanMembers(ctx, group, banTime, in.users...)
		return done{what: withFailures("Banned for a day; /unban undoes it.", failed), err: err}
	}
	for _, user := range in.users {
		var err error
		switch in.command {
		case "unban":
			err = m.net.Unban(ctx, group, user)
		case "mute":
			err = m.net.SetMember(ctx, group, user, client.MemberSetting{MutedUntil: new(time.Now().Add(muteTime).UnixMilli())})
		default:
			err = m.net.SetMember(ctx, group, user, client.MemberSetting{MutedUntil: new(int64)})
		}
		if err != nil {
			return done{err: err}
		}
	}
	return done{what: map[string]string{
		"unban": "They may come back.", "mute": "Muted for an hour; /unmute undoes it.", "unmute": "They may write again.",
	}[in.command]}
}

func listMembers(members []client.Member, more bool) string {
	names := make([]string, len(members))
	for i, member := range members {
		names[i] = member.User
		if member.Role != protocol.RoleMember {
			names[i] += " (" + member.Role + ")"
		}
	}
	if more {
		names = append(names, "and more")
	}
	return strings.Join(names, ", ")
}

func withFailures(what string, failed []client.MemberFailure) string {
	for _, f := range failed {
		what += fmt.Sprintf(" Not %s: %s.", f.User, strings.ReplaceAll(f.Code, "_", " "))
	}
	return what
}

// groupNews returns the text of a note about a group event.
func (m *model) groupNews(e client.GroupEvent) {
	by, users, conv := e.By, strings.Join(e.Users, ", "), groupConv+e.Group
	if by == "" {
		by = "an administrator"
	}
	switch e.Event {
	case protocol.EventCreated:
		if e.By != m.me {
			m.noteInLineMode("%s made %s", by, conv)
		}
	case protocol.EventJoined:
		if users == e.By {
			m.noteInLineMode("%s is in %s now", users, conv)
		} else {
			m.noteInLineMode("%s added %s to %s", by, users, conv)
		}
	case protocol.EventLeft:
		m.noteInLineMode("%s left %s", users, conv)
	case protocol.EventRemoved:
		m.noteInLineMode("%s removed %s from %s", by, users, conv)
	case protocol.EventDismissed:
		m.noteInLineMode("%s dismissed %s", by, conv)
	case protocol.EventOwnerOffered:
		if len(e.Users) > 0 {
			m.noteInLineMode("%s offers %s to %s", by, conv, users)
		}
	case protocol.EventJoinRequested:
		m.note("%s would like to join %s", users, conv)
	}
}
