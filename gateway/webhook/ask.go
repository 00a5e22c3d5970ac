package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ErrBusy means that Config.MaxAsks are open: nothing was sent.
var ErrBusy = errors.New("webhook: too many requests are open")

// Ask sends an event once and returns what a 200 answers. It fails with ErrBusy,
// with context.DeadlineExceeded after Config.AskTimeout or at ctx's deadline, or
// because of any other answer.
func (c *Client) Ask(ctx context.Context, e Event) ([]byte, error) {
	select {
	case c.asks <- struct{}{}:
		defer func() { <-c.asks }()
	default:
		return nil, ErrBusy
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.AskTimeout)
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

// AskTimeout is how long an Ask takes at most.
func (c *Client) AskTimeout() time.Duration { return c.config.AskTimeout }
