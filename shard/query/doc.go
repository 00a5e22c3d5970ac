// Package query is what is read of the state of a shard: messages, changes,
// conversations, pages of history, groups and their members. It knows no state;
// package shard answers.
//
// A Query is a value, with what it asks and what it is answered, and both can be sent
// to another node. A new one has its struct with Slot, args and result, a number in
// kinds, and its case in shard.State.Answer; tests name what was left out.
package query
