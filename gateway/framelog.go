package gateway

import (
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/query"
)

// keptFrameNotes is how many of its newest frames a session notes; older ones are forgotten.
const keptFrameNotes = 16

// A frameLog notes the newest frames of a session, whoever reads or queues them: what they
// were, how large and when, never what was in them. A note is two atomic operations and 8
// bytes, so that it can be made for each frame.
type frameLog struct {
	next  atomic.Uint32 // how many were noted
	notes [keptFrameNotes]atomic.Uint64
}

// A frameOp is what a frame was: an index of frameNames, and frameIn if it came from the
// client.
type frameOp uint8

const frameIn frameOp = 1 << 7

// Indexes of frameNames. Behind them are the ops of requests.
const (
	frameUnknown frameOp = iota // the op of a request that there is none of
	frameReply
	frameRefusal
	frameMessages
	frameConversations
	frameSynced
	frameReadReport
	frameReadReceipt
	frameRecall
	frameConversationDeleted
	frameMessageDeleted
	frameConversationChanged
	frameBlocked
	frameGroupEvent
	framePresence
	frameTyping
	frameKicked
	frameRequests
)

var frameNames = []string{
	frameUnknown: "unknown", frameReply: "reply", frameRefusal: "refusal",
	frameMessages: protocol.OpOnNewMessage, frameConversations: protocol.OpOnConversations, frameSynced: protocol.OpOnSynced,
	frameReadReport: protocol.OpOnReadReport, frameReadReceipt: protocol.OpOnReadReceipt, frameRecall: protocol.OpOnRecall,
	frameConversationDeleted: protocol.OpOnConversationDeleted, frameMessageDeleted: protocol.OpOnMessageDeleted,
	frameConversationChanged: protocol.OpOnConversationChanged, frameBlocked: protocol.OpOnBlocked,
	frameGroupEvent: protocol.OpOnGroupEvent, framePresence: protocol.OpOnPresence, frameTyping: protocol.OpOnTyping,
	frameKicked: protocol.OpOnKicked,
}

// requestOps has the names of ops, as ops does, which its handlers cannot refer to.
var requestOps = make(map[string]bool)

func init() {
	for name, op := range ops {
		requestOps[name] = true
		op.frame = frameOp(len(frameNames))
		ops[name] = op
		frameNames = append(frameNames, name)
	}
}

// frameChange returns what the frame of a change is.
func frameChange(kind query.ChangeKind) frameOp {
	switch kind {
	case query.ChangeRead:
		return frameReadReport
	case query.ChangeReceipt:
		return frameReadReceipt
	case query.ChangeRecall:
		return frameRecall
	case query.ChangeMessagesDeleted:
		return frameMessageDeleted
	case query.ChangeConversationDeleted:
		return frameConversationDeleted
	case query.ChangeSettings:
		return frameConversationChanged
	case query.ChangeBlocked:
		return frameBlocked
	}
	return frameUnknown
}

// A note has the op in its lowest 8 bits, the size in bytes in the next 24, and above them
// the milliseconds since the session began, which are enough for 49 days.
const (
	noteSizeBits = 24
	noteMostSize = 1<<noteSizeBits - 1
)

// note notes a frame of size bytes that came or went when the session had that age.
func (l *frameLog) note(op frameOp, size int, age time.Duration) {
	i := l.next.Add(1) - 1
	l.notes[i%keptFrameNotes].Store(uint64(op) | uint64(min(size, noteMostSize))<<8 | uint64(age.Milliseconds())<<(8+noteSizeBits))
}

// list returns the frames noted, oldest first. began is when the session did.
func (l *frameLog) list(began time.Time) []inspect.Frame {
	end := l.next.Load()
	list := make([]inspect.Frame, 0, keptFrameNotes)
	for i := end - min(end, keptFrameNotes); i != end; i++ {
		note := l.notes[i%keptFrameNotes].Load()
		if note == 0 {
			continue // counted and not noted yet
		}
		op := frameOp(note & 0xff)
		list = append(list, inspect.Frame{
			Time: began.UnixMilli() + int64(note>>(8+noteSizeBits)), Op: frameNames[op&^frameIn], In: op&frameIn != 0,
			Bytes: int(note >> 8 & noteMostSize),
		})
	}
	return list
}
