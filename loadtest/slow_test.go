package loadtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// shortSlow is a run beside slow peers that is over soon. A fakeServer closes
// nobody, so that their connections are left open.
func shortSlow(s *fakeServer) SlowConfig {
	return SlowConfig{
		Config: Config{Server: s.target(protocol.Msgpack)},
		Users:  4, Body: 100, Rate: 200, Slow: 5, SlowRate: 200,
		Duration: 200 * time.Millisecond, SlowDuration: 200 * time.Millisecond, ClosePatience: 50 * time.Millisecond,
	}
}

func TestSlow(t *testing.T) {
	config := shortSlow(newFakeServer(t, faults{}))
	asked := int64(0)
	config.Closes = func(context.Context) (int64, error) { asked += 3; return asked, nil }
	report, err := Slow(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Sent != 80 || report.Delivered != 80 || report.SlowSent != 80 || report.SlowDelivered != 80 {
		t.Errorf("%d sent, %d delivered, %d and %d to slow peers; want 80 of each", report.Sent, report.Delivered, report.SlowSent, report.SlowDelivered)
	}
	// 40 were sent while nobody read.
	if report.Caught != 40 || report.Without.Delivery.Count != 40 || report.With.Delivery.Count != 40 {
		t.Errorf("%d caught up, %d and %d measured; want 40 of each", report.Caught, report.Without.Delivery.Count, report.With.Delivery.Count)
	}
	if report.Closes["left open"] != 5 || report.ServerCloses == nil || *report.ServerCloses != 3 {
		t.Errorf("closes = %v, the server's %v; want 5 left open, 3", report.Closes, report.ServerCloses)
	}
}

// TestSlowSeesCloses has the server close the slow peers' connections.
func TestSlowSeesCloses(t *testing.T) {
	var s *fakeServer
	slow := 0 // messages to slow peers; 40 while they read
	s = newFakeServer(t, faults{push: func(_ int, m protocol.Message) []protocol.Message {
		if strings.HasPrefix(m.From[strings.LastIndexByte(m.From, '-')+1:], "w") {
			if slow++; slow == 60 {
				go s.close("s", protocol.CloseSlow) // while they do not read
			}
		}
		return []protocol.Message{m}
	}})
	config := shortSlow(s)
	config.ClosePatience = time.Minute
	asked := int64(0)
	config.Closes = func(context.Context) (int64, error) {
		asked++
		return 2 * asked, nil // it takes until the fourth time to count them all
	}
	report, err := Slow(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Closes["closed 4413"] != 5 || *report.ServerCloses != 6 || report.SlowDelivered != 80 {
		t.Errorf("closes = %v, the server's %d, %d delivered to slow peers; want 5 closed 4413, 6, 80", report.Closes, *report.ServerCloses, report.SlowDelivered)
	}
}

// TestSlowCatches plants faults in what slow peers get at their next login.
func TestSlowCatches(t *testing.T) {
	for name, c := range map[string]struct {
		resume func(int, protocol.Message) []protocol.Message
		want   string
	}{
		"lost": {func(n int, m protocol.Message) []protocol.Message {
			if n == 10 {
				return nil
			}
			return []protocol.Message{m}
		}, "missing"},
		"the last lost": {func(_ int, m protocol.Message) []protocol.Message {
			if m.Seq == 16 {
				return nil
			}
			return []protocol.Message{m}
		}, "is the first that is missing"},
		"altered": {func(n int, m protocol.Message) []protocol.Message {
			m.Body = append([]byte(nil), m.Body...)
			m.Body[len(m.Body)-1] ^= 2
			return []protocol.Message{m}
		}, "body was altered"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := Slow(t.Context(), shortSlow(newFakeServer(t, faults{resume: c.resume})))
			if err != nil {
				t.Fatal(err)
			}
			convicted(t, report.Verdict, c.want)
		})
	}
}

func TestSlowRefusals(t *testing.T) {
	good := newFakeServer(t, faults{})
	for want, change := range map[string]func(*SlowConfig){
		"Slow 0":           func(c *SlowConfig) { c.Slow = 0 },
		"Rate 0":           func(c *SlowConfig) { c.Rate = 0 },
		"SlowRate 0":       func(c *SlowConfig) { c.SlowRate = 0 },
		"SlowDuration 0":   func(c *SlowConfig) { c.SlowDuration = 0 },
		"ClosePatience -1": func(c *SlowConfig) { c.ClosePatience = -1 },
		"Users 3":          func(c *SlowConfig) { c.Users = 3 },
		"Duration 0":       func(c *SlowConfig) { c.Duration = 0 },
	} {
		config := shortSlow(good)
		change(&config)
		if _, err := Slow(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
