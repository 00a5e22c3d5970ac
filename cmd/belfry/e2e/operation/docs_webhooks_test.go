package operation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
	"github.com/belfry-im/belfry/gateway/webhook"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// docBlocks returns the code blocks of docs/webhooks.md in a language.
func docBlocks(t *testing.T, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(wstest.InRepo("docs", "webhooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// An exampleReceiver is the receiver of docs/webhooks.md as a process.
type exampleReceiver struct {
	url    string
	events chan obj // that it has printed
}

func runExampleReceiver(t *testing.T) *exampleReceiver {
	t.Helper()
	blocks := docBlocks(t, "go")
	if len(blocks) != 1 {
		t.Fatalf("docs/webhooks.md has %d programs, want 1", len(blocks))
	}
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "receiver.go"), filepath.Join(dir, "receiver")
	if err := os.WriteFile(source, []byte(blocks[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(binary, "127.0.0.1:0", webhookSecret)
	harness.DieWithTests(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &exampleReceiver{events: make(chan obj, 1000)}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the receiver did not say where it listens")
	}
	r.url = lines.Text()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			var event obj
			if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
				t.Errorf("the receiver printed %s: %v", lines.Text(), err)
			}
			r.events <- event
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
	})
	return r
}

// await reads events until there was one of each form, and returns the first of each.
func (r *exampleReceiver) await(t *testing.T, forms map[string]obj) map[string]obj {
	t.Helper()
	got := make(map[string]obj)
	late := time.After(wstest.Patience)
	for missing := len(forms); missing > 0; {
		select {
		case event := <-r.events:
			if name := form(event); got[name] == nil {
				got[name] = event
				if forms[name] != nil {
					missing--
				}
			}
		case <-late:
			for name, event := range forms {
				if got[name] == nil {
					t.Errorf("did not come: %v", event)
				}
			}
			t.Fatalf("these came: %v", slices.Sorted(maps.Keys(got)))
		}
	}
	return got
}

// form is the type of an event and the shape of the rest.
func form(event obj) string { return fmt.Sprint(event["type"], " ", shape(event)) }

// shape is a value of JSON without what it says: types, and keys in order.
func shape(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var b strings.Builder
		for _, key := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(&b, "%s:%s ", key, shape(v[key]))
		}
		return "{" + strings.TrimSpace(b.String()) + "}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return "[" + shape(v[0]) + "]"
	}
	return fmt.Sprintf("%T", v)
}

// TestExampleOfWebhooks has the receiver of the document take every event, and
// compares their form with the payloads that stand there.
func TestExampleOfWebhooks(t *testing.T) {
	t.Parallel()
	documented, types := make(map[string]obj), make(map[string]bool)
	for _, block := range docBlocks(t, "json") {
		for line := range strings.Lines(block) {
			var event obj
			if err := json.Unmarshal([]byte(line), &event); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			documented[form(event)] = event
			types[event["type"].(string)] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(types)), slices.Sorted(slices.Values(webhook.Events)); !slices.Equal(got, want) {
		t.Fatalf("the document has payloads of %v, want of %v", got, want)
	}

	r := runExampleReceiver(t)
	s := harness.Start(t, "--webhook-url="+r.url, "--webhook-secret-file="+writeSecret(t))
	alice := s.Login(t, "alice", "phone", nil)
	alice.Request("send", obj{"conv": "u:bob", "cid": "1", "body": obj{"text": "damn it"}, "ttl": 3600, "mentions": []any{"bob"}})
	carol := s.Login(t, "carol", "phone", nil)
	dave := s.Login(t, "dave", "phone", nil)
	alice.Say("u:carol", "again")
	carol.Message()
	carol.Request("readReport", obj{"conv": "u:alice", "seq": 1})
	alice.Request("recall", obj{"conv": "u:carol", "seq": 1})
	alice.Say("u:carol", "once more")
	alice.Request("deleteMessage", obj{"conv": "u:carol", "seqs": []any{2}})
	alice.Request("deleteConversation", obj{"conv": "u:carol", "messages": true})
	alice.Request("createGroup", obj{"group": "team", "kind": "private", "members": []any{"bob"}})
	for _, text := range []string{"recalled", "deleted", "and all of its sender"} {
		alice.Say("g:team", text)
	}
	alice.Request("recall", obj{"conv": "g:team", "seq": 1})
	s.Admin("DELETE", "/v1/groups/team/messages/2", nil)
	s.Admin("DELETE", "/v1/groups/team/messages?sender=alice", nil)
	alice.Request("addMembers", obj{"group": "team", "users": []any{"carol"}})
	alice.Request("setMember", obj{"group": "team", "user": "bob", "role": "admin"})
	alice.Request("setMember", obj{"group": "team", "user": "carol", "mutedUntil": time.Now().Add(time.Hour).UnixMilli()})
	alice.Request("setGroup", obj{"group": "team", "name": "The team"})
	alice.Request("setGroup", obj{"group": "team", "owner": "bob"})
	carol.Request("leaveGroup", obj{"group": "team"})
	alice.Request("removeMembers", obj{"group": "team", "users": []any{"bob"}, "ban": 60})
	alice.Request("dismissGroup", obj{"group": "team"})
	alice.Request("createGroup", obj{"group": "plaza", "kind": "public"})
	dave.Request("joinGroup", obj{"group": "plaza"})
	carol.Drop()

	var queued obj
	// A message has what its sender gave.
	ofMessages := []any{webhook.MessageBeforeSend, webhook.MessageSent, webhook.MessageQueued}
	for name, event := range r.await(t, documented) {
		if documented[name] == nil && !slices.Contains(ofMessages, event["type"]) {
			t.Errorf("of no form that the document has: %v", event)
		}
		if _, err := time.Parse(time.RFC3339, event["timestamp"].(string)); err != nil {
			t.Errorf("%s: timestamp: %v", name, err)
		}
		if documented[name] != nil && event["type"] == webhook.MessageQueued {
			queued = event["data"].(obj)
		}
	}
	message := queued["message"].(obj)
	if text := message["body"].(obj)["text"]; text != "**** it" || queued["user"] != "bob" || queued["unreadTotal"] != 1.0 {
		t.Errorf("message.queued = %v, want the masked message for bob", queued)
	}
	bob := s.Login(t, "bob", "phone", nil)
	if m := bob.Message(); !strings.Contains(fmt.Sprint(m), "**** it") {
		t.Errorf("bob got %+v, want the masked message", m)
	}

	// The receiver takes nothing that is not signed.
	res, err := http.Post(r.url, "application/json", bytes.NewReader([]byte(`{"type":"user.online"}`)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the receiver answered %d to who knows no secret", res.StatusCode)
	}
}

func writeSecret(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "webhook.secret")
	if err := os.WriteFile(path, []byte(webhookSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
