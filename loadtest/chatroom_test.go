package loadtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// shortChatroom is a run of a chatroom whose server hangs up on everybody. Its
// rate leaves more messages than one sync pushes.
func shortChatroom(s *fakeServer) ChatroomConfig {
	return ChatroomConfig{
		Config: Config{Server: s.target(protocol.Msgpack)}, Members: 30, Online: 10, Body: 100,
		Rate: 1000, Lead: 300 * time.Millisecond, Trail: 300 * time.Millisecond,
		Loss: Loss{Lose: func(ctx context.Context) error {
			s.hangUp()
			return nil
		}},
	}
}

// TestChatroom has members return to what the sync pushes, and, after a longer
// absence, to more.
func TestChatroom(t *testing.T) {
	report, err := Chatroom(t.Context(), shortChatroom(newFakeServer(t, faults{})))
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Login.Count != 10 || report.Complete.Count != 10 || !report.Restarted || report.Delivered != 9*report.Sent || report.Sent < 200 {
		t.Errorf("report = %+v, want 10 clients back and at least 200 messages at 9 of them", report)
	}

	config := shortChatroom(newFakeServer(t, faults{}))
	config.Loss = Loss{Drop: true, Away: time.Second}
	report, err = Chatroom(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Login.Count != 9 || report.Fetched < 9*200 || report.Missed < 9*100 || report.Delivered != 9*report.Sent {
		t.Errorf("report = %+v, want 9 clients back that fetched at least 200 messages each", report)
	}
}

// TestChatroomCatches plants faults in what a login with a group's cursor pushes,
// and in history.
func TestChatroomCatches(t *testing.T) {
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
		"altered": {at10(func(m protocol.Message) messages {
			m.Body = append([]byte(nil), m.Body...)
			m.Body[len(m.Body)-1] ^= 2
			return messages{m}
		}), "body was altered"},
		"stored twice": {at10(func(m protocol.Message) messages {
			again := m
			again.Seq++
			return messages{m, again}
		}), "elsewhere"},
		"reordered": {at10(func(m protocol.Message) messages {
			again := m
			again.Seq--
			return messages{m, again}
		}), ""},
		"a gap in history": {faults{page: func(p *protocol.PageOK) {
			if len(p.Messages) > 10 {
				p.Gaps = []protocol.Gap{{From: p.Messages[5].Seq, To: p.Messages[5].Seq, Reason: "evicted"}}
				p.Messages = append(p.Messages[:5], p.Messages[6:]...)
			}
		}}, "missing in history: evicted"},
		"missing in history": {faults{page: func(p *protocol.PageOK) {
			if len(p.Messages) > 10 {
				p.Messages = p.Messages[1:]
			}
		}}, "is missing in history, in a page"},
		"altered in history": {faults{page: func(p *protocol.PageOK) {
			if len(p.Messages) > 10 {
				p.Messages[5].Time++
				p.Messages[5].CID = []byte("x")
			}
		}}, "has cid"},
		"lost from the group": {faults{synced: func(p *protocol.Synced) {
			p.Lost = []protocol.Lost{{Conv: protocol.GroupConv("g1"), From: 1, To: 2, Count: 2}}
		}}, "limits took seqs 1 to 2"},
	} {
		t.Run(name, func(t *testing.T) {
			config := shortChatroom(newFakeServer(t, c.faults))
			config.Loss = Loss{Drop: true, Away: time.Second}
			report, err := Chatroom(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			convicted(t, report.Verdict, c.want)
		})
	}
}

// TestChatroomCatchesLoss has one member's login leave out a message that no page
// of history is asked for.
func TestChatroomCatchesLoss(t *testing.T) {
	s := newFakeServer(t, faults{groupPush: func(user string, n int, m protocol.Message) []protocol.Message {
		if n == 20 && strings.HasSuffix(user, "m3") {
			return nil
		}
		return []protocol.Message{m}
	}})
	report, err := Chatroom(t.Context(), shortChatroom(s))
	if err != nil {
		t.Fatal(err)
	}
	caught(t, report.Err(), "missing")
}

func TestChatroomRefusals(t *testing.T) {
	good := newFakeServer(t, faults{}).target(protocol.Msgpack)
	for want, change := range map[string]func(*ChatroomConfig){
		"Members 1":     func(c *ChatroomConfig) { c.Members = 1 },
		"Members 10001": func(c *ChatroomConfig) { c.Members = 10001 },
		"Online 11":     func(c *ChatroomConfig) { c.Online = 11 },
		"Body 1":        func(c *ChatroomConfig) { c.Body = 1 },
		"Rate 0":        func(c *ChatroomConfig) { c.Rate = 0 },
		"Lead":          func(c *ChatroomConfig) { c.Lead = -1 },
		"Away -1":       func(c *ChatroomConfig) { c.Away = -1 },
	} {
		config := ChatroomConfig{Config: Config{Server: good}, Members: 10, Online: 5, Body: 100, Rate: 1}
		change(&config)
		if _, err := Chatroom(t.Context(), config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
