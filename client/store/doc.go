// Package store keeps what a client has on its device: messages, which seqs are
// accounted for and why others are missing, conversations, cursors, deliveries that
// no handler has seen, and the outbox. It knows no network; package client fills it.
//
// A Store lies on a DB, an ordered map of bytes with transactions: OpenFile gives
// one in a bbolt file, Memory one in memory, and another can be written in a page.
//
// # Coverage
//
// Each conversation has runs: ranges of seqs, each with a Kind that says whether
// their messages are held or why there are none. They neither overlap nor touch with
// equal kinds. What no run covers is unknown, and what is Lost may still be found in
// the server's history; all else need never be asked for again.
//
// # Keys
//
//	a name           what it is of: identity, since, counters
//	c conv           Entry
//	d conv           nothing is stored of this conversation
//	g group          number of the last move, cursor
//	i number         delivery: conversations and seqs
//	m conv 0 seq     message
//	o number         Outgoing
//	r conv 0 from    run: to, kind
//	x time conv 0 seq  message to remove at a time, ms
//
// Numbers in keys are 8 bytes, big endian, so that keys ascend as they do. Values are
// sequences of varints, lengths with bytes, and bytes; see encode.go.
package store
