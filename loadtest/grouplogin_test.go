package loadtest

import (
	"strings"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func shortGroupLogin(s *fakeServer) GroupLoginConfig {
	return GroupLoginConfig{Config: Config{Server: s.target(protocol.Msgpack)}, Users: 2, Groups: 250, Unread: 3, Body: 100, Rounds: 2, Backlog: 20}
}

func TestGroupLogin(t *testing.T) {
	report, err := GroupLogin(t.Context(), shortGroupLogin(newFakeServer(t, faults{})))
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.NewDevice.Count != 4 || report.Returning.Count != 4 || report.NewDevicePushed != 750 || report.ReturningPushed != 150 {
		t.Errorf("report = %+v, want 4 logins of each kind, with 750 messages and with 150", report)
	}
}

func TestGroupLoginWithoutBacklog(t *testing.T) {
	config := shortGroupLogin(newFakeServer(t, faults{}))
	config.Backlog = 0
	report, err := GroupLogin(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil || report.NewDevicePushed != 0 {
		t.Errorf("%v, %d messages pushed, want none", err, report.NewDevicePushed)
	}
}

// TestGroupLoginCatches plants faults in what logins are told and pushed.
func TestGroupLoginCatches(t *testing.T) {
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
		"lost":    {at10(func(protocol.Message) messages { return nil }), "messages were pushed, want"},
		"doubled": {at10(func(m protocol.Message) messages { return messages{m, m} }), "it came after seq"},
		"altered": {at10(func(m protocol.Message) messages {
			m.Body = append([]byte(nil), m.Body...)
			m.Body[len(m.Body)-1] ^= 2
			return messages{m}
		}), "body was altered"},
		"another seq":   {at10(func(m protocol.Message) messages { m.Seq++; return messages{m} }), "it is message"},
		"another group": {at10(func(m protocol.Message) messages { m.Conv.ID = "other"; return messages{m} }), "does not write there"},
		"not named": {faults{synced: func(p *protocol.Synced) {
			if len(p.Groups) > 0 {
				p.Groups = p.Groups[1:]
			}
		}}, "onSynced names 249 groups"},
		"miscounted": {faults{synced: func(p *protocol.Synced) {
			p.UnreadTotal++ // the fake server adds its groups to this
		}}, "messages are unread, want"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := GroupLogin(t.Context(), shortGroupLogin(newFakeServer(t, c.faults)))
			if err != nil {
				t.Fatal(err)
			}
			convicted(t, report.Verdict, c.want)
		})
	}
}

func TestGroupLoginRefusals(t *testing.T) {
	good := newFakeServer(t, faults{}).target(protocol.Msgpack)
	for want, change := range map[string]func(*GroupLoginConfig){
		"Users 0":     func(c *GroupLoginConfig) { c.Users = 0 },
		"Groups 0":    func(c *GroupLoginConfig) { c.Groups = 0 },
		"Unread 0":    func(c *GroupLoginConfig) { c.Unread = 0 },
		"Body 1":      func(c *GroupLoginConfig) { c.Body = 1 },
		"Rounds 0":    func(c *GroupLoginConfig) { c.Rounds = 0 },
		"Backlog 101": func(c *GroupLoginConfig) { c.Backlog = 101 },
	} {
		config := GroupLoginConfig{Config: Config{Server: good}, Users: 1, Groups: 1, Unread: 1, Body: 100, Rounds: 1}
		change(&config)
		if _, err := GroupLogin(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
