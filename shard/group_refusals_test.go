package shard

import (
	"fmt"
	"strings"
	"testing"
)

// refusalBench has the groups of the table below:
//
//	team     private: owner ann, admin abe, members bob and dan (muted)
//	club     public, of at most 2: owner ann, member bob; cyd has asked to join
//	hall     chatroom, full
//	stage    live: owner ann
//	gone     dismissed, ann's
//
// team holds 1 and 2 of bob (2 recalled), 3 of ann; the recall window of all is
// over.
func refusalBench(t *testing.T) *bench {
	b := newTeam(t, Limits{GroupRate: 1, GroupBurst: 3}, "abe", "bob", "dan")
	must := func(cmd Command) {
		t.Helper()
		if r := b.do(cmd); r.Err() != nil {
			t.Fatalf("%T: %v", cmd, r.Err())
		}
	}
	must(&SetMember{Group: "team", By: "ann", User: "abe", Role: RoleAdmin})
	must(&SetMember{Group: "team", By: "ann", User: "dan", MutedUntil: new(b.now + hourMS)})
	b.talk("bob", "1")
	b.talk("bob", "2")
	b.talk("ann", "3")
	must(&RecallGroup{Group: "team", By: "bob", Seq: 2})
	public, hall, mutedAll := GroupPublic.Settings(), GroupChatroom.Settings(), GroupPrivate.Settings()
	mutedAll.MutedAll = true
	public.MaxMembers, hall.MaxMembers = 2, 1
	must(&CreateGroup{Group: "club", By: "ann", Owner: "ann", Kind: GroupPublic, Settings: public})
	must(&JoinGroup{Group: "club", User: "cyd"})
	must(&AddMembers{Group: "club", By: "ann", Users: []UserID{"bob"}})
	must(&CreateGroup{Group: "hall", By: "ann", Owner: "ann", Kind: GroupChatroom, Settings: hall})
	must(&CreateGroup{Group: "stage", By: "ann", Owner: "ann", Kind: GroupLive, Settings: GroupLive.Settings()})
	must(&CreateGroup{Group: "gone", By: "ann", Owner: "ann", Kind: GroupPrivate, Settings: GroupPrivate.Settings()})
	must(&DismissGroup{Group: "gone", By: "ann"})
	must(&RemoveMembers{Group: "hall", By: "ann", Users: []UserID{"mal"}, Ban: 3600})
	must(&RemoveMembers{Group: "stage", By: "ann", Users: []UserID{"mal"}, Ban: 3600})
	must(&CreateGroup{Group: "read", By: "ann", Owner: "ann", Kind: GroupPrivate, Settings: mutedAll, Members: []UserID{"bob"}})
	b.now += 3 * 60_000
	for _, text := range []string{"4", "5", "6"} { // the whole burst
		r := b.do(&SendGroup{Group: "team", User: "ann", ID: MsgID{9}, CID: text, Body: []byte(text)})
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
	}
	return b
}

// TestGroupRefusals wants each refusal of a command on a group with its code and
// the field at fault, and nothing changed by it.
func TestGroupRefusals(t *testing.T) {
	private, live := GroupPrivate.Settings(), GroupLive.Settings()
	send := func(group GroupID, user UserID, cid, body string) *SendGroup {
		return &SendGroup{Group: group, User: user, ID: MsgID{8}, CID: cid, Body: []byte(body)}
	}
	tests := []struct {
		name  string
		cmd   GroupCommand
		code  Code
		field string
	}{
		{"createGroup/no id", &CreateGroup{Kind: GroupPrivate, Settings: private}, CodeBadRequest, "group"},
		{"createGroup/live and stored", &CreateGroup{Group: "new", Kind: GroupLive, Settings: private}, CodeBadRequest, "stored"},
		{"createGroup/private and not stored", &CreateGroup{Group: "new", Kind: GroupPrivate, Settings: live}, CodeBadRequest, "stored"},
		{"createGroup/taken", &CreateGroup{Group: "team", By: "cyd", Owner: "cyd", Kind: GroupPrivate, Settings: private}, CodeConflict, "group"},
		{"createGroup/another's", &CreateGroup{Group: "gone", By: "cyd", Owner: "cyd", Kind: GroupPrivate, Settings: private}, CodeConflict, "group"},
		{"joinGroup/nobody", &JoinGroup{Group: "hall"}, CodeBadRequest, "user"},
		{"joinGroup/no group", &JoinGroup{Group: "none", User: "cyd"}, CodeNotFound, "group"},
		{"joinGroup/dismissed", &JoinGroup{Group: "gone", User: "cyd"}, CodeNotFound, "group"},
		{"joinGroup/by invitation", &JoinGroup{Group: "team", User: "cyd"}, CodeForbidden, "group"},
		{"joinGroup/full", &JoinGroup{Group: "hall", User: "cyd"}, CodeRateLimited, "group"},
		{"leaveGroup/no group", &LeaveGroup{Group: "none", User: "bob"}, CodeNotFound, "group"},
		{"leaveGroup/owner", &LeaveGroup{Group: "team", User: "ann"}, CodeForbidden, "group"},
		{"dismissGroup/no group", &DismissGroup{Group: "none", By: "ann"}, CodeNotFound, "group"},
		{"dismissGroup/dismissed, another's", &DismissGroup{Group: "gone", By: "bob"}, CodeNotFound, "group"},
		{"dismissGroup/admin", &DismissGroup{Group: "team", By: "abe"}, CodeForbidden, "group"},
		{"answerJoin/no group", &AnswerJoin{Group: "none", By: "ann", User: "cyd"}, CodeNotFound, "group"},
		{"answerJoin/member", &AnswerJoin{Group: "club", By: "bob", User: "cyd", Accept: true}, CodeForbidden, "group"},
		{"answerJoin/not asked", &AnswerJoin{Group: "club", By: "ann", User: "eve", Accept: true}, CodeNotFound, "user"},
		{"answerJoin/full", &AnswerJoin{Group: "club", By: "ann", User: "cyd", Accept: true}, CodeRateLimited, "group"},
		{"addMembers/no group", &AddMembers{Group: "none", By: "ann", Users: []UserID{"eve"}}, CodeNotFound, "group"},
		{"addMembers/no member", &AddMembers{Group: "team", By: "eve", Users: []UserID{"eve"}}, CodeForbidden, "group"},
		{"addMembers/member, by approval", &AddMembers{Group: "club", By: "bob", Users: []UserID{"eve"}}, CodeForbidden, "group"},
		{"addMembers/live", &AddMembers{Group: "stage", By: "ann", Users: []UserID{"eve"}}, CodeBadRequest, "group"},
		{"removeMembers/no group", &RemoveMembers{Group: "none", By: "ann", Users: []UserID{"bob"}}, CodeNotFound, "group"},
		{"removeMembers/member", &RemoveMembers{Group: "team", By: "bob", Users: []UserID{"dan"}}, CodeForbidden, "group"},
		{"setMember/no group", &SetMember{Group: "none", By: "ann", User: "bob"}, CodeNotFound, "group"},
		{"setMember/member", &SetMember{Group: "team", By: "bob", User: "dan", MutedUntil: new(int64(0))}, CodeForbidden, "group"},
		{"setMember/no member", &SetMember{Group: "team", By: "ann", User: "eve", Role: RoleAdmin}, CodeNotFound, "user"},
		{"setMember/nobody", &SetMember{Group: "stage", By: "ann", Role: RoleAdmin}, CodeNotFound, "user"},
		{"setMember/role by admin", &SetMember{Group: "team", By: "abe", User: "bob", Role: RoleAdmin}, CodeForbidden, "role"},
		{"setMember/role of the owner", &SetMember{Group: "team", By: "ann", User: "ann", Role: RoleMember}, CodeForbidden, "role"},
		{"setMember/owner muted by admin", &SetMember{Group: "team", By: "abe", User: "ann", MutedUntil: new(int64(1))}, CodeForbidden, "mutedUntil"},
		{"setGroup/no group", &SetGroup{Group: "none", By: "ann"}, CodeNotFound, "group"},
		{"setGroup/member", &SetGroup{Group: "team", By: "bob", Name: new("x")}, CodeForbidden, "group"},
		{"setGroup/owner by admin", &SetGroup{Group: "team", By: "abe", Owner: "bob"}, CodeForbidden, "owner"},
		{"setGroup/owner no member", &SetGroup{Group: "team", By: "ann", Owner: "eve"}, CodeNotFound, "owner"},
		{"setGroup/history by admin", &SetGroup{Group: "team", By: "abe", Settings: SettingsChange{History: HistoryAll}}, CodeForbidden, "history"},
		{"setGroup/members of a live group", &SetGroup{Group: "stage", By: "ann", Settings: SettingsChange{MaxMembers: new(5)}}, CodeBadRequest, "maxMembers"},
		{"setGroup/joining a live group", &SetGroup{Group: "stage", Settings: SettingsChange{Join: JoinByInvitation}}, CodeBadRequest, "join"},
		{"setGroup/history of a live group", &SetGroup{Group: "stage", Settings: SettingsChange{History: HistoryAll}}, CodeBadRequest, "history"},
		{"setGroup/unread of a live group", &SetGroup{Group: "stage", Settings: SettingsChange{Unread: new(true)}}, CodeBadRequest, "unread"},
		{"setGroup/owner banned", &SetGroup{Group: "stage", By: "ann", Owner: "mal"}, CodeForbidden, "owner"},
		{"answerOwner/no group", &AnswerOwner{Group: "none", User: "bob"}, CodeNotFound, "group"},
		{"answerOwner/nobody", &AnswerOwner{Group: "team"}, CodeBadRequest, "user"},
		{"answerOwner/not offered", &AnswerOwner{Group: "team", User: "bob", Accept: true}, CodeNotFound, "group"},
		{"answerOwner/no member", &AnswerOwner{Group: "team", User: "eve", Accept: true}, CodeForbidden, "group"},
		{"unban/no group", &Unban{Group: "none", By: "ann", User: "mal"}, CodeNotFound, "group"},
		{"unban/member", &Unban{Group: "team", By: "bob", User: "mal"}, CodeForbidden, "group"},
		{"joinGroup/banned", &JoinGroup{Group: "hall", User: "mal"}, CodeForbidden, "group"},
		{"joinGroup/banned, live", &JoinGroup{Group: "stage", User: "mal"}, CodeForbidden, "group"},
		{"sendGroup/all muted", send("read", "bob", "7", "7"), CodeForbidden, "conv: all but"},
		{"sendGroup/no sender", send("team", "", "7", "7"), CodeBadRequest, "conv"},
		{"sendGroup/no cid", send("team", "bob", "", "7"), CodeBadRequest, "conv"},
		{"sendGroup/no body", send("team", "bob", "7", ""), CodeBadRequest, "conv"},
		{"sendGroup/no group", send("none", "bob", "7", "7"), CodeNotFound, "conv"},
		{"sendGroup/no member", send("team", "eve", "7", "7"), CodeForbidden, "conv"},
		{"sendGroup/muted", send("team", "dan", "7", "7"), CodeForbidden, "conv"},
		{"sendGroup/live", send("stage", "ann", "7", "7"), CodeForbidden, "conv"},
		{"sendGroup/too fast", send("team", "bob", "7", "7"), CodeRateLimited, "conv"},
		{"sendGroup/another body", send("team", "ann", "4", "7"), CodeConflict, "cid"},
		{"readGroup/no group", &ReadGroup{Group: "none", User: "bob", Seq: 1}, CodeNotFound, "conv"},
		{"readGroup/no member", &ReadGroup{Group: "team", User: "eve", Seq: 1}, CodeForbidden, "conv"},
		{"readGroup/live", &ReadGroup{Group: "stage", User: "ann", Seq: 1}, CodeForbidden, "conv"},
		{"recallGroup/no group", &RecallGroup{Group: "none", By: "bob", Seq: 1}, CodeNotFound, "conv"},
		{"recallGroup/no member", &RecallGroup{Group: "team", By: "eve", Seq: 1}, CodeForbidden, "conv"},
		{"recallGroup/no message", &RecallGroup{Group: "team", By: "bob", Seq: 100}, CodeNotFound, "seq"},
		{"recallGroup/gone, another's", &RecallGroup{Group: "team", By: "dan", Seq: 2}, CodeNotFound, "seq"},
		{"recallGroup/another's", &RecallGroup{Group: "team", By: "bob", Seq: 3}, CodeForbidden, "seq"},
		{"recallGroup/too late", &RecallGroup{Group: "team", By: "bob", Seq: 1}, CodeTooLate, "seq"},
		{"deleteSender/nobody", &DeleteSender{Group: "team"}, CodeBadRequest, "sender"},
		{"deleteSender/no group", &DeleteSender{Group: "none", Sender: "bob"}, CodeNotFound, "group"},
		{"hideMessages/no group", &HideMessages{Group: "none", User: "bob", Seqs: []uint64{1}}, CodeNotFound, "conv"},
		{"hideMessages/no member", &HideMessages{Group: "team", User: "eve", Seqs: []uint64{1}}, CodeForbidden, "conv"},
		{"hideMessages/no message", &HideMessages{Group: "team", User: "bob", Seqs: []uint64{1, 100}}, CodeNotFound, "seqs"},
		{"hideMessages/seq 0", &HideMessages{Group: "team", User: "bob", Seqs: []uint64{0}}, CodeNotFound, "seqs"},
		{"hideGroup/no group", &HideGroup{Group: "none", User: "bob"}, CodeNotFound, "conv"},
		{"hideGroup/no member", &HideGroup{Group: "team", User: "eve"}, CodeForbidden, "conv"},
		{"setGroupView/no group", &SetGroupView{Group: "none", User: "bob"}, CodeNotFound, "conv"},
		{"setGroupView/no member", &SetGroupView{Group: "team", User: "eve"}, CodeForbidden, "conv"},
	}
	b := refusalBench(t)
	sums := func() (sums [5]uint64) {
		for i, id := range []GroupID{"team", "club", "hall", "stage", "gone"} {
			sums[i] = b.s.Checksum(SlotOf(string(id.Key())))
		}
		return sums
	}
	refused := map[string]bool{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := sums()
			r := b.do(test.cmd)
			if r.Code != test.code || !strings.HasPrefix(r.Detail, test.field) {
				t.Errorf("code %d, %q, want %d, %q: …", r.Code, r.Detail, test.code, test.field)
			}
			if wait := r.Code == CodeRateLimited; wait != (r.RetryAfterMS > 0) {
				t.Errorf("RetryAfterMS = %d with code %d", r.RetryAfterMS, r.Code)
			}
			if sums() != before {
				t.Error("a refused command changed its group")
			}
			if len(b.out.Groups)+len(b.out.Members)+len(b.out.Touched)+len(b.out.Posted) > 0 {
				t.Errorf("outcome of a refusal = %+v", b.out)
			}
		})
		refused[fmt.Sprintf("%T", test.cmd)] = true
	}
	for k := kindCreateGroup; k <= kindUnban; k++ {
		if cmd := new(groupCommandSet).get(k); !refused[fmt.Sprintf("%T", cmd)] {
			t.Errorf("no refusal of a %T in the table", cmd)
		}
	}
	t.Run("elsewhere", func(t *testing.T) {
		s := NewState(2)
		var out Outcome
		for _, test := range tests {
			if strings.HasSuffix(test.name, "/no group") {
				s.Apply(AppendCommand(AppendBatchHeader(nil, b.now), test.cmd), &out)
				if out.Results[0].Code != CodeMoved {
					t.Errorf("%s: code %d, want %d", test.name, out.Results[0].Code, CodeMoved)
				}
			}
		}
	})
}

// TestGroupBounds reaches the bounds that stop single commands.
func TestGroupBounds(t *testing.T) {
	t.Run("hidden messages", func(t *testing.T) {
		b := newTeam(t, Limits{GroupRate: -1}, "bob")
		for i := range maxHides + 1 {
			b.talk("ann", fmt.Sprint(i))
		}
		for seq := uint64(1); seq <= maxHides; seq++ {
			if r := b.do(&HideMessages{Group: "team", User: "bob", Seqs: []uint64{seq}}); r.Err() != nil {
				t.Fatal(r.Err())
			}
		}
		r := b.do(&HideMessages{Group: "team", User: "bob", Seqs: []uint64{maxHides + 1}})
		if r.Code != CodeRateLimited || !strings.HasPrefix(r.Detail, "seqs:") {
			t.Errorf("one more: code %d, %q, want %d of seqs", r.Code, r.Detail, CodeRateLimited)
		}
		if r := b.do(&HideMessages{Group: "team", User: "bob", Seqs: []uint64{1, 2}}); r.Err() != nil {
			t.Errorf("hidden again: %v", r.Err())
		}
		b.wantUnread("team", "bob", maxHides+1)
	})
	t.Run("requests to join", func(t *testing.T) {
		b := newBench(t, Limits{})
		b.do(&CreateGroup{Group: "club", Kind: GroupPublic, Settings: GroupPublic.Settings()})
		for i := range maxRequests {
			if r := b.do(&JoinGroup{Group: "club", User: UserID(fmt.Sprint("u", i))}); !r.Pending {
				t.Fatalf("request %d: %+v, want it pending", i, r)
			}
		}
		r := b.do(&JoinGroup{Group: "club", User: "late"})
		if r.Code != CodeRateLimited || !strings.HasPrefix(r.Detail, "group:") {
			t.Errorf("one more: code %d, %q, want %d of group", r.Code, r.Detail, CodeRateLimited)
		}
		if r := b.do(&JoinGroup{Group: "club", User: "u7", Message: "once more"}); !r.Pending {
			t.Errorf("another message of one who waits: %+v, want it pending", r)
		}
		if got := b.s.JoinRequests("club"); len(got) != maxRequests || got[maxRequests-1].Message != "once more" {
			t.Errorf("%d requests, the last %+v, want %d and the newest last", len(got), got[len(got)-1], maxRequests)
		}
	})
	t.Run("users of an event", func(t *testing.T) {
		b := newBench(t, Limits{})
		var users []UserID
		for i := range maxEventUsers + 1 {
			users = append(users, UserID(fmt.Sprint("u", i)))
		}
		b.do(&CreateGroup{Group: "hall", Kind: GroupChatroom, Settings: GroupChatroom.Settings(), Members: users})
		var batch Batch
		b.s.GroupSince("hall", 0, &batch, 100, 1<<20, b.now)
		if len(batch.Events) != 1 || len(batch.Events[0].Users) != 0 {
			t.Errorf("events = %+v, want one that names nobody", batch.Events)
		}
		if info, _ := b.s.Group("hall", ""); info.Members != len(users) {
			t.Errorf("Members = %d, want %d", info.Members, len(users))
		}
	})
}

// TestUsersThatFail has AddMembers, RemoveMembers and CreateGroup name those who
// could not be added or removed, and go on with the others.
func TestUsersThatFail(t *testing.T) {
	private := GroupPrivate.Settings()
	private.MaxMembers = 4
	want := func(t *testing.T, r Result, failed ...MemberFailure) {
		t.Helper()
		if r.Code != OK || fmt.Sprint(r.Failed) != fmt.Sprint(failed) {
			t.Errorf("code %d, failed %v, want %d, %v", r.Code, r.Failed, OK, failed)
		}
	}
	b := newBench(t, Limits{})
	want(t, b.do(&CreateGroup{
		Group: "team", By: "ann", Owner: "ann", Kind: GroupPrivate, Settings: private, Members: []UserID{"ann", "bob", "bob", "cyd"},
	}))
	want(t, b.do(&AddMembers{Group: "team", By: "bob", Users: []UserID{"cyd", "", "dan", "eve", "fay"}}),
		MemberFailure{"", CodeBadRequest}, MemberFailure{"eve", CodeRateLimited}, MemberFailure{"fay", CodeRateLimited})
	b.do(&SetMember{Group: "team", By: "ann", User: "bob", Role: RoleAdmin})
	want(t, b.do(&RemoveMembers{Group: "team", By: "bob", Users: []UserID{"ann", "bob", "dan", "dan", "eve", ""}}),
		MemberFailure{"ann", CodeForbidden}, MemberFailure{"bob", CodeForbidden}, MemberFailure{"eve", CodeNotFound}, MemberFailure{"", CodeNotFound})
	private.MaxMembers = 2
	want(t, b.do(&CreateGroup{Group: "duo", Owner: "ann", Kind: GroupPrivate, Settings: private, Members: []UserID{"bob", "cyd"}}),
		MemberFailure{"cyd", CodeRateLimited})
}
