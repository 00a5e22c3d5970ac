package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// An application with a store is killed again and again while messages flow both ways. It is this
// test binary, run with victimEnv.

const victimEnv = "BELFRY_TEST_VICTIM"

// A victim is what the application is told, as JSON in victimEnv.
type victim struct {
	URL, Token, Store, Log string
	Drain                  bool // send nothing more, and say when the outbox is empty
}

// run is the whole application. It writes what it is told into its log, and sends numbers to
// bob as fast as the server takes them.
func (v victim) run() error {
	log, err := os.OpenFile(v.Log, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	write := func(list []client.Message) { // in one call: a kill leaves all of it or nothing
		var lines strings.Builder
		for i := range list {
			var n int
			if err := list[i].DecodeBody(&n); err != nil {
				n = -1
			}
			fmt.Fprintf(&lines, "%s %d\n", list[i].ID, n)
		}
		if _, err := log.WriteString(lines.String()); err != nil {
			panic(err)
		}
	}
	c, err := client.New(client.Config{
		URL: v.URL, Store: client.File(v.Store), Codec: protocol.Msgpack,
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond,
		Token:      func(context.Context, client.TokenReason) (string, error) { return v.Token, nil },
		OnMessages: write,
		OnInterrupted: func(list []client.Message) {
			had, err := os.ReadFile(v.Log)
			if err != nil {
				panic(err)
			}
			write(slices.DeleteFunc(list, func(m client.Message) bool { return strings.Contains(string(had), m.ID.String()) }))
		},
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if v.Drain {
		for len(c.Pending()) > 0 {
			for _, p := range c.Pending() {
				if _, err := p.Wait(context.Background()); err != nil {
					return err
				}
			}
		}
		next, err := nextNumber(c)
		if err != nil {
			return err
		}
		fmt.Println("sent", next)
		select {}
	}
	next, err := nextNumber(c)
	for ; err == nil; next++ {
		var out *client.Outgoing
		if out, err = c.Queue("u:bob", next, client.SendOptions{}); err == nil && next%4 == 0 {
			_, err = out.Wait(context.Background())
		}
	}
	return err
}

// nextNumber is one more than the number sent last, which is in the outbox or in the
// conversation: a message is in exactly one of them.
func nextNumber(c *client.Client) (int, error) {
	next := 0
	note := func(body []byte) {
		var n int
		if protocol.DecodeBody(body, &n) == nil {
			next = max(next, n+1)
		}
	}
	for _, p := range c.Pending() { // first: a message moves from here to there
		note(p.Body())
	}
	for q := (client.Query{Limit: 100}); ; {
		page, err := c.LocalMessages("u:bob", q)
		if err != nil {
			return 0, err
		}
		for _, m := range slices.Backward(page.Messages) {
			if m.From == "alice" {
				note(m.Body)
				return next, nil
			}
		}
		if !page.More || page.From == 0 {
			return next, nil
		}
		q.Before = page.From
	}
}

func victimMain() {
	spec := os.Getenv(victimEnv)
	if spec == "" {
		return
	}
	var v victim
	err := json.Unmarshal([]byte(spec), &v)
	if err == nil {
		err = v.run()
	}
	fmt.Fprintln(os.Stderr, "the application ended:", err)
	os.Exit(1)
}

// rounds is how often processes are killed: BELFRY_ROUNDS, or a few.
func rounds(t *testing.T) int {
	text := os.Getenv("BELFRY_ROUNDS")
	if text == "" {
		return 4
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("BELFRY_ROUNDS = %q, want a number from 1", text)
	}
	return n
}

// TestApplicationSurvivesKills kills an application at random moments, also while its last
// words are on their way to the disk: its log has every message of bob once and in order,
// and bob gets everything that it has sent once and in order.
func TestApplicationSurvivesKills(t *testing.T) {
	// The application may be away for all of it, where it starts slowly: nothing is to be lost.
	s := harness.Start(t, "--send-rate=0", "--offline-max-messages=100000", "--offline-max-bytes=16777216", "--user-bytes=16777216")
	dir := t.TempDir()
	spec := victim{URL: s.URL(), Token: s.Token("alice"), Store: filepath.Join(dir, "alice.db"), Log: filepath.Join(dir, "log")}
	start := func(v victim) (*exec.Cmd, *bufio.Scanner) {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(harness.CleanEnv(), victimEnv+"="+string(text))
		cmd.Stderr = os.Stderr
		harness.DieWithTests(cmd)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		lines := bufio.NewScanner(out)
		late := time.AfterFunc(wstest.Patience, func() { out.Close() })
		defer late.Stop()
		if !lines.Scan() || lines.Text() != "ready" {
			t.Fatalf("the application says %q, want ready", lines.Text())
		}
		return cmd, lines
	}

	var mu sync.Mutex
	var got []int
	bob, err := client.Dial(t.Context(), client.Config{
		URL: s.URL(), Device: "bob", Codec: protocol.Msgpack,
		Token: func(context.Context, client.TokenReason) (string, error) { return s.Token("bob"), nil },
		OnMessages: func(list []client.Message) {
			mu.Lock()
			defer mu.Unlock()
			for i := range list {
				n := -1
				if err := list[i].DecodeBody(&n); err != nil {
					t.Errorf("bob: %v", err)
				}
				got = append(got, n)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var sent int
	stop, stopped := context.WithCancel(t.Context())
	defer stopped()
	var sending sync.WaitGroup
	sending.Go(func() {
		for ; stop.Err() == nil; sent++ {
			if _, err := bob.Send(t.Context(), "u:alice", sent, client.SendOptions{}); err != nil {
				t.Errorf("bob: send %d: %v", sent, err)
				return
			}
		}
	})
	for range rounds(t) {
		cmd, lines := start(spec)
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // the moment of the kill
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
		}
		if cmd.Wait(); cmd.ProcessState.Exited() {
			t.Fatalf("the application ended by itself: %v", cmd.ProcessState)
		}
	}
	stopped()
	sending.Wait()

	spec.Drain = true
	cmd, lines := start(spec)
	late := time.AfterFunc(wstest.Patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	var numbers int
	if lines.Scan(); lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	if _, err := fmt.Sscanf(lines.Text(), "sent %d", &numbers); err != nil {
		t.Fatalf("the application says %q, want how much it has sent", lines.Text())
	}
	wstest.Eventually(t, "all messages are in the application's log, and with bob", func() bool {
		log, err := readLog(spec.Log)
		mu.Lock()
		defer mu.Unlock()
		return err == nil && len(log) >= sent && len(got) >= numbers
	})
	cmd.Process.Kill()
	for lines.Scan() {
	}
	cmd.Wait()
	log, err := readLog(spec.Log)
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d messages to the application, %d from it", sent, numbers)
	wantCounting(t, "the application's log", log, sent)
	wantCounting(t, "what bob has got", got, numbers)
}

func wantCounting(t *testing.T, what string, got []int, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%s has %d messages, want %d", what, len(got), n)
	}
	for i, g := range got {
		if g != i {
			t.Errorf("%s: message %d is %d: repeated, lost or out of order", what, i, g)
			return
		}
	}
}

func readLog(path string) (numbers []int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		var id string
		var n int
		if _, err := fmt.Sscan(line, &id, &n); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}
