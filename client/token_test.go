package client

import (
	"encoding/base64"
	"fmt"
	"testing"
	"time"
)

// jwt is an unsigned token that expires at exp.
func jwt(exp time.Time) string {
	payload := fmt.Sprintf(`{"sub":"alice","exp":%d,"n":%d}`, exp.Unix(), time.Now().UnixNano())
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestTokenExpiry(t *testing.T) {
	exp := time.Unix(1795400000, 0)
	if got := tokenExpiry(jwt(exp)); !got.Equal(exp) {
		t.Errorf("expiry = %v, want %v", got, exp)
	}
	encode := base64.RawURLEncoding.EncodeToString
	for name, token := range map[string]string{
		"opaque":     "secret",
		"two parts":  "a.b",
		"not base64": "a.!.c",
		"not JSON":   "a." + encode([]byte("{")) + ".c",
		"no exp":     "a." + encode([]byte("{}")) + ".c",
		"text":       "a." + encode([]byte(`{"exp":"soon"}`)) + ".c",
		"negative":   "a." + encode([]byte(`{"exp":-1}`)) + ".c",
		"far":        "a." + encode([]byte(`{"exp":1e300}`)) + ".c",
	} {
		if got := tokenExpiry(token); !got.IsZero() {
			t.Errorf("%s: expiry = %v, want none", name, got)
		}
	}
}

func TestRefreshIn(t *testing.T) {
	now := time.Unix(1795400000, 0)
	for _, c := range []struct{ left, want time.Duration }{
		{24 * time.Hour, 24*time.Hour - time.Minute},
		{time.Minute, 48 * time.Second},
		{time.Second, time.Second},
		{-time.Hour, time.Second},
	} {
		if got := refreshIn(now.Add(c.left), now); got != c.want {
			t.Errorf("refreshIn(%v left) = %v, want %v", c.left, got, c.want)
		}
	}
}
