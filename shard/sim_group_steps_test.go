package shard_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// makeGroups names the groups of a world. Making them is up to its users.
func (w *world) makeGroups() {
	groups := 2 + w.rng.IntN(3)
	if w.busy {
		groups = 1
	}
	for i := range groups {
		id := command.GroupID(fmt.Sprintf("%s%d", []string{"team", "club", "crew", "band"}[i], w.rng.IntN(100)))
		w.groups = append(w.groups, id)
		w.model.group(id)
		slot := command.SlotOf(string(id.Key()))
		w.owner[slot] = firstOwner(slot)
		w.feeds = append(w.feeds, &feed{group: id, subs: map[command.UserID]*subscription{}})
	}
}

// keys are those of all users and groups.
func (w *world) keys() []command.UserID {
	keys := slices.Clone(w.users)
	for _, id := range w.groups {
		keys = append(keys, id.Key())
	}
	return keys
}

// anyGroup is mostly one that there is.
func (w *world) anyGroup() *modelGroup {
	for range 3 {
		if g := w.model.group(pick(w, w.groups)); g.alive {
			return g
		}
	}
	return w.model.group(pick(w, w.groups))
}

// anyMember is mostly a member, of a role if there is one.
func (w *world) anyMember(g *modelGroup, least command.Role) command.UserID {
	var fit []command.UserID
	for _, user := range g.names() {
		if g.members[user].role >= least {
			fit = append(fit, user)
		}
	}
	if len(fit) == 0 || w.chance(12) {
		return w.anyUser()
	}
	return pick(w, fit)
}

// actor is who asks for what takes a role: now and then the administrator of
// the server, or who may not.
func (w *world) actor(g *modelGroup, least command.Role) command.UserID {
	if w.chance(20) {
		return ""
	}
	return w.anyMember(g, least)
}

// orderGroup orders a command on a group, now and then twice.
func (w *world) orderGroup(cmd command.GroupCommand) {
	w.asked = append(w.asked, cmd)
	if len(w.asked) > 64 {
		w.asked = w.asked[1:]
	}
	w.send(cmd, nil)
	if w.chance(4) {
		w.send(cmd, nil)
	}
}

func (w *world) repeatGroupCommand() {
	if len(w.asked) > 0 {
		w.send(pick(w, w.asked), nil)
	}
}

// often does something once, or, in a busy world, many times.
func (w *world) often(do func()) {
	times := 1
	if w.busy {
		times = 25
	}
	for range times {
		do()
	}
}

func (w *world) talkInGroup() {
	w.talkOnce()
	if w.busy {
		w.talkOnce()
		w.talkOnce()
	}
}

func (w *world) talkOnce() {
	g := w.anyGroup()
	from := w.anyMember(g, command.RoleMember)
	w.nextID++
	cmd := &command.SendGroup{
		Group: g.id, User: from, Session: w.anySession(from), Admin: w.chance(5),
		CID: fmt.Sprintf("g%d", w.nextID), Body: w.body(), Retry: w.chance(5), Origin: w.origin(from),
	}
	if w.chance(10) {
		cmd.TTL = uint32(1 + w.rng.IntN(60))
	}
	if w.chance(5) {
		cmd.Mentions = []string{string(w.anyUser()), "everybody"}[:1+w.rng.IntN(2)]
	}
	if w.chance(8) {
		cmd.Original = command.HashBody(w.body())
	}
	if w.chance(1) {
		switch w.rng.IntN(3) {
		case 0:
			cmd.User = ""
		case 1:
			cmd.CID = ""
		case 2:
			cmd.Body = nil
		}
	}
	w.dispatch(func(id command.MsgID) {
		sent := *cmd
		sent.ID = id
		w.talk = append(w.talk, &sent)
		w.send(&sent, nil)
	})
}

// repeatTalk sends a cid again, soon or long after, mostly as it was; or another
// sends the same.
func (w *world) repeatTalk() {
	if len(w.talk) == 0 {
		return
	}
	recent := w.talk[max(0, len(w.talk)-1-w.rng.IntN(60)):]
	if w.chance(20) {
		recent = w.talk[max(0, len(w.talk)-1000):]
	}
	short := slices.DeleteFunc(slices.Clone(w.talk[max(0, len(w.talk)-300):]), func(c *command.SendGroup) bool { return c.TTL == 0 })
	again := len(short) > 0 && w.chance(25) // what may have left its log before its time
	if again {
		recent = short
	}
	cmd := *pick(w, recent)
	cmd.ID = w.id()
	cmd.Retry = again || w.chance(50)
	if cmd.Original != 0 && w.chance(50) {
		cmd.Body = w.body()
	}
	switch {
	case again:
		slot := command.SlotOf(string(cmd.Group.Key()))
		w.order(w.shardOf(cmd.Group.Key()).index, &command.PurgeExpired{FirstSlot: slot, LastSlot: slot}, nil)
	case w.chance(20):
		cmd.Body = w.body()
	case w.chance(15):
		cmd.User = w.anyUser()
	case w.chance(5):
		cmd.Group = pick(w, w.groups)
	}
	w.send(&cmd, nil)
}

// groupSeq is a seq of a group, near its end, rarely one that is not there.
func (w *world) groupSeq(g *modelGroup) uint64 {
	newest := g.newest()
	if w.chance(5) {
		return uint64(w.rng.IntN(int(newest) + 5))
	}
	depth := 1 + w.rng.IntN(12)
	if w.busy {
		depth *= 20
	}
	if w.chance(10) {
		depth = int(newest) + 1
	}
	return max(1, newest-min(newest, uint64(w.rng.IntN(depth))))
}

func (w *world) readGroup() {
	g := w.anyGroup()
	user := w.anyMember(g, command.RoleMember)
	w.orderGroup(&command.ReadGroup{
		Group: g.id, User: user, Session: w.anySession(user), Seq: w.groupSeq(g), MayMoveBack: w.chance(25),
	})
}

func (w *world) recallInGroup() { w.often(w.recallOnce) }

func (w *world) recallOnce() {
	g := w.anyGroup()
	seq := w.groupSeq(g)
	by := w.actor(g, command.RoleAdmin)
	for range 5 { // mostly one that is still there
		if e := g.at(seq); w.busy && e != nil && e.taken != "" {
			seq = w.groupSeq(g)
		}
	}
	if e := g.at(seq); e != nil && w.chance(50) {
		by = e.from
	}
	w.orderGroup(&command.RecallGroup{Group: g.id, By: by, Seq: seq, Silent: w.chance(15)})
}

func (w *world) deleteSender() {
	g := w.anyGroup()
	sender := w.anyUser()
	if w.chance(2) {
		sender = ""
	}
	w.orderGroup(&command.DeleteMessagesFrom{Group: g.id, Sender: sender, Silent: w.chance(25)})
}

func (w *world) hideInGroup() { w.often(w.hideOnce) }

func (w *world) hideOnce() {
	g := w.anyGroup()
	user := w.anyMember(g, command.RoleMember)
	most := 5
	if w.busy && len(g.members) > 0 {
		user, most = g.names()[0], 15
	}
	var seqs []uint64
	for range w.rng.IntN(most) {
		seqs = append(seqs, w.groupSeq(g))
	}
	w.orderGroup(&command.HideMessages{Group: g.id, User: user, Session: w.anySession(user), Seqs: seqs})
}

func (w *world) hideGroup() {
	g := w.anyGroup()
	user := w.anyMember(g, command.RoleMember)
	w.orderGroup(&command.HideGroup{Group: g.id, User: user, Session: w.anySession(user), Messages: w.chance(30)})
}

func (w *world) setGroupView() {
	g := w.anyGroup()
	cmd := &command.SetGroupView{Group: g.id, User: w.anyMember(g, command.RoleMember)}
	if w.chance(60) {
		cmd.Muted = new(w.chance(50))
	}
	if w.chance(60) {
		cmd.Pinned = new(w.chance(50))
	}
	if w.chance(60) {
		cmd.Unread = new(w.chance(70))
	}
	w.orderGroup(cmd)
}

func (w *world) groupSettings(kind command.GroupKind) command.GroupSettings {
	v := kind.Settings()
	if w.chance(60) {
		v = command.GroupSettings{
			MaxMembers: w.rng.IntN(7), Join: command.JoinMode(1 + w.rng.IntN(3)), History: command.GroupHistory(1 + w.rng.IntN(3)),
			Unread: w.chance(80), StoresMessages: v.StoresMessages,
		}
		if !v.StoresMessages && w.chance(90) {
			v = kind.Settings()
		}
		v.MutedAll = w.chance(10)
		if w.chance(60) {
			v.History = command.HistorySinceJoin
		}
	}
	if w.chance(2) {
		v.StoresMessages = !v.StoresMessages
	}
	return v
}

// someUsers are a few, some of them twice, strangers or nobody.
func (w *world) someUsers() (users []command.UserID) {
	for range w.rng.IntN(5) {
		switch {
		case w.chance(3):
			users = append(users, "")
		case w.chance(5):
			users = append(users, pick(w, slices.Concat(strangers, ghosts)))
		default:
			users = append(users, pick(w, w.users))
		}
	}
	return users
}

// createGroup mostly makes one that there is not.
func (w *world) createGroup() {
	g := w.model.group(pick(w, w.groups))
	if g.alive && !w.chance(8) {
		return
	}
	owner := w.anyUser()
	if g.known && w.chance(50) {
		owner = g.owner
	}
	cmd := &command.CreateGroup{
		Group: g.id, By: owner, Owner: owner, Kind: pick(w, []command.GroupKind{1, 1, 1, 2, 2, 3, 3, 4}), Members: w.someUsers(), Salt: w.rng.Uint64(),
	}
	cmd.Settings = w.groupSettings(cmd.Kind)
	if w.busy {
		cmd.Kind, cmd.Settings = command.GroupChatroom, command.GroupChatroom.Settings()
		cmd.Settings.Unread = true
	}
	if w.chance(30) {
		cmd.Name, cmd.Properties = "a name", []byte{0x80}
	}
	if w.chance(20) {
		cmd.By = ""
		if w.chance(40) {
			cmd.Owner = ""
		}
	}
	w.orderGroup(cmd)
	if w.chance(20) {
		again := *cmd // with another salt, as a proposer that asks again has it
		again.Salt = w.rng.Uint64()
		w.orderGroup(&again)
	}
}

func (w *world) dismissGroup() {
	if w.busy {
		return
	}
	g := w.anyGroup()
	by := w.actor(g, command.RoleOwner)
	if !g.alive {
		by = g.owner
	}
	w.orderGroup(&command.DismissGroup{Group: g.id, By: by})
}

func (w *world) joinGroup() {
	g := w.anyGroup()
	cmd := &command.JoinGroup{Group: g.id, User: pick(w, w.users)}
	if w.chance(30) {
		cmd.Message = pick(w, []string{"please", "let me in"})
	}
	if w.chance(1) {
		cmd.User = ""
	}
	w.orderGroup(cmd)
	if w.chance(10) { // and thinks better of it, or not
		w.orderGroup(&command.LeaveGroup{Group: g.id, User: cmd.User})
		if w.chance(50) {
			w.orderGroup(cmd)
		}
	}
}

func (w *world) leaveGroup() {
	g := w.anyGroup()
	w.orderGroup(&command.LeaveGroup{Group: g.id, User: w.anyMember(g, command.RoleMember)})
}

func (w *world) answerJoin() {
	g := w.anyGroup()
	user := w.anyUser()
	if len(g.requests) > 0 && !w.chance(10) {
		user = pick(w, g.requests).User
	}
	w.orderGroup(&command.AnswerJoin{Group: g.id, By: w.actor(g, command.RoleAdmin), User: user, Accept: w.chance(75)})
}

func (w *world) addMembers() {
	g := w.anyGroup()
	w.orderGroup(&command.AddMembers{Group: g.id, By: w.actor(g, command.RoleMember), Users: w.someUsers()})
}

func (w *world) removeMembers() {
	g := w.anyGroup()
	users := w.someUsers()
	if len(g.members) > 0 && w.chance(50) {
		users = []command.UserID{w.anyMember(g, command.RoleMember)}
	}
	cmd := &command.RemoveMembers{Group: g.id, By: w.actor(g, command.RoleAdmin), Users: users}
	if w.chance(30) {
		cmd.Ban = uint32(1 + w.rng.IntN(30))
	}
	w.orderGroup(cmd)
}

// unban mostly lifts a ban, or a mute of who has left.
func (w *world) unban() {
	g := w.anyGroup()
	user := w.anyUser()
	if names := slices.Sorted(maps.Keys(g.banned)); len(names) > 0 && !w.chance(10) {
		user = pick(w, names)
	}
	if names := slices.Sorted(maps.Keys(g.muted)); len(names) > 0 && w.chance(30) {
		w.orderGroup(&command.SetMember{Group: g.id, By: w.actor(g, command.RoleAdmin), User: pick(w, names), MutedUntil: new(w.clock + int64(w.rng.IntN(2))*60_000)})
		return
	}
	w.orderGroup(&command.Unban{Group: g.id, By: w.actor(g, command.RoleAdmin), User: user})
}

// answerOwner mostly answers an offer, or makes one.
func (w *world) answerOwner() {
	g := w.anyGroup()
	if g.offer == "" && !w.chance(10) {
		w.orderGroup(&command.SetGroup{Group: g.id, By: g.owner, Owner: w.anyMember(g, command.RoleMember)})
		return
	}
	user := g.offer
	if w.chance(10) {
		user = w.anyUser()
	}
	w.orderGroup(&command.AnswerOwner{Group: g.id, User: user, Accept: w.chance(75)})
}

func (w *world) setMember() {
	g := w.anyGroup()
	cmd := &command.SetMember{Group: g.id, By: w.actor(g, command.RoleAdmin), User: w.anyMember(g, command.RoleMember), Role: command.Role(w.rng.IntN(3))}
	if w.chance(50) {
		cmd.MutedUntil = new(int64(0))
		if w.chance(50) {
			*cmd.MutedUntil = w.clock + int64(w.rng.IntN(30_000)) - 2000
		}
	}
	if w.chance(2) {
		cmd.User = ""
	}
	w.orderGroup(cmd)
}

func (w *world) setGroup() {
	g := w.anyGroup()
	cmd := &command.SetGroup{Group: g.id, By: w.actor(g, command.RoleAdmin)}
	switch w.rng.IntN(4) {
	case 0:
		cmd.Name = new(pick(w, []string{"", "a name", "another"}))
	case 1:
		cmd.Properties = []byte{0x80}[:w.rng.IntN(2)]
	case 2:
		cmd.Owner = w.anyMember(g, command.RoleMember)
	case 3:
		if w.chance(80) {
			cmd.By = ""
		}
		settings := w.groupSettings(max(g.kind, command.GroupPrivate))
		cmd.Settings = command.SettingsChange{Join: settings.Join, History: settings.History}
		if w.chance(50) {
			cmd.Settings.MaxMembers, cmd.Settings.Unread = &settings.MaxMembers, &settings.Unread
		}
		if w.chance(50) {
			cmd.Settings.MutedAll = new(w.chance(20))
		}
		if w.chance(50) {
			cmd.Settings.Join, cmd.Settings.History = 0, 0
		}
	}
	w.orderGroup(cmd)
}

// checkMemberships wants, when all letters have been applied, every user's list
// of groups to be that of the groups whose member they are, and the counts to be
// those of the letters.
func (w *world) checkMemberships() {
	want := map[command.UserID]map[command.GroupID]bool{}
	for _, user := range w.users {
		want[user] = map[command.GroupID]bool{}
	}
	for _, id := range w.groups {
		g := w.model.group(id)
		for user := range g.members {
			if g.alive && g.settings.StoresMessages && want[user] != nil {
				want[user][id] = g.owner == user
			}
		}
	}
	for _, user := range w.users {
		got := map[command.GroupID]bool{}
		leader := w.shardOf(user).leader
		for _, ref := range leader.GroupsOf(user) {
			got[ref.Group] = ref.Owner
		}
		if !maps.Equal(got, want[user]) {
			w.failf("GroupsOf(%s) = %v with no letter under way, want %v", user, got, want[user])
		}
		var counts query.GroupCounts
		for id, owned := range want[user] {
			switch {
			case w.model.user(user).groups[id].byStranger:
				counts.ByStrangers++
			default:
				counts.Joined++
			}
			if owned {
				counts.Owned++
			}
		}
		if got := leader.GroupCounts(user); got != counts {
			w.failf("GroupCounts(%s) = %+v with no letter under way, want %+v", user, got, counts)
		}
	}
}
