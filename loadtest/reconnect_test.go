package loadtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// shortReconnect is a run of clients that hang up and come back soon.
func shortReconnect(s *fakeServer) ReconnectConfig {
	return ReconnectConfig{
		Config:  Config{Server: s.target(protocol.Msgpack)},
		Clients: 25, Body: 100, Rate: 500, Loss: Loss{Drop: true, Away: 200 * time.Millisecond},
	}
}

func TestReconnectDrop(t *testing.T) {
	report, err := Reconnect(t.Context(), shortReconnect(newFakeServer(t, faults{})))
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Login.Count != 25 || report.Attempts < 25 || report.Seconds <= 0 || report.AwaySeconds < 0.2 {
		t.Errorf("report = %+v, want 25 clients that were away for 200 ms", report)
	}
	if report.Sent < 50 || report.Delivered != report.Sent || report.Missed < 20 {
		t.Errorf("%d sent, %d delivered, %d of them missed; want all of at least 50, and most of 100 missed", report.Sent, report.Delivered, report.Missed)
	}
}

// TestReconnectLosesServer has the server hang up on everybody.
func TestReconnectLosesServer(t *testing.T) {
	s := newFakeServer(t, faults{})
	config := shortReconnect(s)
	config.Drop, config.Away = false, 0
	config.Lose = func(context.Context) error {
		s.hangUp()
		return nil
	}
	report, err := Reconnect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Login.Count != 26 || !report.Restarted || report.Delivered != report.Sent {
		t.Errorf("report = %+v, want 25 clients and a writer that came back", report)
	}

	config.Lose = func(context.Context) error { return errors.New("planted") }
	if _, err := Reconnect(t.Context(), config); err == nil || !strings.Contains(err.Error(), "planted") {
		t.Errorf("error %v, want that of Lose", err)
	}
}

// TestReconnectCatches plants faults in what a login with a cursor pushes.
func TestReconnectCatches(t *testing.T) {
	type messages = []protocol.Message
	at10 := func(plant func(protocol.Message) messages) faults {
		return faults{resume: func(n int, m protocol.Message) messages {
			if n == 10 {
				return plant(m)
			}
			return messages{m}
		}}
	}
	for name, c := range map[string]struct {
		faults faults
		want   string
	}{
		"lost": {at10(func(protocol.Message) messages { return nil }), "missing"},
		"altered": {at10(func(m protocol.Message) messages {
			m.Body = append([]byte(nil), m.Body...)
			m.Body[len(m.Body)-1] ^= 2
			return messages{m}
		}), "body was altered"},
		"stored twice": {at10(func(m protocol.Message) messages {
			again := m
			again.Seq++
			return messages{m, again}
		}), "came again under another seq"},
		"reset": {faults{synced: func(p *protocol.Synced) { p.Reset = true }}, "counted as absent"},
		"lost from the queue": {faults{synced: func(p *protocol.Synced) {
			p.Lost = []protocol.Lost{{Conv: protocol.UserConv("x"), From: 1, To: 2, Count: 2}}
		}}, "limits took seqs 1 to 2"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := Reconnect(t.Context(), shortReconnect(newFakeServer(t, c.faults)))
			if err != nil {
				t.Fatal(err)
			}
			convicted(t, report.Verdict, c.want)
		})
	}
}

func TestReconnectRefusals(t *testing.T) {
	good := newFakeServer(t, faults{}).target(protocol.Msgpack)
	for want, change := range map[string]func(*ReconnectConfig){
		"Clients 0": func(c *ReconnectConfig) { c.Clients = 0 },
		"Body 1":    func(c *ReconnectConfig) { c.Body = 1 },
		"Rate -1":   func(c *ReconnectConfig) { c.Rate = -1 },
		"Away -1":   func(c *ReconnectConfig) { c.Away = -1 },
		"Lose, NewPID": func(c *ReconnectConfig) {
			c.Drop, c.NewPID = true, func(context.Context) (int, error) { return 1, nil }
		},
	} {
		config := ReconnectConfig{Config: Config{Server: good}, Clients: 1, Body: 100}
		change(&config)
		if _, err := Reconnect(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}

func TestFailureKind(t *testing.T) {
	for want, err := range map[string]error{
		"login unavailable":  &protocol.ReplyError{Code: protocol.CodeUnavailable},
		"closed 1001":        &CloseError{Code: protocol.CloseGoingAway},
		"timeout":            context.DeadlineExceeded,
		"connection lost":    errors.New("EOF"),
		"connection refused": refused(t),
	} {
		if got := failureKind(err); got != want {
			t.Errorf("failureKind(%v) = %q, want %q", err, got, want)
		}
	}
}

// refused is the error of a connection to a port that nobody listens on.
func refused(t *testing.T) error {
	s := newFakeServer(t, faults{})
	target := s.target(protocol.JSON)
	s.server.Close()
	_, err := dial(t.Context(), &target, 0, 0)
	return err
}
