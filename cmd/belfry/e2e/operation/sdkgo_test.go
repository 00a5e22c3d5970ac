package operation

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// The blocks of docs/sdk-go.md make a program, which does what the page says.
func TestTutorialOfGoSDK(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(wstest.InRepo("docs", "sdk-go.md"))
	if err != nil {
		t.Fatal(err)
	}
	var program strings.Builder
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		program.WriteString(block[1])
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(program.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := buildGo(t, dir, source)
	s := harness.Start(t)
	cmd := exec.Command(binary)
	cmd.Env = append(harness.CleanEnv(), "SERVER=http://"+s.Listen, "TOKEN="+s.Token("alice"), "STORE="+filepath.Join(dir, "alice.db"))
	harness.DieWithTests(cmd)
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the program ends with %v\n%s", err, log.String())
	}
	const want = `stored as number 1
1 alice: note to self
u:alice unread: 0
found 1
client: no message 1 in u:alice: deleted
closed: client: closed
`
	if string(out) != want {
		t.Errorf("the program prints\n%s\ninstead of\n%s", out, want)
	}
}

// The echo bot answers what came while it was away, once, however often it is killed.
func TestExampleOfEchoBot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary := buildGo(t, dir, wstest.InRepo("client", "examples", "echobot"))
	s := harness.Start(t)
	start := func() *exec.Cmd {
		cmd := exec.Command(binary, "-server", "http://"+s.Listen, "-store", filepath.Join(dir, "bot.db"))
		cmd.Env = append(harness.CleanEnv(), "TOKEN="+s.Token("bot"))
		cmd.Stderr = os.Stderr
		harness.DieWithTests(cmd)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		late := time.AfterFunc(wstest.Patience, func() { cmd.Process.Kill() })
		defer late.Stop()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "online" {
				return cmd
			}
		}
		t.Fatal("the bot does not get online")
		return nil
	}
	alice := s.Login(t, "alice", "phone", nil)
	cmd := start()
	alice.Say("u:bot", "while it is there")
	cmd.Process.Kill() // at some moment of its answer
	cmd.Wait()
	alice.Say("u:bot", "while it is away")
	start()
	var history []wstest.Message
	wstest.Eventually(t, "two messages and two answers", func() bool {
		history = alice.AllHistory("u:bot")
		return len(history) >= 4
	})
	answers := make(map[string]int)
	for _, m := range history {
		if m.From == "bot" {
			answers[m.CID]++
		}
	}
	for _, m := range history {
		if m.From == "alice" && answers["echo-"+m.ID] != 1 {
			t.Errorf("%d answers to %s, want 1", answers["echo-"+m.ID], m.ID)
		}
	}
	if len(history) != 4 {
		t.Errorf("%d messages, want 4", len(history))
	}
}

// buildGo builds a Go program of ours and returns the path of the binary.
func buildGo(t *testing.T, dir, source string) string {
	t.Helper()
	if _, err := os.ReadDir(filepath.Dir(filepath.Join(source, "x"))); err != nil && filepath.Ext(source) == "" { // for go test to see when it changes
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-o", binary, source)
	cmd.Dir = wstest.InRepo()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}
