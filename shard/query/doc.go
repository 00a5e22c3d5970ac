// Package query is what is read of the state of a shard: messages, changes,
// conversations, pages of history, groups and their members. It knows no state;
// package shard fills them in.
package query
