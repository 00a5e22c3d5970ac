package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"
)

// findSlots is how many of the command.Slots one call of findMessage searches: with a
// million users that is a look at the conversations of 125,000 of them.
const findSlots = 2048

func (a *API) traceOperations() {
	get := func(path, id, summary, description string) huma.Operation {
		return a.operation(http.MethodGet, path, id, "Inspection", summary, description)
	}
	huma.Register(a.huma, get("/v1/users/{user}/conversations/{conv}/messages/{seq}", "traceMessage", "What became of a message of a user's conversation.",
		"In that user's view, and in the other one: the peer's, or the group's log. What has left a log is known by its reason alone, and not looked for in the other view."),
		a.traceMessage)
	huma.Register(a.huma, get("/v1/groups/{group}/messages/{seq}", "traceGroupMessage", "What became of a message of a group.", "In the group's log, without regard to any member."),
		a.traceGroupMessage)
	huma.Register(a.huma, get("/v1/messages/{id}", "findMessage", "Where the message with an id is.",
		"Each call searches a part of all users and groups, at the time that the id names give or take ten minutes; ask again with next while there is more. "+
			"A message whose id names another time, as imports may have it, is found by its conversation and seq alone."),
		a.findMessage)
	huma.Register(a.huma, get("/v1/groups/{group}/senders/{user}", "countSender", "How much of a group is a sender's.",
		"What deleteSender would delete now. They need not be a member any more."), a.countSender)
}

type messageState string

func (messageState) Schema(huma.Registry) *huma.Schema {
	s := oneOf([]string{"visible"})
	s.Enum = append(s.Enum, gapReason("").Schema(nil).Enum...)
	s.Description = "visible, or why it is not"
	return s
}

// A MessageView is what became of a message in one view.
type MessageView struct {
	User        userName     `json:"user,omitempty" doc:"whose view; absent = the group's log"`
	Conv        convName     `json:"conv"`
	Seq         uint64       `json:"seq"`
	State       messageState `json:"state"`
	Unread      bool         `json:"unread" doc:"it is in the user's offline queue or, of a group, among their unread"`
	ReadSeq     uint64       `json:"readSeq" doc:"up to which the user has read; 0 for a group's log"`
	PeerReadSeq uint64       `json:"peerReadSeq" doc:"one-to-one: up to which the peer has read, in seqs of this view"`
	First       uint64       `json:"first" doc:"the lowest seq that the log holds"`
	Last        uint64       `json:"last"`
	ID          string       `json:"id,omitempty" doc:"ULID; absent, like what follows, if the log does not hold the message any more"`
	From        userName     `json:"from,omitempty"`
	Time        int64        `json:"time,omitempty" doc:"ms"`
	TTL         uint32       `json:"ttl,omitempty" doc:"s"`
	Bytes       int          `json:"bytes,omitempty" doc:"in the log"`
}

type traceOutput struct {
	Body struct {
		Views []MessageView `json:"views" nullable:"false"`
	}
}

// trace returns what became of a message in one view; nil if there is no trace of it.
func (a *API) trace(q query.TraceMessage) (*MessageView, command.MsgID, error) {
	if err := a.backend.Read(&q); err != nil {
		return nil, command.MsgID{}, a.errorOf(err)
	}
	t := &q.Trace
	if t.Seq == 0 {
		return nil, command.MsgID{}, nil
	}
	v := &MessageView{
		User: userName(q.User), Conv: convOf(q.Peer, q.Group), Seq: t.Seq, State: "visible", Unread: t.Unread,
		ReadSeq: t.ReadSeq, PeerReadSeq: t.PeerReadSeq, First: t.First, Last: t.Last,
		From: userName(t.From), Time: t.Time, TTL: t.TTL, Bytes: t.Bytes,
	}
	if t.Reason != "" {
		v.State = messageState(t.Reason)
	}
	if t.ID != (command.MsgID{}) {
		v.ID = protocol.ID(t.ID).String()
	}
	return v, t.ID, nil
}

var noTrace = notFound("seq: no such message")

func (a *API) traceMessage(_ context.Context, in *struct {
	UserPath
	Conv convName  `path:"conv"`
	Seq  seqNumber `path:"seq"`
}) (*traceOutput, error) {
	conv, err := in.Conv.parse("conv")
	if err != nil {
		return nil, err
	}
	q := query.TraceMessage{User: command.UserID(in.User), Seq: uint64(in.Seq)}
	if conv.Group {
		q.Group = command.GroupID(conv.ID)
	} else {
		q.Peer = command.UserID(conv.ID)
	}
	own, id, err := a.trace(q)
	if err != nil {
		return nil, err
	}
	if own == nil {
		return nil, noTrace
	}
	out := new(traceOutput)
	out.Body.Views = []MessageView{*own}
	other := query.TraceMessage{User: q.Peer, Peer: q.User, ID: id}
	switch {
	case q.Group != "":
		other = query.TraceMessage{Group: q.Group, Seq: q.Seq}
	case q.Peer == q.User || id == command.MsgID{}:
		return out, nil
	}
	view, _, err := a.trace(other)
	if err != nil {
		return nil, err
	}
	if view != nil {
		out.Body.Views = append(out.Body.Views, *view)
	}
	return out, nil
}

func (a *API) traceGroupMessage(_ context.Context, in *struct {
	GroupPath
	Seq seqNumber `path:"seq"`
}) (*traceOutput, error) {
	if _, err := a.group(in.Group); err != nil {
		return nil, err
	}
	view, _, err := a.trace(query.TraceMessage{Group: command.GroupID(in.Group), Seq: uint64(in.Seq)})
	if err != nil {
		return nil, err
	}
	if view == nil {
		return nil, noTrace
	}
	out := new(traceOutput)
	out.Body.Views = []MessageView{*view}
	return out, nil
}

type findOutput struct {
	Body struct {
		Views []MessageView `json:"views" nullable:"false" doc:"found by this call: one-to-one messages have two, at users who may be found by different calls"`
		More  bool          `json:"more" doc:"ask again, after next"`
		Next  int           `json:"next" doc:"the after of the next call; 0 = all is searched"`
		All   int           `json:"all" doc:"next goes up to this"`
	}
}

func (a *API) findMessage(ctx context.Context, in *struct {
	ID    string `path:"id" pattern:"^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$" patternDescription:"a ULID" doc:"ULID"`
	After int    `query:"after" minimum:"0" maximum:"16383" doc:"next of the call before"`
}) (*findOutput, error) {
	id, err := ulid.ParseStrict(in.ID)
	if err != nil {
		return nil, badRequest("id: want a ULID")
	}
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	places, next, err := a.backend.FindMessage(ctx, command.MsgID(id), in.After, findSlots)
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(findOutput)
	out.Body.Views, out.Body.All = []MessageView{}, command.Slots
	if out.Body.More = next < command.Slots; out.Body.More {
		out.Body.Next = next
	}
	for _, p := range places {
		view, _, err := a.trace(query.TraceMessage{User: p.User, Peer: p.Peer, Group: p.Group, Seq: p.Seq})
		if err != nil {
			return nil, err
		}
		if view != nil {
			out.Body.Views = append(out.Body.Views, *view)
		}
	}
	slices.SortFunc(out.Body.Views, func(a, b MessageView) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Conv, b.Conv)) })
	return out, nil
}

type senderOutput struct {
	Body struct {
		Messages int `json:"messages" doc:"that are there to be read"`
		Bytes    int `json:"bytes" doc:"in the log"`
	}
}

func (a *API) countSender(_ context.Context, in *MemberPath) (*senderOutput, error) {
	q := &query.CountSender{Group: command.GroupID(in.Group), Sender: command.UserID(in.User)}
	if err := a.backend.Read(q); err != nil {
		return nil, a.errorOf(err)
	}
	if !q.Exists {
		return nil, notFound("group: there is no group " + string(in.Group))
	}
	out := new(senderOutput)
	out.Body.Messages, out.Body.Bytes = q.Messages, q.Bytes
	return out, nil
}
