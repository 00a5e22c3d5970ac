package admin

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/danielgtaylor/huma/v2"
	"github.com/oklog/ulid/v2"
)

// maxReceivers is how many users one call sends to.
const maxReceivers = 500

func (a *API) messageOperations() {
	huma.Register(a.huma, a.operation(http.MethodPost, "/v1/messages", "sendMessages", "Messages",
		"Send in a user's name.",
		"To one conversation, which answers with the error if it fails, or to up to 500 users, which always answers 200 with a result for each. "+
			"A repeat with the same cid within the dedupe window is answered like the first and stores nothing. With ttl 0 only devices that are connected now get the message."),
		a.sendMessages)
	huma.Register(a.huma, a.operation(http.MethodGet, "/v1/users/{user}/conversations/{conv}/messages", "getMessages", "Messages",
		"A page of a conversation, as that user sees it.",
		"At most one of before, after and from with to; none gives the newest. Seqs of the page's range without message are in gaps."),
		a.getMessages)
	huma.Register(a.huma, a.operation(http.MethodPatch, "/v1/users/{user}/conversations/{conv}", "setRead", "Messages",
		"Set a read cursor, also back.", "The user's sessions are told by onReadReport."),
		a.setRead)
}

// A receiver names a conversation: u:<user>, g:<group>, or the user's name
// alone.
type receiver string

func (receiver) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Pattern: `^[!-~]{1,66}$`,
		PatternDescription: "u:<user>, g:<group>, or a user in short",
	}
}

// parse returns the conversation of a receiver. Without u: or g: it is that with
// a user.
func (t receiver) parse(field string) (protocol.Conv, error) {
	if strings.HasPrefix(string(t), "u:") || strings.HasPrefix(string(t), "g:") {
		return convName(t).parse(field)
	}
	return convName("u:" + t).parse(field)
}

// receivers is the field to of a send: one receiver, or a list of them.
type receivers struct {
	all  []receiver
	many bool
}

func (receivers) Schema(r huma.Registry) *huma.Schema {
	one := receiver("").Schema(r)
	return &huma.Schema{
		OneOf: []*huma.Schema{one, {
			Type: huma.TypeArray, Items: receiver("").Schema(r), MinItems: new(1), MaxItems: new(maxReceivers),
		}},
		Description: "u:<user> or g:<group>, or a list of one of them, or of up to 500 u:<user>; a name without u: or g: is a user's",
		Examples:    []any{"u:bob"},
	}
}

func (t *receivers) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '[' {
		t.many = true
		return json.Unmarshal(b, &t.all)
	}
	t.all = make([]receiver, 1)
	return json.Unmarshal(b, &t.all[0])
}

type sendInput struct {
	Body struct {
		From     userName   `json:"from" doc:"the sender, who need not be a member of a group"`
		To       receivers  `json:"to" required:"false"`
		Conv     convName   `json:"conv,omitempty" doc:"instead of to, as of a client's send"`
		CID      string     `json:"cid" minLength:"1" maxLength:"64" doc:"the sender's own id of the message, 1-64 bytes"`
		Body     anyJSON    `json:"body" doc:"any JSON value, binary as {\"$bin\": \"<base64>\"}"`
		TTL      *uint32    `json:"ttl,omitempty" maximum:"604800" doc:"s; 0 = to devices that are connected now"`
		Retry    bool       `json:"retry,omitempty" doc:"look for the cid in all of history"`
		Mentions []userName `json:"mentions,omitempty" nullable:"false" maxItems:"100"`
	}
}

type sendResult struct {
	To        receiver `json:"to" doc:"as it was given"`
	ID        string   `json:"id,omitempty" doc:"ULID"`
	Seq       uint64   `json:"seq,omitempty" doc:"in the sender's view, or the group's log; absent with ttl 0 and in live groups"`
	Time      int64    `json:"time,omitempty" doc:"ms"`
	Duplicate bool     `json:"duplicate,omitempty" doc:"a repeat; the rest is of the first"`
	Error     *Error   `json:"error,omitempty" doc:"instead of the others"`
}

type sendOutput struct {
	Body struct {
		Results []sendResult `json:"results" nullable:"false" doc:"in the order of to"`
	}
}

func (a *API) sendMessages(ctx context.Context, in *sendInput) (*sendOutput, error) {
	b := &in.Body
	switch to, conv := len(b.To.all) > 0, b.Conv != ""; {
	case to && conv:
		return nil, badRequest("conv: stands for to; want one of them")
	case conv:
		b.To.all = []receiver{receiver(b.Conv)}
	case !to:
		return nil, badRequest("to: must be set")
	}
	callOf(ctx).target = fmt.Sprintf("%s to %s", b.From, describe(b.To.all))
	if len(b.CID) > protocol.MaxCIDLen {
		return nil, badRequest(fmt.Sprintf("cid: want 1-%d bytes", protocol.MaxCIDLen))
	}
	body, err := canonical("body", b.Body, a.config.MaxBody)
	if err != nil {
		return nil, err
	}
	convs := make([]protocol.Conv, len(b.To.all))
	for i, text := range b.To.all {
		if convs[i], err = text.parse("to"); err != nil {
			return nil, err
		}
		if len(convs) > 1 && convs[i].Group {
			return nil, badRequest(fmt.Sprintf("to[%d]: want u:<user>; a group is to be the only receiver", i))
		}
	}

	out := new(sendOutput)
	out.Body.Results = make([]sendResult, len(convs))
	var commands []command.Command
	var at []int // the index in results of each command
	for i, conv := range convs {
		result := &out.Body.Results[i]
		result.To = b.To.all[i]
		cmd, err := a.prepareSend(b.From, conv, in, body)
		switch {
		case err != nil:
			result.Error = a.errorOf(err)
		case cmd == nil:
			a.sendNow(b.From, conv, in, body, result)
		default:
			commands, at = append(commands, cmd), append(at, i)
		}
	}
	for i, o := range a.proposeAll(ctx, commands) {
		result := &out.Body.Results[at[i]]
		if o.err != nil {
			result.Error = a.errorOf(o.err)
			continue
		}
		result.ID, result.Seq = protocol.ID(o.result.ID).String(), o.result.Seq
		result.Time, result.Duplicate = o.result.Time, o.result.Duplicate
	}
	if first := out.Body.Results[0]; !b.To.many && first.Error != nil {
		return nil, first.Error
	}
	return out, nil
}

// prepareSend checks a send to one receiver and returns its command; nil if the
// message is not to be stored, and is sent with sendNow.
func (a *API) prepareSend(from userName, conv protocol.Conv, in *sendInput, body []byte) (command.Command, error) {
	b := &in.Body
	online := b.TTL != nil && *b.TTL == 0
	if conv.Group {
		info, exists, err := a.backend.Group(command.GroupID(conv.ID), "")
		if err != nil {
			return nil, err
		}
		if !exists {
			return nil, notFound("to: there is no group " + conv.ID)
		}
		if online || !info.Settings.StoresMessages {
			return nil, nil
		}
		return a.groupSend(from, conv, in, body), nil
	}
	if a.config.KnownUsersOnly && conv.ID != string(from) {
		known, err := a.backend.Exists(command.UserID(conv.ID))
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, notFound("to: there is no user " + conv.ID)
		}
	}
	if online {
		return nil, nil
	}
	return a.userSend(from, conv, in, body), nil
}

func (a *API) userSend(from userName, conv protocol.Conv, in *sendInput, body []byte) *command.Send {
	b := &in.Body
	return &command.Send{
		User: command.UserID(from), To: command.UserID(conv.ID), ID: newMessageID(a.backend.Now()), CID: b.CID,
		Body: body, TTL: ttlOf(b.TTL), Retry: b.Retry, Mentions: texts(b.Mentions),
	}
}

func (a *API) groupSend(from userName, conv protocol.Conv, in *sendInput, body []byte) *command.SendGroup {
	b := &in.Body
	return &command.SendGroup{
		Group: command.GroupID(conv.ID), User: command.UserID(from), Admin: true, ID: newMessageID(a.backend.Now()), CID: b.CID,
		Body: body, TTL: ttlOf(b.TTL), Retry: b.Retry, Mentions: texts(b.Mentions),
	}
}

// sendNow sends a message that is not stored to the receiver's sessions, and
// fills in the result.
func (a *API) sendNow(from userName, conv protocol.Conv, in *sendInput, body []byte, result *sendResult) {
	var sent command.Result
	var err error
	if conv.Group {
		sent, err = a.backend.SendLive(a.groupSend(from, conv, in, body))
	} else {
		sent, err = a.backend.SendEphemeral(a.userSend(from, conv, in, body))
	}
	if err != nil {
		*result = sendResult{To: result.To, Error: a.errorOf(err)}
		return
	}
	result.ID, result.Time, result.Duplicate = protocol.ID(sent.ID).String(), sent.Time, sent.Duplicate
}

func ttlOf(ttl *uint32) uint32 {
	if ttl == nil {
		return 0
	}
	return *ttl
}

func texts[T ~string](names []T) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = string(n)
	}
	return list
}

func users(names []userName) []command.UserID {
	list := make([]command.UserID, len(names))
	for i, n := range names {
		list[i] = command.UserID(n)
	}
	return list
}

// describe returns the receivers as the audit log names them.
func describe[T ~string](names []T) string {
	if len(names) == 1 {
		return string(names[0])
	}
	return fmt.Sprintf("%d users", len(names))
}

// newMessageID returns a ULID of the store's time.
func newMessageID(nowMS int64) command.MsgID {
	var id ulid.ULID
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	binary.BigEndian.PutUint16(id[6:], uint16(rand.Uint32()))
	_ = id.SetTime(uint64(nowMS)) // fails from the year 10889 on
	return command.MsgID(id)
}

// PageInput holds the parameters of a request for a page of messages.
type PageInput struct {
	Before optional[seqNumber] `query:"before" doc:"seqs below this one, the highest of them"`
	After  optional[seqOrZero] `query:"after" doc:"seqs above this one, the lowest of them; 0 begins at the start"`
	From   optional[seqNumber] `query:"from" doc:"lowest seq, with to"`
	To     optional[seqNumber] `query:"to" doc:"highest seq, with from"`
	Limit  int                 `query:"limit" default:"20" minimum:"1" maximum:"100" doc:"messages"`
}

// A seqOrZero is a seqNumber, or 0 for the place before the first message.
type seqOrZero uint64

func (seqOrZero) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64", Minimum: new(0.0), Maximum: new(float64(protocol.MaxInt))}
}

func (in *PageInput) query() (query.HistoryQuery, error) {
	q := query.HistoryQuery{
		Before: uint64(in.Before.Value), After: uint64(in.After.Value), HasAfter: in.After.Set,
		From: uint64(in.From.Value), To: uint64(in.To.Value), Limit: in.Limit,
		MaxBytes: protocol.MaxPage, MaxGaps: protocol.MaxGaps, MaxSeqs: protocol.MaxPageSeqs,
	}
	given := 0
	for _, set := range []bool{in.Before.Set, in.After.Set, in.From.Set || in.To.Set} {
		if set {
			given++
		}
	}
	switch {
	case in.From.Set != in.To.Set:
		return q, badRequest("from: must come with to")
	case q.From > q.To:
		return q, badRequest("from: must not be above to")
	case given > 1:
		return q, badRequest("before: must come alone: only one of before, after and from with to")
	}
	return q, nil
}

type gap struct {
	From   uint64    `json:"from"`
	To     uint64    `json:"to"`
	Reason gapReason `json:"reason"`
}

type pageOutput struct {
	Body struct {
		Messages []message `json:"messages" nullable:"false" doc:"ascending by seq"`
		From     uint64    `json:"from" doc:"lowest seq that the page covers; 0 = there is nothing"`
		To       uint64    `json:"to"`
		Gaps     []gap     `json:"gaps" nullable:"false" doc:"seqs of the range that have no message"`
		More     bool      `json:"more" doc:"there is more in the direction asked for, if only gaps: go on from to, or from"`
	}
}

// readPage reads a page of history and returns it as an answer.
func (a *API) readPage(q query.HistoryQuery) (*pageOutput, error) {
	var page query.Page
	if err := a.backend.History(q, &page); err != nil {
		return nil, a.errorOf(err)
	}
	out := new(pageOutput)
	b := &out.Body
	b.Messages, b.From, b.To = make([]message, len(page.Updates.Messages)), page.From, page.To
	b.Gaps, b.More = make([]gap, len(page.Gaps)), page.More
	for i := range page.Updates.Messages {
		b.Messages[i] = messageOf(&page.Updates.Messages[i])
	}
	for i, g := range page.Gaps {
		b.Gaps[i] = gap{From: g.From, To: g.To, Reason: gapReason(enum.GapReasons.Word(g.Reason))}
	}
	return out, nil
}

type ConversationPath struct {
	User userName `path:"user"`
	Conv convName `path:"conv"`
}

func (a *API) getMessages(_ context.Context, in *struct {
	ConversationPath
	PageInput
}) (*pageOutput, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	conv, err := in.Conv.parse("conv")
	if err != nil {
		return nil, err
	}
	q.User = command.UserID(in.User)
	if conv.Group {
		q.Group = command.GroupID(conv.ID)
	} else {
		q.Peer = command.UserID(conv.ID)
	}
	return a.readPage(q)
}

type setReadInput struct {
	ConversationPath
	Body struct {
		ReadSeq uint64 `json:"readSeq" maximum:"9007199254740991" doc:"the highest seq that is read; beyond the newest means the newest"`
	}
}

type setReadOutput struct {
	Body struct {
		Unread int `json:"unread" doc:"messages of the conversation that are unread now"`
	}
}

func (a *API) setRead(ctx context.Context, in *setReadInput) (*setReadOutput, error) {
	callOf(ctx).target = fmt.Sprintf("%s in %s", in.User, in.Conv)
	conv, err := in.Conv.parse("conv")
	if err != nil {
		return nil, err
	}
	var cmd command.Command = &command.SetRead{User: command.UserID(in.User), Peer: command.UserID(conv.ID), Seq: in.Body.ReadSeq}
	if conv.Group {
		cmd = &command.ReadGroup{Group: command.GroupID(conv.ID), User: command.UserID(in.User), Seq: in.Body.ReadSeq, MayMoveBack: true}
	}
	r, err := a.propose(ctx, cmd)
	if err != nil {
		return nil, err
	}
	out := new(setReadOutput)
	out.Body.Unread = r.Unread
	return out, nil
}
