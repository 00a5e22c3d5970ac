package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers of a request, spelled as they are sent.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

const (
	secretPrefix = "whsec_"
	// minSecret and maxSecret limit the length of a key, in bytes.
	minSecret = 24
	maxSecret = 64
	// tolerance is how far the timestamp of a request may be from the
	// receiver's clock.
	tolerance = 5 * time.Minute
)

// A Secret is the HMAC key that sender and receiver share.
type Secret []byte

// ParseSecret parses "whsec_" followed by base64 of 24-64 bytes.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return nil, errors.New("webhook: a secret begins with " + secretPrefix)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("webhook: a secret is base64 behind " + secretPrefix)
	}
	if len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("webhook: a secret of %d bytes, want %d-%d", len(key), minSecret, maxSecret)
	}
	return key, nil
}

// ParseSecrets parses a file with one secret on each line. With several,
// requests are signed with each, so that a receiver can change from one to
// another.
func ParseSecrets(content []byte) (secrets []Secret, err error) {
	n := 0
	for line := range strings.Lines(string(content)) {
		n++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		s, err := ParseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		secrets = append(secrets, s)
	}
	if len(secrets) == 0 {
		return nil, errors.New("webhook: no secret")
	}
	return secrets, nil
}

// sign returns the signature of a request that is sent at a time.
func (s Secret) sign(id string, at time.Time, body []byte) string {
	return "v1," + base64.StdEncoding.EncodeToString(s.sum(id, strconv.FormatInt(at.Unix(), 10), body))
}

func (s Secret) sum(id, timestamp string, body []byte) []byte {
	h := hmac.New(sha256.New, s)
	h.Write([]byte(id + "." + timestamp + "."))
	h.Write(body)
	return h.Sum(nil)
}

// setHeaders sets the headers of a request, signed with all secrets.
func setHeaders(h http.Header, secrets []Secret, id string, at time.Time, body []byte) {
	signatures := make([]string, len(secrets))
	for i, s := range secrets {
		signatures[i] = s.sign(id, at, body)
	}
	h.Set(headerID, id)
	h.Set(headerTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(headerSignature, strings.Join(signatures, " "))
}

// Verify is for receivers: it returns nil if the request was signed with the
// secret, and less than five minutes ago. body is the body as received.
func (s Secret) Verify(h http.Header, body []byte, now time.Time) error {
	id, timestamp := h.Get(headerID), h.Get(headerTimestamp)
	if id == "" {
		return errors.New("webhook: no " + headerID)
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("webhook: %s: %q is no time", headerTimestamp, timestamp)
	}
	if away := now.Sub(time.Unix(seconds, 0)).Abs(); away > tolerance {
		return fmt.Errorf("webhook: %s is %v away", headerTimestamp, away)
	}
	want := s.sum(id, timestamp, body)
	for field := range strings.FieldsSeq(h.Get(headerSignature)) {
		encoded, ok := strings.CutPrefix(field, "v1,")
		if got, err := base64.StdEncoding.DecodeString(encoded); ok && err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return errors.New("webhook: no signature matches")
}
