package operation

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
	"github.com/belfry-im/belfry/gateway/webhook"
)

// A hookReceiver is a receiver of webhooks that can fail in every way: "hang",
// "error", "garbage", "close", "away"; "" is well.
type hookReceiver struct {
	t       *testing.T
	secret  webhook.Secret
	address string

	mu     sync.Mutex
	server *http.Server
	fault  string
	decide func(data obj) string     // the answer to message.beforeSend; nil accepts
	events map[string]map[string]obj // that were taken: data by webhook-id, by type
	tries  int
}

func startHookReceiver(t *testing.T) *hookReceiver {
	secret, err := webhook.ParseSecret(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	r := &hookReceiver{t: t, secret: secret, address: "127.0.0.1:0", events: make(map[string]map[string]obj)}
	r.become("")
	t.Cleanup(func() { r.become("away") })
	return r
}

func (r *hookReceiver) url() string { return "http://" + r.address + "/" }

// become changes what the receiver does from now on.
func (r *hookReceiver) become(fault string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
	switch {
	case fault == "away" && r.server != nil:
		r.server.Close()
		r.server = nil
	case fault != "away" && r.server == nil:
		listener, err := net.Listen("tcp", r.address)
		if err != nil {
			r.t.Fatal(err)
		}
		r.address = listener.Addr().String()
		server := &http.Server{Handler: r}
		r.server = server
		go server.Serve(listener)
	}
}

func (r *hookReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the server was killed
	}
	if err := r.secret.Verify(req.Header, body, time.Now()); err != nil {
		r.t.Errorf("a request came with %v: %v", req.Header, err)
	}
	var event struct {
		Type string
		Data obj
	}
	if err := json.Unmarshal(body, &event); err != nil {
		r.t.Errorf("%s: %v", body, err)
	}
	r.mu.Lock()
	r.tries++
	fault, decide := r.fault, r.decide
	if fault == "" {
		if r.events[event.Type] == nil {
			r.events[event.Type] = make(map[string]obj)
		}
		r.events[event.Type][req.Header.Get("webhook-id")] = event.Data
	}
	r.mu.Unlock()
	switch fault {
	case "hang":
		<-req.Context().Done()
	case "error":
		w.WriteHeader(http.StatusInternalServerError)
	case "garbage":
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, "<html>\x00\xff")
	case "close":
		panic(http.ErrAbortHandler)
	default:
		switch {
		case event.Type == webhook.MessageBeforeSend && decide != nil:
			io.WriteString(w, decide(event.Data))
		case event.Type == webhook.MessageBeforeSend:
			io.WriteString(w, `{"decision":"accept"}`)
		}
	}
}

// count is how many different events of a type were taken.
func (r *hookReceiver) count(event string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events[event])
}

func (r *hookReceiver) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

func awaitHooks(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wstest.Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestWebhookReceiverFails has a receiver fail in every way while messages are
// sent, and come back: nobody who sends notices, and all is delivered in the end.
func TestWebhookReceiverFails(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	s := harness.StartRace(t, "--webhook-url="+r.url(), "--webhook-secret-file="+writeSecret(t),
		"--webhook-events=message.sent,message.queued,user.online,user.offline", "--webhook-timeout=200ms")
	alice := s.Login(t, "alice", "phone", nil)
	const each = 10
	sent, slowest := 0, time.Duration(0)
	for _, fault := range []string{"hang", "error", "garbage", "close", "away"} {
		r.become(fault)
		before := r.attempts()
		for range each {
			start := time.Now()
			alice.Say("u:bob", fmt.Sprint("m", sent))
			slowest = max(slowest, time.Since(start))
			sent++
		}
		if fault != "away" {
			awaitHooks(t, "attempts while it does "+fault, func() bool { return r.attempts() > before })
		}
	}
	if failed := s.MetricOf("belfry_webhook_attempts_total", `outcome="retry"`); failed == 0 {
		t.Error("no failure was counted")
	}
	if n := r.count(webhook.MessageQueued) + r.count(webhook.MessageSent); n != 0 {
		t.Errorf("%d events were taken by a receiver that fails", n)
	}
	r.become("")
	awaitHooks(t, "all is delivered", func() bool {
		return r.count(webhook.MessageQueued) == sent && r.count(webhook.MessageSent) == sent
	})
	if slowest > wstest.Patience/2 { // one that waited for the receiver would take longer still
		t.Errorf("a send took %v", slowest)
	}
	if n := s.MetricOf("belfry_webhook_dropped_total", ""); n != 0 {
		t.Errorf("%v counted as dropped", n)
	}
}

// TestWebhooksAreReportedDropped fills the queue while the receiver is away.
func TestWebhooksAreReportedDropped(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	r.become("away")
	s := harness.StartRace(t, "--webhook-url="+r.url(), "--webhook-secret-file="+writeSecret(t),
		"--webhook-events=message.sent,user.online", "--webhook-queue=10", "--webhook-max-age=10s")
	alice := s.Login(t, "alice", "phone", nil)
	const messages = 30
	for n := range messages {
		alice.Say("u:bob", fmt.Sprint("m", n))
	}
	full := func() float64 {
		return s.MetricOf("belfry_webhook_dropped_total", `event="message.sent",reason="full"`)
	}
	if n := full(); n < messages-10 || n > messages {
		t.Errorf("%v counted as dropped for want of room, want %d or a little more", n, messages-10)
	}
	awaitHooks(t, "the rest is given up", func() bool {
		return s.MetricOf("belfry_webhook_dropped_total", "") == messages+1 // and user.online
	})
	s.Stop()
}

// TestQueuedMessagesOutliveTheServer kills the server between storing messages and
// telling of them.
func TestQueuedMessagesOutliveTheServer(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	r.become("away")
	s := harness.StartRace(t, "--webhook-url="+r.url(), "--webhook-secret-file="+writeSecret(t), "--webhook-events=message.queued")
	alice := s.Login(t, "alice", "phone", nil)
	bob := s.Login(t, "bob", "phone", nil)
	alice.Say("u:bob", "he looks")
	bob.Message()
	bob.AckAll()
	awaitHooks(t, "it is settled that he looked", func() bool { return s.MetricOf("belfry_shard_hooks_waiting", "") == 0 })
	alice.Request("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob", "carol"}})
	bob.Request("setState", obj{"background": true})
	for n := range 5 {
		alice.Say("u:bob", fmt.Sprint("m", n))
	}
	alice.Say("g:team", "all")
	s.Kill()
	s.Restart()
	alice.Resume(nil)
	alice.Say("u:bob", "m5")
	s.Stop() // and an orderly end
	r.become("")
	s.Restart()
	// bob: six messages and the group's, which carol gets too.
	awaitHooks(t, "all is told", func() bool { return r.count(webhook.MessageQueued) >= 8 })
	texts := make(map[string]int)
	r.mu.Lock()
	for _, data := range r.events[webhook.MessageQueued] {
		texts[fmt.Sprint(data["user"], " ", data["message"].(obj)["body"].(obj)["text"])]++
	}
	r.mu.Unlock()
	for _, want := range []string{"bob m0", "bob m1", "bob m2", "bob m3", "bob m4", "bob m5", "bob all", "carol all"} {
		if texts[want] != 1 {
			t.Errorf("%q has %d webhook-ids, want 1: %v", want, texts[want], texts)
		}
	}
	if n := texts["bob he looks"]; n != 0 {
		t.Errorf("what he looked at and acked was told %d times", n)
	}
	// Told and confirmed: another restart says nothing again.
	awaitHooks(t, "nothing waits", func() bool { return s.MetricOf("belfry_shard_hooks_waiting", "") == 0 })
	before := r.attempts()
	s.Stop()
	s.Restart()
	alice.Resume(nil)
	alice.Say("u:bob", "m6")
	awaitHooks(t, "the next is told", func() bool { return r.attempts() > before })
	if n := r.attempts() - before; n > 2 {
		t.Errorf("%d events after a restart, want about the new message alone", n)
	}
}

// TestBeforeSendReceiverFails has messages decided about by a receiver that fails,
// with both policies.
func TestBeforeSendReceiverFails(t *testing.T) {
	t.Parallel()
	r := startHookReceiver(t)
	s := harness.StartRace(t, "--webhook-url="+r.url(), "--webhook-secret-file="+writeSecret(t),
		"--webhook-events=message.beforeSend", "--webhook-before-send-timeout=5s")
	alice := s.Login(t, "alice", "phone", nil)
	alice.Say("u:bob", "first")
	for _, fault := range []string{"hang", "error", "garbage", "close", "away"} {
		r.become(fault)
		start := time.Now()
		alice.Refused("send", obj{"conv": "u:bob", "cid": fault, "body": obj{"text": fault}}, "unavailable")
		if took := time.Since(start); took > wstest.Patience/2 {
			t.Errorf("%s: refused after %v, want about 5s", fault, took)
		}
	}
	r.become("")
	alice.Say("u:bob", "hang") // the cid of the one that was refused, and its body
	if got := len(alice.AllHistory("u:bob")); got != 2 {
		t.Errorf("%d messages are stored, want 2", got)
	}
	s.Stop()
	r.become("hang")
	s.Restart("--webhook-fail-open")
	alice.Resume(nil)
	alice.Say("u:bob", "open")
	if n := s.MetricOf("belfry_gateway_before_send_total", `outcome="timeout"`); n != 1 {
		t.Errorf("%v time-outs counted, want 1", n)
	}
}

// TestQuestionsAreShared has a user with many sessions send what the receiver
// has no answer to: others are decided about nevertheless, and nothing
// passes because the server is busy.
func TestQuestionsAreShared(t *testing.T) {
	t.Parallel()
	const sessions, each, others = 12, 16, 25
	r := startHookReceiver(t)
	hold := make(chan struct{})
	defer close(hold)
	r.decide = func(data obj) string {
		switch {
		case data["from"] == "mallory":
			<-hold
			return `{"decision":"accept"}`
		case data["body"].(obj)["text"] == "bad":
			return `{"decision":"refuse"}`
		}
		return `{"decision":"accept"}`
	}
	s := harness.Start(t, hookFlags(t, r, "message.beforeSend", "--webhook-fail-open")...)
	alice := s.Login(t, "alice", "phone", nil)
	for n := range sessions {
		mallory := s.Login(t, "mallory", fmt.Sprint("device", n), nil)
		mallory.Background("u:eve", fmt.Sprint(n, "-"), each, func(cid string) any { return cid })
	}
	awaitHooks(t, "mallory's are asked about", func() bool { return r.attempts() >= 8 })
	for n := range others {
		alice.Refused("send", obj{"conv": "u:bob", "cid": fmt.Sprint("bad", n), "body": obj{"text": "bad"}}, "forbidden")
		alice.Request("send", obj{"conv": "u:bob", "cid": fmt.Sprint("good", n), "body": obj{"text": "good"}})
	}
	if got := len(alice.AllHistory("u:bob")); got != others {
		t.Errorf("%d messages are stored, want %d", got, others)
	}
}

// TestChangesAreToldAsAsked has a receiver that wants to know of recalls alone, and
// one that wants all.
func TestChangesAreToldAsAsked(t *testing.T) {
	t.Parallel()
	for _, asked := range []string{"message.recalled", "message.recalled,message.deleted,message.read"} {
		r := startHookReceiver(t)
		s := harness.Start(t, hookFlags(t, r, asked)...)
		alice, bob := s.Login(t, "alice", "phone", nil), s.Login(t, "bob", "phone", nil)
		for _, text := range []string{"read", "deleted", "recalled"} {
			alice.Say("u:bob", text)
			bob.Message()
		}
		bob.AckAll() // is a read: they log in with autoRead
		bob.Request("deleteMessage", obj{"conv": "u:alice", "seqs": []any{2}})
		alice.Request("recall", obj{"conv": "u:bob", "seq": 3})
		awaitHooks(t, "both views of the recall are told", func() bool { return r.count(webhook.MessageRecalled) == 2 })
		if asked == webhook.MessageRecalled {
			s.Stop() // whatever waits is told by then
			if reads, deletions := r.count(webhook.MessageRead), r.count(webhook.MessageDeleted); reads+deletions > 0 {
				t.Errorf("told of %d reads and %d deletions that nobody asked for", reads, deletions)
			}
			continue
		}
		awaitHooks(t, "the read and the deletion are told", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			upTo := 0.0
			for _, data := range r.events[webhook.MessageRead] {
				if data["user"] != "bob" || data["conv"] != "u:alice" {
					t.Fatalf("message.read has %v", data)
				}
				upTo = max(upTo, data["seq"].(float64))
			}
			return upTo == 3 && len(r.events[webhook.MessageDeleted]) == 1
		})
	}
}
