package conformance

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// lives has the scenarios about connections, tokens and their ends.
var lives = []scenario{
	{name: "a link that breaks again and again costs nothing", play: func(r *run) {
		alice := r.peer("alice")
		d := r.device("bob", "phone", nil).synced()
		for round := range 5 {
			synced := d.count("synced")
			d.proxy.Cut()
			r.says(alice, r.conv("bob"), numbered("m", 3*(round+1))[3*round:]...)
			d.resynced(synced)
			d.gets(numbered("m", 3*(round+1))...)
		}
		r.equal("local messages", d.local(r.conv("alice")).cids(), numbered("m", 15))
	}},
	{name: "a link that breaks in the middle of a sync", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), numbered("m", 10)...)
		d := r.device("bob", "phone", nil)
		d.proxy.Intercept(once(Cut, isPush("onSynced")))
		d.synced()
		d.gets(numbered("m", 10)...)
		r.equal("local messages", d.local(r.conv("alice")).cids(), numbered("m", 10))
	}},
	{name: "kicked: the SDK ends and does not come back", play: func(r *run) {
		d := r.device("bob", "phone", nil).synced()
		if status, _ := r.s.Admin("DELETE", "/v1/users/"+d.user+"/sessions", nil); status/100 != 2 {
			r.t.Fatalf("kick: status %d", status)
		}
		r.equal("why it is closed", d.state("closed")["code"], "kicked")
		before := d.proxy.Connections()
		_, err := d.try("readReport", Obj{"conv": r.conv("alice"), "seq": 1})
		if _, ok := errors.AsType[*Refusal](err); !ok {
			r.failf("a request after that: %v, want a refusal", err)
		}
		r.equal("connections after that", d.proxy.Connections(), before)
	}},
	{name: "a second client of the same device takes its place", play: func(r *run) {
		d := r.device("bob", "phone", nil).synced()
		r.s.Login(r.t, d.user, "phone", nil)
		r.equal("why it is closed", d.state("closed")["code"], "kicked")
	}},
	{name: "a token is replaced before it expires, within the session", play: func(r *run) {
		alice := r.peer("alice")
		d := r.device("bob", "phone", nil)
		// To the SDK the first token expires soon; the server is given one that does not, so
		// that a slow machine changes nothing.
		soon := r.s.Sign(jwt.MapClaims{"sub": d.user, "exp": time.Now().Add(4 * time.Second).Unix()})
		asked := 0
		d.token = func(string) (string, error) {
			if asked++; asked == 1 {
				return soon, nil
			}
			return r.s.Token(d.user), nil
		}
		good := r.s.Token(d.user)
		d.proxy.Rewrite(func(f *Frame) bool {
			if f.Body["token"] != soon {
				return false
			}
			f.Body["token"] = good
			return true
		})
		d.synced()
		d.awaitFrame("the new token", 1, isReply("refreshToken"))
		r.says(alice, r.conv("bob"), "m1")
		d.gets("m1")
		r.equal("connections", d.proxy.Connections(), 1)
	}},
	{name: "a session whose token is withdrawn comes back with a new one", play: func(r *run) {
		alice := r.peer("alice")
		d := r.device("bob", "phone", nil)
		asked, now := 0, time.Now()
		d.token = func(string) (string, error) {
			issued := now
			if asked++; asked == 1 {
				issued = now.Add(-time.Minute)
			}
			return r.s.Sign(jwt.MapClaims{"sub": d.user, "iat": issued.Unix(), "exp": now.Add(time.Hour).Unix()}), nil
		}
		d.synced()
		status, reply := r.s.Admin("PATCH", "/v1/users/"+d.user, Obj{"tokensFrom": now.Unix() * 1000})
		if status/100 != 2 {
			r.t.Fatalf("tokensFrom: status %d, %v", status, reply)
		}
		d.resynced(1)
		r.says(alice, r.conv("bob"), "m1")
		d.gets("m1")
		r.equal("tokens asked for", d.count("token") >= 2, true)
	}},
	{name: "a token that is refused: the SDK says so and asks for another one", play: func(r *run) {
		d := r.device("bob", "phone", nil)
		var reasons []string
		d.token = func(reason string) (string, error) {
			if reasons = append(reasons, reason); reason != "refused" {
				return r.s.Sign(jwt.MapClaims{"sub": d.user, "exp": time.Now().Add(-time.Hour).Unix()}), nil
			}
			return r.s.Token(d.user), nil
		}
		d.synced()
		r.equal("reasons", reasons, []string{"login", "refused"})
	}},
	{name: "when there is no token any more the SDK ends", play: func(r *run) {
		d := r.device("bob", "phone", nil)
		d.token = func(string) (string, error) { return "", errors.New("signed out") }
		d.open()
		r.equal("why it is closed", d.state("closed")["code"], "unauthorized")
	}},
	{name: "reset: a cursor that the server does not take", play: func(r *run) {
		alice := r.peer("alice")
		r.says(alice, r.conv("bob"), "m1", "m2", "m3")
		d := r.device("bob", "phone", nil).synced()
		d.gets("m1", "m2", "m3")
		d.quit()
		r.says(alice, r.conv("bob"), "m4", "m5")
		d.proxy.Rewrite(func(f *Frame) bool {
			if f.Op != "login" || f.Body["since"] == nil {
				return false
			}
			f.Body["since"] = "of another epoch"
			return true
		})
		d.repeats = true
		d.proxy.Forget()
		d.synced()
		events := d.on("synced")
		r.equal("reset", events[len(events)-1]["reset"], true)
		d.await("what came meanwhile", func() bool { return len(d.messages()) >= 5 })
		r.equal("the page", d.get(r.conv("alice"), nil).cids(), numbered("m", 5))
		r.equal("local messages", d.local(r.conv("alice")).cids(), numbered("m", 5))
	}},
	{name: "reset: a cursor of one group that the server does not take costs that group alone", play: func(r *run) {
		alice := r.peer("alice")
		team, all := r.user("team"), r.user("all")
		for _, id := range []string{team, all} {
			alice.Request("createGroup", Obj{"group": id, "kind": "private", "members": []any{r.user("bob")}})
		}
		d := r.device("bob", "phone", nil).synced()
		r.says(alice, r.conv("bob"), "m1", "m2")
		d.gets("m1", "m2") // between conversations there is no order
		r.says(alice, "g:"+team, "t1", "t2", "t3")
		d.gets("m1", "m2", "t1", "t2", "t3")
		r.says(alice, "g:"+all, "a1", "a2")
		d.gets("m1", "m2", "t1", "t2", "t3", "a1", "a2")
		d.do("readReport", Obj{"conv": "g:" + team, "seq": 3})
		d.quit()
		d.proxy.Rewrite(func(f *Frame) bool {
			groups, _ := f.Body["groups"].(Obj)
			if f.Op != "login" || groups[team] == nil {
				return false
			}
			groups[team] = "of another time"
			return true
		})
		d.proxy.Forget()
		mark := d.proxy.Len()
		d.synced()
		events := d.on("synced")
		last := events[len(events)-1]
		r.equal("reset", []any{last["reset"], last["resetGroups"]}, []any{true, []any{team}})
		r.equal("what bob has of alice", d.local(r.conv("alice")).cids(), numbered("m", 2))
		r.equal("what he has of the other group", d.local("g:"+all).cids(), numbered("a", 2))
		r.equal("what he has of the group", d.local("g:"+team).cids(), []string{"t3"}) // through recents
		r.equal("the page of alice", d.get(r.conv("alice"), nil).cids(), numbered("m", 2))
		r.equal("the page of the other group", d.get("g:"+all, nil).cids(), numbered("a", 2))
		r.equal("requests for these", len(d.requests(mark, "getMessage")), 0)
		r.equal("the page of the group", d.get("g:"+team, nil).cids(), numbered("t", 3))
		r.equal("what was fetched", d.fetched(mark, "g:"+team), seqs(1, 2))
		r.equal("logins", len(d.requests(mark, "login")), 1)
		d.gets("m1", "m2", "t1", "t2", "t3", "a1", "a2") // none of them twice
	}},
	{name: "a server that stops is waited for, and come back to", flags: []string{}, play: func(r *run) {
		alice := r.peer("alice")
		d := r.device("bob", "phone", nil).synced()
		r.says(alice, r.conv("bob"), "m1")
		d.gets("m1")
		synced := d.count("synced")
		r.s.Stop()
		r.s.Restart()
		d.resynced(synced)
		alice.Login(nil)
		alice.Sync()
		r.says(alice, r.conv("bob"), "m2")
		d.gets("m1", "m2")
	}},
}
