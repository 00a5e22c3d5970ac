package protocol

import (
	"strconv"
	"strings"
	"time"
)

// Close codes of the WebSocket.
const (
	CloseNormal        = 1000 // after logout
	CloseGoingAway     = 1001 // the server leaves; reconnect
	CloseInvalidText   = 1007 // text, or the reason of a close frame, is not UTF-8
	CloseFrameTooLarge = 1009
	CloseMalformed     = 4400
	CloseUnauthorized  = 4401 // token refused or expired
	CloseKicked        = 4403 // kicked or suspended
	CloseTimeout       = 4408 // no login in time or no pong
	CloseSlow          = 4413 // too slow a reader
	CloseTooMany       = 4429 // too many frames or connections
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
