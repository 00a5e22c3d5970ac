package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/danielgtaylor/huma/v2"
)

func (a *API) memberOperations() {
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/groups/{group}/members", "listMembers", "Members",
		"Members in order of name.", "Of a live group, whose members are sessions, those with a role or who are muted."),
		a.listMembers)
	huma.Register(a.huma, a.operation(http.MethodPost, "/v1/groups/{group}/members", "addMembers", "Members",
		"Make users members.", "A user who is one already counts as added."), a.addMembers)
	huma.Register(a.huma, a.operation(http.MethodDelete, "/v1/groups/{group}/members/{user}", "removeMember", "Members",
		"Take a member out.", "The owner, too, which leaves the group without one. They may come back as any other may join: ban keeps them out."), a.removeMember)
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/groups/{group}/bans", "listBans", "Members",
		"Who is banned, in order of name.", ""), a.listBans)
	huma.Register(a.huma, a.operation(http.MethodPut, "/v1/groups/{group}/bans/{user}", "ban", "Members",
		"Keep a user out of a group.", "A member is taken out. Meanwhile joining, asking to join and being added are forbidden. A new time takes the place of the one before."), a.ban)
	huma.Register(a.huma, a.operation(http.MethodDelete, "/v1/groups/{group}/bans/{user}", "unban", "Members",
		"Lift a ban.", ""), a.unban)
	huma.Register(a.huma, a.operation(http.MethodPatch, "/v1/groups/{group}/members/{user}", "setMember", "Members",
		"Change a member's role, or mute them.", "What is absent stays. Another owner is made by setGroup. A mute lasts until its time, also when the member leaves and comes back; after they have left it can still be changed."), a.setMember)
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/groups/{group}/requests", "listRequests", "Members",
		"Requests to join, oldest first.", ""), a.listRequests)
	huma.Register(a.huma, a.operation(http.MethodPost, "/v1/groups/{group}/requests/{user}", "answerRequest", "Members",
		"Accept or refuse a request to join.", ""), a.answerRequest)
}

type member struct {
	User       userName `json:"user"`
	Role       role     `json:"role"`
	Joined     int64    `json:"joined" doc:"ms"`
	From       uint64   `json:"from" doc:"the lowest seq that they may read"`
	Read       uint64   `json:"readSeq"`
	MutedUntil int64    `json:"mutedUntil" doc:"ms; in the past or 0 = not muted"`
}

func memberOf(m *query.Member) member {
	return member{
		User: userName(m.User), Role: role(enum.Roles.Word(m.Role)), Joined: m.Joined, From: m.VisibleFrom, Read: m.Read, MutedUntil: m.MutedUntil,
	}
}

type listMembersOutput struct {
	Body struct {
		Members []member `json:"members" nullable:"false"`
		More    bool     `json:"more" doc:"ask again, after the last of these"`
	}
}

func (a *API) listMembers(_ context.Context, in *struct {
	GroupPath
	After userName `query:"after" doc:"the last name of the page before"`
	ListInput
}) (*listMembersOutput, error) {
	if _, err := a.group(in.Group); err != nil {
		return nil, err
	}
	members, more, err := a.backend.Members(command.GroupID(in.Group), command.UserID(in.After), in.Limit)
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(listMembersOutput)
	out.Body.Members, out.Body.More = make([]member, len(members)), more
	for i := range members {
		out.Body.Members[i] = memberOf(&members[i])
	}
	return out, nil
}

type addMembersInput struct {
	GroupPath
	Body struct {
		Users []userName `json:"users" nullable:"false" minItems:"1" maxItems:"100"`
	}
}

type addMembersOutput struct {
	Body struct {
		Added  []userName `json:"added" nullable:"false"`
		Failed []failure  `json:"failed" nullable:"false"`
	}
}

func (a *API) addMembers(ctx context.Context, in *addMembersInput) (*addMembersOutput, error) {
	callOf(ctx).target = fmt.Sprintf("%s in %s", describe(in.Body.Users), in.Group)
	r, err := a.propose(ctx, &command.AddMembers{Group: command.GroupID(in.Group), Users: users(in.Body.Users)})
	if err != nil {
		return nil, err
	}
	out := new(addMembersOutput)
	out.Body.Added, out.Body.Failed = make([]userName, 0, len(in.Body.Users)), failuresOf(r.Failed)
	// A name that comes twice is answered once.
	done := make(map[userName]bool, len(in.Body.Users))
	for _, f := range out.Body.Failed {
		done[f.User] = true
	}
	for _, u := range in.Body.Users {
		if !done[u] {
			done[u] = true
			out.Body.Added = append(out.Body.Added, u)
		}
	}
	return out, nil
}

type MemberPath struct {
	GroupPath
	UserPath
}

func (a *API) removeMember(ctx context.Context, in *MemberPath) (*struct{}, error) {
	return nil, a.remove(ctx, in, 0)
}

// remove removes a member and bans the user for ban seconds.
func (a *API) remove(ctx context.Context, in *MemberPath, ban uint32) error {
	callOf(ctx).target = fmt.Sprintf("%s in %s", in.User, in.Group)
	r, err := a.propose(ctx, &command.RemoveMembers{Group: command.GroupID(in.Group), Users: []command.UserID{command.UserID(in.User)}, Ban: ban})
	if err != nil {
		return err
	}
	for _, f := range r.Failed {
		switch f.Code {
		case command.CodeNotFound: // not a member, as was asked for
		case command.CodeRateLimited:
			return a.errorOf(&command.RefusedError{Code: f.Code, Detail: "user: too many of this group are muted or banned", RetryAfterMS: time.Hour.Milliseconds()})
		default:
			return a.errorOf(&command.RefusedError{Code: f.Code, Detail: "user: cannot be removed"})
		}
	}
	return nil
}

type ban struct {
	User  userName `json:"user"`
	Until int64    `json:"until" doc:"ms"`
}

type listBansOutput struct {
	Body struct {
		Bans []ban `json:"bans" nullable:"false"`
		More bool  `json:"more" doc:"ask again, after the last of these"`
	}
}

func (a *API) listBans(_ context.Context, in *struct {
	GroupPath
	After userName `query:"after" doc:"the last name of the page before"`
	ListInput
}) (*listBansOutput, error) {
	if _, err := a.group(in.Group); err != nil {
		return nil, err
	}
	bans, more, err := a.backend.Bans(command.GroupID(in.Group), command.UserID(in.After), in.Limit)
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(listBansOutput)
	out.Body.Bans, out.Body.More = make([]ban, len(bans)), more
	for i, b := range bans {
		out.Body.Bans[i] = ban{User: userName(b.User), Until: b.Until}
	}
	return out, nil
}

type banInput struct {
	MemberPath
	Body struct {
		Seconds uint32 `json:"seconds" minimum:"1" maximum:"315360000"`
	}
}

func (a *API) ban(ctx context.Context, in *banInput) (*struct{}, error) {
	return nil, a.remove(ctx, &in.MemberPath, in.Body.Seconds)
}

func (a *API) unban(ctx context.Context, in *MemberPath) (*struct{}, error) {
	callOf(ctx).target = fmt.Sprintf("%s in %s", in.User, in.Group)
	_, err := a.propose(ctx, &command.Unban{Group: command.GroupID(in.Group), User: command.UserID(in.User)})
	return nil, err
}

type setMemberInput struct {
	MemberPath
	Body struct {
		Role       *settableRole `json:"role,omitempty"`
		MutedUntil *int64        `json:"mutedUntil,omitempty" minimum:"0" maximum:"9007199254740991" doc:"ms; 0 = not muted"`
	}
}

func (a *API) setMember(ctx context.Context, in *setMemberInput) (*struct{}, error) {
	callOf(ctx).target = fmt.Sprintf("%s in %s", in.User, in.Group)
	cmd := &command.SetMember{Group: command.GroupID(in.Group), User: command.UserID(in.User), MutedUntil: in.Body.MutedUntil}
	if in.Body.Role != nil {
		cmd.Role = enum.Roles.Value(string(*in.Body.Role))
	}
	if cmd.Role == command.RoleNone && cmd.MutedUntil == nil {
		return nil, badRequest("body: want role or mutedUntil")
	}
	if err := isMilliseconds("mutedUntil", in.Body.MutedUntil); err != nil {
		return nil, err
	}
	_, err := a.propose(ctx, cmd)
	return nil, err
}

type joinRequest struct {
	User    userName `json:"user"`
	Message string   `json:"message"`
	Time    int64    `json:"time" doc:"ms"`
}

type listRequestsOutput struct {
	Body struct {
		Requests []joinRequest `json:"requests" nullable:"false"`
	}
}

func (a *API) listRequests(_ context.Context, in *GroupPath) (*listRequestsOutput, error) {
	if _, err := a.group(in.Group); err != nil {
		return nil, err
	}
	requests, err := a.backend.JoinRequests(command.GroupID(in.Group))
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(listRequestsOutput)
	out.Body.Requests = make([]joinRequest, len(requests))
	for i, q := range requests {
		out.Body.Requests[i] = joinRequest{User: userName(q.User), Message: q.Message, Time: q.Time}
	}
	return out, nil
}

type answerRequestInput struct {
	MemberPath
	Body struct {
		Accept bool `json:"accept"`
	}
}

func (a *API) answerRequest(ctx context.Context, in *answerRequestInput) (*struct{}, error) {
	callOf(ctx).target = fmt.Sprintf("%s in %s", in.User, in.Group)
	_, err := a.propose(ctx, &command.AnswerJoin{Group: command.GroupID(in.Group), User: command.UserID(in.User), Accept: in.Body.Accept})
	return nil, err
}
