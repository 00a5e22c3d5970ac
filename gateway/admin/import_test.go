package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// importNDJSON makes an import.
func (s *server) importNDJSON(query, lines string) (*http.Response, []byte) {
	s.t.Helper()
	r := s.request("POST", "/v1/import?"+query, writeToken, lines)
	r.Header.Set("Content-Type", ndjson)
	return s.do(r)
}

func TestImport(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	makeGroup("team")(s)
	now := s.store.Now()
	var lines strings.Builder
	for i := range 100 {
		at := now - 3600_000 + int64(i)
		fmt.Fprintf(&lines, `{"from":"alice","to":"u:bob","time":%d,"cid":"c%d","body":{"n":%d,"raw":{"$bin":"AAE="}}}`+"\n", at, i, i)
		fmt.Fprintf(&lines, `{"from":"bob","to":"u:alice","time":%d,"body":%d}`+"\n", at, i)
		fmt.Fprintf(&lines, `{"from":"team-bob","to":"g:team","time":%d,"body":%d,"mentions":["team-owner"]}`+"\n", at, i)
	}
	const month = 31 * 24 * 3600_000
	old := fmt.Sprintf(`{"from":"alice","to":"u:carol","time":%d,"body":1}`+"\n", now-month)
	all := old + lines.String()
	resp, text := s.importNDJSON("stream=one", all)
	if want := `{"rows":301,"stored":300,"known":0,"expired":1}`; resp.StatusCode != 200 || strings.TrimSpace(string(text)) != want {
		t.Fatalf("import: %d %s, want %s", resp.StatusCode, text, want)
	}
	before := s.must("GET", "/v1/stats", nil)
	resp, text = s.importNDJSON("stream=one", all)
	if want := `{"rows":301,"stored":0,"known":300,"expired":1}`; resp.StatusCode != 200 || strings.TrimSpace(string(text)) != want {
		t.Errorf("the same again: %d %s, want %s", resp.StatusCode, text, want)
	}
	if after := s.must("GET", "/v1/stats", nil); after["messages"] != before["messages"] || after["bytes"] != before["bytes"] {
		t.Errorf("the same again changed %v to %v", before, after)
	}

	page := s.must("GET", "/v1/users/bob/conversations/u:alice/messages?after=0&limit=2", nil)
	m := page["messages"].([]any)[0].(obj)
	if m["time"] != float64(now-3600_000) || m["cid"] != "c0" || m["from"] != "alice" || m["seq"] != 1.0 {
		t.Errorf("first message %v", m)
	}
	if bob := s.must("GET", "/v1/users/bob", nil); bob["unreadTotal"] != 0.0 {
		t.Errorf("bob has %v unread, want 0: all is read", bob["unreadTotal"])
	}

	resp, text = s.importNDJSON("stream=two&unread=true", fmt.Sprintf(`{"from":"alice","to":"u:dave","time":%d,"body":1}`, now-1000))
	if resp.StatusCode != 200 {
		t.Errorf("unread: %d %s", resp.StatusCode, text)
	}
	if dave := s.must("GET", "/v1/users/dave", nil); dave["unreadTotal"] != 1.0 {
		t.Errorf("dave has %v unread, want 1", dave["unreadTotal"])
	}
	send("erin", "u:frank", 1)(s)
	resp, text = s.importNDJSON("stream=two", fmt.Sprintf(`{"from":"erin","to":"u:frank","time":%d,"body":1}`, now-1000))
	checkError(t, "a conversation with other messages", resp, text, 409, protocol.CodeConflict, "line 1: ")
	if !strings.Contains(s.log.String(), `"outcome":"301 rows, 300 stored"`) {
		t.Error("the audit log does not say what was imported")
	}
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.must("POST", "/v1/groups", obj{"group": "stage", "kind": "live"})
	now := s.store.Now()
	good := fmt.Sprintf(`{"from":"alice","to":"u:bob","time":%d,"body":1}`, now-5000)
	row := func(field, value string) string {
		fields := map[string]string{"from": `"alice"`, "to": `"u:bob"`, "time": fmt.Sprint(now - 1000), "body": "1"}
		fields[field] = value
		var parts []string
		for k, v := range fields {
			if v != "" {
				parts = append(parts, fmt.Sprintf("%q:%s", k, v))
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	const bad = protocol.CodeBadRequest
	for _, c := range []struct {
		row     string
		status  int
		code    string
		message string
	}{
		{"", 400, bad, "must be one JSON object"},
		{"{}", 400, bad, "from: must be 1-64 bytes"},
		{"null", 400, bad, "must be one JSON object"},
		{"[]", 400, bad, "must be one JSON object"},
		{good + good, 400, bad, "must be one JSON object"},
		{row("from", "7"), 400, bad, "from: must be text"},
		{row("from", `"a b"`), 400, bad, "from: must be 1-64 bytes"},
		{row("to", `"bob"`), 400, bad, "to: want u:<user> or g:<group>"},
		{row("to", `"g:none"`), 404, protocol.CodeNotFound, "to: "},
		{row("to", `"g:stage"`), 400, bad, "to: a live group stores no messages"},
		{row("time", ""), 400, bad, "time: "},
		{row("time", "0"), 400, bad, "time: "},
		{row("time", "1.5"), 400, bad, "time: must be written as an integer"},
		{row("time", "1.0"), 400, bad, "time: must be written as an integer"},
		{row("time", fmt.Sprint(now/1000)), 400, bad, "time: must be Unix milliseconds; this looks like seconds"},
		{row("From", `"alice"`), 400, bad, "From: is no field of a row"},
		{strings.Replace(row("from", ""), "{", `{"From":"alice",`, 1), 400, bad, "From: is no field of a row"},
		{strings.Replace(good, "{", `{"from":"alice",`, 1), 400, bad, "from: stands there twice"},
		{"\xef\xbb\xbf" + good, 400, bad, "must be one JSON object"}, // belongs before the first line
		{row("time", fmt.Sprint(now+3600_000)), 400, bad, "time: "},
		{row("time", fmt.Sprint(now-6000)), 400, bad, "time: "}, // before that of line 1
		{row("body", ""), 400, bad, "body: must be set"},
		{row("body", `{"a":1,"a":2}`), 400, bad, "body: must not have a key twice"},
		{row("body", `"`+strings.Repeat("x", 13<<10)+`"`), 413, protocol.CodeTooLarge, "body: must take at most"},
		{row("body", `"`+strings.Repeat("x", maxImportLine)+`"`), 413, protocol.CodeTooLarge, "is longer than"},
		{row("id", `"x"`), 400, bad, "id: must be a ULID"},
		{row("cid", `"`+strings.Repeat("x", 65)+`"`), 400, bad, "cid: "},
		{row("ttl", "-1"), 400, bad, "ttl: "},
		{row("ttl", "604801"), 400, bad, "ttl: "},
		{row("mentions", `["bob",""]`), 400, bad, "mentions: "},
		{row("shout", "true"), 400, bad, "shout: is no field of a row"},
	} {
		resp, text := s.importNDJSON("stream=refused", good+"\n"+c.row+"\n"+good+"\n")
		checkError(t, fmt.Sprintf("%.80s", c.row), resp, text, c.status, c.code, "line 2: "+c.message)
	}
}

// TestImportBreaksOff: rows that came before the connection broke stay, and the
// stream goes on behind them.
func TestImportBreaksOff(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	now := s.store.Now()
	line := func(i int) string {
		return fmt.Sprintf(`{"from":"alice","to":"u:bob","time":%d,"body":%d}`+"\n", now-60_000+int64(i), i)
	}
	r, w := io.Pipe()
	go func() {
		for i := range 100 {
			_, _ = io.WriteString(w, line(i))
		}
		w.CloseWithError(errors.New("the connection broke"))
	}()
	req := s.request("POST", "/v1/import?stream=s", writeToken, "x")
	req.Body, req.ContentLength = r, -1
	if resp, err := s.http.Client().Do(req); err == nil {
		t.Fatalf("an import that breaks off: %d, want no answer", resp.StatusCode)
	}
	var all strings.Builder
	for i := range 150 {
		all.WriteString(line(i))
	}
	resp, text := s.importNDJSON("stream=s", all.String())
	if resp.StatusCode != 200 || !strings.Contains(string(text), `"rows":150`) {
		t.Fatalf("the whole of it: %d %s", resp.StatusCode, text)
	}
	page := s.must("GET", "/v1/users/bob/conversations/u:alice/messages?before=151&limit=100", nil)
	messages := page["messages"].([]any)
	if len(messages) != 100 || messages[99].(obj)["seq"] != 150.0 || messages[99].(obj)["body"] != 149.0 {
		t.Errorf("%d messages, the last is %v, want 100 up to seq 150", len(messages), messages[len(messages)-1])
	}
}

// TestImportAsEditorsSaveIt: what stands before and behind the rows of a file that
// somebody had open is no row.
func TestImportAsEditorsSaveIt(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	rows := fmt.Sprintf(`{"from":"alice","to":"u:bob","time":%d,"body":1}`+"\n", s.store.Now()-1000)
	rows += fmt.Sprintf(`{"from":"alice","to":"u:bob","time":%d,"body":2}`, s.store.Now()-500)
	for i, text := range []string{
		rows, rows + "\n", rows + "\n\n", rows + "\r\n\r\n", rows + "\n \n\t\n\n", "\xef\xbb\xbf" + rows, "\xef\xbb\xbf" + rows + "\n\n",
	} {
		resp, reply := s.importNDJSON("stream=saved", text)
		want := `{"rows":2,"stored":0,"known":2,"expired":0}`
		if i == 0 {
			want = `{"rows":2,"stored":2,"known":0,"expired":0}`
		}
		if resp.StatusCode != 200 || strings.TrimSpace(string(reply)) != want {
			t.Errorf("%q: %d %s, want %s", text, resp.StatusCode, reply, want)
		}
	}
	for _, empty := range []string{"", "\n\n", "\xef\xbb\xbf", "\xef\xbb\xbf\n"} {
		if resp, reply := s.importNDJSON("stream=empty", empty); resp.StatusCode != 200 {
			t.Errorf("%q: %d %s, want 200", empty, resp.StatusCode, reply)
		}
	}
}
