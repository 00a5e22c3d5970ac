//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest/nodes"
)

const (
	populationUsers   = 1000
	populationWriters = 20
	populationEach    = 3  // messages to each user, of as many writers
	populationAtOnce  = 64 // users who are logged in at a time
)

// A population is users who have messages, some of which they have read, and a device
// that has left with its cursor. Nobody writes to them any more.
type population struct {
	b       *bench
	cursors map[string]client.Cursor // of their devices, by user
}

func (p *population) user(n int) string { return fmt.Sprintf("quiet-%d", n) }

// each calls do for all users, some at a time.
func (p *population) each(ctx context.Context, do func(ctx context.Context, n int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(populationAtOnce)
	for n := range populationUsers {
		g.Go(func() error { return do(ctx, n) })
	}
	return g.Wait()
}

// dial logs a user's device in at a node and returns what onSynced says.
func (p *population) dial(ctx context.Context, n *nodes.Node, user, device string, resume client.Cursor, messages func([]client.Message)) (*client.Client, client.Synced, error) {
	synced := make(chan client.Synced, 1)
	c, err := client.Dial(ctx, client.Config{
		URL: n.URL(), Device: device, Codec: protocol.Msgpack, ManualRead: true, Resume: resume,
		Token:      func(context.Context) (string, error) { return p.b.cluster.Token(user) },
		OnMessages: messages,
		OnSynced: func(s client.Synced) {
			select {
			case synced <- s:
			default:
			}
		},
	})
	if err != nil {
		return nil, client.Synced{}, fmt.Errorf("%s at %s: %w", user, n, err)
	}
	select {
	case s := <-synced:
		return c, s, nil
	case <-ctx.Done():
		c.Close()
		return nil, client.Synced{}, context.Cause(ctx)
	}
}

// newPopulation makes the users and what they have.
func newPopulation(ctx context.Context, b *bench, at *nodes.Node) (*population, error) {
	p := &population{b: b, cursors: map[string]client.Cursor{}}
	var writers []*client.Client
	for n := range populationWriters {
		c, _, err := p.dial(ctx, at, fmt.Sprintf("writer-%d", n), "desk", client.Cursor{}, nil)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		writers = append(writers, c)
	}
	err := p.each(ctx, func(ctx context.Context, n int) error {
		for i := range populationEach {
			w := writers[(n+i)%len(writers)]
			if _, err := w.Send(ctx, "u:"+p.user(n), map[string]int{"n": i}, client.SendOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	cursors := make([]client.Cursor, populationUsers)
	err = p.each(ctx, func(ctx context.Context, n int) error {
		c, _, err := p.dial(ctx, at, p.user(n), "phone", client.Cursor{}, nil)
		if err != nil {
			return err
		}
		if n%3 > 0 {
			_, err = c.ReadReport(ctx, fmt.Sprintf("u:writer-%d", n%len(writers)), 1)
		}
		cursors[n] = c.Cursor()
		c.Close()
		return err
	})
	for n := range cursors {
		p.cursors[p.user(n)] = cursors[n]
	}
	return p, err
}

// look logs in all users at a node, with a new device and with the one that has a
// cursor, and returns what each is told.
func (p *population) look(ctx context.Context, at *nodes.Node, device string) (seen []string, err error) {
	seen = make([]string, populationUsers)
	err = p.each(ctx, func(ctx context.Context, n int) error {
		user := p.user(n)
		fresh, all, err := p.dial(ctx, at, user, device, client.Cursor{}, nil)
		if err != nil {
			return err
		}
		fresh.Close()
		repeated := 0
		back, since, err := p.dial(ctx, at, user, "phone", p.cursors[user], func(m []client.Message) { repeated += len(m) })
		if err != nil {
			return err
		}
		back.Close()
		<-back.Done()
		if since.Reset || repeated > 0 {
			return fmt.Errorf("%s at %s: the cursor of a device that has all counted as absent (%v), and %d messages came again", user, at, since.Reset, repeated)
		}
		text, err := json.Marshal([]client.Synced{all, since})
		seen[n] = string(text)
		return err
	})
	return seen, err
}

// compare returns an error unless users are told at a node what they were told
// before.
func (p *population) compare(ctx context.Context, at *nodes.Node, device string, before []string) error {
	after, err := p.look(ctx, at, device)
	if err != nil {
		return err
	}
	for n := range before {
		if before[n] != after[n] {
			return fmt.Errorf("%s is told at %s\n  %s\n, and was told before\n  %s", p.user(n), at, after[n], before[n])
		}
	}
	return nil
}
