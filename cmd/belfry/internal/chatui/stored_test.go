package chatui

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
)

// Without a server a chat with a store shows what that has.
func TestChatOffline(t *testing.T) {
	s := harness.Start(t)
	folder := t.TempDir()
	chat := startChat(t, s, "alice", "--store", folder)
	chat.want("* Nobody has written yet. /to USER begins a conversation, /help shows more.")
	for _, peer := range []string{"carol", "bob"} {
		s.Login(t, peer, "phone", nil).Say("u:alice", "this is "+peer)
		chat.want("this is " + peer)
	}
	chat.end()
	s.Stop()

	m := newModel("alice")
	net, err := client.New(client.Config{
		URL: "http://" + s.Listen, Store: client.File(filepath.Join(folder, storeName("alice", "http://"+s.Listen))),
		Token: func(context.Context, client.TokenReason) (string, error) { return s.Token("alice"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	m.net = net
	m.showStored()
	shows := func(text string) {
		t.Helper()
		if screen := strings.Join(m.render(screenOf(80, 20)), "\n"); !strings.Contains(screen, text) {
			t.Errorf("the screen does not show %q:\n%s", text, screen)
		}
	}
	shows("this is bob") // the newest
	shows("new: carol (1)")
	if jobs := m.enter("/to carol"); len(jobs) > 0 {
		t.Errorf("%d jobs that wait for a connection", len(jobs))
	}
	shows("this is carol")
	if m.enter("/to bob"); m.current != "u:bob" {
		t.Errorf("%s is open, want u:bob", m.current)
	}
	m.enter("/to carol")
	m.apply(client.Synced{Conversations: []client.Conversation{{Conv: bob, LastSeq: 1, Unread: 1}, {Conv: carol, LastSeq: 1}}})
	if m.current != "u:carol" {
		t.Errorf("the login opened %s over what the user has chosen", m.current)
	}
	net.Close()
	<-net.Done()

	chat = startChat(t, s, "alice", "--store", folder) // by lines
	chat.want("1 new message")
	s.Restart()
	chat.want("* Connected again.")
	chat.end()
}

// A login opens the newest conversation in place of one that nobody has chosen.
func TestLoginOverGuess(t *testing.T) {
	m, _ := screenAt()
	m.synced, m.guessed = false, true
	m.apply(client.Synced{Conversations: []client.Conversation{{Conv: carol, LastSeq: 1}}})
	if m.current != "u:carol" {
		t.Errorf("%s is open, want u:carol", m.current)
	}
}
