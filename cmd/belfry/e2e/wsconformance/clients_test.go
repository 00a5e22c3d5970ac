package wsconformance

// Real clients against the real binary: WebSocket libraries of Go here, those of
// JavaScript and a browser in clients_javascript_test.go. Each does and sees the same.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// clientSize is the size of the texts that a real client sends and gets.
const clientSize = 12_000

// playPeer is the other side of a client: it talks with it, and does what it
// asks for. told returns what the client reports that it did and saw.
func playPeer(t *testing.T, s *harness.Server, user, peer string, told func() string) {
	t.Helper()
	expect := func(want string) {
		t.Helper()
		if got := told(); !strings.HasPrefix(got, want) {
			t.Fatalf("the client reports %q, want %q", got, want)
		}
	}
	bob := s.Login(t, peer, "phone", nil)
	bob.Sync()
	expect("login " + user)
	expect("sent 1")
	m := bob.Message()
	if want := (obj{"text": strings.Repeat("x", clientSize)}); !reflect.DeepEqual(m.Body, want) {
		t.Fatalf("the client sent %v, want %v", m.Body, want)
	}
	bob.Request("send", obj{"conv": "u:" + user, "cid": "answer", "body": obj{"text": strings.Repeat("y", clientSize)}})
	expect(fmt.Sprintf("received %d true", clientSize))
	expect("unauthorized, closed 4401 token refused")
	expect("kick me")
	if status, _ := s.Admin("DELETE", "/v1/users/"+user+"/sessions", nil); status/100 != 2 {
		t.Fatalf("kick: status %d", status)
	}
	expect("closed 4403 kicked")
	expect(fmt.Sprintf("closed 1009 frame too large: at most %d bytes", 88<<10))
	expect("stop the server")
	s.Stop()
	expect("closed 1001 server going away")
}

// A realClient is a connection of a library as an application uses it.
type realClient interface {
	write(text []byte) error
	// read returns a message, or the close frame as an error of type closedWith.
	read() ([]byte, error)
}

type closedWith struct {
	code   int
	reason string
}

func (c closedWith) Error() string { return fmt.Sprintf("closed %d %s", c.code, c.reason) }

func TestClientsInGo(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]func(context.Context, string) (realClient, error){
		"coder": dialCoder, "gorilla": dialGorilla, "gobwas": dialGobwas,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t)
			user, peer := name+".user", name+".peer"
			reports := make(chan string)
			ended := make(chan struct{})
			defer func() { <-ended }()
			ctx, cancel := context.WithTimeout(t.Context(), 2*wstest.Patience)
			defer cancel()
			report := func(event string) {
				select {
				case reports <- event:
				case <-ctx.Done():
				}
			}
			go func() {
				defer close(ended)
				if err := playClient(ctx, s, user, peer, dial, report); err != nil {
					report("failed: " + err.Error())
				}
			}()
			playPeer(t, s, user, peer, func() string {
				select {
				case event := <-reports:
					return event
				case <-ctx.Done():
					return "nothing in time"
				}
			})
		})
	}
}

// playClient is the scenario of .ci/clients/scenario.mjs.
func playClient(ctx context.Context, s *harness.Server, user, peer string, dial func(context.Context, string) (realClient, error), report func(string)) error {
	call := func(c realClient, op string, args obj) (obj, error) {
		b, err := json.Marshal(obj{"id": 7, "op": op, "args": args})
		if err == nil {
			err = c.write(b)
		}
		for err == nil {
			var frame obj
			if b, err = c.read(); err == nil {
				frame, err = wstest.DecodeJSON(b)
			}
			if err == nil && frame["id"] == int64(7) {
				return frame, nil
			}
		}
		return nil, err
	}
	login := func(token string) (c realClient, reply obj, err error) {
		if c, err = dial(ctx, s.URL()); err == nil {
			reply, err = call(c, "login", obj{"token": token, "device": "real"})
		}
		return c, reply, err
	}
	closed := func(c realClient) string {
		for {
			if _, err := c.read(); err != nil {
				return err.Error()
			}
		}
	}

	first, reply, err := login(s.Token(user))
	if err != nil {
		return err
	}
	report(fmt.Sprint("login ", reply["ok"].(obj)["user"]))
	if reply, err = call(first, "send", obj{"conv": "u:" + peer, "cid": "1", "body": obj{"text": strings.Repeat("x", clientSize)}}); err != nil {
		return err
	}
	report(fmt.Sprint("sent ", reply["ok"].(obj)["seq"]))
	for received := false; !received; {
		b, err := first.read()
		if err != nil {
			return err
		}
		var frame struct {
			Args struct {
				Messages []struct {
					From string
					Body struct{ Text string }
				}
			}
		}
		if err := json.Unmarshal(b, &frame); err != nil {
			return err
		}
		for _, m := range frame.Args.Messages {
			if received = m.From == peer; received {
				report(fmt.Sprintf("received %d %t", len(m.Body.Text), m.Body.Text == strings.Repeat("y", clientSize)))
			}
		}
	}
	refused, reply, err := login("no token")
	if err != nil {
		return err
	}
	report(fmt.Sprintf("%v, %s", reply["err"].(obj)["code"], closed(refused)))
	report("kick me")
	report(closed(first))

	large, reply, err := login(s.Token(user))
	if err != nil {
		return err
	}
	maxFrame := reply["ok"].(obj)["limits"].(obj)["maxFrame"].(int64)
	if err := large.write([]byte(strings.Repeat(" ", int(maxFrame)+1))); err != nil {
		return err
	}
	report(closed(large))

	last, _, err := login(s.Token(user))
	if err != nil {
		return err
	}
	report("stop the server")
	report(closed(last))
	return nil
}

type coderClient struct {
	ctx context.Context
	*websocket.Conn
}

func dialCoder(ctx context.Context, url string) (realClient, error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{wstest.JSON.Subprotocol}})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(1 << 20)
	return coderClient{ctx, conn}, nil
}

func (c coderClient) write(text []byte) error {
	return c.Conn.Write(c.ctx, websocket.MessageText, text)
}

func (c coderClient) read() ([]byte, error) {
	_, b, err := c.Conn.Read(c.ctx)
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		return nil, closedWith{int(e.Code), e.Reason}
	}
	return b, err
}

type gorillaClient struct{ *gorilla.Conn }

func dialGorilla(ctx context.Context, url string) (realClient, error) {
	dialer := gorilla.Dialer{Subprotocols: []string{wstest.JSON.Subprotocol}}
	conn, _, err := dialer.DialContext(ctx, url, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadDeadline(time.Now().Add(2 * wstest.Patience))
	return gorillaClient{conn}, nil
}

func (c gorillaClient) write(text []byte) error { return c.WriteMessage(gorilla.TextMessage, text) }

func (c gorillaClient) read() ([]byte, error) {
	_, b, err := c.ReadMessage()
	if e, ok := errors.AsType[*gorilla.CloseError](err); ok {
		return nil, closedWith{e.Code, e.Text}
	}
	return b, err
}

type gobwasClient struct{ net.Conn }

func dialGobwas(ctx context.Context, url string) (realClient, error) {
	dialer := ws.Dialer{Protocols: []string{wstest.JSON.Subprotocol}, Header: ws.HandshakeHeaderHTTP(http.Header{})}
	conn, early, _, err := dialer.Dial(ctx, url)
	if err != nil {
		return nil, err
	}
	if early != nil {
		return nil, errors.New("the server speaks first")
	}
	conn.SetDeadline(time.Now().Add(2 * wstest.Patience))
	return gobwasClient{conn}, nil
}

func (c gobwasClient) write(text []byte) error { return wsutil.WriteClientText(c.Conn, text) }

func (c gobwasClient) read() ([]byte, error) {
	b, _, err := wsutil.ReadServerData(c.Conn)
	if e, ok := errors.AsType[wsutil.ClosedError](err); ok {
		return nil, closedWith{int(e.Code), e.Reason}
	}
	return b, err
}
