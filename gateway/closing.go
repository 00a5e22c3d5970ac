package gateway

import (
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ws"
)

// A closing says why a session ended, and how the close frame puts it. The reason is a
// label of a metric, so there are few.
type closing struct {
	code   int
	reason string
	limit  int // in bytes, named in the close frame; 0 for none
	// retryAfter is when the client should come back, named in the close frame; 0 for
	// none.
	retryAfter time.Duration
}

// text returns the reason for the close frame.
func (c closing) text() string {
	switch {
	case c.limit != 0:
		return fmt.Sprintf("%s: at most %d bytes", c.reason, c.limit)
	case c.retryAfter != 0:
		return protocol.CloseReason(c.reason, c.retryAfter)
	}
	return c.reason
}

const (
	closeNormal   = protocol.CloseNormal
	closeAbnormal = ws.CloseAbnormal
	closeProtocol = ws.CloseProtocolError
)

var (
	closedByClient   = closing{code: closeNormal, reason: "client left"}
	closedByLogout   = closing{code: closeNormal, reason: "logged out"}
	closedAbnormally = closing{code: closeAbnormal, reason: "connection lost"}
	closedBroken     = closing{code: closeProtocol, reason: "broken WebSocket frame"}
	closedByDrain    = closing{code: protocol.CloseGoingAway, reason: "server going away"}
	closedBadText    = closing{code: protocol.CloseInvalidText, reason: "text is not UTF-8"}
	closedMalformed  = closing{code: protocol.CloseMalformed, reason: "malformed frame"}
	closedWrongType  = closing{code: protocol.CloseMalformed, reason: "frame type of another codec"}
	closedBadToken   = closing{code: protocol.CloseUnauthorized, reason: "token refused"}
	closedExpired    = closing{code: protocol.CloseUnauthorized, reason: "token expired"}
	closedRevoked    = closing{code: protocol.CloseUnauthorized, reason: "token revoked"}
	closedKeyGone    = closing{code: protocol.CloseUnauthorized, reason: "signing key withdrawn"}
	closedKicked     = closing{code: protocol.CloseKicked, reason: "kicked"}
	closedSuspended  = closing{code: protocol.CloseKicked, reason: "suspended"}
	closedNoLogin    = closing{code: protocol.CloseTimeout, reason: "no login in time"}
	closedSilent     = closing{code: protocol.CloseTimeout, reason: "no sign of life"}
	closedNoAck      = closing{code: protocol.CloseSlow, reason: "window full and no ack"}
	closedSlowWrite  = closing{code: protocol.CloseSlow, reason: "write unfinished"}
	closedFrames     = closing{code: protocol.CloseTooMany, reason: "too many frames"}
	closedAddress    = closing{code: protocol.CloseTooMany, reason: "too many connections"}
	closedFragment   = closing{code: protocol.CloseMalformed, reason: "fragment before the login"}
	closedCrowded    = closing{code: protocol.CloseTooMany, reason: "too many connections without login"}
	closedMemory     = closing{code: protocol.CloseSlow, reason: "memory of connections is short"}
	closedUnfinished = closing{code: protocol.CloseTimeout, reason: "unfinished frame"}
)

// closedTooLarge returns the closing for a frame, or a message of several frames, that
// is larger than limit.
func closedTooLarge(limit int) closing {
	return closing{code: protocol.CloseFrameTooLarge, reason: "frame too large", limit: limit}
}
