package shard

import (
	"hash/maphash"
	"unsafe"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// A State is all that one shard holds. NewState makes one.
type State struct {
	id          uint32
	arena       *ring.Arena
	version     uint64 // of the configuration: limits, epoch and hooks.limit
	limits      command.Limits
	expiryRules uint32 // rises if a time in limits changes after which messages expire; see outdated
	epoch       uint64 // the store's epoch: a restore from a backup raises it, which makes all older cursors void
	now         int64  // ms, the highest time of a batch applied so far
	cutoff      int64  // ms; messages up to this time were evicted for want of memory, 0 = none were
	mapEpoch    uint64 // of the newest map that has changed slots; 0 = none has
	slots       [command.Slots]*slot
	served      int // number of slots that are not frozen

	leaving     map[uint16]*leaving  // by slot: moves to other shards
	arriving    map[uint16]*arriving // by slot: moves from other shards, before they flip
	ended       map[uint16]endedMove // by slot: the newest move that is over
	tick        uint64               // number of batches that were applied during moves to other shards, from 1; see leaving.changes
	snapshot    *SnapshotWriter      // the snapshot being written, nil if none is
	snapshots   uint64               // number of snapshots begun so far
	staleImages [][]*user            // users whose images are to be freed, by snapshot that was released early

	blocks      []*[usersPerBlock]user
	users       int          // number of users in blocks, those of all slots together
	freeNumbers []uint32     // numbers, below the end of blocks, that no user has
	seed        maphash.Seed // seed of the hashes in tables; no result depends on it

	hooks        hookQueue // the queue of messages that webhooks may have to be told of
	letterBytes  int       // size of letters that wait in outboxes and group records
	letterBuf    []byte    // for encodeLetter
	dedupRecords int       // number of records in all dedup windows
	tableBytes   int       // size of the heap objects of users and groups
	byAge        ageIndex  // bytes of messages by the messages' time
	longestTTL   int64     // ms, the longest history time ever set for a user
	losses       losses    // what limits took of late; of this replica alone, and in no snapshot

	commands *command.Set // decodes batches
	out      *Outcome     // outcome of the Apply that is running
}

// A user is everything kept of one account or, if group is set, of one group. userMut
// returns a user that may be changed.
type user struct {
	name         command.UserID
	snapshot     uint64 // number of the newest snapshot that need not copy this user any more, because it has or because the user is newer
	image        *image // the user as of a snapshot that still has to write it, or nil
	arrival      uint64 // last number given in the order of this user's messages and changes
	lastSession  command.SessionID
	lastSeen     int64 // ms, the last replicated sign of life
	bytes        int   // of all logs, entry headers included
	queued       int   // messages in the offline queue; expired ones count until they are purged
	queuedBytes  int
	due          int64  // ms, nothing of the user's messages expires before; 0 = not known
	oldest       int64  // ms, no message or removed-dedup record of the user is older; derived
	hourStart    int64  // ms, beginning of the hour that hourOpened counts
	blockedUsers uint32 // number of users this one has blocked
	hourOpened   uint32 // conversations that the user has opened since hourStart
	opened       uint32 // conversations that the user has ever opened
	expiryRules  uint32 // State.expiryRules for which the queue totals are right

	newest             uint32 // 1 + index of the conversation with the newest activity, 0 = none
	convs              array[conv]
	cold               array[coldConv] // coldConvs of those conversations that have one
	byPeer             table           // finds the index of a conversation by peer name; only used once there are many
	extra              array[extra]    // extras of those conversations that have one
	dedup              dedupWindow     // messages that the user sent within the dedup window
	removedDedup       dedupWindow     // messages that left the user's logs early
	outbox             []outQueue      // letters that wait for their receivers' shards
	sessions           []session
	account            *account            // what an administrator has set; nil = nothing
	imports            array[importRecord] // by index of the conversation
	memberships        array[membership]   // by group name
	membershipsArrival uint64              // arrival number of the newest change of memberships
	group              *groupRecord        // set if this is a group: its log is the only conversation then
}

// firstArrival is the arrival number from which a user's order begins: so the cursor of
// a device that has seen nothing yet is not 0, which stands for no cursor.
const firstArrival = 1

// NewState returns an empty shard that owns no slots.
func NewState(id uint32) *State {
	return &State{
		id: id, arena: ring.NewArena(), limits: command.Limits{}.WithDefaults(), epoch: 1, tick: 1,
		byAge: newAgeIndex(), seed: maphash.MakeSeed(), commands: command.NewSet(newCommand),
	}
}

// Now returns the highest time applied, in ms.
func (s *State) Now() int64 { return s.now }

// ConfigVersion returns the version of the configuration in force, 0 if none was set.
func (s *State) ConfigVersion() uint64 { return s.version }

// Epoch returns the store's epoch. Cursors of another epoch are void.
func (s *State) Epoch() uint64 { return s.epoch }

// Limits returns the limits in force.
func (s *State) Limits() command.Limits { return s.limits }

// Owns reports whether the shard serves the slot.
func (s *State) Owns(slot uint16) bool { return s.slots[slot] != nil && !s.slots[slot].frozen }

// MapEpoch returns the epoch of the newest map that has changed which slots the shard
// owns, 0 if it has not been given any yet.
func (s *State) MapEpoch() uint64 { return s.mapEpoch }

// Served returns the number of slots that the shard serves: that Owns is true for.
func (s *State) Served() int { return s.served }

// NextSlots returns the smallest range from the first slot on which the shard serves, at
// or above from, that has n of such slots, or as many as there are. ok is false if there
// is none.
func (s *State) NextSlots(from, n int) (r command.SlotRange, ok bool) {
	for id := from; id < command.Slots && n > 0; id++ {
		if !s.Owns(uint16(id)) {
			continue
		}
		if !ok {
			r.First, ok = uint16(id), true
		}
		r.Last = uint16(id)
		n--
	}
	return r, ok
}

// Size returns about how many bytes the state takes in memory. It does not count
// sessions and unused room in heap objects. Arena pieces count with their rounded
// sizes.
func (s *State) Size() int {
	const blockBytes = int(unsafe.Sizeof([usersPerBlock]user{}))
	return s.arena.Stats().Used + len(s.blocks)*blockBytes + s.tableBytes + s.letterBytes + s.hooks.size() + s.moveBytes()
}

// slotFor returns the slot of a key, or nil if the slot is frozen or not in this
// shard.
func (s *State) slotFor(key command.UserID) *slot {
	sl := s.slots[command.SlotOf(string(key))]
	if sl == nil || sl.frozen {
		return nil
	}
	return sl
}

// lookup returns a user, or nil if the user's slot is frozen or not in this shard, or
// nothing is kept of them. The caller must not change it.
func (s *State) lookup(name command.UserID) *user {
	sl := s.slotFor(name)
	if sl == nil {
		return nil
	}
	return s.inSlot(sl, name)
}

// userMut returns a user that may be changed. If there is none, it makes one if create
// is set, and otherwise returns nil. It first copies the user for a snapshot that still
// needs it, and evicts the user's messages at or below the cutoff.
func (s *State) userMut(sl *slot, name command.UserID, create bool) *user {
	u := s.inSlot(sl, name)
	if u == nil {
		if !create {
			return nil
		}
		u = s.newUser(sl, name)
	}
	s.prepare(u)
	if s.cutoffReaches(u) {
		s.evictToCutoff(u)
	}
	return u
}

// prepare copies a user for a snapshot that still needs them, and counts their queue
// again if the times have changed after which messages expire. It must be called before
// a change that goes by the queue totals.
func (s *State) prepare(u *user) {
	s.copyForSnapshot(u)
	if s.outdated(u) {
		u.expiryRules = s.expiryRules
		s.recountAllQueues(u)
	}
}

// outdated reports whether a user's queue totals were counted before a Configure that
// changed after which time messages expire. Such users are counted again when they next
// change, or by the next PurgeExpired: all of them at once would hold up the shard.
func (s *State) outdated(u *user) bool { return u.expiryRules != s.expiryRules }

// signal adds the user or group to the outcome, because there is something new for its
// sessions.
func (s *State) signal(u *user) {
	if u.group != nil {
		s.out.Groups = append(s.out.Groups, u.group.id)
		return
	}
	s.out.Users = append(s.out.Users, u.name)
}
