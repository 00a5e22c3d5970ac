//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// An admin does by HTTP what administrators do to a crowd.
type admin struct {
	c   *crowd
	rng *rand.Rand

	imports []*imported
	erased  []*erased
}

// An imported is a conversation that was imported and holds nothing else.
type imported struct {
	stream, from, to string // to is "u:" and a user or "g:" and a group
	rows             []string
	unread           bool
}

// An erased is a user who was erased, after having written to a group and to
// somebody who is away.
type erased struct {
	user  string
	group *crowdGroup
	to    string
	sent  *sent // to the one who is away
}

const (
	maxImports = 4
	importRows = 400
)

func newAdmin(c *crowd, rng *rand.Rand) *admin { return &admin{c: c, rng: rng} }

func (a *admin) work(ctx context.Context, writers []string) error {
	for n := 0; !a.c.stopped() && ctx.Err() == nil; n++ {
		rest(ctx, a.rng, 400*time.Millisecond)
		g := a.c.groups[a.rng.IntN(len(a.c.groups)-1)] // not the one that is remade
		var err error
		switch dice := a.rng.IntN(8); {
		case dice == 0:
			err = a.deleteSender(ctx, g, writers[a.rng.IntN(len(writers))])
		case dice < 3:
			err = a.deleteOne(ctx, g)
		case dice < 5:
			err = a.erase(ctx, g, n)
		case len(a.imports) < maxImports:
			err = a.importRows(ctx, n)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// do repeats a call until it gets an answer other than 503, and returns that. A
// nil body is none. Every status but 2xx is an error, unless expected: then the
// answer is nil.
func (a *admin) do(ctx context.Context, method, path, kind string, body []byte, expected ...int) ([]byte, error) {
	for {
		status, answer, err := a.c.t.server.request(ctx, method, path, kind, body)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil && status/100 == 2:
			return answer, nil
		case err == nil && status != 503:
			for _, s := range expected {
				if s == status {
					return nil, nil
				}
			}
			return nil, violated("%s %s: %d %s", method, path, status, answer)
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

func (a *admin) post(ctx context.Context, path string, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return a.do(ctx, "POST", path, "application/json", b)
}

func (a *admin) silent() (silent bool, query string) {
	if a.rng.IntN(3) == 0 {
		return true, "silent=true"
	}
	return false, "silent=false"
}

func (a *admin) deleteSender(ctx context.Context, g *crowdGroup, user string) error {
	silent, query := a.silent()
	return a.c.remove(g, &removal{sender: user, silent: silent, reason: gapDeleted}, func() error {
		_, err := a.do(ctx, "DELETE", "/v1/groups/"+g.id+"/messages?sender="+user+"&"+query, "", nil)
		return err
	})
}

func (a *admin) deleteOne(ctx context.Context, g *crowdGroup) error {
	seq := a.c.someSeq(g, a.rng)
	if seq == 0 {
		return nil
	}
	silent, query := a.silent()
	return a.c.remove(g, &removal{seq: seq, silent: silent, reason: gapDeleted}, func() error {
		_, err := a.do(ctx, "DELETE", fmt.Sprintf("/v1/groups/%s/messages/%d?%s", g.id, seq, query), "", nil)
		return err
	})
}

// send sends a message in a user's name and returns where it is stored.
func (a *admin) send(ctx context.Context, from, to, cid string, body []byte) (seq uint64, id protocol.ID, time int64, err error) {
	answer, err := a.post(ctx, "/v1/messages", map[string]any{"from": from, "to": to, "cid": cid, "retry": true, "body": json.RawMessage(protocol.AppendBodyJSON(nil, body))})
	if err != nil {
		return 0, id, 0, err
	}
	var ok struct {
		Results []struct {
			ID   string
			Seq  uint64
			Time int64
		}
	}
	if err := json.Unmarshal(answer, &ok); err != nil || len(ok.Results) != 1 {
		return 0, id, 0, violated("POST /v1/messages = %s", answer)
	}
	r := ok.Results[0]
	if id, err = protocol.ParseID(r.ID); err != nil {
		return 0, id, 0, violation{err}
	}
	return r.Seq, id, r.Time, nil
}

// erase makes a user a member, writes in their name, and erases them.
func (a *admin) erase(ctx context.Context, g *crowdGroup, n int) error {
	c := a.c
	e := &erased{user: fmt.Sprintf("%smayfly%d", c.prefix, n), group: g, to: c.away[0]}
	for {
		answer, err := a.post(ctx, "/v1/groups/"+g.id+"/members", map[string]any{"users": []string{e.user}})
		if err != nil {
			return err
		}
		var ok struct{ Failed []struct{ Code string } }
		if err := json.Unmarshal(answer, &ok); err != nil || len(ok.Failed) > 0 && ok.Failed[0].Code != protocol.CodeUnavailable {
			return violated("%s: members added: %s", g.id, answer)
		}
		if len(ok.Failed) == 0 {
			break
		}
	}
	for i := range 3 {
		s, err := compose(e.user, i, a.rng)
		if err != nil {
			return err
		}
		c.mu.Lock()
		s.begun = c.tick()
		g.sends = append(g.sends, s)
		g.byCID[s.cid] = s
		c.mu.Unlock()
		seq, id, at, err := a.send(ctx, e.user, "g:"+g.id, s.cid, s.body)
		if err != nil {
			return err
		}
		c.mu.Lock()
		s.answered = c.tick()
		err = g.place(s, seq, id, at)
		c.sent++
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
	s, err := compose(e.user, 3, a.rng)
	if err != nil {
		return err
	}
	if s.seq, s.id, s.time, err = a.send(ctx, e.user, "u:"+e.to, s.cid, s.body); err != nil {
		return err
	}
	e.sent = s
	c.mu.Lock()
	c.direct[e.to] = append(c.direct[e.to], s)
	c.mu.Unlock()
	// Erasing does not see a membership that the user's shard has not learnt of yet.
	err = poll(ctx, readyPatience, func() (string, error) {
		user, err := a.user(ctx, e.user)
		if err != nil || user == nil || len(user.Groups) == 0 {
			return e.user + " is in no group", err
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	err = c.remove(g, &removal{sender: e.user, reason: gapDeleted}, func() error {
		_, err := a.do(ctx, "DELETE", "/v1/users/"+e.user, "", nil)
		return err
	})
	if err != nil {
		return err
	}
	a.erased = append(a.erased, e)
	return nil
}

// A userInfo is what the administration API returns of a user.
type userInfo struct {
	Exists      bool
	Groups      []json.RawMessage
	Stored      struct{ Messages int }
	UnreadTotal int
}

// user returns what the server knows of a user, nil if nothing.
func (a *admin) user(ctx context.Context, name string) (*userInfo, error) {
	answer, err := a.do(ctx, "GET", "/v1/users/"+name, "", nil, 404)
	if err != nil || answer == nil {
		return nil, err
	}
	info := new(userInfo)
	if err := json.Unmarshal(answer, info); err != nil {
		return nil, violation{err}
	}
	return info, nil
}

// importRows imports a new one-to-one conversation, or the history of a new
// group.
func (a *admin) importRows(ctx context.Context, n int) error {
	c := a.c
	i := &imported{stream: fmt.Sprintf("%sstream%d", c.prefix, n), from: fmt.Sprintf("%simp%d", c.prefix, n), unread: a.rng.IntN(2) == 0}
	i.to = fmt.Sprintf("u:%sinto%d", c.prefix, n)
	if n%2 == 0 {
		group := fmt.Sprintf("%simp%d", c.prefix, n)
		i.to = "g:" + group
		b, err := json.Marshal(map[string]any{"group": group, "kind": protocol.KindPrivate, "owner": i.from, "members": []string{c.owner}})
		if err != nil {
			return err
		}
		if _, err := a.do(ctx, "POST", "/v1/groups", "application/json", b); err != nil {
			return err
		}
	}
	var lines bytes.Buffer
	at := time.Now().Add(-2 * time.Hour).UnixMilli()
	for k := range importRows {
		body := fmt.Sprintf(`{"n":%d,"of":%q}`, k, i.stream)
		i.rows = append(i.rows, body)
		fmt.Fprintf(&lines, `{"from":%q,"to":%q,"time":%d,"body":%s}`+"\n", i.from, i.to, at+int64(k), body)
	}
	answer, err := a.do(ctx, "POST", fmt.Sprintf("/v1/import?stream=%s&unread=%v", url.QueryEscape(i.stream), i.unread), "application/x-ndjson", lines.Bytes())
	if err != nil {
		return err
	}
	var ok struct{ Rows, Stored, Known, Expired int }
	if err := json.Unmarshal(answer, &ok); err != nil || ok.Rows != importRows || ok.Stored+ok.Known != importRows {
		return violated("import of %d rows = %s", importRows, answer)
	}
	a.imports = append(a.imports, i)
	return nil
}
