package node

import (
	"context"
	"fmt"
	"testing"
)

// Any node asks all of them, and is told which do not answer.
func TestLookAsksAllNodes(t *testing.T) {
	all := machines(t, 3)
	for _, m := range all {
		m.start(Config{Join: addresses(all), Expect: 3})
	}
	all[0].healthy(1)
	look := func(m *machine) map[string]string {
		answers := make(map[string]string)
		m.node.Look(t.Context(), []byte(`{"n":7}`), func(node string, answer []byte, err error) {
			answers[node] = string(answer)
			if err != nil {
				answers[node] = "error"
			}
		})
		return answers
	}
	if got := fmt.Sprint(look(all[0])); got != "map[a:error b:error c:error]" {
		t.Errorf("before they can answer: %s", got)
	}
	for _, m := range all {
		m.node.OnLook(func(_ context.Context, request []byte) ([]byte, error) {
			return fmt.Appendf(nil, `{"node":%q,"asked":%s}`, m.name, request), nil
		})
	}
	for _, m := range all {
		answers := look(m)
		for _, name := range []string{"a", "b", "c"} {
			if want := fmt.Sprintf(`{"node":%q,"asked":{"n":7}}`, name); answers[name] != want {
				t.Errorf("node %s is told by %s: %s, want %s", m.name, name, answers[name], want)
			}
		}
	}
	all[2].stop()
	eventually(t, "a node that is gone is told of", func() (bool, any) {
		got := look(all[0])
		return got["c"] == "error" && got["b"] != "error" && len(got) == 3, got
	})
}
