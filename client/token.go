package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A noTokenError ends the client: Config.Token has no token that the server might take.
type noTokenError struct{ err error }

func (e *noTokenError) Error() string { return "client: token: " + e.err.Error() }
func (e *noTokenError) Unwrap() error { return e.err }

// askToken asks the application for a token.
func (c *Client) askToken(ctx context.Context, why TokenReason) (string, error) {
	token, err := c.cfg.Token(ctx, why)
	switch {
	case errors.Is(err, ErrUnauthorized):
		return "", &noTokenError{err}
	case err != nil:
		return "", fmt.Errorf("client: token: %w", err)
	}
	return token, nil
}

// loginToken returns the token of a login.
func (c *Client) loginToken() (string, error) {
	ctx, cancel := context.WithTimeout(c.stop, c.cfg.LoginTimeout)
	defer cancel()
	c.mu.Lock()
	last, refusal := c.lastToken, c.refusal
	c.mu.Unlock()
	why := TokenLogin
	if refusal != nil {
		why = TokenRefused
	}
	token, err := c.askToken(ctx, why)
	if err == nil && refusal != nil && token == last {
		return "", &noTokenError{fmt.Errorf("the same again: %w", refusal)}
	}
	return token, err
}

// refresh sends the server a fresh token and returns it.
func (c *Client) refresh(ctx context.Context) (string, error) {
	why := TokenExpiring
	c.mu.Lock()
	if c.refusal != nil {
		why = TokenRefused
	}
	s := c.session
	c.mu.Unlock()
	token, err := c.askToken(ctx, why)
	if err != nil {
		if _, ok := errors.AsType[*noTokenError](err); ok && s != nil {
			s.end(err)
		}
		return "", err
	}
	err = c.out.do(ctx, &call{
		op: protocol.OpRefreshToken, tied: true, args: &protocol.RefreshTokenArgs{Token: token},
	})
	c.tokenAnswered(token, err)
	return token, err
}

// tokenAnswered notes whether the server has taken a token, if err says so.
func (c *Client) tokenAnswered(token string, err error) {
	refused, _ := errors.AsType[*Error](err)
	if err != nil && (refused == nil || refused.Code != protocol.CodeUnauthorized) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastToken, c.refusal = token, refused
}

// refused reports whether another token is needed.
func (c *Client) refused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusal != nil
}

// tokenRefused notes that the server takes the last token no more.
func (c *Client) tokenRefused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = refusedByClose
}

var refusedByClose = &Error{Code: protocol.CodeUnauthorized, Message: "the server closed the connection"}

// tokenExpiry returns the exp of a JWT, or the zero time if it finds none. It
// checks nothing else: the server does that.
func tokenExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"` // seconds; the standard allows a fraction
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Exp <= 0 || claims.Exp > 1<<40 {
		return time.Time{}
	}
	return time.UnixMilli(int64(claims.Exp * 1000))
}

// refreshIn returns how long after now, on the server's clock, to replace a token
// that expires at exp. It leaves a fifth of the time, at most a minute, for
// attempts that fail. A token source that keeps returning the same token is asked
// more and more often, up to once a second.
func refreshIn(exp, now time.Time) time.Duration {
	left := exp.Sub(now)
	return max(left-min(left/5, time.Minute), time.Second)
}
