package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
)

// FuzzCall makes any call: none may panic, fail, or stop the store, and every
// refusal has the form of errors.
func FuzzCall(f *testing.F) {
	s := newServer(f, nil)
	makeGroup("team")(s)
	s.must("POST", "/v1/groups", obj{"group": "stage", "kind": "live"})
	send("alice", "u:bob", 2)(s)
	f.Add("GET", "/openapi.json", "", "", "")
	f.Add("POST", "/v1/nothing", "", "application/json", "{}")
	f.Add("OPTIONS", "*", "", "", "")
	for path, item := range s.api.huma.OpenAPI().Paths {
		for method, op := range map[string]string{
			"GET": operationID(item.Get), "POST": operationID(item.Post), "PATCH": operationID(item.Patch), "DELETE": operationID(item.Delete),
		} {
			for _, e := range examples[op] {
				target := e.path
				if target == "" {
					target = path
				}
				target, query, _ := strings.Cut(target, "?")
				body := ""
				switch b := e.body.(type) {
				case nil:
				case string:
					body = strings.ReplaceAll(b, "%d", fmt.Sprint(s.store.Now()-60_000))
				default:
					text, err := json.Marshal(b)
					if err != nil {
						f.Fatal(err)
					}
					body = string(text)
				}
				content := e.content
				if content == "" {
					content = "application/json"
				}
				f.Add(method, target, query, content, body)
			}
		}
	}
	for key, words := range map[string][]string{"kind": enum.GroupKinds.Words(), "join": enum.JoinModes.Words(), "history": enum.Histories.Words()} {
		for _, word := range words {
			f.Add("POST", "/v1/groups", "", "application/json", fmt.Sprintf(`{"kind":"public",%q:%[2]q,"settings":{%[1]q:%[2]q}}`, key, word))
		}
	}
	for _, word := range enum.Roles.Words() {
		f.Add("PATCH", "/v1/groups/team/members/bob", "", "application/json", fmt.Sprintf(`{"role":%q}`, word))
	}
	f.Fuzz(func(t *testing.T, method, path, query, content, body string) {
		u, err := url.Parse("http://localhost" + path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return // no request line says that
		}
		u.RawQuery = query
		r := &http.Request{
			Method: method, URL: u, Host: "localhost", RemoteAddr: "127.0.0.1:1", RequestURI: u.RequestURI(),
			Header: http.Header{"Authorization": {"Bearer " + allToken}, "Content-Type": {content}},
			Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}
		w := httptest.NewRecorder()
		s.api.ServeHTTP(w, r.WithContext(t.Context()))
		if err := s.store.Ready(); err != nil {
			t.Fatalf("the store stopped: %v", err)
		}
		if w.Code >= 500 || w.Code < 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if w.Code < 300 {
			return
		}
		var reply map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || len(reply) != 2 || reply["code"] == "" || reply["message"] == "" {
			t.Errorf("%d %q, want an object of code and message", w.Code, w.Body)
		}
	})
}

// FuzzImportRow reads any line: what is taken keeps the rules of the protocol.
func FuzzImportRow(f *testing.F) {
	a := &API{config: Config{MaxBody: protocol.DefaultMaxBody}}
	for _, e := range examples["importMessages"] {
		for line := range strings.Lines(e.body.(string)) {
			f.Add(strings.ReplaceAll(line, "%d", "1795400000123"))
		}
	}
	f.Add(`{"from":"a","to":"u:b","time":1,"body":{"a":1,"a":2}}`)
	f.Add("{}\n\n{")
	f.Fuzz(func(t *testing.T, lines string) {
		n := 0
		a.importRows(strings.NewReader(lines))(func(row store.ImportRow, err error) bool {
			n++
			if err != nil {
				if e, ok := err.(*Error); !ok || e.status < 400 || e.status >= 500 || !strings.HasPrefix(e.Message, fmt.Sprintf("line %d: ", n)) {
					t.Errorf("line %d: %v", n, err)
				}
				return true
			}
			if !protocol.ValidUser(string(row.From)) || (row.To == "") == (row.Group == "") || row.Time < 1 || row.TTL > protocol.MaxTTL || len(row.CID) > protocol.MaxCIDLen {
				t.Errorf("line %d: %+v", n, row)
			}
			again, err := protocol.CanonicalMsgpack(nil, row.Body, protocol.DefaultMaxBody)
			if err != nil || !bytes.Equal(again, row.Body) {
				t.Errorf("line %d: body %x is not canonical: %v", n, row.Body, err)
			}
			return true
		})
		if most := strings.Count(lines, "\n") + 1; n > most {
			t.Errorf("%d rows of %d lines", n, most)
		}
	})
}

func operationID(op *huma.Operation) string {
	if op == nil {
		return ""
	}
	return op.OperationID
}
