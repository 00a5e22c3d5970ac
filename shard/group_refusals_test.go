package shard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
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
	b := newGroupBench(t, command.Limits{GroupRate: 1, GroupBurst: 3}, "abe", "bob", "dan")
	must := func(cmd command.Command) {
		t.Helper()
		if r := b.do(cmd); r.Err() != nil {
			t.Fatalf("%T: %v", cmd, r.Err())
		}
	}
	must(&command.SetMember{Group: "team", By: "ann", User: "abe", Role: command.RoleAdmin})
	must(&command.SetMember{Group: "team", By: "ann", User: "dan", MutedUntil: new(b.now + hourMS)})
	b.talk("bob", "1")
	b.talk("bob", "2")
	b.talk("ann", "3")
	must(&command.RecallGroup{Group: "team", By: "bob", Seq: 2})
	public, hall, mutedAll := command.GroupPublic.Settings(), command.GroupChatroom.Settings(), command.GroupPrivate.Settings()
	mutedAll.MutedAll = true
	public.MaxMembers, hall.MaxMembers = 2, 1
	must(&command.CreateGroup{Group: "club", By: "ann", Owner: "ann", Kind: command.GroupPublic, Settings: public})
	must(&command.JoinGroup{Group: "club", User: "cyd"})
	must(&command.AddMembers{Group: "club", By: "ann", Users: []command.UserID{"bob"}})
	must(&command.CreateGroup{Group: "hall", By: "ann", Owner: "ann", Kind: command.GroupChatroom, Settings: hall})
	must(&command.CreateGroup{Group: "stage", By: "ann", Owner: "ann", Kind: command.GroupLive, Settings: command.GroupLive.Settings()})
	must(&command.CreateGroup{Group: "gone", By: "ann", Owner: "ann", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings()})
	must(&command.DismissGroup{Group: "gone", By: "ann"})
	must(&command.RemoveMembers{Group: "hall", By: "ann", Users: []command.UserID{"mal"}, Ban: 3600})
	must(&command.RemoveMembers{Group: "stage", By: "ann", Users: []command.UserID{"mal"}, Ban: 3600})
	must(&command.CreateGroup{Group: "read", By: "ann", Owner: "ann", Kind: command.GroupPrivate, Settings: mutedAll, Members: []command.UserID{"bob"}})
	b.now += 3 * 60_000
	for _, text := range []string{"4", "5", "6"} { // the whole burst
		r := b.do(&command.SendGroup{Group: "team", User: "ann", ID: command.MsgID{9}, CID: text, Body: []byte(text)})
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
	}
	return b
}

// TestGroupRefusals wants each refusal of a command on a group with its code and
// the field at fault, and nothing changed by it.
func TestGroupRefusals(t *testing.T) {
	private, live := command.GroupPrivate.Settings(), command.GroupLive.Settings()
	send := func(group command.GroupID, user command.UserID, cid, body string) *command.SendGroup {
		return &command.SendGroup{Group: group, User: user, ID: command.MsgID{8}, CID: cid, Body: []byte(body)}
	}
	tests := []struct {
		name  string
		cmd   command.GroupCommand
		code  command.Code
		field string
	}{
		{"createGroup/no id", &command.CreateGroup{Kind: command.GroupPrivate, Settings: private}, command.CodeBadRequest, "group"},
		{"createGroup/live and stored", &command.CreateGroup{Group: "new", Kind: command.GroupLive, Settings: private}, command.CodeBadRequest, "stored"},
		{"createGroup/private and not stored", &command.CreateGroup{Group: "new", Kind: command.GroupPrivate, Settings: live}, command.CodeBadRequest, "stored"},
		{"createGroup/taken", &command.CreateGroup{Group: "team", By: "cyd", Owner: "cyd", Kind: command.GroupPrivate, Settings: private}, command.CodeConflict, "group"},
		{"createGroup/another's", &command.CreateGroup{Group: "gone", By: "cyd", Owner: "cyd", Kind: command.GroupPrivate, Settings: private}, command.CodeConflict, "group"},
		{"joinGroup/nobody", &command.JoinGroup{Group: "hall"}, command.CodeBadRequest, "user"},
		{"joinGroup/no group", &command.JoinGroup{Group: "none", User: "cyd"}, command.CodeNotFound, "group"},
		{"joinGroup/dismissed", &command.JoinGroup{Group: "gone", User: "cyd"}, command.CodeNotFound, "group"},
		{"joinGroup/by invitation", &command.JoinGroup{Group: "team", User: "cyd"}, command.CodeForbidden, "group"},
		{"joinGroup/full", &command.JoinGroup{Group: "hall", User: "cyd"}, command.CodeRateLimited, "group"},
		{"leaveGroup/no group", &command.LeaveGroup{Group: "none", User: "bob"}, command.CodeNotFound, "group"},
		{"leaveGroup/owner", &command.LeaveGroup{Group: "team", User: "ann"}, command.CodeForbidden, "group"},
		{"dismissGroup/no group", &command.DismissGroup{Group: "none", By: "ann"}, command.CodeNotFound, "group"},
		{"dismissGroup/dismissed, another's", &command.DismissGroup{Group: "gone", By: "bob"}, command.CodeNotFound, "group"},
		{"dismissGroup/admin", &command.DismissGroup{Group: "team", By: "abe"}, command.CodeForbidden, "group"},
		{"answerJoin/no group", &command.AnswerJoin{Group: "none", By: "ann", User: "cyd"}, command.CodeNotFound, "group"},
		{"answerJoin/member", &command.AnswerJoin{Group: "club", By: "bob", User: "cyd", Accept: true}, command.CodeForbidden, "group"},
		{"answerJoin/not asked", &command.AnswerJoin{Group: "club", By: "ann", User: "eve", Accept: true}, command.CodeNotFound, "user"},
		{"answerJoin/full", &command.AnswerJoin{Group: "club", By: "ann", User: "cyd", Accept: true}, command.CodeRateLimited, "group"},
		{"addMembers/no group", &command.AddMembers{Group: "none", By: "ann", Users: []command.UserID{"eve"}}, command.CodeNotFound, "group"},
		{"addMembers/no member", &command.AddMembers{Group: "team", By: "eve", Users: []command.UserID{"eve"}}, command.CodeForbidden, "group"},
		{"addMembers/member, by approval", &command.AddMembers{Group: "club", By: "bob", Users: []command.UserID{"eve"}}, command.CodeForbidden, "group"},
		{"addMembers/live", &command.AddMembers{Group: "stage", By: "ann", Users: []command.UserID{"eve"}}, command.CodeBadRequest, "group"},
		{"removeMembers/no group", &command.RemoveMembers{Group: "none", By: "ann", Users: []command.UserID{"bob"}}, command.CodeNotFound, "group"},
		{"removeMembers/member", &command.RemoveMembers{Group: "team", By: "bob", Users: []command.UserID{"dan"}}, command.CodeForbidden, "group"},
		{"setMember/no group", &command.SetMember{Group: "none", By: "ann", User: "bob"}, command.CodeNotFound, "group"},
		{"setMember/member", &command.SetMember{Group: "team", By: "bob", User: "dan", MutedUntil: new(int64(0))}, command.CodeForbidden, "group"},
		{"setMember/no member", &command.SetMember{Group: "team", By: "ann", User: "eve", Role: command.RoleAdmin}, command.CodeNotFound, "user"},
		{"setMember/nobody", &command.SetMember{Group: "stage", By: "ann", Role: command.RoleAdmin}, command.CodeNotFound, "user"},
		{"setMember/role by admin", &command.SetMember{Group: "team", By: "abe", User: "bob", Role: command.RoleAdmin}, command.CodeForbidden, "role"},
		{"setMember/role of the owner", &command.SetMember{Group: "team", By: "ann", User: "ann", Role: command.RoleMember}, command.CodeForbidden, "role"},
		{"setMember/owner muted by admin", &command.SetMember{Group: "team", By: "abe", User: "ann", MutedUntil: new(int64(1))}, command.CodeForbidden, "mutedUntil"},
		{"setGroup/no group", &command.SetGroup{Group: "none", By: "ann"}, command.CodeNotFound, "group"},
		{"setGroup/member", &command.SetGroup{Group: "team", By: "bob", Name: new("x")}, command.CodeForbidden, "group"},
		{"setGroup/owner by admin", &command.SetGroup{Group: "team", By: "abe", Owner: "bob"}, command.CodeForbidden, "owner"},
		{"setGroup/owner no member", &command.SetGroup{Group: "team", By: "ann", Owner: "eve"}, command.CodeNotFound, "owner"},
		{"setGroup/history by admin", &command.SetGroup{Group: "team", By: "abe", Settings: command.SettingsChange{History: command.HistoryAll}}, command.CodeForbidden, "history"},
		{"setGroup/members of a live group", &command.SetGroup{Group: "stage", By: "ann", Settings: command.SettingsChange{MaxMembers: new(5)}}, command.CodeBadRequest, "maxMembers"},
		{"setGroup/joining a live group", &command.SetGroup{Group: "stage", Settings: command.SettingsChange{Join: command.JoinByInvitation}}, command.CodeBadRequest, "join"},
		{"setGroup/history of a live group", &command.SetGroup{Group: "stage", Settings: command.SettingsChange{History: command.HistoryAll}}, command.CodeBadRequest, "history"},
		{"setGroup/unread of a live group", &command.SetGroup{Group: "stage", Settings: command.SettingsChange{Unread: new(true)}}, command.CodeBadRequest, "unread"},
		{"setGroup/owner banned", &command.SetGroup{Group: "stage", By: "ann", Owner: "mal"}, command.CodeForbidden, "owner"},
		{"answerOwner/no group", &command.AnswerOwner{Group: "none", User: "bob"}, command.CodeNotFound, "group"},
		{"answerOwner/nobody", &command.AnswerOwner{Group: "team"}, command.CodeBadRequest, "user"},
		{"answerOwner/not offered", &command.AnswerOwner{Group: "team", User: "bob", Accept: true}, command.CodeNotFound, "group"},
		{"answerOwner/no member", &command.AnswerOwner{Group: "team", User: "eve", Accept: true}, command.CodeForbidden, "group"},
		{"unban/no group", &command.Unban{Group: "none", By: "ann", User: "mal"}, command.CodeNotFound, "group"},
		{"unban/member", &command.Unban{Group: "team", By: "bob", User: "mal"}, command.CodeForbidden, "group"},
		{"joinGroup/banned", &command.JoinGroup{Group: "hall", User: "mal"}, command.CodeForbidden, "group"},
		{"joinGroup/banned, live", &command.JoinGroup{Group: "stage", User: "mal"}, command.CodeForbidden, "group"},
		{"sendGroup/all muted", send("read", "bob", "7", "7"), command.CodeForbidden, "conv: all but"},
		{"sendGroup/no sender", send("team", "", "7", "7"), command.CodeBadRequest, "conv"},
		{"sendGroup/no cid", send("team", "bob", "", "7"), command.CodeBadRequest, "conv"},
		{"sendGroup/no body", send("team", "bob", "7", ""), command.CodeBadRequest, "conv"},
		{"sendGroup/no group", send("none", "bob", "7", "7"), command.CodeNotFound, "conv"},
		{"sendGroup/no member", send("team", "eve", "7", "7"), command.CodeForbidden, "conv"},
		{"sendGroup/muted", send("team", "dan", "7", "7"), command.CodeForbidden, "conv"},
		{"sendGroup/live", send("stage", "ann", "7", "7"), command.CodeForbidden, "conv"},
		{"sendGroup/too fast", send("team", "bob", "7", "7"), command.CodeRateLimited, "conv"},
		{"sendGroup/another body", send("team", "ann", "4", "7"), command.CodeConflict, "cid"},
		{"readGroup/no group", &command.ReadGroup{Group: "none", User: "bob", Seq: 1}, command.CodeNotFound, "conv"},
		{"readGroup/no member", &command.ReadGroup{Group: "team", User: "eve", Seq: 1}, command.CodeForbidden, "conv"},
		{"readGroup/live", &command.ReadGroup{Group: "stage", User: "ann", Seq: 1}, command.CodeForbidden, "conv"},
		{"recallGroup/no group", &command.RecallGroup{Group: "none", By: "bob", Seq: 1}, command.CodeNotFound, "conv"},
		{"recallGroup/no member", &command.RecallGroup{Group: "team", By: "eve", Seq: 1}, command.CodeForbidden, "conv"},
		{"recallGroup/no message", &command.RecallGroup{Group: "team", By: "bob", Seq: 100}, command.CodeNotFound, "seq"},
		{"recallGroup/gone, another's", &command.RecallGroup{Group: "team", By: "dan", Seq: 2}, command.CodeNotFound, "seq"},
		{"recallGroup/another's", &command.RecallGroup{Group: "team", By: "bob", Seq: 3}, command.CodeForbidden, "seq"},
		{"recallGroup/too late", &command.RecallGroup{Group: "team", By: "bob", Seq: 1}, command.CodeTooLate, "seq"},
		{"deleteSender/nobody", &command.DeleteMessagesFrom{Group: "team"}, command.CodeBadRequest, "sender"},
		{"deleteSender/no group", &command.DeleteMessagesFrom{Group: "none", Sender: "bob"}, command.CodeNotFound, "group"},
		{"hideMessages/no group", &command.HideMessages{Group: "none", User: "bob", Seqs: []uint64{1}}, command.CodeNotFound, "conv"},
		{"hideMessages/no member", &command.HideMessages{Group: "team", User: "eve", Seqs: []uint64{1}}, command.CodeForbidden, "conv"},
		{"hideMessages/no message", &command.HideMessages{Group: "team", User: "bob", Seqs: []uint64{1, 100}}, command.CodeNotFound, "seqs"},
		{"hideMessages/seq 0", &command.HideMessages{Group: "team", User: "bob", Seqs: []uint64{0}}, command.CodeNotFound, "seqs"},
		{"hideGroup/no group", &command.HideGroup{Group: "none", User: "bob"}, command.CodeNotFound, "conv"},
		{"hideGroup/no member", &command.HideGroup{Group: "team", User: "eve"}, command.CodeForbidden, "conv"},
		{"setGroupView/no group", &command.SetGroupView{Group: "none", User: "bob"}, command.CodeNotFound, "conv"},
		{"setGroupView/no member", &command.SetGroupView{Group: "team", User: "eve"}, command.CodeForbidden, "conv"},
	}
	b := refusalBench(t)
	sums := func() (sums [5]uint64) {
		for i, id := range []command.GroupID{"team", "club", "hall", "stage", "gone"} {
			sums[i] = b.s.Checksum(command.SlotOf(string(id.Key())))
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
			if wait := r.Code == command.CodeRateLimited; wait != (r.RetryAfterMS > 0) {
				t.Errorf("RetryAfterMS = %d with code %d", r.RetryAfterMS, r.Code)
			}
			if sums() != before {
				t.Error("a refused command changed its group")
			}
			if len(b.out.Groups)+len(b.out.Members)+len(b.out.Users)+len(b.out.Posted) > 0 {
				t.Errorf("outcome of a refusal = %+v", b.out)
			}
		})
		refused[fmt.Sprintf("%T", test.cmd)] = true
	}
	for _, cmd := range allCommands() {
		_, onGroup := cmd.(command.GroupCommand)
		if _, imports := cmd.(*command.ImportGroup); onGroup && !imports && !refused[fmt.Sprintf("%T", cmd)] {
			t.Errorf("no refusal of a %T in the table", cmd)
		}
	}
	t.Run("elsewhere", func(t *testing.T) {
		s := NewState(2)
		var out Outcome
		for _, test := range tests {
			if strings.HasSuffix(test.name, "/no group") {
				s.Apply(command.AppendCommand(command.AppendBatchHeader(nil, b.now), test.cmd), &out)
				if out.Results[0].Code != command.CodeMoved {
					t.Errorf("%s: code %d, want %d", test.name, out.Results[0].Code, command.CodeMoved)
				}
			}
		}
	})
}

// TestGroupBounds reaches the bounds that stop single commands.
func TestGroupBounds(t *testing.T) {
	t.Run("hidden messages", func(t *testing.T) {
		b := newGroupBench(t, command.Limits{GroupRate: -1}, "bob")
		for i := range maxHidden + 1 {
			b.talk("ann", fmt.Sprint(i))
		}
		for seq := uint64(1); seq <= maxHidden; seq++ {
			if r := b.do(&command.HideMessages{Group: "team", User: "bob", Seqs: []uint64{seq}}); r.Err() != nil {
				t.Fatal(r.Err())
			}
		}
		r := b.do(&command.HideMessages{Group: "team", User: "bob", Seqs: []uint64{maxHidden + 1}})
		if r.Code != command.CodeRateLimited || !strings.HasPrefix(r.Detail, "seqs:") {
			t.Errorf("one more: code %d, %q, want %d of seqs", r.Code, r.Detail, command.CodeRateLimited)
		}
		if r := b.do(&command.HideMessages{Group: "team", User: "bob", Seqs: []uint64{1, 2}}); r.Err() != nil {
			t.Errorf("hidden again: %v", r.Err())
		}
		b.wantUnread("team", "bob", maxHidden+1)
	})
	t.Run("requests to join", func(t *testing.T) {
		b := newBench(t, command.Limits{})
		b.do(&command.CreateGroup{Group: "club", Kind: command.GroupPublic, Settings: command.GroupPublic.Settings()})
		for i := range maxRequests {
			if r := b.do(&command.JoinGroup{Group: "club", User: command.UserID(fmt.Sprint("u", i))}); !r.Pending {
				t.Fatalf("request %d: %+v, want it pending", i, r)
			}
		}
		r := b.do(&command.JoinGroup{Group: "club", User: "late"})
		if r.Code != command.CodeRateLimited || !strings.HasPrefix(r.Detail, "group:") {
			t.Errorf("one more: code %d, %q, want %d of group", r.Code, r.Detail, command.CodeRateLimited)
		}
		if r := b.do(&command.JoinGroup{Group: "club", User: "u7", Message: "once more"}); !r.Pending {
			t.Errorf("another message of one who waits: %+v, want it pending", r)
		}
		if got := b.s.JoinRequests("club"); len(got) != maxRequests || got[maxRequests-1].Message != "once more" {
			t.Errorf("%d requests, the last %+v, want %d and the newest last", len(got), got[len(got)-1], maxRequests)
		}
	})
	t.Run("users of an event", func(t *testing.T) {
		b := newBench(t, command.Limits{})
		var users []command.UserID
		for i := range maxEventUsers + 1 {
			users = append(users, command.UserID(fmt.Sprint("u", i)))
		}
		b.do(&command.CreateGroup{Group: "hall", Kind: command.GroupChatroom, Settings: command.GroupChatroom.Settings(), Members: users})
		var up query.Updates
		b.s.GroupUpdatesAfter("hall", 0, &up, 100, 1<<20, b.now)
		if len(up.Events) != 1 || len(up.Events[0].Users) != 0 {
			t.Errorf("events = %+v, want one that names nobody", up.Events)
		}
		if info, _ := b.s.Group("hall", ""); info.Members != len(users) {
			t.Errorf("Members = %d, want %d", info.Members, len(users))
		}
	})
}

// TestUsersThatFail has AddMembers, RemoveMembers and CreateGroup name those who
// could not be added or removed, and go on with the others.
func TestUsersThatFail(t *testing.T) {
	private := command.GroupPrivate.Settings()
	private.MaxMembers = 4
	want := func(t *testing.T, r command.Result, failed ...command.MemberFailure) {
		t.Helper()
		if r.Code != command.OK || fmt.Sprint(r.Failed) != fmt.Sprint(failed) {
			t.Errorf("code %d, failed %v, want %d, %v", r.Code, r.Failed, command.OK, failed)
		}
	}
	b := newBench(t, command.Limits{})
	want(t, b.do(&command.CreateGroup{
		Group: "team", By: "ann", Owner: "ann", Kind: command.GroupPrivate, Settings: private, Members: []command.UserID{"ann", "bob", "bob", "cyd"},
	}))
	want(t, b.do(&command.AddMembers{Group: "team", By: "bob", Users: []command.UserID{"cyd", "", "dan", "eve", "fay"}}),
		command.MemberFailure{User: "", Code: command.CodeBadRequest}, command.MemberFailure{User: "eve", Code: command.CodeRateLimited}, command.MemberFailure{User: "fay", Code: command.CodeRateLimited})
	b.do(&command.SetMember{Group: "team", By: "ann", User: "bob", Role: command.RoleAdmin})
	want(t, b.do(&command.RemoveMembers{Group: "team", By: "bob", Users: []command.UserID{"ann", "bob", "dan", "dan", "eve", ""}}),
		command.MemberFailure{User: "ann", Code: command.CodeForbidden}, command.MemberFailure{User: "bob", Code: command.CodeForbidden}, command.MemberFailure{User: "eve", Code: command.CodeNotFound}, command.MemberFailure{User: "", Code: command.CodeNotFound})
	private.MaxMembers = 2
	want(t, b.do(&command.CreateGroup{Group: "duo", Owner: "ann", Kind: command.GroupPrivate, Settings: private, Members: []command.UserID{"bob", "cyd"}}),
		command.MemberFailure{User: "cyd", Code: command.CodeRateLimited})
}
