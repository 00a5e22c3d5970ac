package shard

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard/command"
)

// TestFence has messages of several logins come in any order, to a user and to a group.
func TestFence(t *testing.T) {
	phone, tablet := command.HashDevice("phone"), command.HashDevice("tablet")
	window := command.Limits{}.WithDefaults().DedupWindow.Milliseconds()
	type message struct {
		origin command.Origin
		cid    string // "" = its own
		after  int64  // ms since the one before
		want   command.Code
	}
	of := func(device command.DeviceHash, login command.SessionID, fence bool) command.Origin {
		return command.Origin{Device: device, Login: login, Fence: fence}
	}
	for name, messages := range map[string][]message{
		"an earlier login":           {{origin: of(phone, 2, true)}, {origin: of(phone, 1, true), want: command.CodeOvertaken}, {origin: of(phone, 2, false)}},
		"a later login":              {{origin: of(phone, 1, true)}, {origin: of(phone, 2, true)}, {origin: of(phone, 1, false), want: command.CodeOvertaken}},
		"logins in between":          {{origin: of(phone, 3, true)}, {origin: of(phone, 2, true), want: command.CodeOvertaken}, {origin: of(phone, 4, true)}, {origin: of(phone, 3, true), want: command.CodeOvertaken}},
		"another device":             {{origin: of(phone, 2, true)}, {origin: of(tablet, 1, true)}},
		"an administrator":           {{origin: of(phone, 2, true)}, {}},
		"a login of long ago":        {{origin: of(phone, 2, false)}, {origin: of(phone, 1, false)}},
		"a repeat":                   {{origin: of(phone, 1, true), cid: "a"}, {origin: of(phone, 2, true)}, {origin: of(phone, 1, true), cid: "a"}},
		"within the time of repeats": {{origin: of(phone, 2, true)}, {origin: of(phone, 1, true), after: window - 1, want: command.CodeOvertaken}},
		"after the time of repeats":  {{origin: of(phone, 2, true)}, {origin: of(phone, 1, true), after: window}},
	} {
		for _, to := range []string{"user", "group"} {
			for _, restored := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/restored=%v", name, to, restored), func(t *testing.T) {
					b := newBench(t, command.Limits{})
					b.group("team", command.GroupPrivate, "bob")
					for i, m := range messages {
						b.now += m.after
						cid := m.cid
						if cid == "" {
							cid = fmt.Sprint("c", i)
						}
						var cmd command.Command = &command.Send{User: "alice", Session: 1, To: "bob", CID: cid, ID: command.MsgID{byte(i + 1)}, Body: []byte{1}, Origin: m.origin}
						if to == "group" {
							cmd = &command.SendGroup{Group: "team", User: "alice", Session: 1, CID: cid, ID: command.MsgID{byte(i + 1)}, Body: []byte{1}, Origin: m.origin}
						}
						r := b.do(cmd)
						if r.Code != m.want || (r.RetryAfterMS > 0) != (m.want != command.OK) {
							t.Errorf("message %d: code %d (%s), want %d", i, r.Code, r.Detail, m.want)
						}
						if restored {
							b.restore()
						}
					}
				})
			}
		}
	}
}

// restore has the state go on from a snapshot of itself.
func (b *bench) restore() {
	b.t.Helper()
	s, err := Restore(bytes.NewReader(snapshot(b.s)), 1)
	if err != nil {
		b.t.Fatal(err)
	}
	b.s = s
}

// A store that was restored from a backup may give a device's next login a lower number.
func TestFenceEndsWithItsEpoch(t *testing.T) {
	b := newBench(t, command.Limits{})
	send := func(cid string, login command.SessionID) command.Result {
		return b.do(&command.Send{
			User: "alice", Session: login, To: "bob", CID: cid, ID: command.MsgID{1}, Body: []byte{1},
			Origin: command.Origin{Device: command.HashDevice("phone"), Login: login, Fence: true},
		})
	}
	send("a", 5)
	b.now += time.Second.Milliseconds()
	b.do(&command.Configure{Version: 1 << 20, Epoch: b.s.Epoch() + 1, Limits: command.Limits{}.WithDefaults()})
	if r := send("b", 4); r.Code != command.OK {
		t.Errorf("code %d (%s), want none", r.Code, r.Detail)
	}
}
