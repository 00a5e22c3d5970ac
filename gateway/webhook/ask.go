package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ErrBusy means that there was no place for a question, so nothing was sent.
var ErrBusy = errors.New("webhook: too many requests are open")

// Ask sends an event once and returns the body of a 200. It first waits, until ctx
// ends, for one of Config.MaxAsks places, of which a user may have an eighth; if
// there is none, it fails with ErrBusy. After Config.AskTimeout it fails with
// context.DeadlineExceeded. Any other status is an error too.
func (c *Client) Ask(ctx context.Context, user string, e Event) ([]byte, error) {
	if !c.asks.Acquire(ctx, user) {
		return nil, ErrBusy
	}
	defer c.asks.Release(user)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.config.AskTimeout)
	defer cancel()
	start := time.Now()
	defer func() { c.metrics.seconds.WithLabelValues("ask").Observe(time.Since(start).Seconds()) }()
	answer, err := c.ask(ctx, &e)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return answer, err
}

func (c *Client) ask(ctx context.Context, e *Event) ([]byte, error) {
	res, err := c.send(ctx, e.ID, e.body())
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, res.Body, maxDiscard)
		return nil, fmt.Errorf("the receiver answered %d", res.StatusCode)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("the receiver answered more than %d bytes", maxAnswer)
	}
	return answer, err
}

// AskTimeout returns how long the receiver may take to answer, once a question has
// its place.
func (c *Client) AskTimeout() time.Duration { return c.config.AskTimeout }
