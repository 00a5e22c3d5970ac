//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-im/belfry/client"
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

// newPopulation makes the users and what they have.
func newPopulation(ctx context.Context, b *bench, at *nodes.Node) (*population, error) {
	p := &population{b: b, cursors: map[string]client.Cursor{}}
	var writers []*client.Client
	for n := range populationWriters {
		c, _, err := p.b.visit(ctx, at, fmt.Sprintf("writer-%d", n), "desk", client.Cursor{}, nil)
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
		c, _, err := p.b.visit(ctx, at, p.user(n), "phone", client.Cursor{}, nil)
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
		fresh, all, err := p.b.visit(ctx, at, user, device, client.Cursor{}, nil)
		if err != nil {
			return err
		}
		fresh.Close()
		repeated := 0
		back, since, err := p.b.visit(ctx, at, user, "phone", p.cursors[user], func(m []client.Message) { repeated += len(m) })
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
