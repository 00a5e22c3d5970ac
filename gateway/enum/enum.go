// Package enum has the words for the store's values in requests and answers:
// one table for each type, which the wire, the administration and hooks share.
package enum

import (
	"slices"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A Table pairs the values of a type with their words.
type Table[V comparable] []Row[V]

type Row[V comparable] struct {
	Value V
	Word  string
}

var (
	GroupKinds = Table[command.GroupKind]{
		{command.GroupPrivate, protocol.KindPrivate},
		{command.GroupPublic, protocol.KindPublic},
		{command.GroupChatroom, protocol.KindChatroom},
		{command.GroupLive, protocol.KindLive},
	}
	JoinModes = Table[command.JoinMode]{
		{command.JoinByInvitation, protocol.JoinInvite},
		{command.JoinByApproval, protocol.JoinApprove},
		{command.JoinOpen, protocol.JoinOpen},
	}
	Histories = Table[command.GroupHistory]{
		{command.HistorySinceJoin, protocol.HistorySinceJoin},
		{command.HistoryAll, protocol.HistoryAll},
		{command.HistoryNone, protocol.HistoryNone},
	}
	Roles = Table[command.Role]{
		{command.RoleMember, protocol.RoleMember},
		{command.RoleAdmin, protocol.RoleAdmin},
		{command.RoleOwner, protocol.RoleOwner},
	}
	RecentsModes = Table[query.RecentsMode]{
		{query.RecentsOn, protocol.RecentsOn},
		{query.RecentsQuiet, protocol.RecentsQuiet},
		{query.RecentsOff, protocol.RecentsOff},
	}
	GapReasons = Table[query.GapReason]{
		{query.GapExpired, protocol.GapExpired},
		{query.GapEvicted, protocol.GapEvicted},
		{query.GapDeleted, protocol.GapDeleted},
		{query.GapRecalled, protocol.GapRecalled},
		{query.GapNotMember, protocol.GapNotMember},
	}
	GroupEvents = Table[query.GroupEventKind]{
		{query.EventCreated, protocol.EventCreated},
		{query.EventJoined, protocol.EventJoined},
		{query.EventLeft, protocol.EventLeft},
		{query.EventRemoved, protocol.EventRemoved},
		{query.EventRoleChanged, protocol.EventRoleChanged},
		{query.EventMuted, protocol.EventMuted},
		{query.EventChanged, protocol.EventChanged},
		{query.EventDismissed, protocol.EventDismissed},
		{query.EventJoinRequested, protocol.EventJoinRequested},
		{query.EventOwnerOffered, protocol.EventOwnerOffered},
		{query.EventBanned, protocol.EventBanned},
	}
)

// Word returns the word of a value, "" if it has none.
func (t Table[V]) Word(value V) string {
	if i := slices.IndexFunc(t, func(r Row[V]) bool { return r.Value == value }); i >= 0 {
		return t[i].Word
	}
	return ""
}

// Value returns the value of a word, or the zero value if the table does not
// have the word.
func (t Table[V]) Value(word string) (value V) {
	if i := slices.IndexFunc(t, func(r Row[V]) bool { return r.Word == word }); i >= 0 {
		return t[i].Value
	}
	return value
}

// Words returns the words in the order of the table.
func (t Table[V]) Words() []string {
	words := make([]string, len(t))
	for i, r := range t {
		words[i] = r.Word
	}
	return words
}
