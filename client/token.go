package client

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// tokenExpiry reads the exp of a JWT without checking anything: the server
// does that. It is zero for a token that has none to read.
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

// refreshIn says how long to wait before a token that expires at exp is to be
// replaced, at now on the server's clock. A fifth of what is left, at most a
// minute, is kept for attempts that fail. A token source that keeps giving the
// same token is asked less and less far apart, but not more than once a second.
func refreshIn(exp, now time.Time) time.Duration {
	left := exp.Sub(now)
	return max(left-min(left/5, time.Minute), time.Second)
}
