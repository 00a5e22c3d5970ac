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
