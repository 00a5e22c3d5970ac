// Command echobot answers every message with the same body. It shows what a bot needs: a
// store, so that it answers what came while it was away, and answers that can be made
// again: the cid is derived from the message, so that a bot which is killed at any moment
// has answered once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/belfry-im/belfry/client"
)

func main() {
	log.SetFlags(0)
	server := flag.String("server", "http://127.0.0.1:8080", "URL of the server")
	file := flag.String("store", "echobot.db", "file for messages and the outbox")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *server, os.Getenv("TOKEN"), *file); err != nil {
		log.Fatal(err)
	}
}

// run is the bot, until ctx ends.
func run(ctx context.Context, server, token, file string) error {
	var c *client.Client
	ready := make(chan struct{}) // handlers may be called before New has returned
	echo := func(list []client.Message) {
		<-ready
		for _, m := range list {
			if m.From == c.User() {
				continue // sent from another device of the bot
			}
			body, err := m.BodyValue()
			if err == nil {
				// On disk when Queue returns: it goes out, whatever happens to this process.
				_, err = c.Queue(m.Conv.String(), body, answer(m))
			}
			if err != nil {
				log.Printf("no answer to %s: %v", m.ID, err)
			}
		}
	}
	c, err := client.New(client.Config{
		URL:        server,
		Token:      func(context.Context, client.TokenReason) (string, error) { return token, nil },
		Store:      client.File(file),
		OnMessages: echo, // also for what was interrupted: the cid makes repeats harmless
		OnSent: func(s client.Sent) {
			if s.Err != nil {
				log.Printf("answer %s in %s: %v", s.Result.CID, s.Conv, s.Err)
			}
		},
		OnState: func(s client.State) { fmt.Println(s) },
	})
	if err != nil {
		return err
	}
	close(ready)
	select {
	case <-ctx.Done():
		c.Close()
	case <-c.Done():
	}
	<-c.Done()
	if errors.Is(c.Err(), client.ErrClosed) {
		return nil
	}
	return c.Err()
}

// answer is what makes an answer one that can be given again. A process that was killed may
// have given it, and the server knows the cid of a recent send by itself, but has to look for
// that of an older one. A clock that lags makes it look, too.
func answer(m client.Message) client.SendOptions {
	age := time.Since(time.UnixMilli(m.Time))
	return client.SendOptions{CID: "echo-" + m.ID.String(), Retry: age < 0 || age >= time.Minute}
}
