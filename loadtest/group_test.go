package loadtest

import (
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// shortGroup is a run with a group that is over soon.
func shortGroup(s *fakeServer, codec protocol.Codec) GroupConfig {
	return GroupConfig{
		Config: Config{Server: s.target(codec)}, Kind: protocol.KindChatroom,
		Members: 5, Senders: 1, Body: 100, Window: 8, Duration: 200 * time.Millisecond, Drain: time.Minute,
	}
}

// countedGroup is one of 40 messages, however slow this machine is just now.
func countedGroup(s *fakeServer) GroupConfig {
	config := shortGroup(s, protocol.Msgpack)
	config.Rate = 200
	return config
}

func TestGroup(t *testing.T) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		for _, kind := range GroupKinds {
			for _, senders := range []int{1, 3} {
				t.Run(strings.Join([]string{codec.Name(), kind, string(rune('0' + senders))}, "/"), func(t *testing.T) {
					config := shortGroup(newFakeServer(t, faults{}), codec)
					config.Kind, config.Senders = kind, senders
					var report *GroupReport
					for d := 50 * time.Millisecond; d < time.Minute; d *= 4 {
						var err error
						config.Duration = d
						if report, err = Group(t.Context(), config); err != nil {
							t.Fatal(err)
						}
						if err := report.Err(); err != nil {
							t.Fatal(err)
						}
						if report.Sent >= 16 && report.DeliveriesPerSecond > 0 {
							break // the machine had the time
						}
					}
					if report.Sent < 16 || report.Delivered != 4*report.Sent || report.Delivery.Count == 0 || report.DeliveriesPerSecond == 0 || report.MessagesPerFrame != 1 {
						t.Errorf("report = %+v", report)
					}
					if senders == 1 && report.Decoded > report.Delivered/2 {
						t.Errorf("%d of %d deliveries were decoded, want about a fourth", report.Decoded, report.Delivered)
					}
				})
			}
		}
	}
}

func TestGroupAtRate(t *testing.T) {
	config := shortGroup(newFakeServer(t, faults{}), protocol.Msgpack)
	config.Rate, config.Warmup, config.Senders = 200, 100*time.Millisecond, 2
	report, err := Group(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if want := int64(60); report.Sent+report.Unsent != want || report.Ack.Count > 40 {
		t.Errorf("%d messages were sent, %d were due and not, %d were measured; want %d, 0, at most 40", report.Sent, report.Unsent, report.Ack.Count, want)
	}
}

// TestGroupBig makes a group of more members than one request can name.
func TestGroupBig(t *testing.T) {
	config := shortGroup(newFakeServer(t, faults{}), protocol.Msgpack)
	config.Members, config.Duration, config.Rate = 650, 50*time.Millisecond, 20
	report, err := Group(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil || report.Delivered != 649 {
		t.Errorf("%d delivered, %v; want one message at 649", report.Delivered, err)
	}

	config.Server = newFakeServer(t, faults{failed: []string{"7"}}).target(protocol.Msgpack)
	if _, err := Group(t.Context(), config); err == nil || !strings.Contains(err.Error(), "not_found") {
		t.Errorf("members that cannot be added: %v, want not_found", err)
	}
}

// TestGroupCatches plants faults in a server and requires that a run finds each.
func TestGroupCatches(t *testing.T) {
	type messages = []protocol.Message
	type push = func(string, int, protocol.Message) messages
	victim := func(user string) bool { return strings.HasSuffix(user, "m3") }
	at10 := func(plant func(protocol.Message) messages) push {
		return func(user string, n int, m protocol.Message) messages {
			if n == 10 && victim(user) {
				return plant(m)
			}
			return messages{m}
		}
	}
	altered := func(m protocol.Message) messages {
		m.Body = append([]byte(nil), m.Body...)
		m.Body[len(m.Body)-1] ^= 2
		return messages{m}
	}
	var held protocol.Message
	reordered := func(user string, n int, m protocol.Message) messages {
		switch {
		case n == 10 && victim(user):
			held = m
			return nil
		case n == 11 && victim(user):
			return messages{m, held}
		}
		return messages{m}
	}
	for name, c := range map[string]struct {
		push push
		kind string
		want string
	}{
		"lost":                {at10(func(protocol.Message) messages { return nil }), "", "while 1 below are missing"},
		"doubled":             {at10(func(m protocol.Message) messages { return messages{m, m} }), "", "came twice"},
		"reordered":           {reordered, "", "while 1 below are missing"},
		"altered":             {at10(altered), "", "body was altered"},
		"another's id":        {at10(func(m protocol.Message) messages { m.ID[0]++; return messages{m} }), "", "elsewhere"},
		"another time":        {at10(func(m protocol.Message) messages { m.Time++; return messages{m} }), "", "elsewhere"},
		"another cid":         {at10(func(m protocol.Message) messages { m.CID = []byte("x"); return messages{m} }), "", "has cid"},
		"a stranger's":        {at10(func(m protocol.Message) messages { m.From = "eve"; return messages{m} }), "", "who sends nothing"},
		"another group":       {at10(func(m protocol.Message) messages { m.Conv.ID = "other"; return messages{m} }), "", "where nobody writes"},
		"without seq":         {at10(func(m protocol.Message) messages { m.Seq = 0; return messages{m} }), "", "has seq 0"},
		"live: lost":          {at10(func(protocol.Message) messages { return nil }), protocol.KindLive, "0 were said to be skipped"},
		"live: doubled":       {at10(func(m protocol.Message) messages { return messages{m, m} }), protocol.KindLive, "came after"},
		"live: reordered":     {reordered, protocol.KindLive, "came after"},
		"live: altered":       {at10(altered), protocol.KindLive, "body was altered"},
		"live: with seq":      {at10(func(m protocol.Message) messages { m.Seq = 7; return messages{m} }), protocol.KindLive, "has seq 7"},
		"live: too much lost": {at10(func(m protocol.Message) messages { m.TTL = 1; return messages{m} }), protocol.KindLive, "skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			config := countedGroup(newFakeServer(t, faults{groupPush: c.push}))
			config.Drain = 2 * time.Second
			if c.kind != "" {
				config.Kind = c.kind
			}
			report, err := Group(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			convicted(t, report.Verdict, c.want)
		})
	}
}

func TestGroupCatchesEcho(t *testing.T) {
	report, err := Group(t.Context(), shortGroup(newFakeServer(t, faults{echo: true}), protocol.JSON))
	if err != nil {
		t.Fatal(err)
	}
	caught(t, report.Err(), "its own session should not be told of")
}

// TestGroupLostTail plants a loss that no later message shows.
func TestGroupLostTail(t *testing.T) {
	for _, c := range []struct{ kind, want string }{
		{protocol.KindPublic, "goes to seq 20, but seq"},
		{protocol.KindLive, "came up to 20, want"},
	} {
		config := countedGroup(newFakeServer(t, faults{groupPush: func(user string, n int, m protocol.Message) []protocol.Message {
			if n > 20 && strings.HasSuffix(user, "m3") {
				return nil
			}
			return []protocol.Message{m}
		}}))
		config.Kind, config.Drain = c.kind, 2*time.Second
		report, err := Group(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		caught(t, report.Err(), c.want)
	}
}

// TestGroupSkipped has a live group lose messages and say so, at the end of a
// block too.
func TestGroupSkipped(t *testing.T) {
	lost := 0
	config := countedGroup(newFakeServer(t, faults{groupPush: func(user string, n int, m protocol.Message) []protocol.Message {
		if strings.HasSuffix(user, "m3") {
			switch n {
			case 10, 11, 12:
				lost++
				return nil
			case 13:
				m.TTL = 3
			}
		}
		return []protocol.Message{m}
	}}))
	config.Kind = protocol.KindLive
	report, err := Group(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil || report.Skipped != 3 || report.Delivered != 4*report.Sent-3 {
		t.Errorf("%v, %d sent, %d delivered, %d skipped; want 3 less than 4 deliveries each", err, report.Sent, report.Delivered, report.Skipped)
	}
}

func TestGroupRateLimited(t *testing.T) {
	s := newFakeServer(t, faults{refuse: func(n int) string {
		if n == 30 {
			return protocol.CodeRateLimited
		}
		return ""
	}})
	config := shortGroup(s, protocol.Msgpack)
	config.Duration = time.Hour
	if _, err := Group(t.Context(), config); err == nil || !strings.Contains(err.Error(), "--group-rate 0") {
		t.Errorf("error %v, want what to do about the limit", err)
	}
}

func TestGroupRefusals(t *testing.T) {
	good := newFakeServer(t, faults{}).target(protocol.Msgpack)
	for want, change := range map[string]func(*GroupConfig){
		"Kind":       func(c *GroupConfig) { c.Kind = "club" },
		"Members 1":  func(c *GroupConfig) { c.Members = 1 },
		"Senders 0":  func(c *GroupConfig) { c.Senders = 0 },
		"Senders 3":  func(c *GroupConfig) { c.Senders = 3 },
		"Body 1":     func(c *GroupConfig) { c.Body = 1 },
		"Window -1":  func(c *GroupConfig) { c.Window = -1 },
		"Rate -1":    func(c *GroupConfig) { c.Rate = -1 },
		"Duration 0": func(c *GroupConfig) { c.Duration = 0 },
		"Warmup -1":  func(c *GroupConfig) { c.Warmup = -1 },
		"Drain -1":   func(c *GroupConfig) { c.Drain = -1 },
	} {
		config := GroupConfig{Config: Config{Server: good}, Kind: protocol.KindPublic, Members: 2, Senders: 1, Body: 100, Duration: time.Second}
		change(&config)
		if _, err := Group(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
