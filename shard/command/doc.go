// Package command holds what changes the state of a shard: commands, the letters that
// commands write to other users, the results of commands, and the encodings of all
// these in the log. It knows nothing of the state; package shard applies the commands.
//
// Each command has its Kind, Key, Needs and fields beside it. The table of kinds in
// package shard names the function that applies it. CONTRIBUTING.md tells how to add
// one.
//
// In commands on groups, By or User is the acting user. An administrator of the server
// acts as "" and may do all that an owner may.
package command
