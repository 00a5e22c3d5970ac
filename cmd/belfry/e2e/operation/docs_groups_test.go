package operation

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// The example of docs/groups.md is played against a server, frame by frame, with
// one WebSocket for each name in front of an arrow. What a server says by itself
// ("…" in the example) may be anything; the rest has to come as it stands there,
// and nothing else may come.
func TestExampleOfGroups(t *testing.T) {
	t.Parallel()
	lines := exampleLines(t, wstest.InRepo("docs", "groups.md"))
	s := harness.Start(t)
	users := make(map[string]*example)
	for _, line := range lines {
		name, frame := line.user, line.frame
		if users[name] == nil {
			users[name] = openExample(t, s)
		}
		if line.sent {
			frame = exampleToken.ReplaceAllStringFunc(frame, func(m string) string {
				return s.Token(exampleToken.FindStringSubmatch(m)[1])
			})
			users[name].send(frame)
		} else if got := users[name].await(frame); got != "" {
			t.Fatalf("line %d: %s got\n%s\ninstead of\n%s", line.number, name, got, frame)
		}
	}
	for name, user := range users {
		user.send(`{"id": 1000, "op": "ping"}`)
		if got := user.await(`{"id": 1000, "ok": {"serverTime": "…"}}`); got != "" {
			t.Errorf("%s also got\n%s", name, got)
		}
	}
}

var (
	exampleLine  = regexp.MustCompile(`^(\w+) (→|←) ({.*})$`)
	exampleToken = regexp.MustCompile(`<(\w+)'s token>`)
)

type frameLine struct {
	number int
	user   string
	sent   bool // by the client
	frame  string
}

// exampleLines reads the frames of the code blocks of a document.
func exampleLines(t *testing.T, path string) (lines []frameLine) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		if m := exampleLine.FindStringSubmatch(scanner.Text()); m != nil {
			lines = append(lines, frameLine{n, m[1], m[2] == "→", m[3]})
		}
	}
	if err := scanner.Err(); err != nil || len(lines) < 10 {
		t.Fatalf("%s has %d lines of an example, %v", path, len(lines), err)
	}
	return lines
}

// An example is one connection of it.
type example struct {
	t      *testing.T
	conn   *websocket.Conn
	frames []string // came and not yet taken
}

func openExample(t *testing.T, s *harness.Server) *example {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wstest.Patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.URL(), &websocket.DialOptions{Subprotocols: []string{"belfry.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &example{t: t, conn: conn}
}

func (e *example) send(frame string) {
	e.t.Helper()
	if err := e.conn.Write(context.Background(), websocket.MessageText, []byte(frame)); err != nil {
		e.t.Fatal(err)
	}
}

// await takes the frame that comes next, and returns it if it is not what is
// wanted. A reply and a push may come in either order.
func (e *example) await(want string) (other string) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
	defer cancel()
	for {
		for i, frame := range e.frames {
			if sameFrame(e.t, want, frame) {
				e.frames = append(e.frames[:i], e.frames[i+1:]...)
				return ""
			}
		}
		if len(e.frames) == 2 {
			return strings.Join(e.frames, "\n")
		}
		_, frame, err := e.conn.Read(ctx)
		if err != nil {
			return strings.Join(append(e.frames, err.Error()), "\n")
		}
		e.frames = append(e.frames, string(frame))
	}
}

func sameFrame(t *testing.T, want, got string) bool {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	return sameValue(w, g)
}

// sameValue compares values of which "…" is equal to any.
func sameValue(want, got any) bool {
	switch w := want.(type) {
	case string:
		return w == "…" || w == got
	case map[string]any:
		g, is := got.(map[string]any)
		if !is || len(w) != len(g) {
			return false
		}
		for key := range w {
			if v, has := g[key]; !has || !sameValue(w[key], v) {
				return false
			}
		}
		return true
	case []any:
		g, is := got.([]any)
		if !is || len(w) != len(g) {
			return false
		}
		for i := range w {
			if !sameValue(w[i], g[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(want, got)
}
