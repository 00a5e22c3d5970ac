package chatui

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/spf13/cobra"
)

// The chat against the real server.

const chatDeadline = 60 * time.Second

// A lineChat is belfry chat with its ends in pipes.
type lineChat struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *bufio.Scanner
	err  bytes.Buffer
	code chan int
}

func startChat(t *testing.T, s *harness.Server, user string, args ...string) *lineChat {
	inRead, in := io.Pipe()
	out, outWrite := io.Pipe()
	c := &lineChat{t: t, in: in, out: bufio.NewScanner(out), code: make(chan int, 1)}
	args = append([]string{"chat", "--user", user, "--server", "http://" + s.Listen, "--token", s.Token(user)}, args...)
	go func() {
		c.code <- execute(args, nil, inRead, outWrite, &c.err)
		outWrite.Close()
		inRead.Close()
	}()
	late := time.AfterFunc(chatDeadline, func() { out.Close() }) // ends what waits for a line
	t.Cleanup(func() {
		late.Stop()
		in.Close()
	})
	return c
}

func (c *lineChat) enter(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatalf("enter %q: %v; stderr %q", line, err, c.err.String())
	}
}

// want reads lines until one ends in text.
func (c *lineChat) want(text string) {
	c.t.Helper()
	var read []string
	for c.out.Scan() {
		if strings.HasSuffix(c.out.Text(), text) {
			return
		}
		read = append(read, c.out.Text())
	}
	c.t.Fatalf("the chat ended without %q, after %q; stderr %q", text, read, c.err.String())
}

// end closes the input and requires an orderly end.
func (c *lineChat) end() {
	c.t.Helper()
	c.in.Close()
	for c.out.Scan() {
	}
	select {
	case code := <-c.code:
		if code != 0 {
			c.t.Errorf("exit code %d, stderr %q", code, c.err.String())
		}
	case <-time.After(chatDeadline):
		c.t.Error("the chat does not end with its input")
	}
}

func TestChatByLines(t *testing.T) {
	s := harness.Start(t)
	alice := startChat(t, s, "alice", "--to", "bob")
	alice.enter("are you there?")
	alice.want("alice → bob: are you there? ✓")
	alice.enter("typo")
	alice.want("typo ✓")
	alice.enter("/recall")
	alice.want("* Taken back.")

	bob := startChat(t, s, "bob")
	bob.want("alice: are you there?")
	bob.enter("/list")
	bob.want("1 new message")
	bob.enter("/to alice")
	bob.enter("//yes")
	bob.want("bob → alice: /yes ✓")
	alice.want("* bob has read your messages ✓✓")
	alice.want("bob: /yes")
	bob.want("* alice has read your messages ✓✓")

	bob.enter("/block")
	bob.want("* alice is blocked; /unblock alice undoes it.")
	bob.enter("/history")
	bob.want("alice: are you there?")
	bob.want("bob → alice: /yes ✓✓")
	bob.enter("/history")
	bob.want("* That is all there is.")
	bob.enter("/dance")
	bob.want("/dance: no such command; /help lists them, // begins a message with a slash")
	bob.enter("/quit")
	bob.end()
	alice.end()
}

func TestChatGroup(t *testing.T) {
	s := harness.Start(t)
	bob, carol := startChat(t, s, "bob"), startChat(t, s, "carol")
	for _, chat := range []*lineChat{bob, carol} { // events are for who is there
		chat.want("* Nobody has written yet. /to USER begins a conversation, /help shows more.")
	}
	alice := startChat(t, s, "alice")
	alice.enter("/group team bob")
	alice.want("* You made g:team.")
	bob.want("* alice made g:team")
	alice.enter("hello all")
	alice.want("alice in g:team: hello all ✓")
	bob.want("alice in g:team: hello all")
	bob.enter("/to g:team")
	bob.enter("/add carol")
	bob.want("* Added.")
	carol.want("* bob added carol to g:team")
	bob.enter("welcome")
	bob.want("bob in g:team: welcome ✓")
	alice.want("bob in g:team: welcome")
	carol.want("bob in g:team: welcome")
	carol.enter("/to g:team")
	carol.enter("/members")
	carol.want("* alice (owner), bob, carol")
	carol.enter("/leave")
	carol.want("* You left g:team.")
	alice.want("* carol left g:team")
	for _, chat := range []*lineChat{alice, bob, carol} {
		chat.enter("/quit")
		chat.end()
	}
}

// What is piped in is stored when the chat has ended.
func TestChatPipe(t *testing.T) {
	s := harness.Start(t)
	var in strings.Builder
	for i := range 20 {
		fmt.Fprintln(&in, "line", i)
	}
	var out, errs bytes.Buffer
	code := execute([]string{"chat", "--user", "alice", "--to", "bob", "--server", "http://" + s.Listen, "--token", s.Token("alice")},
		nil, strings.NewReader(in.String()), &out, &errs)
	if code != 0 || strings.Count(out.String(), "✓") != 20 {
		t.Fatalf("exit code %d, stdout %q, stderr %q; want 20 lines stored", code, out.String(), errs.String())
	}
	if n := len(s.Login(t, "bob", "phone", nil).Sync().Messages); n != 20 {
		t.Errorf("bob got %d messages, want 20", n)
	}
}

func TestChatRefused(t *testing.T) {
	s := harness.Start(t)
	for _, c := range []struct {
		name string
		args []string
		code int
		text string
	}{
		{"no user", []string{"chat"}, 2, "--user"},
		{"bad user", []string{"chat", "--user", "a b"}, 2, "--user"},
		{"bad peer", []string{"chat", "--user", "alice", "--to", "a b"}, 2, "--to"},
		{"bad server", []string{"chat", "--user", "alice", "--token", "x", "--server", "ftp://x"}, 2, "--server"},
		{"bad token", []string{"chat", "--user", "alice", "--token", "x", "--server", "http://" + s.Listen}, 1, "unauthorized"},
		{"no secret", []string{"chat", "--user", "alice", "--data", t.TempDir()}, 1, "auth.secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := execute(c.args, nil, strings.NewReader(""), &out, &errs); code != c.code || !strings.Contains(errs.String(), c.text) {
				t.Errorf("exit code %d, stderr %q; want %d and %q", code, errs.String(), c.code, c.text)
			}
		})
	}
}

// execute runs a command line as belfry does.
func execute(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{Use: "belfry"}
	root.AddCommand(NewCommand())
	return cli.Run(root, args, environ, stdin, stdout, stderr)
}

// With a store a chat shows what has come once, over its restarts.
func TestChatWithStore(t *testing.T) {
	s := harness.Start(t)
	folder := t.TempDir()
	bob := s.Login(t, "bob", "phone", nil)
	bob.Sync()
	for _, text := range []string{"the first", "the second"} {
		bob.Say("u:alice", text)
		alice := startChat(t, s, "alice", "--store", folder)
		for shown := false; !shown; {
			if !alice.out.Scan() {
				t.Fatalf("the chat ended without %q; stderr %q", text, alice.err.String())
			}
			line := alice.out.Text()
			shown = strings.HasSuffix(line, text)
			if text == "the second" && strings.HasSuffix(line, "the first") {
				t.Errorf("%q is shown again", line)
			}
		}
		alice.end()
	}
	if files, err := filepath.Glob(filepath.Join(folder, "alice@*.db")); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v, want one of alice", files, err)
	}
}
