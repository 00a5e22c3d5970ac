package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func TestAttackRefusals(t *testing.T) {
	server := Server{URLs: []string{"ws://127.0.0.1:1"}, Token: func(string) (string, error) { return "", nil }}
	for _, c := range []struct {
		want   string
		config AttackConfig
	}{
		{"AttackConfig.Name", AttackConfig{Name: "nonsense"}},
		{"one of getRecents", AttackConfig{Name: "deaf:nonsense"}},
		{"AttackConfig.Sockets", AttackConfig{Name: "tokens", Sockets: -1}},
		{"AttackConfig.Rate", AttackConfig{Name: "tokens", Rate: -1}},
		{"AttackConfig.Size", AttackConfig{Name: "tokens", Size: -1}},
		{"AttackConfig.Sources", AttackConfig{Name: "tokens", Sources: MaxSources + 1}},
		{"want AttackConfig.Admin", AttackConfig{Name: "gaps"}},
	} {
		c.config.Server = server
		if _, err := PrepareAttack(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("PrepareAttack(%+v): %v, want %q", c.config, err, c.want)
		}
	}
	for _, url := range []string{"ws://example.com", "ws://192.0.2.1:8080", "ws://[2001:db8::1]"} {
		config := AttackConfig{Name: "tokens", Config: Config{Server: Server{URLs: []string{url}, Token: server.Token}}}
		if _, err := PrepareAttack(t.Context(), config); err == nil || !strings.Contains(err.Error(), "of this machine") {
			t.Errorf("attack on %s: %v, want it to be refused", url, err)
		}
	}
}

// attackFor attacks a server until enough is true, and gives the report.
func attackFor(t *testing.T, config AttackConfig, enough func(*Attack) bool) *AttackReport {
	t.Helper()
	a, err := PrepareAttack(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for !enough(a) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		stop()
	}()
	report, err := a.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

const loginReply = `{"id":1,"ok":{"user":"u","session":1,"serverTime":1,"protocol":1,"limits":{"maxBody":1,"maxFrame":1,"window":1,"idleMs":1}}}`

// besieged is a server that lets everybody in and holds what it gets.
func besieged(t *testing.T) Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocol.SubprotocolJSON}})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for err == nil {
			if _, _, err = ws.Read(r.Context()); err == nil {
				err = ws.Write(r.Context(), websocket.MessageText, []byte(loginReply))
			}
		}
	}))
	t.Cleanup(s.Close)
	return Server{URLs: []string{s.URL}, Token: func(user string) (string, error) { return user, nil }}
}

func TestAttackHoldsSockets(t *testing.T) {
	config := AttackConfig{Name: "strangers", Config: Config{Server: besieged(t)}, Sockets: 16, Sources: 3}
	report := attackFor(t, config, func(a *Attack) bool { return a.mostOpen.Load() == 16 && a.bytes.Load() > 2*wholeFrame })
	if report.MostOpen != 16 || report.Bytes <= 2*wholeFrame || report.Opened < 16 || report.Sources != 3 || report.Rate != 1000 || report.Bytes == 0 {
		t.Errorf("report = %+v, want 16 sockets held", report)
	}
}

func TestAttackIsDeaf(t *testing.T) {
	var calls atomic.Int64
	config := AttackConfig{
		Name: "deaf", Config: Config{Server: besieged(t)}, Sockets: 20, Size: 3,
		Admin: func(context.Context, string, string, any) error { calls.Add(1); return nil },
	}
	report := attackFor(t, config, func(a *Attack) bool { return a.mostOpen.Load() == 20 && a.bytes.Load() > wholeFrame })
	if calls.Load() != deafPeers+3 || report.MostOpen != 20 || report.Bytes <= wholeFrame {
		t.Errorf("%d calls, report = %+v; want %d calls, 20 sockets", calls.Load(), report, deafPeers+3)
	}
}

func TestAttackPrepareFails(t *testing.T) {
	planted := errors.New("planted")
	config := AttackConfig{
		Name: "presence", Config: Config{Server: Server{URLs: []string{"ws://127.0.0.1:1"}, Token: func(string) (string, error) { return "", nil }}},
		Admin: func(context.Context, string, string, any) error { return planted },
	}
	if _, err := PrepareAttack(t.Context(), config); !errors.Is(err, planted) {
		t.Errorf("PrepareAttack: %v, want what the call failed with", err)
	}
}

func TestLastWord(t *testing.T) {
	for _, c := range []struct {
		last string
		want string
	}{
		{"", "hung up"},
		{"HTTP/1.1 431 Request Header Fields Too Large\r\n\r\n", "status 431"},
		{"\x88\x02\x11\x38", "closed 4408"},
		{"\x8a\x01a\x88\x05\x11\x31bye", "closed 4401"},
		{"\x8a\x01a", "hung up"},
		{"\x88", "hung up"},
	} {
		if got := endKind(lastWord([]byte(c.last), io.EOF)); got != c.want {
			t.Errorf("end after %q = %q, want %q", c.last, got, c.want)
		}
	}
	if got := endKind(&turnError{"half a ping", fmt.Errorf("read: %w", io.EOF)}); got != "half a ping: hung up" {
		t.Errorf("end = %q", got)
	}
}

// TestOpenFrame compares the beginning of a frame with a whole one.
func TestOpenFrame(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 0xffff, 0x10000} {
		whole := openFrame(true, opBinary, size, size)
		whole[1] &^= 0x80 // splitFrame reads those of servers
		header := len(whole) - size - 4
		whole = append(whole[:header:header], whole[header+4:]...)
		opcode, payload, n, _, err := splitFrame(whole)
		if err != nil || opcode != opBinary || len(payload) != size || n != len(whole) {
			t.Errorf("frame of %d bytes: opcode %d, %d bytes, %d in all, %v", size, opcode, len(payload), n, err)
		}
	}
	if b := openFrame(false, opText, 100, 10); b[0] != opText || len(b) != 2+4+10 {
		t.Errorf("beginning of a message = %x", b)
	}
}

func TestBadLogin(t *testing.T) {
	for size, frame := range map[int][]byte{longToken: badTokens[0], shortToken: badTokens[1]} {
		if over := len(frame) - size; over < 0 || over > 100 {
			t.Errorf("frame of %d bytes with a token of %d", len(frame), size)
		}
	}
	if len(badTokens[1]) > smallFrame {
		t.Errorf("frame with the short token has %d bytes, want at most %d", len(badTokens[1]), smallFrame)
	}
}

// A fakeBesieger is an attack that does nothing for as long as it is let.
type fakeBesieger struct {
	closed, err error
	begun       atomic.Bool
}

func (b *fakeBesieger) Run(ctx context.Context) (*AttackReport, error) {
	b.begun.Store(true)
	<-ctx.Done()
	return &AttackReport{Name: "nothing"}, b.err
}

func (b *fakeBesieger) Close() { b.closed = errClosed }

func shortSiege(s *fakeServer, b *fakeBesieger) SiegeConfig {
	return SiegeConfig{
		Config: Config{Server: s.target(protocol.Msgpack)},
		Users:  4, Body: 100, Rate: 20, Absent: 3, Backlog: 5, Duration: 2 * time.Second,
		Prepare: func(context.Context) (Besieger, error) { return b, nil },
		Vitals:  func(context.Context) (Vitals, error) { return Vitals{Retention: 60, Heap: 7, Users: 3}, nil },
		Health:  func(context.Context) error { return nil },
	}
}

func TestSiege(t *testing.T) {
	b := &fakeBesieger{}
	report, err := Siege(t.Context(), shortSiege(newFakeServer(t, faults{}), b))
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Sent != 80 || report.Delivered != 80 || report.AbsentSent != 15 || report.AbsentDelivered != 15 || len(report.Losses) != 0 {
		t.Errorf("report = %+v, want 80 messages of pairs, 15 for the absent", report)
	}
	for _, phase := range []SiegePhase{report.Calm, report.Siege} {
		if phase.Ack.Count != 40 || phase.Health.Count == 0 || phase.Login.Count == 0 || phase.Retention != 60 || phase.Heap != 7 || phase.UsersKept != 3 {
			t.Errorf("phase = %+v, want 40 messages, health, logins and vitals", phase)
		}
	}
	if report.Attack.Name != "nothing" || b.closed == nil {
		t.Errorf("attack = %+v, closed: %v", report.Attack, b.closed != nil)
	}
}

// TestSiegeSeesHarm has each thing go wrong that an attack can do.
func TestSiegeSeesHarm(t *testing.T) {
	for name, c := range map[string]struct {
		faults faults
		change func(*SiegeConfig, *fakeBesieger)
		want   string
	}{
		"retention": {change: func(c *SiegeConfig, b *fakeBesieger) {
			c.Vitals = func(context.Context) (Vitals, error) {
				if b.begun.Load() {
					return Vitals{Retention: 2, Heap: 1}, nil
				}
				return Vitals{Retention: 60, Heap: 1}, nil
			}
		}, want: "kept for 2 s"},
		"offline messages": {faults: faults{synced: func(s *protocol.Synced) {
			s.Lost = []protocol.Lost{{Conv: protocol.UserConv("x"), From: 1, To: 2, Count: 2}}
		}}, want: "limits took seqs 1 to 2"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &fakeBesieger{}
			config := shortSiege(newFakeServer(t, c.faults), b)
			if c.change != nil {
				c.change(&config, b)
			}
			report, err := Siege(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			if err := report.Err(); err == nil || !strings.Contains(strings.Join(report.Examples, "\n"), c.want) {
				t.Errorf("Err = %v, %q; want %q", err, report.Examples, c.want)
			}
		})
	}
}

func TestSiegeFailures(t *testing.T) {
	planted := errors.New("planted")
	for name, change := range map[string]func(*SiegeConfig){
		"prepare": func(c *SiegeConfig) { c.Prepare = func(context.Context) (Besieger, error) { return nil, planted } },
		"attack": func(c *SiegeConfig) {
			c.Prepare = func(context.Context) (Besieger, error) { return &fakeBesieger{err: planted}, nil }
		},
	} {
		config := shortSiege(newFakeServer(t, faults{}), nil)
		change(&config)
		if _, err := Siege(t.Context(), config); !errors.Is(err, planted) {
			t.Errorf("%s: %v, want what was planted", name, err)
		}
	}
	// What does not answer is counted.
	config := shortSiege(newFakeServer(t, faults{}), &fakeBesieger{})
	config.Health = func(context.Context) error { return planted }
	config.Vitals = func(context.Context) (Vitals, error) { return Vitals{}, planted }
	report, err := Siege(t.Context(), config)
	if err != nil || report.Siege.Unwell["connection lost"] == 0 || report.Siege.Unwell["metrics: connection lost"] == 0 {
		t.Errorf("report = %+v, %v; want failed checks and looks", report, err)
	}
}

func TestSiegeRefusals(t *testing.T) {
	for want, change := range map[string]func(*SiegeConfig){
		"SiegeConfig.Rate":    func(c *SiegeConfig) { c.Rate = 0 },
		"SiegeConfig.Absent":  func(c *SiegeConfig) { c.Absent = 0 },
		"SiegeConfig.Backlog": func(c *SiegeConfig) { c.Backlog = 0 },
		"SiegeConfig.Prepare": func(c *SiegeConfig) { c.Vitals = nil },
		"PairsConfig.Users":   func(c *SiegeConfig) { c.Users = 3 },
	} {
		config := shortSiege(newFakeServer(t, faults{}), nil)
		change(&config)
		if _, err := Siege(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		calls := 0
		every(ctx, 3*time.Second, func(inner context.Context) {
			if deadline, ok := inner.Deadline(); !ok || time.Until(deadline) > askPatience {
				t.Errorf("deadline in %v, want %v at most", time.Until(deadline), askPatience)
			}
			calls++
		})
		if calls != 4 {
			t.Errorf("%d calls in 10 s, want 4", calls)
		}
	})
}
