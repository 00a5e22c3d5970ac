package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// The Go client and the chat against the real server.

const chatDeadline = 60 * time.Second

// A lineChat is belfry chat with its ends in pipes.
type lineChat struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *bufio.Scanner
	err  bytes.Buffer
	code chan int
}

func startChat(t *testing.T, s *server, user string, args ...string) *lineChat {
	inRead, in := io.Pipe()
	out, outWrite := io.Pipe()
	c := &lineChat{t: t, in: in, out: bufio.NewScanner(out), code: make(chan int, 1)}
	args = append([]string{"chat", "--user", user, "--server", "http://" + s.listen, "--token", s.token(user)}, args...)
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
	s := startServer(t)
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
	s := startServer(t)
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
	s := startServer(t)
	var in strings.Builder
	for i := range 20 {
		fmt.Fprintln(&in, "line", i)
	}
	var out, errs bytes.Buffer
	code := execute([]string{"chat", "--user", "alice", "--to", "bob", "--server", "http://" + s.listen, "--token", s.token("alice")},
		nil, strings.NewReader(in.String()), &out, &errs)
	if code != 0 || strings.Count(out.String(), "✓") != 20 {
		t.Fatalf("exit code %d, stdout %q, stderr %q; want 20 lines stored", code, out.String(), errs.String())
	}
	if n := len(s.login(t, "bob", "phone", nil).sync().Messages); n != 20 {
		t.Errorf("bob got %d messages, want 20", n)
	}
}

func TestChatRefused(t *testing.T) {
	s := startServer(t)
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
		{"bad token", []string{"chat", "--user", "alice", "--token", "x", "--server", "http://" + s.listen}, 1, "unauthorized"},
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

// A diarist is a device that writes down what its application is told.
type diarist struct {
	*client.Client
	name string
	from []string // whose messages it is to get: its own come back through Send alone
	each int      // of each of them

	mu    sync.Mutex
	count int
	texts map[string][]string // by sender, in order
	all   chan struct{}       // closed when as many have come as should
}

func (d *diarist) told(list []client.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range list {
		var text string
		if err := list[i].DecodeBody(&text); err != nil {
			text = err.Error()
		}
		d.texts[list[i].From] = append(d.texts[list[i].From], text)
		if d.count++; d.count == d.each*len(d.from) {
			close(d.all)
		}
	}
}

// check requires the texts 0, 1, 2 … of everybody it is to hear from, and no more.
func (d *diarist) check(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case <-d.all:
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, from := range d.from {
		texts := d.texts[from]
		if len(texts) != d.each {
			t.Errorf("%s: %d messages of %s, want %d", d.name, len(texts), from, d.each)
		}
		for i, text := range texts {
			if text != fmt.Sprint(i) {
				t.Errorf("%s: message %d of %s = %s: repeated, lost or out of order", d.name, i, from, text)
				break
			}
		}
	}
	if want := d.each * len(d.from); d.count != want {
		t.Errorf("%s: %d messages, want %d", d.name, d.count, want)
	}
}

// TestClientSurvivesKills has two clients write to each other while the server
// is killed again and again: every send is answered, every message arrives
// once and in order, on both devices of the receiver.
func TestClientSurvivesKills(t *testing.T) {
	const kills, each = 3, 150
	s := startRaceServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), chatDeadline)
	defer cancel()
	dial := func(user, name string, codec protocol.Codec, from ...string) *diarist {
		d := &diarist{name: name, from: from, each: each, texts: make(map[string][]string), all: make(chan struct{})}
		c, err := client.Dial(ctx, client.Config{
			URL: s.url(), Device: name, Codec: codec, MaxBackoff: 200 * time.Millisecond, OnMessages: d.told,
			Token: func(context.Context) (string, error) { return s.token(user), nil },
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() { c.Close() })
		d.Client = c
		return d
	}
	alice := dial("alice", "phone", protocol.Msgpack, "bob")
	bob := dial("bob", "laptop", protocol.JSON, "alice")
	tablet := dial("bob", "tablet", protocol.Msgpack, "alice", "bob")

	stored := make(chan struct{}, 2*each)
	var senders sync.WaitGroup
	send := func(d *diarist, to string) {
		senders.Go(func() {
			for i := range each {
				if _, err := d.Send(ctx, to, fmt.Sprint(i), client.SendOptions{}); err != nil {
					t.Errorf("%s: send %d: %v", d.name, i, err)
					cancel()
					return
				}
				stored <- struct{}{}
			}
		})
	}
	send(alice, "u:bob")
	send(bob, "u:alice")
	defer senders.Wait()
	defer cancel()
	for range kills {
		for range 2 * each / (kills + 1) {
			select {
			case <-stored:
			case <-ctx.Done():
				t.Fatal("the sends do not get on")
			}
		}
		s.kill()
		s.restart()
	}
	senders.Wait()
	for _, d := range []*diarist{alice, bob, tablet} {
		d.check(ctx, t)
	}
}
