package faults

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// BenchmarkStoreSync has a new device receive 10,000 unread messages of the real server,
// with and without a store in a file: with one it is to have at least half the rate.
func BenchmarkStoreSync(b *testing.B) {
	const messages = 10_000
	s := harness.Start(b, "--send-rate=0", "--offline-max-messages=20000", "--offline-max-bytes=16777216", "--user-bytes=16777216")
	cfg := func(user string) client.Config {
		return client.Config{
			URL: s.URL(), Device: user, Codec: protocol.Msgpack, QueueMessages: messages, ManualRead: true, Recents: protocol.RecentsQuiet,
			Token: func(context.Context, client.TokenReason) (string, error) { return s.Token(user), nil },
		}
	}
	bob, err := client.Dial(b.Context(), cfg("bob"))
	if err != nil {
		b.Fatal(err)
	}
	var sends sync.WaitGroup
	for range messages {
		out, err := bob.Queue("u:alice", map[string]any{"text": "a message of some eighty bytes, as people write them when they have little to say"}, client.SendOptions{})
		if err != nil {
			b.Fatal(err)
		}
		sends.Go(func() {
			if _, err := out.Wait(b.Context()); err != nil {
				b.Error(err)
			}
		})
	}
	sends.Wait()
	bob.Close()
	for _, storage := range []string{"off", "file"} {
		b.Run(storage, func(b *testing.B) {
			for b.Loop() {
				received, all := 0, make(chan struct{})
				c := cfg("alice")
				if storage == "file" {
					c.Store = client.File(filepath.Join(b.TempDir(), "alice.db"))
				}
				c.OnMessages = func(list []client.Message) { received += len(list) }
				c.OnSynced = func(client.Synced) { close(all) }
				alice, err := client.New(c)
				if err != nil {
					b.Fatal(err)
				}
				<-all
				b.StopTimer()
				if received != messages {
					b.Fatalf("%d messages, want %d", received, messages)
				}
				alice.Close()
				<-alice.Done()
				b.StartTimer()
			}
			b.ReportMetric(messages*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
