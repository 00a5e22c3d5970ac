package shard_test

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// checkMoved compares the groups and members that a batch says it has changed.
func (w *world) checkMoved(out *shard.Outcome) {
	groups, members := map[command.GroupID]bool{}, map[shard.MemberRef]bool{}
	for _, id := range out.Groups {
		groups[id] = true
	}
	for _, ref := range out.Members {
		members[ref] = true
	}
	if !maps.Equal(groups, w.model.movedGroups) {
		w.failf("Outcome.Groups = %v, want %v", out.Groups, w.model.movedGroups)
	}
	if !maps.Equal(members, w.model.movedMembers) {
		w.failf("Outcome.Members = %v, want %v", out.Members, w.model.movedMembers)
	}
}

// checkTouchedGroups compares the groups that commands of a batch were about:
// what each of their members has not read, and sometimes all else.
func (w *world) checkTouchedGroups(sh *simShard, orders []order) {
	for i, o := range orders {
		c, ok := o.cmd.(command.GroupCommand)
		if !ok || sh.outcome.Results[i].Code == command.CodeMoved {
			continue
		}
		key := c.Key()
		if slices.ContainsFunc(orders[:i], func(before order) bool {
			_, ok := before.cmd.(command.GroupCommand)
			return ok && before.cmd.Key() == key
		}) {
			continue
		}
		id := w.model.groupOf(command.UserID(key)).id
		w.checkGroup(id)
		if w.chance(10) {
			w.exploreGroup(id)
		}
		if w.chance(5) {
			w.compareSlot(sh, sh.follower, command.UserID(key))
		}
	}
}

// groupState is a replica to read a group of, and a time; nil while it moves.
func (w *world) groupState(id command.GroupID) (state *shard.State, limits *command.Limits, now int64) {
	if w.moving(id.Key()) {
		return nil, nil, 0
	}
	sh := w.shardOf(id.Key())
	state = sh.leader
	if w.chance(20) {
		state = sh.follower
	}
	return state, &w.model.shards[sh.index].limits, w.readTime(sh)
}

// checkGroup compares what a group is, and what is unread for each member.
func (w *world) checkGroup(id command.GroupID) {
	state, limits, now := w.groupState(id)
	if state == nil {
		return
	}
	g := w.model.group(id)
	w.checkGroupInfo(state, g, w.model.shards[w.shardOf(id.Key()).index].now)
	if got, want := state.GroupArrival(id), g.arrival; g.known && got != want || !g.known && got != 0 {
		w.failf("GroupArrival(%s) = %d, want %d", id, got, want)
	}
	queries := []query.GroupSyncAsk{{Group: id}}
	for _, user := range g.names() {
		want := g.unread(g.members[user], limits, now)
		got := state.GroupUnread(id, user, now)
		if !slices.Equal(got, want) {
			w.failf("GroupUnread(%s, %s) = %v, want %v", id, user, got, want)
		}
		views := state.SyncGroups(user, queries, 0, 1000, now).Items
		if !g.settings.StoresMessages {
			if len(views) != 0 {
				w.failf("SyncGroups(%s) = a view of %s, want none", user, id)
			}
			continue
		}
		if len(views) != 1 || views[0].Unread != len(want) {
			w.failf("SyncGroups(%s) of %s = %+v, want %d unread", user, id, views, len(want))
		}
	}
}

func (w *world) checkGroupInfo(state *shard.State, g *modelGroup, now int64) {
	asker := pick(w, w.users)
	got, ok := state.Group(g.id, asker)
	if ok != g.alive {
		w.failf("Group(%s) = %v, want %v", g.id, ok, g.alive)
	}
	if !ok {
		return
	}
	want := query.GroupInfo{
		ID: g.id, Kind: g.kind, Settings: g.settings, Name: g.name, Owner: g.owner, Created: g.created,
		Members: len(g.members), Requests: len(g.requests), LastSeq: g.newest(), Bytes: got.Bytes, Arrival: g.arrival,
		Offered: g.offered(now), MutedUntil: later(g.muted[asker], now), BannedUntil: later(g.banned[asker], now),
	}
	if mm := g.members[asker]; mm != nil {
		want.Role = mm.role
	}
	for _, e := range g.events {
		if !g.settings.StoresMessages && e.EndsMembershipOf(asker) {
			want.EndArrival = e.Arrival
		}
	}
	properties := got.Properties
	got.Properties = nil
	if !reflect.DeepEqual(got, want) {
		w.failf("Group(%s) = %+v, want %+v", g.id, got, want)
	}
	if !bytes.Equal(properties, g.properties) || (properties == nil) != (g.properties == nil) {
		w.failf("Group(%s): properties = %x, want %x", g.id, properties, g.properties)
	}
	if g.bytes() != got.Bytes {
		w.failf("Group(%s): Bytes = %d, want %d", g.id, got.Bytes, g.bytes())
	}
}

// exploreGroup compares all that can be read of a group, from a few points.
func (w *world) exploreGroup(id command.GroupID) {
	state, limits, now := w.groupState(id)
	if state == nil {
		return
	}
	g := w.model.group(id)
	if said, want := shard.HiddenBytes(state, id); said != want && w.spoil == nil {
		w.failf("%s: %d bytes of hides, want %d", id, said, want)
	}
	w.checkGroupMembers(state, g, w.model.shards[w.shardOf(id.Key()).index].now)
	for range 2 {
		user := w.anyMember(g, command.RoleMember)
		w.checkGroupHistory(state, g, user, limits, now)
		w.checkGroupMessages(state, g, user, limits, now)
		w.checkMemberChanges(state, g, user)
		w.checkGroupViews(state, user, now)
	}
	after := g.arrival - min(g.arrival, uint64(w.rng.IntN(30)))
	if w.chance(20) {
		after = uint64(w.rng.IntN(int(g.arrival) + 5))
	}
	maxMessages, maxBytes := 1+w.rng.IntN(8), 1+w.rng.IntN(2000)
	if w.chance(50) {
		maxMessages, maxBytes = 1000, 1<<30
	}
	state.GroupUpdatesAfter(id, after, &w.batch, maxMessages, maxBytes, now)
	w.checkGroupSince(id, after, &w.batch, maxMessages, maxBytes, now)
}

// readAll reads a list page by page.
func readAll[T any](w *world, page func(after command.UserID, limit int) ([]T, bool), name func(*T) command.UserID) (all []T) {
	for after, more := command.UserID(""), true; more; {
		var part []T
		if part, more = page(after, 1+w.rng.IntN(4)); len(part) == 0 {
			break
		}
		all = append(all, part...)
		after = name(&part[len(part)-1])
	}
	return all
}

// checkSanctions compares who is muted and banned.
func (w *world) checkBans(state *shard.State, g *modelGroup, now int64) {
	got := readAll(w, func(after command.UserID, limit int) ([]query.Ban, bool) { return state.Bans(g.id, after, limit) },
		func(b *query.Ban) command.UserID { return b.User })
	var want []query.Ban
	for _, user := range slices.Sorted(maps.Keys(g.banned)) {
		if until := later(g.banned[user], now); until != 0 && g.alive {
			want = append(want, query.Ban{User: user, Until: until})
		}
	}
	if !slices.Equal(got, want) {
		w.failf("Bans(%s) = %+v, want %+v", g.id, got, want)
	}
}

func (w *world) checkGroupMembers(state *shard.State, g *modelGroup, now int64) {
	w.checkBans(state, g, now)
	got := readAll(w, func(after command.UserID, limit int) ([]query.Member, bool) { return state.Members(g.id, after, limit) },
		func(m *query.Member) command.UserID { return m.User })
	var want []query.Member
	if g.alive {
		for _, user := range g.names() {
			mm := g.members[user]
			want = append(want, query.Member{User: user, Role: mm.role, Joined: mm.joinedMS, VisibleFrom: mm.visibleFrom, Read: mm.read, MutedUntil: later(g.muted[user], now)})
		}
		for user, until := range g.muted {
			if !g.settings.StoresMessages && g.members[user] == nil && until > now {
				want = append(want, query.Member{User: user, Role: command.RoleMember, VisibleFrom: 1, MutedUntil: until})
			}
		}
		slices.SortFunc(want, func(a, b query.Member) int { return strings.Compare(string(a.User), string(b.User)) })
	}
	if !slices.Equal(got, want) {
		w.failf("Members(%s) = %+v, want %+v", g.id, got, want)
	}
	user := pick(w, w.users)
	one, ok := state.Member(g.id, user)
	if i := slices.IndexFunc(want, func(m query.Member) bool { return m.User == user && g.members[user] != nil }); ok != (i >= 0) || ok && one != want[i] {
		w.failf("Member(%s, %s) = %+v, %v, want one of %+v", g.id, user, one, ok, want)
	}
	requests := g.requests
	if !g.alive {
		requests = nil
	}
	if got := state.JoinRequests(g.id); !slices.Equal(got, requests) {
		w.failf("JoinRequests(%s) = %+v, want %+v", g.id, got, requests)
	}
	at, ok := state.MemberSince(g.id, user)
	if mm := g.members[user]; ok != (mm != nil) || ok && at != mm.joinArrival-1 {
		w.failf("JoinedAt(%s, %s) = %d, %v, want before %+v", g.id, user, at, ok, mm)
	}
}

func (w *world) checkGroupMessage(what string, g *modelGroup, got *query.Message, e *groupEntry) {
	switch {
	case got.Group != g.id || got.Peer != "" || got.Seq != e.seq || got.Arrival != e.arrival:
		w.failf("%s = %s/%d, arrival %d, want %s/%d, arrival %d", what, got.Group, got.Seq, got.Arrival, g.id, e.seq, e.arrival)
	case got.ID != e.id || got.From != e.from || got.Session != e.session || got.Time != e.time || string(got.CID) != e.cid ||
		got.TTL != e.ttl || !slices.Equal(got.Mentions, e.mentions) || !bytes.Equal(got.Body, e.body):
		w.failf("%s = %+v, want %+v", what, *got, *e)
	}
}

// checkGroupHistory compares one page, for a member or for an administrator.
func (w *world) checkGroupHistory(state *shard.State, g *modelGroup, user command.UserID, limits *command.Limits, now int64) {
	newest := int(g.newest())
	q := query.HistoryQuery{User: user, Group: g.id, Limit: 1 + w.rng.IntN(12), MaxBytes: 1 << 20, Admin: w.chance(20)}
	anySeq := func() uint64 { return uint64(w.rng.IntN(newest + 3)) }
	switch w.rng.IntN(5) {
	case 0:
		q.Before = anySeq()
	case 1:
		q.After, q.HasAfter = anySeq(), true
	case 2:
		q.From, q.To = anySeq(), anySeq()
	case 3:
		q.HasAfter, q.Limit = true, 1<<20 // all of it
	}
	if w.chance(30) {
		q.MaxBytes = 1 + w.rng.IntN(1500)
	}
	p := &w.page
	state.History(q, p, now)
	var want groupPage
	if mm := g.members[user]; g.alive && (q.Admin || mm != nil) {
		if q.Admin {
			mm = nil
		}
		want = g.history(mm, q, limits, now)
	}
	what := fmt.Sprintf("History(%+v)", q)
	if p.From != want.from || p.To != want.to || p.More != want.more || len(p.Updates.Messages) != len(want.entries) {
		w.failf("%s = %d messages of %d to %d, more %v, want %d of %d to %d, more %v",
			what, len(p.Updates.Messages), p.From, p.To, p.More, len(want.entries), want.from, want.to, want.more)
	}
	for i, e := range want.entries {
		w.checkGroupMessage(fmt.Sprintf("%s[%d]", what, i), g, &p.Updates.Messages[i], e)
	}
	w.checkLimitedPage(state, q, p, now)
	var got []query.Gap // one for each seq
	for i, gap := range p.Gaps {
		if i > 0 && p.Gaps[i-1].To+1 == gap.From && p.Gaps[i-1].Reason == gap.Reason {
			w.failf("%s: gaps = %v, want those of one reason as one", what, p.Gaps)
		}
		for seq := gap.From; seq <= gap.To; seq++ {
			got = append(got, query.Gap{From: seq, To: seq, Reason: gap.Reason})
		}
	}
	vague := g.vague()
	if !slices.EqualFunc(got, want.gaps, func(a, b query.Gap) bool { return a == b || a.From == b.From && a.From <= vague }) {
		w.failf("%s: gaps = %v, want %v", what, p.Gaps, want.gaps)
	}
}

func (w *world) checkGroupMessages(state *shard.State, g *modelGroup, user command.UserID, limits *command.Limits, now int64) {
	var seqs []uint64
	var want []*groupEntry
	for range 4 {
		seq := w.groupSeq(g)
		seqs = append(seqs, seq)
		if mm, e := g.members[user], g.at(seq); mm != nil && e != nil && g.gapFor(mm, e, limits, now) == "" {
			want = append(want, e)
		}
	}
	up := &w.batch
	state.GroupMessages(user, g.id, seqs, up, now)
	if len(up.Messages) != len(want) || len(up.Items) != len(want) {
		w.failf("GroupMessages(%s, %s, %v) = %d messages, want %d", user, g.id, seqs, len(up.Messages), len(want))
	}
	for i, e := range want {
		w.checkGroupMessage(fmt.Sprintf("GroupMessages(%s, %s, %v)[%d]", user, g.id, seqs, i), g, &up.Messages[i], e)
	}
}

// checkGroupElsewhere wants nothing of a group from a shard that does not serve it.
func (w *world) checkGroupElsewhere(id command.GroupID) {
	for _, sh := range w.shards {
		here := sh.leader.Owns(command.SlotOf(string(id.Key())))
		listed := false
		sh.leader.Groups(func(other command.GroupID) bool {
			listed = listed || other == id
			return true
		})
		if want := here && w.model.group(id).alive; listed != want {
			w.failf("Groups() of shard %d lists %s: %v, want %v", sh.index, id, listed, want)
		}
		if here {
			continue
		}
		_, known := sh.leader.Group(id, "")
		members, _ := sh.leader.Members(id, "", 10)
		sh.leader.GroupUpdatesAfter(id, 0, &w.batch, 100, 1<<20, sh.leader.Now())
		if known || members != nil || sh.leader.GroupArrival(id) != 0 || len(w.batch.Items) != 0 || w.batch.MissedEvents ||
			len(sh.leader.SyncGroups(w.users[0], []query.GroupSyncAsk{{Group: id}}, 20, 1000, sh.leader.Now()).Items) != 0 {
			w.failf("shard %d knows of %s, which it does not serve", sh.index, id)
		}
	}
}

// checkGroupsOf compares the list of a user's groups.
func (w *world) checkGroupsOf(u *modelUser, got []query.GroupRef) {
	var want []query.GroupRef
	for id, ref := range u.groups {
		if ref.joined {
			want = append(want, query.GroupRef{Group: id, Owner: ref.owner, Invited: ref.invited})
		}
	}
	slices.SortFunc(want, func(a, b query.GroupRef) int { return strings.Compare(string(a.Group), string(b.Group)) })
	if !slices.Equal(got, want) {
		w.failf("GroupsOf(%s) = %v, want %v", u.id, got, want)
	}
	w.checkSharing(u, got)
}

// checkSharing compares whether another user is in a group of a user by their own
// will and has not blocked them.
func (w *world) checkSharing(u *modelUser, refs []query.GroupRef) {
	other := w.model.users[w.users[w.rng.IntN(len(w.users))]]
	if len(refs) == 0 || other == nil || !w.model.serves(w.model.shards[w.shardOf(other.id).index], other.id) {
		return
	}
	q := query.Sharing{Asker: u.id, Users: []command.UserID{other.id}}
	for _, ref := range refs {
		q.Groups = append(q.Groups, ref.Group)
	}
	want := false
	for id, ref := range other.groups {
		want = want || u.groups[id].joined && ref.joined && !ref.invited
	}
	leader := w.shardOf(other.id).leader
	want = want && !leader.Blocks(other.id, u.id)
	if err := leader.Answer(&q, leader.Now()); err != nil || q.Sharing[0] != want {
		w.failf("Sharing(%s, groups of %s) = %v, %v, want %v", other.id, u.id, q.Sharing, err, want)
	}
}

// takeGroup has a device learn that its user is in a group, or no longer is.
func (d *device) takeGroup(w *world, what string, u *modelUser, c *query.Change) {
	joined := c.Kind == query.ChangeGroupJoined
	if ref, ok := u.groups[c.Group]; !ok || ref.joined != joined || ref.arrival != c.Arrival ||
		ref.how != c.Event || int64(ref.version) != c.Time || c.Peer != "" {
		w.failf("%s: change %+v, want %+v", what, *c, ref)
	}
	d.groups[c.Group] = joined
}

// checkGroups compares what a device that has read everything knows of the
// groups of its user. What they left long ago is forgotten everywhere.
func (d *device) checkGroups(w *world, u *modelUser) {
	for _, id := range w.groups {
		ref, known := u.groups[id]
		if !known {
			delete(d.groups, id)
		}
		if d.groups[id] != ref.joined {
			w.failf("%s of %s: member of %s = %v, want %v", d.name, d.user, id, d.groups[id], ref.joined)
		}
	}
}
