package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/danielgtaylor/huma/v2"
)

// What an operator looks at. Nothing here walks over all users or sessions.

func (a *API) inspectOperations() {
	get := func(path, id, summary, description string) huma.Operation {
		return a.operation(http.MethodGet, path, id, "Inspection", summary, description)
	}
	huma.Register(a.huma, get("/v1/users/{user}/sessions", "listSessions", "A user's sessions, in order of login.",
		"What the store knows of each and, from the node that holds its connection, how it does. A session that no node holds is one whose node is gone, or that has just ended. refusedLogins says why the user could not log in of late, as far as their tokens' signatures were valid."),
		a.listSessions)
	huma.Register(a.huma, get("/v1/users/{user}/sessions/{session}/frames", "listFrames", "The newest frames of a session, oldest first.",
		"Ops, sizes and times of the last 16, never what was in them."), a.listFrames)
	huma.Register(a.huma, get("/v1/users/{user}/conversations", "listConversations", "A user's one-to-one conversations, the newest first.",
		"With their read cursors. Those that the user took off their recents are left out."), a.listConversations)
	huma.Register(a.huma, get("/v1/users/{user}/blocked", "listBlocked", "Users whom a user has blocked, in order of name.",
		"There is no list of those by whom the user is blocked: ask for each who may have done it."), a.listBlocked)
	huma.Register(a.huma, get("/v1/sick", "getSick", "Sessions that do not do well.",
		"Those whose ack is late, by unacked bytes; connections that were closed for being slow (4413), silent (4408) or too fast (4429); devices that log in again and again; users whom rate limits refused; users whose token was refused, or who are suspended. Each node remembers a bounded number of each."),
		a.getSick)
	huma.Register(a.huma, get("/v1/nodes", "listNodes", "Memory and replicas of all nodes.",
		"What takes the memory of each, how far back its shards keep messages, what limits took from whom of late, and how far its replicas are."), a.listNodes)
	huma.Register(a.huma, get("/v1/settings", "listSettings", "Settings of all nodes that are not the default.",
		"As flags, variables and files set them. Where a cluster's configuration differs it counts: see getClusterConfig. The values of secrets are not told."), a.listSettings)
	huma.Register(a.huma, get("/v1/audit", "listChanges", "Who changed what by administration, the newest first.",
		"Each node remembers its last 1,000 calls that change something, also those that failed, and apart from them the last 100 of tokens that lack the scope; the log has all of them."), a.listChanges)
	huma.Register(a.huma, get("/v1/token", "getToken", "What the token of this call may do.", ""), a.getToken)
}

// MissingNodes is part of answers that are gathered from all nodes.
type MissingNodes struct {
	Missing []string `json:"missing" nullable:"false" doc:"nodes that did not answer: what they know is not in here"`
}

type listSessionsOutput struct {
	Body struct {
		Sessions []inspect.Session      `json:"sessions" nullable:"false"`
		Refused  []inspect.RefusedLogin `json:"refusedLogins" nullable:"false" doc:"the most frequent reason first"`
		MissingNodes
	}
}

func (a *API) listSessions(ctx context.Context, in *UserPath) (*listSessionsOutput, error) {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	known, err := a.backend.Sessions(ctx, command.UserID(in.User))
	if err != nil {
		return nil, a.errorOf(err)
	}
	out := new(listSessionsOutput)
	out.Body.Sessions = make([]inspect.Session, 0, len(known))
	reports, missing := a.config.Inspect.Gather(ctx, inspect.Request{What: inspect.WhatSessions, User: string(in.User)})
	out.Body.Missing = missing
	for _, s := range known {
		of := inspect.Session{
			User: string(in.User), Session: uint64(s.Number), Device: s.Device, Platform: s.Platform, Since: s.LoginMS,
		}
		for _, r := range reports {
			if i := slices.IndexFunc(r.Sessions, func(held inspect.Session) bool { return held.Session == of.Session }); i >= 0 {
				of = r.Sessions[i]
			}
		}
		out.Body.Sessions = append(out.Body.Sessions, of)
	}
	for _, r := range reports {
		out.Body.Refused = addRefused(out.Body.Refused, r.Refused)
	}
	out.Body.Refused = top(out.Body.Refused, len(out.Body.Refused), refusals)
	return out, nil
}

type listFramesOutput struct {
	Body struct {
		Node   string          `json:"node" doc:"that holds the session"`
		Frames []inspect.Frame `json:"frames" nullable:"false"`
	}
}

func (a *API) listFrames(ctx context.Context, in *struct {
	UserPath
	Session uint64 `path:"session" minimum:"1" maximum:"9007199254740991"`
}) (*listFramesOutput, error) {
	reports, missing := a.config.Inspect.Gather(ctx, inspect.Request{What: inspect.WhatFrames, User: string(in.User), Session: in.Session})
	for _, r := range reports {
		if r.HasFrame {
			out := new(listFramesOutput)
			out.Body.Node, out.Body.Frames = r.Node, orNone(r.Frames)
			return out, nil
		}
	}
	if len(missing) > 0 {
		return nil, newError(protocol.CodeUnavailable, "session: is at no node that answers; missing: "+strings.Join(missing, ", "))
	}
	return nil, notFound(fmt.Sprintf("session: %s has no session %d at any node", in.User, in.Session))
}

func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

type conversation struct {
	Conv         convName `json:"conv"`
	LastSeq      uint64   `json:"lastSeq" doc:"of the last visible message; 0 = there is none"`
	Time         int64    `json:"time" doc:"ms, of that message; without one, of the newest there ever was"`
	ReadSeq      uint64   `json:"readSeq"`
	PeerReadSeq  uint64   `json:"peerReadSeq"`
	Unread       int      `json:"unread"`
	Muted        bool     `json:"muted"`
	Pinned       bool     `json:"pinned"`
	MarkedUnread bool     `json:"markedUnread"`
}

type listConversationsOutput struct {
	Body struct {
		Conversations []conversation `json:"conversations" nullable:"false"`
		More          bool           `json:"more" doc:"ask again, after next"`
		Next          uint64         `json:"next" doc:"the after of the next page; 0 = there is none"`
	}
}

// conversationBytes bounds the last messages that a page of conversations is read with.
const conversationBytes = 256 << 10

func (a *API) listConversations(_ context.Context, in *struct {
	UserPath
	After uint64 `query:"after" maximum:"9007199254740991" doc:"next of the page before"`
	Limit int    `query:"limit" default:"50" minimum:"1" maximum:"100"`
}) (*listConversationsOutput, error) {
	q := &query.Conversations{User: command.UserID(in.User), AfterPlace: in.After, Limit: in.Limit, MaxBytes: conversationBytes}
	if err := a.backend.Read(q); err != nil {
		return nil, a.errorOf(err)
	}
	out := new(listConversationsOutput)
	out.Body.Conversations, out.Body.More = make([]conversation, len(q.List.Conversations)), q.List.More
	for i, c := range q.List.Conversations {
		out.Body.Conversations[i] = conversation{
			convOf(c.Peer, ""), c.LastSeq, c.Time, c.ReadSeq, c.PeerReadSeq, c.Unread, c.Muted, c.Pinned, c.MarkedUnread,
		}
		if q.List.More {
			out.Body.Next = c.Place
		}
	}
	return out, nil
}

type listBlockedOutput struct {
	Body struct {
		Users []userName `json:"users" nullable:"false"`
		More  bool       `json:"more" doc:"ask again, after the last of these"`
	}
}

func (a *API) listBlocked(ctx context.Context, in *struct {
	UserPath
	After userName `query:"after" doc:"the last name of the page before"`
	ListInput
}) (*listBlockedOutput, error) {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	if _, err := a.knownUser(ctx, in.User); err != nil {
		return nil, err
	}
	q := &query.Blocked{User: command.UserID(in.User)}
	if err := a.backend.Read(q); err != nil {
		return nil, a.errorOf(err)
	}
	at, found := slices.BinarySearch(q.Users, command.UserID(in.After))
	if found {
		at++
	}
	blocked := q.Users[at:]
	out := new(listBlockedOutput)
	out.Body.Users, out.Body.More = []userName{}, len(blocked) > in.Limit
	for _, user := range blocked[:min(in.Limit, len(blocked))] {
		out.Body.Users = append(out.Body.Users, userName(user))
	}
	return out, nil
}

type topInput struct {
	Limit int `query:"limit" default:"50" minimum:"1" maximum:"200" doc:"of each kind"`
}

type sickOutput struct {
	Body struct {
		Behind       []inspect.Session      `json:"behind" nullable:"false" doc:"with a late ack, the most unacked bytes first"`
		Closed       []inspect.Closed       `json:"closed" nullable:"false" doc:"the newest first"`
		Reconnecting []inspect.Reconnecting `json:"reconnecting" nullable:"false" doc:"the most often first"`
		Limited      []inspect.Limited      `json:"limited" nullable:"false" doc:"the most often first"`
		Refused      []inspect.RefusedLogin `json:"refusedLogins" nullable:"false" doc:"the most often first"`
		MissingNodes
	}
}

func (a *API) getSick(ctx context.Context, in *topInput) (*sickOutput, error) {
	out := new(sickOutput)
	b := &out.Body
	reports, missing := a.config.Inspect.Gather(ctx, inspect.Request{What: inspect.WhatSick, Limit: in.Limit})
	b.Missing = missing
	for _, r := range reports {
		b.Behind, b.Closed = append(b.Behind, r.Sick.Behind...), append(b.Closed, r.Sick.Closed...)
		for _, one := range r.Sick.Reconnecting {
			b.Reconnecting = together(b.Reconnecting, one, func(of, more *inspect.Reconnecting) bool {
				if of.User != more.User || of.Device != more.Device {
					return false
				}
				of.Logins += more.Logins
				if more.Last > of.Last {
					of.Last, of.Node = more.Last, more.Node
				}
				return true
			})
		}
		for _, one := range r.Sick.Limited {
			b.Limited = together(b.Limited, one, func(of, more *inspect.Limited) bool {
				if of.User != more.User || of.Op != more.Op {
					return false
				}
				of.Refused += more.Refused
				if more.Last > of.Last {
					of.Last, of.Node = more.Last, more.Node
				}
				return true
			})
		}
		b.Refused = addRefused(b.Refused, r.Sick.Refused)
	}
	b.Refused = top(b.Refused, in.Limit, refusals)
	b.Behind = top(b.Behind, in.Limit, func(s *inspect.Session) int64 { return int64(s.UnackedBytes) })
	b.Closed = top(b.Closed, in.Limit, func(c *inspect.Closed) int64 { return c.Time })
	b.Reconnecting = top(b.Reconnecting, in.Limit, func(r *inspect.Reconnecting) int64 { return int64(r.Logins) })
	b.Limited = top(b.Limited, in.Limit, func(l *inspect.Limited) int64 { return int64(l.Refused) })
	return out, nil
}

// addRefused adds the refused logins at one node to those at others.
func addRefused(list, more []inspect.RefusedLogin) []inspect.RefusedLogin {
	for _, one := range more {
		list = together(list, one, func(of, more *inspect.RefusedLogin) bool {
			if of.User != more.User || of.Reason != more.Reason {
				return false
			}
			of.Refused += more.Refused
			if more.Last > of.Last {
				of.Last, of.Node = more.Last, more.Node
			}
			return true
		})
	}
	return list
}

func refusals(r *inspect.RefusedLogin) int64 { return int64(r.Refused) }

// together adds one to the element of a list that merge lets it be part of, else to its end.
func together[T any](list []T, one T, merge func(of, more *T) bool) []T {
	for i := range list {
		if merge(&list[i], &one) {
			return list
		}
	}
	return append(list, one)
}

// top returns the limit elements of a list that have the most, the most first.
func top[T any](list []T, limit int, of func(*T) int64) []T {
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(of(&b), of(&a)) })
	return orNone(list[:min(limit, len(list))])
}

type NodeMemory struct {
	Limit       int64 `json:"limit" doc:"0 = none"`
	Soft        int64 `json:"soft" doc:"past which messages are kept for less time, all of reserved counted"`
	Used        int64 `json:"used" doc:"garbage excluded"`
	Reserved    int64 `json:"reserved" doc:"set aside for other: against limit and soft it counts instead of other, whatever that takes; 0 = nothing is"`
	Resident    int64 `json:"resident" doc:"that the process has from the system"`
	Messages    int64 `json:"messages"`
	Users       int64 `json:"users" doc:"users, groups and conversations"`
	Dedupe      int64 `json:"dedupe"`
	Letters     int64 `json:"letters" doc:"that wait for other shards"`
	Other       int64 `json:"other" doc:"connections and the rest of the process"`
	Full        bool  `json:"full" doc:"sends are refused for want of memory"`
	DiskLow     bool  `json:"diskLow" doc:"sends are refused for want of disk"`
	DiskFree    int64 `json:"diskFree" doc:"-1 = unknown"`
	DiskReserve int64 `json:"diskReserve" doc:"free space below which sends are refused; 0 = none"`
}

type Replica struct {
	Shard     uint32     `json:"shard"`
	Leads     bool       `json:"leads"`
	Term      uint64     `json:"term"`
	Applied   uint64     `json:"applied" doc:"index of the newest entry of the log that is in the state"`
	Last      uint64     `json:"last" doc:"index of the newest entry of the log"`
	Bytes     int64      `json:"bytes" doc:"of its state in memory"`
	AppendP50 int64      `json:"appendP50" doc:"µs that half of the appends to the log take at most, fsync included"`
	AppendP99 int64      `json:"appendP99" doc:"µs"`
	Problem   string     `json:"problem" doc:"why it has stopped; empty = it has not"`
	Cutoff    int64      `json:"cutoff" doc:"ms, up to which messages were evicted for want of memory; 0 = none were"`
	Retention int64      `json:"retentionMs" doc:"for how long messages are kept at most"`
	Lost      lossCounts `json:"lost" doc:"since the replica was opened"`
	Losses    []Loss     `json:"losses" nullable:"false" doc:"from whom limits took of late, the newest first"`
	Followers []Follower `json:"followers" nullable:"false" doc:"of a leader"`
}

type lossCounts struct {
	Queue   volume `json:"queue" doc:"of offline queues, for their limit; it is in history still"`
	History volume `json:"history" doc:"of users and groups, for their bytes"`
	Memory  volume `json:"memory" doc:"for want of memory of the node"`
}

type Loss struct {
	Kind     string `json:"kind" enum:"queue,history,memory" doc:"as in lost"`
	Of       string `json:"of" doc:"u:<user> or g:<group>"`
	Messages int    `json:"messages"`
	Bytes    int    `json:"bytes"`
	First    int64  `json:"first" doc:"ms, since when this is counted"`
	Last     int64  `json:"last" doc:"ms"`
}

type Follower struct {
	ID     string `json:"id"`
	Voter  bool   `json:"voter"`
	Up     bool   `json:"up"`
	Lag    uint64 `json:"lag" doc:"entries that it lacks"`
	Behind int64  `json:"behindMs" doc:"for how long it has lacked what the leader had"`
}

type Node struct {
	Node     string     `json:"node"`
	Memory   NodeMemory `json:"memory"`
	Replicas []Replica  `json:"replicas" nullable:"false"`
}

type listNodesOutput struct {
	Body struct {
		Nodes []Node `json:"nodes" nullable:"false"`
		MissingNodes
	}
}

func (a *API) listNodes(ctx context.Context, in *topInput) (*listNodesOutput, error) {
	out := new(listNodesOutput)
	reports, missing := a.config.Inspect.Gather(ctx, inspect.Request{What: inspect.WhatView})
	out.Body.Nodes, out.Body.Missing = []Node{}, missing
	for _, r := range reports {
		if r.View == nil {
			continue // its store is not open
		}
		n := Node{Node: r.Node, Memory: NodeMemory(r.View.Memory), Replicas: make([]Replica, len(r.View.Replicas))}
		for i := range r.View.Replicas {
			n.Replicas[i] = replicaOf(&r.View.Replicas[i], in.Limit)
		}
		out.Body.Nodes = append(out.Body.Nodes, n)
	}
	return out, nil
}

func replicaOf(v *store.ReplicaView, losses int) Replica {
	volumeOf := func(l store.Loss) volume { return volume{l.Messages, l.Bytes} }
	r := Replica{
		Shard: v.Shard, Leads: v.Leads, Term: v.Term, Applied: v.Applied, Last: v.Last, Bytes: v.Bytes,
		AppendP50: v.AppendP50, AppendP99: v.AppendP99, Problem: v.Problem, Cutoff: v.Cutoff, Retention: v.Retention,
		Lost:   lossCounts{volumeOf(v.Losses.Queue), volumeOf(v.Losses.History), volumeOf(v.Losses.Memory)},
		Losses: []Loss{}, Followers: []Follower{},
	}
	for _, l := range v.Losses.Latest[:min(losses, len(v.Losses.Latest))] {
		r.Losses = append(r.Losses, Loss{string(l.Kind), string(convOf(l.User, l.Group)), l.Messages, l.Bytes, l.First, l.Last})
	}
	for _, f := range v.Followers {
		r.Followers = append(r.Followers, Follower(f))
	}
	return r
}

type listSettingsOutput struct {
	Body struct {
		Settings []inspect.Setting `json:"settings" nullable:"false" doc:"in order of node and name"`
		MissingNodes
	}
}

func (a *API) listSettings(ctx context.Context, _ *struct{}) (*listSettingsOutput, error) {
	out := new(listSettingsOutput)
	reports, missing := a.config.Inspect.Gather(ctx, inspect.Request{What: inspect.WhatSettings})
	out.Body.Settings, out.Body.Missing = []inspect.Setting{}, missing
	for _, r := range reports {
		out.Body.Settings = append(out.Body.Settings, r.Settings...)
	}
	return out, nil
}

type listChangesOutput struct {
	Body struct {
		Changes []inspect.Change `json:"changes" nullable:"false"`
		More    bool             `json:"more" doc:"ask again, after next"`
		Next    string           `json:"next" doc:"the after of the next page; empty = there is none"`
		MissingNodes
	}
}

func (a *API) listChanges(ctx context.Context, in *struct {
	After string `query:"after" maxLength:"128" doc:"next of the page before"`
	ListInput
}) (*listChangesOutput, error) {
	mark, err := parseMark(in.After)
	if err != nil {
		return nil, err
	}
	reports, missing := a.config.Inspect.Gather(ctx, inspect.Request{What: inspect.WhatChanges, After: mark, Limit: in.Limit + 1})
	all := []inspect.Change{}
	for _, r := range reports {
		all = append(all, r.Changes...)
	}
	inspect.SortChanges(all)
	out := new(listChangesOutput)
	out.Body.Missing = missing
	if out.Body.More = len(all) > in.Limit; out.Body.More {
		all = all[:in.Limit]
		m := all[len(all)-1].Mark()
		out.Body.Next = fmt.Sprintf("%d.%d.%s", m.Time, m.Number, m.Node)
	}
	out.Body.Changes = all
	return out, nil
}

// parseMark returns the place that an after of listChanges means.
func parseMark(after string) (mark inspect.Mark, err error) {
	if after == "" {
		return mark, nil
	}
	at, rest, _ := strings.Cut(after, ".")
	number, node, _ := strings.Cut(rest, ".")
	mark.Node = node
	mark.Time, err = strconv.ParseInt(at, 10, 64)
	if err == nil {
		mark.Number, err = strconv.ParseUint(number, 10, 64)
	}
	if err != nil || node == "" {
		return mark, badRequest("after: want next of the page before")
	}
	return mark, nil
}

type tokenOutput struct {
	Body struct {
		Name   string   `json:"name" doc:"of the token in logs and in listChanges; empty = the server is open to everybody on its machine"`
		Node   string   `json:"node" doc:"that answers"`
		Scopes []string `json:"scopes" nullable:"false" enum:"read,write,cluster"`
		// Cluster is told here since a token without its scope cannot ask.
		Cluster bool `json:"cluster" doc:"the node is one of several"`
	}
}

func (a *API) getToken(ctx context.Context, _ *struct{}) (*tokenOutput, error) {
	out := new(tokenOutput)
	c := callOf(ctx)
	out.Body.Name, out.Body.Node, out.Body.Cluster = c.token, a.config.Inspect.Node, a.config.Cluster != nil
	for _, s := range scopes {
		if _, refused := a.tokens.authorize(c.secret, s); refused == nil {
			out.Body.Scopes = append(out.Body.Scopes, string(s))
		}
	}
	return out, nil
}
