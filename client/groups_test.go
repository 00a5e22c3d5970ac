package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func TestGroupOps(t *testing.T) {
	name, until := "the team", int64(7)
	failed := frame{"user": "carol", "code": "forbidden"}
	checkOps(t, []opCase{
		{
			"createGroup",
			func(ctx context.Context, c *Client) (any, error) {
				group, failed, err := c.CreateGroup(ctx, NewGroup{
					Kind: protocol.KindPublic, Members: []string{"bob", "carol"}, MaxMembers: 5,
					Properties: map[string]any{"topic": "tea"},
				})
				return fmt.Sprint(group, failed), err
			},
			"map[kind:public maxMembers:5 members:[bob carol] properties:map[topic:tea]]",
			frame{"group": "team", "failed": []any{failed}}, "team[{carol forbidden}]",
		},
		{
			"joinGroup",
			func(ctx context.Context, c *Client) (any, error) { return c.JoinGroup(ctx, "team", "please") },
			"map[group:team message:please]", frame{"pending": true}, "true",
		},
		{
			"leaveGroup",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.LeaveGroup(ctx, "team") },
			"map[group:team]", frame{}, "<nil>",
		},
		{
			"dismissGroup",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.DismissGroup(ctx, "team") },
			"map[group:team]", frame{}, "<nil>",
		},
		{
			"answerJoin",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.AnswerJoin(ctx, "team", "bob", false) },
			"map[accept:false group:team user:bob]", frame{}, "<nil>",
		},
		{
			"addMembers",
			func(ctx context.Context, c *Client) (any, error) { return c.AddMembers(ctx, "team", "bob", "carol") },
			"map[group:team users:[bob carol]]", frame{"added": []any{"bob"}, "failed": []any{failed}}, "[{carol forbidden}]",
		},
		{
			"removeMembers",
			func(ctx context.Context, c *Client) (any, error) { return c.RemoveMembers(ctx, "team", "bob") },
			"map[group:team users:[bob]]", frame{"removed": []any{"bob"}, "failed": []any{}}, "[]",
		},
		{
			"removeMembers",
			func(ctx context.Context, c *Client) (any, error) {
				return c.BanMembers(ctx, "team", time.Minute, "bob")
			},
			"map[ban:60 group:team users:[bob]]", frame{"removed": []any{"bob"}, "failed": []any{}}, "[]",
		},
		{
			"unban",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.Unban(ctx, "team", "bob") },
			"map[group:team user:bob]", frame{}, "<nil>",
		},
		{
			"getBans",
			func(ctx context.Context, c *Client) (any, error) {
				bans, more, err := c.Bans(ctx, "team", "bob", 1)
				return fmt.Sprint(bans, more), err
			},
			"map[after:bob group:team limit:1]",
			frame{"bans": []any{frame{"user": "carol", "until": 9}}, "more": false}, "[{carol 9}] false",
		},
		{
			"answerOwner",
			func(ctx context.Context, c *Client) (any, error) { return nil, c.AnswerOwner(ctx, "team", true) },
			"map[accept:true group:team]", frame{}, "<nil>",
		},
		{
			"setGroup",
			func(ctx context.Context, c *Client) (any, error) {
				on := true
				return nil, c.SetGroup(ctx, "team", GroupSetting{Join: protocol.JoinOpen, MaxMembers: 9, MutedAll: &on})
			},
			"map[group:team join:open maxMembers:9 mutedAll:true]", frame{}, "<nil>",
		},
		{
			"setMember",
			func(ctx context.Context, c *Client) (any, error) {
				return nil, c.SetMember(ctx, "team", "bob", MemberSetting{Role: protocol.RoleAdmin, MutedUntil: &until})
			},
			"map[group:team mutedUntil:7 role:admin user:bob]", frame{}, "<nil>",
		},
		{
			"setGroup",
			func(ctx context.Context, c *Client) (any, error) {
				return nil, c.SetGroup(ctx, "team", GroupSetting{Name: &name, Owner: "bob"})
			},
			"map[group:team name:the team owner:bob]", frame{}, "<nil>",
		},
		{
			"getGroup",
			func(ctx context.Context, c *Client) (any, error) {
				g, err := c.Group(ctx, "team")
				return fmt.Sprintf("%s %d %s", g.Name, g.MemberCount, g.Role), err
			},
			"map[group:team]",
			frame{"group": "team", "kind": "private", "name": "t", "owner": "bob", "memberCount": 2, "lastSeq": 0, "role": "member"},
			"t 2 member",
		},
		{
			"getGroups",
			func(ctx context.Context, c *Client) (any, error) {
				list, err := c.Groups(ctx)
				return len(list), err
			},
			"map[]", frame{"groups": []any{}}, "0",
		},
		{
			"getMembers",
			func(ctx context.Context, c *Client) (any, error) {
				members, more, err := c.Members(ctx, "team", "bob", 1)
				return fmt.Sprint(members, more), err
			},
			"map[after:bob group:team limit:1]",
			frame{"members": []any{frame{"user": "carol", "role": "member"}}, "more": true}, "[{carol member 0}] true",
		},
	})
}

func TestGroupOpsRefuse(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		s.refuse.Store(true)
		c := start(t, cfg)
		ctx := t.Context()
		for i, check := range []struct {
			field string
			ask   func() error
		}{
			{"Group", func() error { _, _, err := c.CreateGroup(ctx, NewGroup{Group: "a b"}); return err }},
			{"Members", func() error { _, _, err := c.CreateGroup(ctx, NewGroup{Members: []string{""}}); return err }},
			{"group", func() error { _, err := c.JoinGroup(ctx, "", ""); return err }},
			{"group", func() error { return c.JoinLive(ctx, "a b") }},
			{"users", func() error { _, err := c.AddMembers(ctx, "team"); return err }},
			{"limit", func() error { _, _, err := c.Members(ctx, "team", "", 101); return err }},
		} {
			if wrong, ok := errors.AsType[*FieldError](check.ask()); !ok || wrong.Field != check.field {
				t.Errorf("%d: error = %v, want one of %s", i, wrong, check.field)
			}
		}
	})
}

func TestLiveGroupsAreJoinedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		c := start(t, cfg)
		p, _ := s.login()
		done := make(chan error, 1)
		go func() { done <- c.JoinLive(t.Context(), "show") }()
		p.ok(p.want("joinGroup"), frame{})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		p.ws.CloseNow()

		p, _ = s.login()
		f := p.want("joinGroup")
		if got := fmt.Sprint(map[string]any(args(f))); got != "map[group:show]" {
			t.Errorf("joined again with %s, want show", got)
		}
		p.ok(f, frame{})
		go func() { done <- c.LeaveGroup(t.Context(), "show") }()
		p.ok(p.want("leaveGroup"), frame{})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		p.ws.CloseNow()
		p, _ = s.login()
		go func() { done <- c.Block(t.Context(), "bob") }()
		p.ok(p.want("block"), frame{}) // and no joinGroup before it
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}
