package shard

import (
	"fmt"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
)

// TestLoginInstead has a session come back that nobody is known to have ended. What
// others have done meanwhile ends it, as it would have when it was there.
func TestLoginInstead(t *testing.T) {
	const now = 1_800_000_000_000
	login := func(device, platform string, policy command.Policy) *command.Login {
		return &command.Login{User: "bob", Device: device, Platform: platform, Policy: policy}
	}
	for name, c := range map[string]struct {
		policy command.Policy
		logout bool // of the first session
		later  []*command.Login
		want   string // reason of the refusal, "" for none
	}{
		"nobody else":                {logout: true},
		"it is still there":          {},
		"other device":               {logout: true, later: []*command.Login{login("tablet", "ios", command.PolicyMulti)}},
		"same device":                {logout: true, later: []*command.Login{login("phone", "ios", command.PolicyMulti)}, want: "sameDevice"},
		"single session":             {logout: true, policy: command.PolicySingle, later: []*command.Login{login("tablet", "web", command.PolicySingle)}, want: "policy"},
		"same platform":              {logout: true, policy: command.PolicyPlatform, later: []*command.Login{login("tablet", "ios", command.PolicyPlatform)}, want: "policy"},
		"other platform":             {logout: true, policy: command.PolicyPlatform, later: []*command.Login{login("tablet", "web", command.PolicyPlatform)}},
		"same device in single mode": {logout: true, policy: command.PolicySingle, later: []*command.Login{login("phone", "ios", command.PolicySingle)}, want: "sameDevice"},
		"as many devices as allowed": {logout: true, later: []*command.Login{login("a", "", 0), login("b", "", 0), login("c", "", 0)}, want: "policy"},
		"one more device is allowed": {logout: true, later: []*command.Login{login("a", "", 0), login("b", "", 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewState(0)
			var out Outcome
			apply := func(cmd command.Command) command.Result {
				s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, now), cmd), &out)
				return out.Results[0]
			}
			limits := command.Limits{}.WithDefaults()
			limits.MaxDevices = 3
			apply(openAll())
			apply(&command.Configure{Version: 1, Limits: limits})
			apply(login("older", "mac", command.PolicyMulti))
			first := apply(login("phone", "ios", c.policy)).Session
			if c.logout {
				apply(&command.Logout{User: "bob", Session: first})
			}
			for _, l := range c.later {
				apply(l)
			}
			before := fmt.Sprint(s.Sessions("bob"))
			again := login("phone", "ios", c.policy)
			again.Instead = first
			r := apply(again)
			if c.want != "" {
				if r.Code != command.CodeConflict || r.Detail != c.want {
					t.Errorf("login = %v %q, want a conflict for %q", r.Code, r.Detail, c.want)
				}
				if after := fmt.Sprint(s.Sessions("bob")); after != before {
					t.Errorf("sessions = %s, want %s as before", after, before)
				}
				return
			}
			if r.Code != command.OK || r.Session <= first {
				t.Fatalf("login = %+v, want a new session", r)
			}
			for _, k := range out.Kicked {
				if k.Session == first {
					t.Error("the session that comes back is kicked")
				}
			}
			for _, info := range s.Sessions("bob") {
				if info.Number == first {
					t.Error("the session is there twice")
				}
			}
		})
	}
}

// TestLoginOvertaken has a login applied after others that were begun later, or earlier.
// It ends no session that was begun later, and takes no place where that one would have
// ended it.
func TestLoginOvertaken(t *testing.T) {
	const now, begun = 1_800_000_000_000, 1_800_000_000_000 - 5000
	login := func(device string, policy command.Policy, begun int64) *command.Login {
		return &command.Login{User: "bob", Device: device, Platform: device, Policy: policy, Begun: begun}
	}
	for name, c := range map[string]struct {
		policy command.Policy
		before []*command.Login
		want   string // reason of the refusal, "" for none
		kicks  int
	}{
		"nobody else":                {},
		"same device, later":         {before: []*command.Login{login("phone", 0, begun+overtakenBy+1)}, want: "sameDevice"},
		"same device, earlier":       {before: []*command.Login{login("phone", 0, begun-1)}, kicks: 1},
		"same device, the same time": {before: []*command.Login{login("phone", 0, begun+overtakenBy)}, kicks: 1},
		"same device, time unknown":  {before: []*command.Login{login("phone", 0, 0)}, want: "sameDevice"},
		"other device, later":        {before: []*command.Login{login("tablet", 0, begun+overtakenBy+1)}},
		"single session, later":      {policy: command.PolicySingle, before: []*command.Login{login("tablet", 0, begun+overtakenBy+1)}, want: "policy"},
		"single session, earlier":    {policy: command.PolicySingle, before: []*command.Login{login("tablet", 0, begun-1)}, kicks: 1},
		"from the future":            {before: []*command.Login{login("phone", 0, now+1000)}, want: "sameDevice"},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewState(0)
			var out Outcome
			apply := func(cmd command.Command) command.Result {
				s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, now), cmd), &out)
				return out.Results[0]
			}
			apply(openAll())
			for _, l := range c.before {
				apply(l)
			}
			r := apply(login("phone", c.policy, begun))
			if c.want != "" {
				if r.Code != command.CodeConflict || r.Detail != c.want || len(out.Kicked) > 0 {
					t.Errorf("login = %v %q with kicks %v, want a conflict for %q", r.Code, r.Detail, out.Kicked, c.want)
				}
			} else if r.Code != command.OK || len(out.Kicked) != c.kicks {
				t.Errorf("login = %v with kicks %v, want %d", r.Code, out.Kicked, c.kicks)
			}
			// One that begins now is the latest, whatever clocks have said.
			if r := apply(login("phone", c.policy, now)); r.Code != command.OK {
				t.Errorf("a login that begins now = %v %q", r.Code, r.Detail)
			}
			for _, info := range s.Sessions("bob") {
				if info.LoginMS > now {
					t.Errorf("session %+v begins after %d", info, int64(now))
				}
			}
		})
	}
}

// One device too many ends the session that was begun first, however often that was
// brought back since, and whichever order logins are executed in.
func TestOneDeviceTooMany(t *testing.T) {
	now := int64(1_800_000_000_000)
	s := NewState(0)
	var out Outcome
	apply := func(cmd command.Command) command.Result {
		s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, now), cmd), &out)
		return out.Results[0]
	}
	limits := command.Limits{}.WithDefaults()
	limits.MaxDevices = 3
	apply(openAll())
	apply(&command.Configure{Version: 1, Limits: limits})
	login := func(device string, begun int64, instead command.SessionID) command.SessionID {
		t.Helper()
		r := apply(&command.Login{User: "bob", Device: device, Begun: begun, Instead: instead})
		if r.Code != command.OK {
			t.Fatalf("login of %s: %v %q", device, r.Code, r.Detail)
		}
		return r.Session
	}
	kicked := func(want string, session command.SessionID) {
		t.Helper()
		if len(out.Kicked) != 1 || out.Kicked[0].Session != session {
			t.Errorf("kicked %+v, want session %d of %s", out.Kicked, session, want)
		}
	}
	a := login("a", now, 0)
	now += 60_000
	b := login("b", now, 0)
	c := login("c", now-500, 0) // begun before b
	a = login("a", 0, a)
	now += 60_000
	d := login("d", now, 0)
	kicked("a", a)
	now += 60_000
	login("e", now, 0)
	kicked("c", c)
	login("f", now, 0)
	kicked("b", b)
	login("g", now, 0)
	kicked("d", d)
}
