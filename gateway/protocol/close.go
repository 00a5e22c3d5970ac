package protocol

import (
	"strconv"
	"strings"
	"time"
)

// The reason of a close frame may end with when to come back.
const (
	retryPrefix = "; retry after "
	retryUnit   = " ms"
)

// CloseReason is the reason of a close frame that tells when to come back.
func CloseReason(text string, after time.Duration) string {
	return text + retryPrefix + strconv.FormatInt(after.Milliseconds(), 10) + retryUnit
}

// RetryAfter reads when to come back from the reason of a close frame, 0 if that
// does not say.
func RetryAfter(reason string) time.Duration {
	_, after, found := strings.Cut(reason, retryPrefix)
	ms, err := strconv.ParseUint(strings.TrimSuffix(after, retryUnit), 10, 31)
	if !found || err != nil || !strings.HasSuffix(after, retryUnit) {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
