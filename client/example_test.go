package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
)

func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	type Text struct {
		Text string `json:"text"`
	}
	c, err := client.Dial(ctx, client.Config{
		URL:    "wss://chat.example.com",
		Token:  func(context.Context, client.TokenReason) (string, error) { return os.Getenv("TOKEN"), nil },
		Device: "example",
		Codec:  protocol.Msgpack,
		OnMessages: func(messages []client.Message) {
			for _, m := range messages {
				var body Text
				if m.DecodeBody(&body) == nil {
					fmt.Printf("%s in %s: %s\n", m.From, m.Conv, body.Text)
				}
			}
		},
		OnState: func(s client.State) { log.Print(s) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	sending, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	sent, err := c.Send(sending, "u:bob", Text{"hello"}, client.SendOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("stored as number %d\n", sent.Seq)
	<-ctx.Done()
}
