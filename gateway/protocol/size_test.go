package protocol

import (
	"fmt"
	"strings"
	"testing"
)

// Texts that take the most room in a frame: JSON has two bytes for a quote, which
// a name may have, and six for a control character, which texts may.
var (
	longUser  = strings.Repeat(`"`, MaxUserLen)
	longGroup = strings.Repeat(`"`, MaxGroupLen)
)

func longText(n int) string { return strings.Repeat("\x01", n) }

// worstBody takes six times its bytes as JSON.
func worstBody(n int) []byte {
	b := []byte{0xdb, byte((n - 5) >> 24), byte((n - 5) >> 16), byte((n - 5) >> 8), byte(n - 5)}
	return append(b, longText(n-5)...)
}

func times[T any](n int, v T) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = v
	}
	return all
}

// TestLargestFrames has the largest frame of each kind that is bounded by what it
// may be made of. Pages, recents and onSynced are measured as they are made.
func TestLargestFrames(t *testing.T) {
	failures := func(n int) []MemberFailure { return times(n, MemberFailure{longUser, CodeRateLimited}) }
	users := func(n int) []string { return times(n, longUser) }
	group := GroupOK{
		Group: longGroup, Kind: KindChatroom, Name: longText(MaxGroupNameLen), Owner: longUser,
		MemberCount: MaxMembersOfGroup, LastSeq: MaxInt, Role: RoleMember,
	}
	whole := group
	whole.Properties = worstBody(MaxPropertiesLen)
	whole.Settings = &GroupSettings{MaxMembersOfGroup, JoinApprove, HistorySinceJoin, false, false, true}
	whole.Offered = longUser
	whole.Requests = times(100, JoinRequest{longUser, longText(MaxJoinTextLen), MaxInt})
	for _, ok := range []OK{
		&LoginOK{longUser, MaxInt, MaxInt, Version, SessionLimits{MaxInt, MaxInt, MaxInt, MaxInt}},
		&RefreshOK{MaxInt},
		&PingOK{MaxInt},
		&SendOK{ID{}, MaxInt, MaxInt, true},
		&ReadReportOK{MaxInt},
		&PresenceOK{times(MaxUsers, UserPresence{longUser, false, MaxInt})},
		&BlockedOK{users(1000)},
		&CreateGroupOK{longGroup, longText(256), failures(MaxGroupMembers)},
		&JoinGroupOK{true, longText(256)},
		&SetGroupOK{true},
		&BansOK{times(MaxUsers, Ban{longUser, MaxInt}), false},
		&AddMembersOK{nil, failures(MaxUsers)},
		&AddMembersOK{users(MaxUsers), nil},
		&RemoveMembersOK{nil, failures(MaxUsers)},
		&whole,
		&GroupsOK{times(MaxGroups, group), false},
		&MembersOK{times(MaxUsers, Member{longUser, RoleMember, MaxInt}), false},
	} {
		wantFrame(t, fmt.Sprintf("%T", ok), MaxPage, func(c Codec) []byte { return AppendReplyOK(nil, c, MaxInt, ok) })
	}
	conv := GroupConv(longGroup)
	ranges := make([]Range, 1000) // see changeParts of the gateway
	seqs := times(1000, uint64(MaxInt))
	for i := range ranges {
		ranges[i] = Range{MaxInt, MaxInt}
	}
	for name, push := range map[string]func(Codec) []byte{
		OpOnRecall:         func(c Codec) []byte { return AppendRecall(nil, c, &Recall{conv, ranges, longUser, longUser}) },
		OpOnMessageDeleted: func(c Codec) []byte { return AppendMessageDeleted(nil, c, &MessageDeleted{conv, seqs}) },
		OpOnReadReceipt:    func(c Codec) []byte { return AppendReadReceipt(nil, c, &ReadReceipt{conv, MaxInt, MaxInt}) },
		OpOnPresence:       func(c Codec) []byte { return AppendPresence(nil, c, &Presence{longUser, StatusOffline, MaxInt}) },
		OpOnTyping:         func(c Codec) []byte { return AppendTyping(nil, c, &Typing{longUser, conv, MaxInt}) },
		OpOnGroupEvent: func(c Codec) []byte {
			return AppendGroupEvent(nil, c, &GroupEvent{longGroup, EventJoinRequested, longUser, users(MaxGroupMembers), MaxInt, longText(256), true})
		},
		OpOnSynced: func(c Codec) []byte {
			return AppendSynced(nil, c, &Synced{MaxInt, nil, longText(256), true, times(MaxLoginGroups, longGroup), MaxInt, MaxInt, nil, nil, nil})
		},
	} {
		wantFrame(t, name, MaxPage, push)
	}
}

func wantFrame(t *testing.T, what string, most int, encode func(Codec) []byte) {
	t.Helper()
	for _, codec := range codecs {
		if n := len(encode(codec)); n > most {
			t.Errorf("%s: the largest %s has %d bytes, want at most %d", codec.Name(), what, n, most)
		} else {
			t.Logf("%s: the largest %s has %d bytes", codec.Name(), what, n)
		}
	}
}

// The estimate of a page's size must not be below what it takes.
func TestMaxMessagesSize(t *testing.T) {
	for _, m := range []Message{
		{Conv: UserConv(longUser), From: longUser, Seq: MaxInt, Time: MaxInt, CID: []byte(longText(MaxCIDLen)), Body: worstBody(12 << 10), TTL: MaxTTL, Mentions: times(MaxMentions, longUser)},
		{Conv: GroupConv(longGroup), From: longUser, Seq: MaxInt, Time: MaxInt, CID: []byte("\x01"), Body: []byte{0xc2}, TTL: MaxTTL, Mentions: times(MaxMentions, `"`)},
		{Conv: UserConv("a"), From: "a", Seq: 1, CID: []byte("1"), Body: append([]byte{0xdc, 0, 100}, times(200, byte(0xc4))...)},
	} {
		if m.Body[0] == 0xdc { // of empty binaries
			for i := range 100 {
				m.Body[3+2*i], m.Body[4+2*i] = 0xc4, 0
			}
		}
		stored := len(m.CID) + len(m.Body)
		for _, name := range m.Mentions {
			stored += 1 + len(name)
		}
		for _, codec := range codecs {
			if got, most := len(AppendMessage(nil, codec, &m)), MaxMessagesSize(codec, 1, stored); got > most {
				t.Errorf("%s: a message has %d bytes, said to be %d at most", codec.Name(), got, most)
			}
		}
	}
	for _, codec := range codecs {
		page := &PageOK{From: MaxInt, To: MaxInt, Gaps: times(MaxGaps, Gap{MaxInt, MaxInt, "notMember"})}
		if got, most := len(AppendReplyOK(nil, codec, MaxInt, page)), PageTail(MaxGaps); got > most {
			t.Errorf("%s: a page without messages has %d bytes, said to be %d at most", codec.Name(), got, most)
		}
	}
}
