// Command godriver is the Go SDK as a driver of the conformance suite: see
// ../README.md for what it reads and writes. With -fault it does one thing wrong, so that
// the suite can show that it finds that.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// A command is a line of stdin. Fields that a command does not have are zero.
type command struct {
	N  int64
	Do string

	URL, User, Device, Store, Codec, Recents string
	WithoutStorage, ManualRead               bool

	Conv, CID     string
	Body          json.RawMessage
	TTL           int64
	Before, After *uint64
	Range         []uint64
	Limit         int
	Seq           uint64
	Seqs          []uint64
	Local         bool
	Messages      bool
	For           int64
	Token, Refuse string
}

type obj = map[string]any

// A driver holds at most one client at a time.
type driver struct {
	fault string

	out sync.Mutex

	mu     sync.Mutex
	client *client.Client
	reset  bool // a reset concerned groups
	asked  int64
	tokens map[int64]chan command
}

func main() {
	fault := flag.String("fault", "", "twice, greedy, forget, undead, counting or resetting: what to do wrong")
	flag.Parse()
	d := &driver{fault: *fault, tokens: make(map[int64]chan command)}
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		var c command
		if err == nil {
			err = json.Unmarshal(line, &c)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		switch c.Do {
		case "token":
			d.mu.Lock()
			answer := d.tokens[c.For]
			d.mu.Unlock()
			answer <- c
		case "send": // in the order of their commands
			d.run(c)
		default:
			go d.run(c)
		}
	}
	d.close()
}

func (d *driver) write(v obj) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // all values are made here
	}
	d.out.Lock()
	defer d.out.Unlock()
	os.Stdout.Write(append(b, '\n'))
}

func (d *driver) run(c command) {
	ok, err := d.do(c)
	if err != nil {
		d.write(obj{"n": c.N, "err": obj{"code": codeOf(err), "message": err.Error()}})
		return
	}
	if ok == nil {
		ok = obj{}
	}
	d.write(obj{"n": c.N, "ok": ok})
}

// codeOf is the code of an error as README.md has them.
func codeOf(err error) string {
	if refusal, ok := errors.AsType[*client.Error](err); ok {
		return refusal.Code
	}
	if _, ok := errors.AsType[*client.KickedError](err); ok {
		return "kicked"
	}
	for of, code := range map[error]string{
		client.ErrUnauthorized: protocol.CodeUnauthorized, client.ErrClosed: "closed", client.ErrOffline: "offline",
		client.ErrNoStore: "storage",
	} {
		if errors.Is(err, of) {
			return code
		}
	}
	if _, ok := errors.AsType[*protocol.FieldError](err); ok {
		return protocol.CodeBadRequest
	}
	return protocol.CodeInternal
}

func (d *driver) do(c command) (obj, error) {
	ctx := context.Background()
	if c.Do == "open" {
		return nil, d.open(c)
	}
	if c.Do == "close" {
		d.close()
		return nil, nil
	}
	d.mu.Lock()
	sdk := d.client
	d.mu.Unlock()
	if sdk == nil {
		return nil, client.ErrClosed
	}
	q := query(c)
	switch c.Do {
	case "send":
		body, err := fromNeutral(c.Body)
		if err == nil {
			_, err = sdk.Queue(c.Conv, body, client.SendOptions{CID: c.CID})
		}
		return nil, err
	case "sendNow":
		body, err := fromNeutral(c.Body)
		if err != nil {
			return nil, err
		}
		sent, err := sdk.Send(ctx, c.Conv, body, client.SendOptions{OnlineOnly: true})
		return obj{"id": sent.ID.String()}, err
	case "getMessages":
		get := sdk.Messages
		if d.fault == "greedy" {
			get = sdk.History
		}
		page, err := get(ctx, c.Conv, q)
		return pageOf(page), err
	case "localMessages":
		d.mu.Lock()
		dropped := d.reset && d.fault == "resetting"
		d.mu.Unlock()
		if dropped {
			return pageOf(client.Page{}), nil
		}
		page, err := sdk.LocalMessages(c.Conv, q)
		if errors.Is(err, client.ErrNoStore) {
			err = nil
		}
		return pageOf(page), err
	case "conversations":
		return d.conversations(sdk)
	case "readReport":
		unread, err := sdk.ReadReport(ctx, c.Conv, c.Seq)
		return obj{"unread": unread}, err
	case "deleteMessages":
		if !c.Local {
			return nil, sdk.DeleteMessages(ctx, c.Conv, c.Seqs...)
		}
		if d.fault == "undead" {
			return nil, nil
		}
		return nil, sdk.DeleteLocalMessages(c.Conv, c.Seqs...)
	case "deleteConversation":
		if c.Local {
			return nil, sdk.DeleteLocalConversation(c.Conv, c.Messages)
		}
		return nil, sdk.DeleteConversation(ctx, c.Conv, c.Messages)
	case "recall":
		return nil, sdk.Recall(ctx, c.Conv, c.Seq)
	case "disableStorage":
		return nil, sdk.DisableStorage(c.Conv)
	}
	return nil, fmt.Errorf("no command: %s", c.Do)
}

func query(c command) client.Query {
	q := client.Query{Limit: c.Limit}
	if c.Before != nil {
		q.Before = *c.Before
	}
	if c.After != nil {
		q.After, q.FromStart = *c.After, *c.After == 0
	}
	if len(c.Range) == 2 {
		q.From, q.To = c.Range[0], c.Range[1]
	}
	return q
}

func (d *driver) close() {
	d.mu.Lock()
	sdk := d.client
	d.client = nil
	d.mu.Unlock()
	if sdk != nil {
		sdk.Close()
		<-sdk.Done()
	}
}

func (d *driver) open(c command) error {
	cfg := client.Config{
		URL: c.URL, Device: c.Device, Recents: c.Recents, ManualRead: c.ManualRead, Token: d.token,
		OnMessages: func(list []client.Message) {
			d.write(obj{"on": "messages", "messages": messages(list)})
			if d.fault == "twice" {
				d.write(obj{"on": "messages", "messages": messages(list)})
			}
		},
		OnInterrupted: func(list []client.Message) { d.write(obj{"on": "interrupted", "messages": messages(list)}) },
		OnSynced: func(s client.Synced) {
			lost := []obj{}
			for _, l := range s.Lost {
				lost = append(lost, obj{"conv": l.Conv.String(), "from": l.From, "to": l.To, "count": l.Count})
			}
			d.mu.Lock()
			d.reset = d.reset || len(s.ResetGroups) > 0
			d.mu.Unlock()
			d.write(obj{"on": "synced", "lost": lost, "reset": s.Reset, "resetGroups": append([]string{}, s.ResetGroups...)})
		},
		OnSent: func(s client.Sent) {
			e := obj{"on": "settled", "conv": s.Conv, "cid": s.Result.CID, "state": "stored", "id": s.Result.ID.String(), "seq": s.Result.Seq}
			if s.Err != nil {
				e["state"], e["code"] = "refused", codeOf(s.Err)
			}
			d.write(e)
		},
		OnReadReport:  func(p client.ReadReport) { d.write(obj{"on": "readReport", "conv": p.Conv.String(), "seq": p.Seq}) },
		OnReadReceipt: func(p client.ReadReceipt) { d.write(obj{"on": "readReceipt", "conv": p.Conv.String(), "seq": p.Seq}) },
		OnRecall:      func(p client.Recall) { d.write(obj{"on": "recall", "conv": p.Conv.String()}) },
		OnState: func(s client.State) {
			e := obj{"on": "state", "state": s.String()}
			d.mu.Lock()
			sdk := d.client
			d.mu.Unlock()
			if s == client.StateClosed && sdk != nil {
				e["code"] = codeOf(sdk.Err())
			}
			d.write(e)
		},
	}
	if c.Codec == "msgpack" {
		cfg.Codec = protocol.Msgpack
	}
	switch {
	case c.WithoutStorage:
		cfg.Store = client.WithoutStorage
	case c.Store == "" || d.fault == "forget":
		cfg.Store = client.Memory()
	default:
		if err := os.MkdirAll(c.Store, 0o700); err != nil {
			return err
		}
		cfg.Store = client.File(filepath.Join(c.Store, "messages.db"))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		return errors.New("a client is open")
	}
	var err error
	d.client, err = client.New(cfg)
	return err
}

// token asks the suite.
func (d *driver) token(ctx context.Context, why client.TokenReason) (string, error) {
	answer := make(chan command, 1)
	d.mu.Lock()
	d.asked++
	n := d.asked
	d.tokens[n] = answer
	d.mu.Unlock()
	d.write(obj{"on": "token", "for": n, "reason": why})
	select {
	case c := <-answer:
		if c.Refuse != "" {
			return "", client.ErrUnauthorized
		}
		return c.Token, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (d *driver) conversations(sdk *client.Client) (obj, error) {
	page, err := sdk.Conversations(0, 1000)
	if err != nil {
		return nil, err
	}
	list := []obj{}
	for _, c := range page.List {
		e := obj{"conv": c.Conv.String(), "lastSeq": c.LastSeq, "unread": c.Unread}
		if c.Uncounted && d.fault == "counting" {
			e["unread"] = c.LastSeq - c.ReadSeq
		}
		list = append(list, e)
	}
	return obj{"conversations": list, "unreadTotal": page.Unread}, nil
}

func pageOf(p client.Page) obj {
	gaps := []obj{}
	for _, g := range p.Gaps {
		gaps = append(gaps, obj{"from": g.From, "to": g.To, "reason": g.Reason})
	}
	return obj{"messages": messages(p.Messages), "gaps": gaps, "more": p.More}
}

func messages(list []client.Message) []obj {
	out := []obj{}
	for i := range list {
		m := &list[i]
		body, err := m.BodyValue()
		if err != nil {
			panic(err) // the SDK has decoded it
		}
		out = append(out, obj{
			"id": m.ID.String(), "conv": m.Conv.String(), "from": m.From, "seq": m.Seq, "time": m.Time, "cid": string(m.CID), "body": toNeutral(body),
		})
	}
	return out
}

// toNeutral writes what JSON cannot hold as README.md has it.
func toNeutral(v any) any {
	const safe = 1<<53 - 1
	switch v := v.(type) {
	case []byte:
		return obj{"$bin": v} // encoding/json makes base64 of it
	case int64:
		if v > safe || v < -safe {
			return obj{"$int": fmt.Sprint(v)}
		}
	case uint64:
		if v > safe {
			return obj{"$int": fmt.Sprint(v)}
		}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = toNeutral(v[i])
		}
		return list
	case map[string]any:
		m := make(obj, len(v))
		for k, e := range v {
			m[k] = toNeutral(e)
		}
		return m
	}
	return v
}

// fromNeutral reads a body of a command: integers that JSON cannot hold have their own
// notation, all else is the server's JSON.
func fromNeutral(text json.RawMessage) (any, error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	plain, err := json.Marshal(withInts(v))
	if err != nil {
		return nil, err
	}
	body, err := protocol.CanonicalJSON(nil, plain, protocol.LargestBody)
	if err != nil {
		return nil, err
	}
	return protocol.BodyValue(body)
}

func withInts(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withInts(v[i])
		}
	case map[string]any:
		if text, ok := v["$int"].(string); ok && len(v) == 1 {
			return json.Number(text)
		}
		for k := range v {
			v[k] = withInts(v[k])
		}
	}
	return v
}
