package client

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// BenchmarkReceive receives 10,000 messages, in frames of 100 and of one message, with
// storage off, in memory and in a file: the last is to have at least half the rate of
// the first.
func BenchmarkReceive(b *testing.B) {
	const messages = 10_000
	body, _ := protocol.EncodeBody(map[string]any{"text": "a message of some eighty bytes, as people write them when they have little to say"})
	for _, storage := range []string{"off", "memory", "file"} {
		for _, each := range []struct {
			name string
			n    int
		}{{"frames of 100", 100}, {"frames of 1", 1}} {
			b.Run(storage+"/"+each.name, func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					received, all := 0, make(chan struct{})
					s := newServer(b)
					cfg := Config{
						URL: "ws://belfry.test", Device: "phone", Codec: protocol.Msgpack,
						HTTPClient: &http.Client{Transport: &http.Transport{DialContext: s.dial, DisableKeepAlives: true}},
						Token:      func(context.Context, TokenReason) (string, error) { return "a token", nil },
						OnMessages: func(list []Message) {
							if received += len(list); received == messages {
								close(all)
							}
						},
					}
					switch storage {
					case "memory":
						cfg.Store = Memory()
					case "file":
						cfg.Store = File(filepath.Join(b.TempDir(), "alice.db"))
					}
					c, err := New(cfg)
					if err != nil {
						b.Fatal(err)
					}
					p, _ := s.login()
					var frames [][]byte
					for seq := uint64(1); seq <= messages; seq += uint64(each.n) {
						push := protocol.NewMessage{D: uint64(len(frames) + 1), Cursor: "a cursor"}
						for i := range uint64(each.n) {
							push.Messages = append(push.Messages, Message{
								ID: protocol.ID{byte((seq + i) >> 16), byte((seq + i) >> 8), byte(seq + i)}, Conv: protocol.UserConv("bob"), From: "bob",
								Seq: seq + i, Time: int64(seq), CID: []byte("c"), Body: body,
							})
						}
						frames = append(frames, protocol.AppendNewMessage(nil, protocol.Msgpack, &push))
					}
					b.StartTimer()
					acked := 0
					for d, frame := range frames {
						for d-acked >= 256 { // the window
							acked = number(args(p.want("ack"))["d"])
						}
						if err := p.ws.Write(b.Context(), 2, frame); err != nil {
							b.Fatal(err)
						}
					}
					<-all
					b.StopTimer()
					c.Close()
					<-c.Done()
					b.StartTimer()
				}
				b.ReportMetric(float64(messages)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}
