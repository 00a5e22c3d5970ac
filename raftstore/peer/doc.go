// Package peer is how a node has another one execute what the leader of a shard has to:
// commands, linearizable reads, reads from memory, logins.
//
// A node opens one Stream to each other node. Requests that wait to be sent leave
// together in one message, and so do answers: on a busy node a message costs little,
// and on an idle one nothing waits.
//
//	Stream   the end that asks; its owner opens another one once it has broken
//	Server   the end that answers, by a Handler
//	Request, Answer, and how errors travel
//
// # Ordering
//
// The Handler is called with the requests of a Stream in the order of Send. Answers come
// as they are ready, in any order. Once a Stream has broken, everything unanswered is
// answered with ErrBroken, in the order of Send, and Send refuses: so nothing is
// executed behind what was lost, unless its owner sends it again.
//
// # Bytes
//
//	message  version (1 byte), items
//	item     length of the rest (uvarint), number (uvarint), and
//	         of a request: kind (1 byte), shard, term (uvarints), body
//	         of an answer: term, applied (uvarints), outcome (1 byte), what belongs to
//	         that outcome, body
//
// Numbers begin with 1 in each stream and rise by one. Both ends take items of one
// version; another version breaks the stream, with an error that names both.
package peer
