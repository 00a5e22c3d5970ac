// Package protocol is belfry.v1 as it stands on the wire: the frames that
// clients and the gateway exchange, in both encodings.
//
// A frame is one map. Both encodings carry the same maps with the same keys,
// so every payload is one struct with one method that writes it and one that
// reads it, over an encoder and a decoder that know JSON and msgpack.
//
// The server reads with DecodeRequest and the Decode method of the op's args,
// and writes with the Append functions. The client writes with AppendRequest
// and reads with DecodeServerFrame and the Decode method of the payload. All
// writing appends to a buffer of the caller's and allocates nothing beyond its
// growth.
//
// # Bodies
//
// A body is kept as canonical msgpack: one value has one byte sequence,
// whatever encoding it came in, so equal bodies are equal bytes. Headers and
// integers have their shortest form, integers from 0 up are unsigned, floats
// are float64, map keys ascend bytewise and are unique.
//
// # Limits
//
// Input is data of strangers. Decoding reads each byte a bounded number of
// times, nests at most MaxDepth deep where it recurses, checks every count
// against the bytes that are left before it allocates, and allocates at most
// eight times the length of its input, plus a constant. Byte slices of what
// was decoded may lie in the input: who reuses the input copies them first.
//
// A null value of a key is as good as none, except for body. Of a key that
// comes twice in args the last counts; in a body that is an error.
package protocol

// Subprotocols of the WebSocket handshake.
const (
	SubprotocolJSON    = "belfry.v1.json"
	SubprotocolMsgpack = "belfry.v1.msgpack"
)

// Version is the number of the protocol that login answers with.
const Version = 1

// Codec is one of the two encodings of a frame. The zero Codec is JSON.
type Codec uint8

const (
	JSON Codec = iota
	Msgpack
)

// CodecFor returns the codec of a negotiated subprotocol; none means JSON.
func CodecFor(subprotocol string) (c Codec, ok bool) {
	switch subprotocol {
	case "", SubprotocolJSON:
		return JSON, true
	case SubprotocolMsgpack:
		return Msgpack, true
	}
	return JSON, false
}

// Name is "json" or "msgpack".
func (c Codec) Name() string {
	if c == Msgpack {
		return "msgpack"
	}
	return "json"
}

// Subprotocol is the codec's name in the WebSocket handshake.
func (c Codec) Subprotocol() string {
	if c == Msgpack {
		return SubprotocolMsgpack
	}
	return SubprotocolJSON
}

// Binary tells whether frames go in binary WebSocket messages, not in text.
func (c Codec) Binary() bool { return c == Msgpack }

// Ops of requests and notices.
const (
	OpLogin        = "login"
	OpAck          = "ack"
	OpRefreshToken = "refreshToken"
	OpSetState     = "setState"
	OpPing         = "ping"
	OpLogout       = "logout"

	OpSend               = "send"
	OpGetMessage         = "getMessage"
	OpGetRecents         = "getRecents"
	OpGetConversations   = "getConversations"
	OpReadReport         = "readReport"
	OpDeleteMessage      = "deleteMessage"
	OpDeleteConversation = "deleteConversation"
	OpSetConversation    = "setConversation"
	OpRecall             = "recall"
	OpTyping             = "typing"
	OpGetPresence        = "getPresence"
	OpSubscribePresence  = "subscribePresence"
	OpBlock              = "block"
	OpUnblock            = "unblock"
	OpGetBlocked         = "getBlocked"

	OpCreateGroup   = "createGroup"
	OpJoinGroup     = "joinGroup"
	OpLeaveGroup    = "leaveGroup"
	OpDismissGroup  = "dismissGroup"
	OpAnswerJoin    = "answerJoin"
	OpAddMembers    = "addMembers"
	OpRemoveMembers = "removeMembers"
	OpSetMember     = "setMember"
	OpSetGroup      = "setGroup"
	OpAnswerOwner   = "answerOwner"
	OpUnban         = "unban"
	OpGetBans       = "getBans"
	OpGetGroup      = "getGroup"
	OpGetMembers    = "getMembers"
	OpGetGroups     = "getGroups"
)

// Ops of pushes.
const (
	OpOnNewMessage          = "onNewMessage"
	OpOnConversations       = "onConversations"
	OpOnSynced              = "onSynced"
	OpOnReadReport          = "onReadReport"
	OpOnReadReceipt         = "onReadReceipt"
	OpOnRecall              = "onRecall"
	OpOnConversationDeleted = "onConversationDeleted"
	OpOnMessageDeleted      = "onMessageDeleted"
	OpOnConversationChanged = "onConversationChanged"
	OpOnBlocked             = "onBlocked"
	OpOnGroupEvent          = "onGroupEvent"
	OpOnPresence            = "onPresence"
	OpOnTyping              = "onTyping"
	OpOnKicked              = "onKicked"
)

// Codes of error replies.
const (
	CodeBadRequest   = "bad_request"
	CodeUnknownOp    = "unknown_op"
	CodeUnauthorized = "unauthorized"
	CodeForbidden    = "forbidden"
	CodeNotFound     = "not_found"
	CodeConflict     = "conflict"
	CodeTooLarge     = "too_large"
	CodeTooLate      = "too_late"
	CodeRateLimited  = "rate_limited"
	CodeUnavailable  = "unavailable"
	CodeInternal     = "internal"
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

// Sizes of frames, in bytes.
const (
	MaxFrame = 64 << 10  // of a push, unless it holds one message alone
	MaxPage  = 256 << 10 // of a reply, unless it is a page of one message alone
)

// Limits of bodies.
const (
	DefaultMaxBody = 12 << 10 // bytes of canonical msgpack
	LargestBody    = 32 << 10 // that a server may allow
	MaxDepth       = 32       // arrays and maps in one another
)

// FrameLimit is how many bytes a frame of a client may have where bodies may
// have maxBody. Compact JSON takes up to six bytes for each of canonical
// msgpack: a control character is \u00XX, false and its comma stand for one
// byte. 16 KiB are for what is around the body. The default for bodies is the
// least, so that the largest createGroup fits too.
func FrameLimit(maxBody int) int { return 6*max(maxBody, DefaultMaxBody) + 16<<10 }

// Limits of fields. Lengths are in bytes.
const (
	MaxInt = 1<<53 - 1 // of every number outside bodies

	MaxUserLen       = 64
	MaxGroupLen      = 48
	MaxDeviceLen     = 64
	MaxPlatformLen   = 64
	MaxCIDLen        = 64
	MaxAfterLen      = 64 // of a place in the list of conversations
	MaxGroupNameLen  = 256
	MaxJoinTextLen   = 256
	MaxPropertiesLen = 8 << 10 // canonical msgpack

	MaxTTL            = 604800 // seconds
	MaxMessages       = 100    // of one onNewMessage and of one page
	MaxSeqs           = 100    // of one deleteMessage
	MaxUsers          = 100    // of one request
	MaxGroups         = 100    // of one page of getGroups
	MaxMentions       = 100
	MaxGaps           = 1000                 // of one page
	MaxPageSeqs       = 8192                 // that one page covers of what the server holds
	MaxGroupMembers   = 500                  // named when a group is made
	MaxMembersOfGroup = 10_000               // that its maker may allow
	MaxBan            = 10 * 365 * 24 * 3600 // seconds
	MaxLoginGroups    = 200                  // cursors given at login
	MaxToken          = 8 << 10              // bytes
	MaxGroupBacklog   = 100
	DefaultPageLimit  = 20
	DefaultBacklog    = 20 // groupBacklog of a login
)
