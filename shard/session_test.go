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
