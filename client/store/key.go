package store

import (
	"encoding/binary"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// Prefixes of keys.
const (
	keyName     = 'a'
	keyEntry    = 'c'
	keyDisabled = 'd'
	keyCursor   = 'g'
	keyDelivery = 'i'
	keyMessage  = 'm'
	keyOutgoing = 'o'
	keyRun      = 'r'
	keyExpiry   = 'x'
)

// convKey returns the key of something that a conversation has one of.
func convKey(prefix byte, conv protocol.Conv) []byte {
	return appendConv(append(make([]byte, 0, 3+len(conv.ID)), prefix), conv)
}

// appendConv appends the text of a conversation.
func appendConv(k []byte, conv protocol.Conv) []byte {
	kind := byte('u')
	if conv.Group {
		kind = 'g'
	}
	return append(append(k, kind, ':'), conv.ID...)
}

// seqKey returns the key of something at a seq of a conversation. Names of conversations
// hold no zero byte.
func seqKey(prefix byte, conv protocol.Conv, seq uint64) []byte {
	return appendSeqKey(make([]byte, 0, 3+len(conv.ID)+seqTail), prefix, conv, seq)
}

func appendSeqKey(k []byte, prefix byte, conv protocol.Conv, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append(appendConv(append(k, prefix), conv), 0), seq)
}

// numberKey returns the key of a numbered thing.
func numberKey(prefix byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, n)
}

// expiryKey returns the key that lists a message by the time of its end.
func expiryKey(ms int64, conv protocol.Conv, seq uint64) []byte {
	k := appendConv(numberKey(keyExpiry, uint64(ms)), conv)
	return binary.BigEndian.AppendUint64(append(k, 0), seq)
}

// lastNumber returns the number that ends a key.
func lastNumber(key []byte) uint64 {
	if len(key) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key[len(key)-8:])
}

// convOf returns the conversation in a key, between its first from bytes and the last
// tail.
func convOf(key []byte, from, tail int) (protocol.Conv, bool) {
	if len(key) < from+tail {
		return protocol.Conv{}, false
	}
	conv, err := protocol.ParseConv(string(key[from : len(key)-tail]))
	return conv, err == nil
}

// seqTail is the length of what follows the conversation in a key with a seq.
const seqTail = 9
