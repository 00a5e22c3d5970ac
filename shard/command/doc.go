// Package command is what changes the state of a shard: commands, the letters
// they write to other users, their results, and the encodings in which they stand
// in the log. It knows no state; package shard applies them.
//
// Each command has its Kind, Key, Needs and fields beside it. The table of kinds
// in package shard names what applies it. See CONTRIBUTING.md for how to add one.
//
// On all commands on groups, By or User is who acts. An administrator of the
// server acts as nobody, "", and may do all that an owner may.
package command
