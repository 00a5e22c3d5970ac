package gateway

import (
	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A closing says why a session ended. Its reason is one of a few words, since
// it becomes the label of a metric.
type closing struct {
	code   int
	reason string
}

// Close codes of RFC 6455 that the protocol's own list does not name.
const (
	closeNormal   = protocol.CloseNormal
	closeAbnormal = int(websocket.StatusAbnormalClosure) // never sent: nobody is there
	closeProtocol = int(websocket.StatusProtocolError)
)

var (
	closedByClient   = closing{closeNormal, "client left"}
	closedByLogout   = closing{closeNormal, "logged out"}
	closedAbnormally = closing{closeAbnormal, "connection lost"}
	closedBroken     = closing{closeProtocol, "broken WebSocket frame"}
	closedByDrain    = closing{protocol.CloseGoingAway, "server going away"}
	closedTooLarge   = closing{protocol.CloseFrameTooLarge, "frame too large"}
	closedMalformed  = closing{protocol.CloseMalformed, "malformed frame"}
	closedWrongType  = closing{protocol.CloseMalformed, "frame type of another codec"}
	closedBadToken   = closing{protocol.CloseUnauthorized, "token refused"}
	closedExpired    = closing{protocol.CloseUnauthorized, "token expired"}
	closedRevoked    = closing{protocol.CloseUnauthorized, "token revoked"}
	closedKicked     = closing{protocol.CloseKicked, "kicked"}
	closedSuspended  = closing{protocol.CloseKicked, "suspended"}
	closedNoLogin    = closing{protocol.CloseTimeout, "no login in time"}
	closedSilent     = closing{protocol.CloseTimeout, "no sign of life"}
	closedNoAck      = closing{protocol.CloseSlow, "window full and no ack"}
	closedSlowWrite  = closing{protocol.CloseSlow, "write unfinished"}
	closedFrames     = closing{protocol.CloseTooMany, "too many frames"}
	closedAddress    = closing{protocol.CloseTooMany, "too many connections"}
)
