package protocol

// Sizes of frames, in bytes.
const (
	MaxFrame = 64 << 10  // of a push, unless it holds one message alone
	MaxPage  = 256 << 10 // of a reply, unless it is a page of one message alone
)

// Limits of bodies.
const (
	DefaultMaxBody = 12 << 10 // bytes of canonical msgpack
	LargestBody    = 32 << 10 // that a server may allow
	MaxDepth       = 32       // of arrays and maps in each other
)

// FrameLimit returns the most bytes that a client's frame may have if bodies
// may have maxBody bytes. Compact JSON takes up to six bytes for one of
// canonical msgpack: a control character is \u00XX, and false with its comma
// stands for one byte. 16 KiB are for the rest of the frame. A maxBody below
// DefaultMaxBody counts as that, so that the largest createGroup fits.
func FrameLimit(maxBody int) int { return 6*max(maxBody, DefaultMaxBody) + 16<<10 }

// Limits of fields. Lengths are in bytes.
const (
	MaxInt = 1<<53 - 1 // largest number outside of bodies

	MaxUserLen       = 64
	MaxGroupLen      = 48
	MaxDeviceLen     = 64
	MaxPlatformLen   = 64
	MaxCIDLen        = 64
	MaxAfterLen      = 64 // of After in getConversations
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
	MaxPageSeqs       = 8192                 // of which one page may cover messages
	MaxGroupMembers   = 500                  // in one createGroup
	MaxMembersOfGroup = 10_000               // largest maxMembers
	MaxBan            = 10 * 365 * 24 * 3600 // seconds
	MaxLoginGroups    = 200                  // cursors in one login
	MaxToken          = 8 << 10              // bytes
	MaxGroupBacklog   = 100
	DefaultPageLimit  = 20
	DefaultBacklog    = 20 // groupBacklog of a login
)
