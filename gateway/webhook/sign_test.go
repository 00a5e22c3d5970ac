package webhook

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The vectors that the libraries of Standard Webhooks are tested with.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorSeconds   = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	otherSignature  = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
)

func secret(t testing.TB, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignature(t *testing.T) {
	if got := secret(t, vectorSecret).sign(vectorID, time.Unix(vectorSeconds, 0), []byte(vectorBody)); got != vectorSignature {
		t.Errorf("sign = %s, want %s", got, vectorSignature)
	}
}

func TestVerify(t *testing.T) {
	at := time.Unix(vectorSeconds, 0)
	for _, c := range []struct {
		name   string
		change func(h http.Header, body *string, now *time.Time)
		ok     bool
	}{
		{"as it came", func(http.Header, *string, *time.Time) {}, true},
		{"no id", func(h http.Header, _ *string, _ *time.Time) { h.Del("webhook-id") }, false},
		{"no timestamp", func(h http.Header, _ *string, _ *time.Time) { h.Del("webhook-timestamp") }, false},
		{"no signature", func(h http.Header, _ *string, _ *time.Time) { h.Del("webhook-signature") }, false},
		{"other signature", func(h http.Header, _ *string, _ *time.Time) { h.Set("webhook-signature", otherSignature) }, false},
		{"other version", func(h http.Header, _ *string, _ *time.Time) {
			h.Set("webhook-signature", "v2"+strings.TrimPrefix(vectorSignature, "v1"))
		}, false},
		{"one of several", func(h http.Header, _ *string, _ *time.Time) {
			h.Set("webhook-signature", strings.Join([]string{otherSignature, "v2,AAAA", vectorSignature, otherSignature}, " "))
		}, true},
		{"other body", func(_ http.Header, body *string, _ *time.Time) { *body += " " }, false},
		{"other id", func(h http.Header, _ *string, _ *time.Time) { h.Set("webhook-id", "x") }, false},
		{"five minutes", func(_ http.Header, _ *string, now *time.Time) { *now = now.Add(5 * time.Minute) }, true},
		{"too old", func(_ http.Header, _ *string, now *time.Time) { *now = now.Add(5*time.Minute + time.Second) }, false},
		{"too new", func(_ http.Header, _ *string, now *time.Time) { *now = now.Add(-5*time.Minute - time.Second) }, false},
	} {
		h := make(http.Header)
		setHeaders(h, []Secret{secret(t, vectorSecret)}, vectorID, at, []byte(vectorBody))
		body, now := vectorBody, at
		c.change(h, &body, &now)
		if err := secret(t, vectorSecret).Verify(h, []byte(body), now); (err == nil) != c.ok {
			t.Errorf("%s: Verify = %v, want ok: %v", c.name, err, c.ok)
		}
	}
}

// TestRotation signs with two secrets: a receiver may know either.
func TestRotation(t *testing.T) {
	secrets, err := ParseSecrets([]byte("\n" + vectorSecret + "\n  whsec_" + strings.Repeat("A", 32) + "\n"))
	if err != nil || len(secrets) != 2 {
		t.Fatalf("ParseSecrets = %d secrets, %v, want 2", len(secrets), err)
	}
	h := make(http.Header)
	at := time.Unix(vectorSeconds, 0)
	setHeaders(h, secrets, vectorID, at, []byte(vectorBody))
	for i, s := range secrets {
		if err := s.Verify(h, []byte(vectorBody), at); err != nil {
			t.Errorf("secret %d: Verify = %v", i, err)
		}
	}
}

func TestBadSecrets(t *testing.T) {
	for _, content := range []string{
		"", "\n", strings.TrimPrefix(vectorSecret, "whsec_"), "whsec_", "whsec_AAAA", "whsec_!" + strings.Repeat("A", 31),
		"whsec_" + strings.Repeat("A", 88), vectorSecret + "\nx",
	} {
		if _, err := ParseSecrets([]byte(content)); err == nil {
			t.Errorf("ParseSecrets(%q) took it", content)
		} else if strings.Contains(err.Error(), "AAA") {
			t.Errorf("ParseSecrets repeats the secret: %v", err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for _, c := range []struct {
		url       string
		allowHTTP bool
		ok        bool
	}{
		{"https://example.com/hook", false, true},
		{"http://example.com/hook", false, false},
		{"http://example.com/hook", true, true},
		{"http://127.0.0.1:9000/", false, true},
		{"http://[::1]:9000/", false, true},
		{"http://localhost:9000/hook?x=1", false, true},
		{"http://localhost.example.com/", false, false},
		{"http://127.0.0.1.example.com/", false, false},
		{"ftp://127.0.0.1/", true, false},
		{"127.0.0.1:9000", true, false},
		{"https:///path", false, false},
		{"", true, false},
		{"http://user:pass@exa mple.com/", true, false},
	} {
		if err := CheckURL(c.url, c.allowHTTP); (err == nil) != c.ok {
			t.Errorf("CheckURL(%q, %v) = %v, want ok: %v", c.url, c.allowHTTP, err, c.ok)
		}
	}
}
