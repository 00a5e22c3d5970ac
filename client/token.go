package client

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

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
