// Package inspect is what an operator can look at and one node alone knows: its sessions,
// what it closed, its memory and replicas, its settings, and who administered what. A Local
// has it for one node. Gather asks all nodes of a cluster.
//
// All of it is bounded, and none of it is found by a walk over users or sessions: what the
// lists show is noted when it happens.
package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
)

// lookTimeout bounds how long Gather waits for other nodes. Those that did not answer are
// named.
const lookTimeout = 2 * time.Second

// What names what a Request asks for.
type What string

const (
	WhatSessions What = "sessions" // of User, and User's refused logins
	WhatFrames   What = "frames"   // of Session of User
	WhatSick     What = "sick"
	WhatView     What = "view"
	WhatSettings What = "settings"
	WhatChanges  What = "changes" // behind After, at most Limit
	WhatForget   What = "forget"  // nothing: the node forgets what it noted of User, who is erased
)

// A Request is what one node asks all. Fields that a node does not know it skips.
type Request struct {
	What    What   `json:"what"`
	User    string `json:"user,omitempty"`
	Session uint64 `json:"session,omitempty"`
	After   Mark   `json:"after,omitzero"`
	Limit   int    `json:"limit,omitempty"`
}

// A Report is one node's answer. Only what was asked for is set.
type Report struct {
	Node     string          `json:"node"`
	Sessions []Session       `json:"sessions,omitempty"`
	Refused  []RefusedLogin  `json:"refused,omitempty"` // of User
	Frames   []Frame         `json:"frames,omitempty"`
	HasFrame bool            `json:"hasFrames,omitempty"` // the session is at this node
	Sick     Sick            `json:"sick,omitzero"`
	View     *store.NodeView `json:"view,omitempty"`
	Settings []Setting       `json:"settings,omitempty"`
	Changes  []Change        `json:"changes,omitempty"`
}

// A Session is a WebSocket of one device, as the node sees it that holds it.
type Session struct {
	User          string `json:"user"`
	Session       uint64 `json:"session"`
	Device        string `json:"device"`
	Platform      string `json:"platform"`
	Node          string `json:"node" doc:"that holds its connection; empty = no node that answers does"`
	Address       string `json:"address" doc:"of the client; empty = not known"`
	Since         int64  `json:"since" doc:"ms, of the login"`
	Encoding      string `json:"encoding" doc:"json or msgpack; empty = not known"`
	Background    bool   `json:"background" doc:"nobody looks at the app, it says"`
	AutoRead      bool   `json:"autoRead" doc:"its acks are read reports"`
	Stalled       bool   `json:"stalled" doc:"an ack is late, so that the device does not count as online"`
	UnackedFrames int    `json:"unackedFrames"`
	UnackedBytes  int    `json:"unackedBytes"`
	Unacked       int64  `json:"unackedMs" doc:"for how long it has had something to ack, without an ack; 0 = it has nothing"`
	Buffered      int    `json:"bufferedBytes" doc:"that wait to be written"`
	Silent        int64  `json:"silentMs" doc:"since its last sign of life"`
	Groups        int    `json:"groups" doc:"that it is told of"`
}

// A Frame is one of the newest frames of a session, without what was in it.
type Frame struct {
	Time  int64  `json:"time" doc:"ms"`
	Op    string `json:"op" doc:"of a request or push; reply or refusal for an answer"`
	In    bool   `json:"in" doc:"it came from the client"`
	Bytes int    `json:"bytes"`
}

// Sick is what is wrong with sessions of a node, of late.
type Sick struct {
	Behind       []Session      `json:"behind"`       // those whose ack is late
	Closed       []Closed       `json:"closed"`       // for being slow, silent or too fast
	Reconnecting []Reconnecting `json:"reconnecting"` // devices that log in often
	Limited      []Limited      `json:"limited"`      // users whom rate limits refused
	Refused      []RefusedLogin `json:"refused"`      // logins whose token or user was refused
}

// A Closed is a connection that the server closed.
type Closed struct {
	Time         int64  `json:"time" doc:"ms"`
	Node         string `json:"node"`
	Code         int    `json:"code" doc:"of the close frame"`
	Reason       string `json:"reason"`
	User         string `json:"user" doc:"empty = it had not logged in"`
	Session      uint64 `json:"session" doc:"0 = it had not logged in"`
	Device       string `json:"device"`
	Platform     string `json:"platform"`
	Address      string `json:"address"`
	Lasted       int64  `json:"lastedMs"`
	UnackedBytes int    `json:"unackedBytes"`
}

// A Reconnecting is a device that logged in again and again.
type Reconnecting struct {
	User   string `json:"user"`
	Device string `json:"device"`
	Node   string `json:"node"`
	Logins int    `json:"logins" doc:"at least so many within the last 10 to 20 minutes"`
	Last   int64  `json:"last" doc:"ms"`
}

// A Limited is a user whose requests were refused with rate_limited.
type Limited struct {
	User    string `json:"user"`
	Op      string `json:"op"`
	Node    string `json:"node"`
	Refused int    `json:"refused" doc:"at least so many within the last 10 to 20 minutes"`
	Last    int64  `json:"last" doc:"ms"`
}

// A RefusedLogin is a user who could not log in, and why. A session's new token that is
// refused, which ends it, counts too.
type RefusedLogin struct {
	User    string `json:"user" doc:"of a token whose signature is valid; empty = it is not valid, so that the name in it is nobody's word"`
	Reason  string `json:"reason" doc:"what the client was told"`
	Node    string `json:"node"`
	Refused int    `json:"refused" doc:"at least so many within the last 10 to 20 minutes"`
	Last    int64  `json:"last" doc:"ms"`
}

// A Setting is one that is not its default. The values of secrets are not told.
type Setting struct {
	Node    string `json:"node"`
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Secret  bool   `json:"secret" doc:"it is set, and its value not told"`
}

// Sessions are what a node's gateway knows of its sessions.
type Sessions interface {
	// InspectSessions returns those of a user.
	InspectSessions(user string) []Session
	// InspectRefused returns the refused logins of a user, the most frequent reason first.
	InspectRefused(user string) []RefusedLogin
	// InspectFrames returns the newest frames of a session, oldest first; false if there is
	// no such session here.
	InspectFrames(user string, session uint64) ([]Frame, bool)
	// InspectSick returns at most limit of each kind.
	InspectSick(limit int) Sick
	// InspectForget leaves a user out of what InspectSick returns.
	InspectForget(user string)
}

// Peers ask all nodes of a cluster, this one too, and call each for one answer at a time.
type Peers interface {
	Look(ctx context.Context, request []byte, each func(node string, answer []byte, err error))
}

// A Local is what one node tells. New makes one; its fields are set before it is used.
type Local struct {
	Node     string
	Changes  Changes
	Settings []Setting
	View     func() store.NodeView // nil: nothing is known of a store
	Peers    Peers                 // nil: the node stands alone

	sessions atomic.Pointer[Sessions]
}

// New returns what a node of that name tells: nothing as yet.
func New(node string) *Local { return &Local{Node: node, Changes: Changes{Node: node}} }

// SetSessions sets whose sessions are told. Until then there are none.
func (l *Local) SetSessions(s Sessions) { l.sessions.Store(&s) }

// Report answers a request for this node.
func (l *Local) Report(r *Request) Report {
	report := Report{Node: l.Node}
	switch r.What {
	case WhatView:
		if l.View != nil {
			view := l.View()
			report.View = &view
		}
	case WhatSettings:
		report.Settings = l.Settings
	case WhatChanges:
		report.Changes = l.Changes.After(r.After, r.Limit)
	}
	if of := l.sessions.Load(); of != nil {
		switch r.What {
		case WhatSessions:
			report.Sessions = (*of).InspectSessions(r.User)
			report.Refused = (*of).InspectRefused(r.User)
		case WhatFrames:
			report.Frames, report.HasFrame = (*of).InspectFrames(r.User, r.Session)
		case WhatSick:
			report.Sick = (*of).InspectSick(r.Limit)
		case WhatForget:
			(*of).InspectForget(r.User)
		}
	}
	report.name()
	return report
}

// name puts the node's name into what is listed with that of others.
func (r *Report) name() {
	for i := range r.Sessions {
		r.Sessions[i].Node = r.Node
	}
	for i := range r.Sick.Behind {
		r.Sick.Behind[i].Node = r.Node
	}
	for i := range r.Sick.Closed {
		r.Sick.Closed[i].Node = r.Node
	}
	for i := range r.Sick.Reconnecting {
		r.Sick.Reconnecting[i].Node = r.Node
	}
	for i := range r.Sick.Limited {
		r.Sick.Limited[i].Node = r.Node
	}
	for _, refused := range [][]RefusedLogin{r.Refused, r.Sick.Refused} {
		for i := range refused {
			refused[i].Node = r.Node
		}
	}
	if r.Settings != nil {
		r.Settings = slices.Clone(r.Settings)
	}
	for i := range r.Settings {
		r.Settings[i].Node = r.Node
	}
	for i := range r.Changes {
		r.Changes[i].Node = r.Node
	}
}

// Answer is Report for a request of another node, in JSON.
func (l *Local) Answer(_ context.Context, request []byte) ([]byte, error) {
	var r Request
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	return json.Marshal(l.Report(&r))
}

// Gather returns the reports of all nodes that answer within lookTimeout, in order of name,
// and the names of the others.
func (l *Local) Gather(ctx context.Context, r Request) (reports []Report, missing []string) {
	missing = []string{}
	if l.Peers == nil {
		return []Report{l.Report(&r)}, missing
	}
	request, err := json.Marshal(r)
	if err != nil {
		panic(err) // it has no field that cannot be written
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	l.Peers.Look(ctx, request, func(node string, answer []byte, err error) {
		var report Report
		if err != nil || json.Unmarshal(answer, &report) != nil {
			missing = append(missing, node)
			return
		}
		reports = append(reports, report)
	})
	slices.Sort(missing)
	slices.SortFunc(reports, func(a, b Report) int { return strings.Compare(a.Node, b.Node) })
	return reports, missing
}
