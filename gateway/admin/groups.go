package admin

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/errcode"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"
)

func (a *API) groupOperations() {
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/groups", "listGroups", "Groups",
		"Groups in order of id.", ""), a.listGroups)
	create := a.operation(http.MethodPost, "/v1/groups", "createGroup", "Groups",
		"Make a group.",
		"What settings leaves out is that of the kind. To make a group again that is there as asked for answers like making it; give group, then, so that a repeat is one.")
	create.DefaultStatus = http.StatusCreated
	huma.Register(a.huma, create, a.createGroup)
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/groups/{group}", "getGroup", "Groups",
		"What is known of a group.", ""), a.getGroup)
	huma.Register(a.huma, a.operation(http.MethodPatch, "/v1/groups/{group}", "setGroup", "Groups",
		"Change a group, or give it to another member.", "What is absent stays. Properties are replaced as a whole. Another owner is not asked; the former one stays an admin."),
		a.setGroup)
	huma.Register(a.huma, a.operation(http.MethodDelete, "/v1/groups/{group}", "dismissGroup", "Groups",
		"Dismiss a group.", "Its id stays taken for 30 days for its owner, and goes on with its seq when it is made again."),
		a.dismissGroup)
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/groups/{group}/messages", "getGroupMessages", "Groups",
		"A page of a group's log, as nobody sees it.", "As getMessages, with what members have deleted for themselves."),
		a.getGroupMessages)
	huma.Register(a.huma, a.operation(http.MethodDelete, "/v1/groups/{group}/messages", "deleteSender", "Groups",
		"Delete all that a member sent.", "They need no longer be one. Gone for all who read later; connected clients get onRecall unless silent. The seqs stay taken."),
		a.deleteSender)
	huma.Register(a.huma, a.operation(http.MethodDelete, "/v1/groups/{group}/messages/{seq}", "deleteMessage", "Groups",
		"Delete one message.", "As deleteSender."), a.deleteMessage)
}

type GroupPath struct {
	Group groupName `path:"group"`
}

// groupSettings are the settings of a group in an answer.
type groupSettings struct {
	MaxMembers int      `json:"maxMembers" minimum:"0" maximum:"1000000" doc:"0 = no limit"`
	Join       joinMode `json:"join" doc:"by a member's invitation; by a request that an admin approves; openly"`
	History    history  `json:"history" doc:"what of the log a member may read"`
	Unread     bool     `json:"unread" doc:"members have a number of unread messages"`
	Stored     bool     `json:"stored" doc:"messages are kept; that is the kind's and cannot be set"`
	MutedAll   bool     `json:"mutedAll,omitempty" doc:"only the owner and admins may send"`
}

// setSettings are the settings that a request sets; those that are absent stay.
type setSettings struct {
	MaxMembers *int      `json:"maxMembers,omitempty" minimum:"0" maximum:"1000000" doc:"0 = no limit"`
	Join       *joinMode `json:"join,omitempty" doc:"by a member's invitation; by a request that an admin approves; openly"`
	History    *history  `json:"history,omitempty" doc:"what of the log a member may read"`
	Unread     *bool     `json:"unread,omitempty" doc:"members have a number of unread messages"`
	MutedAll   *bool     `json:"mutedAll,omitempty" doc:"only the owner and admins may send"`
}

// change returns the settings as a change of the store.
func (s *setSettings) change() command.SettingsChange {
	c := command.SettingsChange{MaxMembers: s.MaxMembers, Unread: s.Unread, MutedAll: s.MutedAll}
	if s.Join != nil {
		c.Join = enum.JoinModes.Value(string(*s.Join))
	}
	if s.History != nil {
		c.History = enum.Histories.Value(string(*s.History))
	}
	return c
}

type GroupInfo struct {
	Group      groupName     `json:"group"`
	Kind       groupKind     `json:"kind"`
	Name       string        `json:"name"`
	Owner      string        `json:"owner" doc:"empty = nobody"`
	Settings   groupSettings `json:"settings"`
	Properties objectJSON    `json:"properties"`
	Created    int64         `json:"created" doc:"ms"`
	Members    int           `json:"memberCount"`
	Requests   int           `json:"requestCount" doc:"to join, that wait for an answer"`
	Offered    string        `json:"ownerOffered,omitempty" doc:"who may become the owner by accepting it"`
	LastSeq    uint64        `json:"lastSeq"`
	Bytes      int           `json:"bytes" doc:"of stored messages"`
}

func groupInfoOf(g *query.GroupInfo) GroupInfo {
	info := GroupInfo{
		Group: groupName(g.ID), Kind: groupKind(enum.GroupKinds.Word(g.Kind)), Name: g.Name, Owner: string(g.Owner),
		Settings: groupSettings{
			MaxMembers: g.Settings.MaxMembers, Join: joinMode(enum.JoinModes.Word(g.Settings.Join)), History: history(enum.Histories.Word(g.Settings.History)),
			Unread: g.Settings.Unread, Stored: g.Settings.StoresMessages, MutedAll: g.Settings.MutedAll,
		},
		Offered:    string(g.Offered),
		Properties: objectJSON("{}"), Created: g.Created, Members: g.Members, Requests: g.Requests, LastSeq: g.LastSeq, Bytes: g.Bytes,
	}
	if g.Properties != nil {
		info.Properties = objectJSON(bodyJSON(g.Properties))
	}
	return info
}

type listGroupsOutput struct {
	Body struct {
		Groups []GroupInfo `json:"groups" nullable:"false"`
		More   bool        `json:"more" doc:"ask again, after the last of these"`
	}
}

func (a *API) listGroups(ctx context.Context, in *struct {
	After groupName `query:"after" doc:"the last id of the page before"`
	ListInput
}) (*listGroupsOutput, error) {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	groups, more, err := a.backend.Groups(ctx, command.GroupID(in.After), in.Limit)
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(listGroupsOutput)
	out.Body.Groups, out.Body.More = make([]GroupInfo, len(groups)), more
	for i := range groups {
		out.Body.Groups[i] = groupInfoOf(&groups[i])
	}
	return out, nil
}

type createGroupInput struct {
	Body struct {
		Group      groupName   `json:"group,omitempty" doc:"absent = one is made up"`
		Kind       groupKind   `json:"kind"`
		Owner      userName    `json:"owner,omitempty" doc:"absent = nobody"`
		Name       string      `json:"name,omitempty" maxLength:"256" doc:"at most 256 bytes"`
		Members    []userName  `json:"members,omitempty" nullable:"false" maxItems:"500" doc:"beside the owner"`
		Settings   setSettings `json:"settings,omitempty"`
		Properties objectJSON  `json:"properties,omitempty"`
	}
}

type createGroupOutput struct {
	Body struct {
		Group  groupName `json:"group"`
		Failed []failure `json:"failed" nullable:"false" doc:"who could not be made a member"`
	}
}

// A failure is a user whom a call could not add or remove, and why.
type failure struct {
	User userName `json:"user"`
	Code string   `json:"code" doc:"as of an error"`
}

func failuresOf(failed []command.MemberFailure) []failure {
	list := make([]failure, len(failed))
	for i, f := range failed {
		list[i] = failure{User: userName(f.User), Code: errcode.OfStore(f.Code)}
	}
	return list
}

func (a *API) createGroup(ctx context.Context, in *createGroupInput) (*createGroupOutput, error) {
	b := &in.Body
	if b.Group == "" {
		id := ulid.ULID(newMessageID(a.backend.Now()))
		b.Group = groupName(strings.ToLower(id.String()))
	}
	callOf(ctx).target = string(b.Group)
	if err := checkGroupName(b.Name); err != nil {
		return nil, err
	}
	properties, err := propertiesOf(b.Properties)
	if err != nil {
		return nil, err
	}
	kind := enum.GroupKinds.Value(string(b.Kind))
	cmd := &command.CreateGroup{
		Group: command.GroupID(b.Group), Owner: command.UserID(b.Owner), Kind: kind,
		Name: b.Name, Properties: properties, Members: users(b.Members), Salt: rand.Uint64(),
	}
	change := b.Settings.change()
	cmd.Settings = change.ApplyTo(kind.Settings())
	r, err := a.propose(ctx, cmd)
	if err != nil {
		return nil, err
	}
	out := new(createGroupOutput)
	out.Body.Group, out.Body.Failed = b.Group, failuresOf(r.Failed)
	return out, nil
}

func checkGroupName(name string) error {
	if len(name) > protocol.MaxGroupNameLen {
		return badRequest(fmt.Sprintf("name: want at most %d bytes", protocol.MaxGroupNameLen))
	}
	return nil
}

// propertiesOf returns the properties of a request in canonical msgpack; nil
// stays nil.
func propertiesOf(v objectJSON) ([]byte, error) {
	if v == nil || string(v) == "null" {
		return nil, nil
	}
	properties, err := canonical("properties", v, protocol.MaxPropertiesLen)
	if err != nil {
		return nil, err
	}
	// {"$bin": …} is an object in JSON, but binary in msgpack.
	if properties[0]&0xf0 != 0x80 && properties[0] != 0xde && properties[0] != 0xdf {
		return nil, badRequest("properties: must be a map")
	}
	return properties, nil
}

// group returns what the store knows of a group. Its error is not_found if
// there is no such group.
func (a *API) group(id groupName) (*query.GroupInfo, error) {
	info, exists, err := a.backend.Group(command.GroupID(id), "")
	if err != nil {
		return nil, a.errorOf(err)
	}
	if !exists {
		return nil, notFound(fmt.Sprintf("group: there is no group %s", id))
	}
	return &info, nil
}

type getGroupOutput struct{ Body GroupInfo }

func (a *API) getGroup(_ context.Context, in *GroupPath) (*getGroupOutput, error) {
	info, err := a.group(in.Group)
	if err != nil {
		return nil, err
	}
	return &getGroupOutput{groupInfoOf(info)}, nil
}

type setGroupInput struct {
	GroupPath
	Body struct {
		Name       *string     `json:"name,omitempty" maxLength:"256" doc:"at most 256 bytes"`
		Owner      userName    `json:"owner,omitempty" doc:"a member"`
		Settings   setSettings `json:"settings,omitempty"`
		Properties objectJSON  `json:"properties,omitempty"`
	}
}

func (a *API) setGroup(ctx context.Context, in *setGroupInput) (*struct{}, error) {
	callOf(ctx).target = string(in.Group)
	b := &in.Body
	cmd := &command.SetGroup{
		Group: command.GroupID(in.Group), Name: b.Name, Owner: command.UserID(b.Owner), Settings: b.Settings.change(),
	}
	if b.Name != nil {
		if err := checkGroupName(*b.Name); err != nil {
			return nil, err
		}
	}
	var err error
	if cmd.Properties, err = propertiesOf(b.Properties); err != nil {
		return nil, err
	}
	if cmd.Name == nil && cmd.Owner == "" && cmd.Properties == nil && b.Settings == (setSettings{}) {
		return nil, badRequest("body: want name, owner, settings or properties")
	}
	_, err = a.propose(ctx, cmd)
	return nil, err
}

func (a *API) dismissGroup(ctx context.Context, in *GroupPath) (*struct{}, error) {
	callOf(ctx).target = string(in.Group)
	_, err := a.propose(ctx, &command.DismissGroup{Group: command.GroupID(in.Group)})
	return nil, err
}

func (a *API) getGroupMessages(_ context.Context, in *struct {
	GroupPath
	PageInput
}) (*pageOutput, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	if _, err := a.group(in.Group); err != nil {
		return nil, err
	}
	q.Group, q.Admin = command.GroupID(in.Group), true
	return a.readPage(q)
}

type SilentInput struct {
	Silent bool `query:"silent" default:"false" doc:"tell nobody: clients keep what they have"`
}

type deleteSenderInput struct {
	GroupPath
	SilentInput
	Sender userName `query:"sender" required:"true" doc:"whose messages"`
}

type deletedOutput struct {
	Body struct {
		Deleted int `json:"deleted" doc:"messages that were there and are gone now; 0 in a live group"`
	}
}

func (a *API) deleteSender(ctx context.Context, in *deleteSenderInput) (*deletedOutput, error) {
	callOf(ctx).target = fmt.Sprintf("%s in %s", in.Sender, in.Group)
	r, err := a.propose(ctx, &command.DeleteMessagesFrom{Group: command.GroupID(in.Group), Sender: command.UserID(in.Sender), Silent: in.Silent})
	if err != nil {
		return nil, err
	}
	out := new(deletedOutput)
	out.Body.Deleted = r.Deleted
	return out, nil
}

func (a *API) deleteMessage(ctx context.Context, in *struct {
	GroupPath
	SilentInput
	Seq seqNumber `path:"seq"`
}) (*struct{}, error) {
	callOf(ctx).target = fmt.Sprintf("%d in %s", in.Seq, in.Group)
	_, err := a.propose(ctx, &command.RecallGroup{Group: command.GroupID(in.Group), Seq: uint64(in.Seq), Silent: in.Silent})
	return nil, err
}
