package loadtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// shortPairs is a run of pairs that is over soon.
func shortPairs(s *fakeServer, codec protocol.Codec) PairsConfig {
	return PairsConfig{
		Config: Config{Server: s.target(codec)},
		Users:  4, Body: 100, Window: 4, Duration: 200 * time.Millisecond, Drain: time.Minute,
	}
}

// countedPairs is one of 100 messages, however slow this machine is just now.
func countedPairs(s *fakeServer) PairsConfig {
	config := shortPairs(s, protocol.Msgpack)
	config.Rate, config.Window = 500, 100
	return config
}

func TestPairs(t *testing.T) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		t.Run(codec.Name(), func(t *testing.T) {
			config := shortPairs(newFakeServer(t, faults{}), codec)
			var report *PairsReport
			for ; config.Duration < time.Minute; config.Duration *= 4 {
				var err error
				if report, err = Pairs(t.Context(), config); err != nil {
					t.Fatal(err)
				}
				if err := report.Err(); err != nil {
					t.Fatal(err)
				}
				if report.SendsPerSecond > 0 {
					break // the machine had the time
				}
			}
			if report.Sent == 0 || report.Delivered != report.Sent || report.SendsPerSecond == 0 || report.Ack.Count == 0 || report.Delivery.Count == 0 {
				t.Errorf("report = %+v", report)
			}
		})
	}
}

func TestPairsAtRate(t *testing.T) {
	config := shortPairs(newFakeServer(t, faults{}), protocol.Msgpack)
	config.Rate, config.Warmup, config.Window = 500, 100*time.Millisecond, 100
	report, err := Pairs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if want := int64(150); report.Sent+report.Unsent != want || report.Ack.Count > 100 {
		t.Errorf("%d messages were sent, %d were due and not, %d were measured; want %d, 0, at most 100", report.Sent, report.Unsent, report.Ack.Count, want)
	}
}

// TestPairsCatches plants faults in a server and requires that a run finds each.
func TestPairsCatches(t *testing.T) {
	type messages = []protocol.Message
	at10 := func(plant func(protocol.Message) messages) faults {
		return faults{push: func(n int, m protocol.Message) messages {
			if n == 10 {
				return plant(m)
			}
			return messages{m}
		}}
	}
	held := map[string]protocol.Message{} // by sender
	for name, c := range map[string]struct {
		faults faults
		want   string
	}{
		"lost":    {at10(func(protocol.Message) messages { return nil }), "missing"},
		"doubled": {at10(func(m protocol.Message) messages { return messages{m, m} }), "came twice"},
		"altered": {at10(func(m protocol.Message) messages {
			m.Body = append([]byte(nil), m.Body...)
			m.Body[len(m.Body)-1] ^= 2
			return messages{m}
		}), "body was altered"},
		"reordered": {faults{push: func(n int, m protocol.Message) messages {
			switch n {
			case 10:
				held[m.From] = m
				return nil
			case 11:
				return messages{m, held[m.From]}
			}
			return messages{m}
		}}, ""}, // "message 10 came after 11" or, if no send was open, 10 was missing when 11 came
		"answered with another's seq": {faults{reply: func(n int, ok protocol.SendOK) protocol.SendOK {
			if n == 10 {
				ok.Seq = 1
			}
			return ok
		}}, "which another message has"},
		"refused for good": {faults{refuse: func(n int) string {
			if n == 10 {
				return protocol.CodeForbidden
			}
			return ""
		}}, "was refused: forbidden"},
		"connection lost": {faults{cut: func(n int) (bool, bool) { return n == 10, false }}, "connection lost"},
		"lost from the queue": {faults{synced: func(p *protocol.Synced) {
			p.Lost = []protocol.Lost{{Conv: protocol.UserConv("x"), From: 1, To: 2, Count: 2}}
		}}, "limits took seqs 1 to 2"},
		"miscounted": {faults{synced: func(p *protocol.Synced) { p.Offline++ }}, "says that 1 offline messages were pushed, 0 were"},
	} {
		t.Run(name, func(t *testing.T) {
			config := countedPairs(newFakeServer(t, c.faults))
			config.Users = 2
			report, err := Pairs(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			convicted(t, report.Verdict, c.want)
		})
	}
}

// TestPairsLostTail plants a loss that no later message shows.
func TestPairsLostTail(t *testing.T) {
	s := newFakeServer(t, faults{push: func(n int, m protocol.Message) []protocol.Message {
		if n > 20 {
			return nil
		}
		return []protocol.Message{m}
	}})
	config := countedPairs(s)
	config.Drain = 2 * time.Second
	report, err := Pairs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	caught(t, report.Err(), "message 21 is the first that is missing after 2s")
}

func TestPairsRetries(t *testing.T) {
	s := newFakeServer(t, faults{refuse: func(n int) string {
		switch n % 10 {
		case 3:
			return protocol.CodeRateLimited
		case 7:
			return protocol.CodeUnavailable
		}
		return ""
	}})
	report, err := Pairs(t.Context(), countedPairs(s))
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Refused[protocol.CodeRateLimited] == 0 || report.Refused[protocol.CodeUnavailable] == 0 {
		t.Errorf("refused = %v, want some of both", report.Refused)
	}
}

// cutting loses a connection at every 20th send, in turn before it is stored and
// before it is answered.
func cutting(n int) (cut, before bool) { return n%20 == 0, n%40 == 0 }

func TestPairsResumes(t *testing.T) {
	config := countedPairs(newFakeServer(t, faults{cut: cutting}))
	config.Resume = true
	report, err := Pairs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Reconnects == 0 {
		t.Error("nobody reconnected")
	}
}

// TestPairsCatchesForgottenRepeats runs the same against a server that stores
// every repeat again.
func TestPairsCatchesForgottenRepeats(t *testing.T) {
	config := shortPairs(newFakeServer(t, faults{cut: cutting, forget: true}), protocol.Msgpack)
	config.Resume = true
	config.Duration = time.Minute // it ends with the first violation
	report, err := Pairs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if report.Violations == 0 {
		t.Error("the run passed")
	}
}

func TestDisturb(t *testing.T) {
	config := shortPairs(newFakeServer(t, faults{}), protocol.JSON)
	config.Resume = true
	config.Disturb = func(ctx context.Context, clients []*Client, _ *Silences) {
		for i := range 8 {
			clients[i%len(clients)].Cut()
			<-time.After(10 * time.Millisecond)
		}
	}
	report, err := Pairs(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Reconnects == 0 {
		t.Error("nobody reconnected")
	}
}

func TestLogin(t *testing.T) {
	s := newFakeServer(t, faults{})
	report, err := Login(t.Context(), LoginConfig{Config: Config{Server: s.target(protocol.Msgpack)}, Users: 30, Backlog: 10, Body: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Delivered != 300 || report.Sent != 300 || report.Login.Count != 30 {
		t.Errorf("%d sent, %d delivered, %d logins; want 300, 300, 30", report.Sent, report.Delivered, report.Login.Count)
	}
}

func TestIdle(t *testing.T) {
	s := newFakeServer(t, faults{})
	report, err := Idle(t.Context(), IdleConfig{Config: Config{Server: s.target(protocol.JSON), Parallel: 5}, Connections: 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil || report.Alive != 20 || report.Login.Count != 20 {
		t.Errorf("%d alive of %d, %v; want 20", report.Alive, report.Login.Count, err)
	}
}

func TestCanceledRunHasNoReport(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	config := shortPairs(newFakeServer(t, faults{}), protocol.Msgpack)
	config.Duration = time.Hour
	if report, err := Pairs(ctx, config); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Pairs = %v, %v; want the context's error", report, err)
	}
}

func TestRefusals(t *testing.T) {
	good := newFakeServer(t, faults{}).target(protocol.Msgpack)
	for want, change := range map[string]func(*PairsConfig){
		"Users 3":         func(c *PairsConfig) { c.Users = 3 },
		"Users 0":         func(c *PairsConfig) { c.Users = 0 },
		"Body 1":          func(c *PairsConfig) { c.Body = 1 },
		"Window -1":       func(c *PairsConfig) { c.Window = -1 },
		"Rate -1":         func(c *PairsConfig) { c.Rate = -1 },
		"Duration 0":      func(c *PairsConfig) { c.Duration = 0 },
		"Warmup -1":       func(c *PairsConfig) { c.Warmup = -1 },
		"Drain -1":        func(c *PairsConfig) { c.Drain = -1 },
		"Disturb":         func(c *PairsConfig) { c.Disturb = func(context.Context, []*Client, *Silences) {} },
		"Ordered":         func(c *PairsConfig) { c.Ordered = true },
		"MaxSilence -1":   func(c *PairsConfig) { c.MaxSilence = -1 },
		"MaxSilence: ":    func(c *PairsConfig) { c.MaxSilence = time.Second },
		"at least one":    func(c *PairsConfig) { c.Server.URLs = nil },
		"Parallel -1":     func(c *PairsConfig) { c.Parallel = -1 },
		"Prefix":          func(c *PairsConfig) { c.Prefix = "two words" },
		"Server.Token":    func(c *PairsConfig) { c.Server.Token = nil },
		"want a host":     func(c *PairsConfig) { c.Server.URLs = []string{"ws:"} },
		"ws, wss, http":   func(c *PairsConfig) { c.Server.URLs = []string{"ftp://localhost"} },
		"process 1073741": func(c *PairsConfig) { c.ServerPIDs = []int{1073741824} },
	} {
		config := PairsConfig{Config: Config{Server: good}, Users: 2, Body: 100, Duration: time.Second}
		change(&config)
		_, err := Pairs(t.Context(), config)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
	if _, err := Login(t.Context(), LoginConfig{Config: Config{Server: good}, Users: 1, Body: 100}); err == nil {
		t.Error("a backlog of 0: no error")
	}
	if _, err := Idle(t.Context(), IdleConfig{Config: Config{Server: good}}); err == nil {
		t.Error("0 connections: no error")
	}
}
