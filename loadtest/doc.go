// Package loadtest puts a Belfry server under load with clients that verify
// whatever they receive: nothing lost, doubled, reordered or altered.
//
// Scenarios are ready to run: Pairs chats, Group writes to all members of a
// group, Idle holds quiet sessions, Login brings many users back to a backlog at
// once, GroupLogin brings users back to many groups, Reconnect and Chatroom let
// all sessions be lost and come back, Slow puts peers that never read beside
// those who chat, Siege measures users who chat while an Attack goes on, and
// Fsync measures the disk that all of it waits for. Their parts can be used
// alone: a Client is one user who sends, receives and checks; a Stream is what
// one user sends another, and knows on both ends what was sent; a Tally gathers
// what the clients of a run measured and found wrong.
//
// # Verification
//
// Each user's name is new in each run, so that each view begins at seq 1 and
// every seq in it can be accounted for: it is either that of an own send, told
// by the reply, or of a message pushed. A Client checks that
//
//   - every seq is taken once, and one is missing only while an own send waits
//     for its answer;
//   - own sends are stored in the order sent, and a stream arrives in that
//     order, each message once; only what the server refused, or left
//     unanswered when a connection broke, and was sent again may come later;
//   - bodies are equal to the byte, cid, sender and conversation are right, and
//     times do not fall;
//   - delivery numbers have no holes, and nothing is reported as lost;
//   - after the last message the server's view ends where the client's does.
//
// A client that loses its connection can log in anew with its cursor. It then
// sends what is unanswered again, under the same cid, and must still find each
// message once: what the server pushes again has to be what it was.
//
// A group has one order, in which every member gets every message, so that its
// clients are compared with each other as well: each seq is the same message,
// with the same id, time and sender, for all of them and in the sender's reply.
// One client decodes and checks a message; the others compare what they get with
// it, byte for byte, and decode what differs. A live group has no seqs: there
// each sender's messages come in order, and as many are missing as the server
// says it skipped.
//
// # Measuring
//
// Latencies run from the time a message was meant to be sent. With a rate, that
// time is fixed beforehand: a stall is seen by every message that should have
// gone out meanwhile, not by the one that did.
//
// # Why not the SDK
//
// The Client here speaks the wire protocol itself. The SDK of package client is
// made for applications: it keeps a store, has several goroutines per
// connection and calls handlers. A generator that shares a machine of few cores
// with its server has to spend next to nothing per message: one goroutine per
// connection reads what is there, decodes it in place, and answers all of it
// (acks, further sends) in one write. For the same reason data frames are put
// together here and not by a WebSocket library, which flushes after each.
package loadtest
