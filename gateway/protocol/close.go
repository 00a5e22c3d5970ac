package protocol

import (
	"strconv"
	"strings"
	"time"
)

// Close codes of the WebSocket.
const (
	CloseNormal        = 1000 // after logout
	CloseGoingAway     = 1001 // the server shuts down; reconnect
	CloseInvalidText   = 1007 // text, or the reason of a close frame, is not UTF-8
	CloseFrameTooLarge = 1009
	CloseMalformed     = 4400
	CloseUnauthorized  = 4401 // the token is refused or has expired
	CloseKicked        = 4403 // the session was kicked or the user suspended
	CloseTimeout       = 4408 // no login in time, or no sign of life
	CloseSlow          = 4413 // the client reads or acks too slowly
	CloseTooMany       = 4429 // too many frames or connections
)

// A close frame's reason may end with the time after which to come back, between
// these two texts.
const (
	retryPrefix = "; retry after "
	retryUnit   = " ms"
)

// CloseReason returns the reason for a close frame: text, and after how long to
// come back.
func CloseReason(text string, after time.Duration) string {
	return text + retryPrefix + strconv.FormatInt(after.Milliseconds(), 10) + retryUnit
}

// RetryAfter returns after how long to come back, according to the reason of a
// close frame; 0 if the reason does not say.
func RetryAfter(reason string) time.Duration {
	_, after, found := strings.Cut(reason, retryPrefix)
	ms, err := strconv.ParseUint(strings.TrimSuffix(after, retryUnit), 10, 31)
	if !found || err != nil || !strings.HasSuffix(after, retryUnit) {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
