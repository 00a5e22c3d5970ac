// Package query holds what is read of the state of a shard: messages, changes,
// conversations, pages of history, groups and their members. It knows nothing of the
// state; package shard answers the queries.
//
// A Query is a value that holds both the question and the answer, and both can be sent
// to another node. A new query needs a struct with the methods Slot, args and result, a
// number in kinds, and a case in shard.State.Answer; tests name the one that is
// missing.
package query
