package chatui

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/client"
)

// TestLinesWithoutServer: a chat by lines ends some time after its input if there is no server,
// and not while there is a connection, or before its input ends.
func TestLinesWithoutServer(t *testing.T) {
	for _, text := range []string{"", "/help\n/help\n"} {
		synctest.Test(t, func(t *testing.T) {
			m := unreachable(t)
			read, in := io.Pipe()
			events := make(chan any)
			ended := make(chan error, 1)
			go func() { ended <- runLines(t.Context(), m, events, read, io.Discard) }()
			if text != "" {
				io.WriteString(in, text)
			}
			goesOn := func(when string) {
				t.Helper()
				time.Sleep(10 * patience)
				synctest.Wait()
				select {
				case err := <-ended:
					t.Fatalf("%s: ended with %v", when, err)
				default:
				}
			}
			goesOn("input open")
			events <- client.StateOnline
			in.Close()
			goesOn("online")
			from := time.Now()
			events <- client.StateWaiting
			events <- client.StateConnecting
			if err := <-ended; !errors.Is(err, errNoServer) || time.Since(from) != patience {
				t.Errorf("ended after %v with %v, want %v, %v", time.Since(from), err, patience, errNoServer)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // many lines
		ended := runLines(t.Context(), unreachable(t), nil, strings.NewReader(strings.Repeat("hi\n", maxAhead)), io.Discard)
		if !errors.Is(ended, errNoServer) {
			t.Errorf("ended with %v, want %v", ended, errNoServer)
		}
	})
}

// unreachable returns the model of a chat whose server cannot be reached.
func unreachable(t *testing.T) *model {
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
	c, err := client.New(client.Config{
		URL: "http://server", Device: "phone", HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}},
		Token: func(context.Context, client.TokenReason) (string, error) { return "token", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
	m := newModel("alice")
	m.net = c
	return m
}
