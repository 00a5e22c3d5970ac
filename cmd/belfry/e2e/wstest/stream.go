package wstest

import (
	"context"
	"fmt"
)

// stream sends n messages to conv with up to window of them unanswered, and
// returns their cids by seq. It may run on any goroutine.
func stream(ctx context.Context, conn *Conn, conv, prefix string, n, window int, body func(cid string) any) (map[int64]string, error) {
	type open struct {
		request int64
		cid     string
	}
	bySeq := map[int64]string{}
	var waiting []open
	settle := func() error {
		reply, err := conn.Reply(ctx, waiting[0].request)
		if err != nil {
			return fmt.Errorf("send %s: %w", waiting[0].cid, err)
		}
		seq, _ := reply["seq"].(int64)
		if other, taken := bySeq[seq]; taken || reply["duplicate"] != nil {
			return fmt.Errorf("send %s = %v, which %q has", waiting[0].cid, reply, other)
		}
		bySeq[seq] = waiting[0].cid
		waiting = waiting[1:]
		return nil
	}
	for i := range n {
		cid := fmt.Sprintf("%s%d", prefix, i)
		request, err := conn.Start(ctx, "send", Obj{"conv": conv, "cid": cid, "body": body(cid)})
		if err != nil {
			return nil, err
		}
		if waiting = append(waiting, open{request, cid}); len(waiting) == window {
			if err := settle(); err != nil {
				return nil, err
			}
		}
	}
	for len(waiting) > 0 {
		if err := settle(); err != nil {
			return nil, err
		}
	}
	return bySeq, nil
}

// Background sends n messages to conv while the test goes on, 32 of them
// unanswered at a time. Their cids are prefix and a number. wait waits for all
// replies and returns the cids by seq.
func (c *Client) Background(conv, prefix string, n int, body func(cid string) any) (wait func() map[int64]string) {
	c.T.Helper()
	type result struct {
		bySeq map[int64]string
		err   error
	}
	done := make(chan result, 1)
	ctx, cancel := c.Context()
	go func() {
		bySeq, err := stream(ctx, c.Conn, conv, prefix, n, 32, body)
		done <- result{bySeq, err}
	}()
	return func() map[int64]string {
		c.T.Helper()
		r := <-done
		cancel()
		c.Must(r.err, "stream")
		return r.bySeq
	}
}
