package shard

import (
	"hash/maphash"
	"unsafe"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
)

// A State is all that one shard holds.
type State struct {
	id          uint32
	arena       *ring.Arena
	limits      command.Limits
	epoch       uint64 // of the store; a restore from a backup raises it, and so voids all cursors
	now         int64  // ms, the highest time applied
	cutoff      int64  // ms; messages up to this time were evicted for want of memory, 0 = none were
	slots       [command.Slots]*slot
	snapshot    *SnapshotWriter // the snapshot being written, nil if none is
	snapshots   uint64          // number of snapshots begun so far
	staleImages [][]*user       // users with images left by snapshots that were released before their end, by snapshot

	blocks      []*[usersPerBlock]user
	users       int          // number of users in blocks, of all slots
	freeNumbers []uint32     // numbers of users in blocks that are free again
	seed        maphash.Seed // of the hashes in tables; it affects speed, but no result

	hooks        hookQueue            // messages that webhooks may have to be told of
	frozenHooks  map[*slot]*hookQueue // what waited for webhooks when a slot was frozen, and moves with it
	letterBytes  int                  // of letters that wait in outboxes and group records
	dedupRecords int                  // number of records in all dedup windows
	tableBytes   int                  // of the heap objects of users and groups
	byAge        ageIndex             // bytes of messages by time
	longestTTL   int64                // ms, the longest history time set for any user since the state was made

	commands *command.Set
	out      *Outcome // of the Apply that runs
}

// A user is everything kept for one account, or, with the field group set, for one
// group. Use userMut to get one that may be changed.
type user struct {
	name         command.UserID
	snapshot     uint64 // number of the newest snapshot that has a copy of this user, or that the user is younger than
	image        *image // the user as of that snapshot, as long as it still has to be written
	arrival      uint64 // last number given in the order of this user's messages and changes
	lastSession  command.SessionID
	lastSeen     int64 // ms, the last sign of life that was replicated
	bytes        int   // of all logs, entry headers included
	queued       int   // messages in the offline queue, expired ones included until they are purged
	queuedBytes  int
	due          int64  // ms, not after the first expiry of anything the user holds; 0 = not known
	oldest       int64  // ms, not after the time of any message or removed-dedup record the user holds; derived
	hourStart    int64  // ms; hourOpened counts from here
	blockedUsers uint32 // number of users this one has blocked
	hourOpened   uint32 // conversations opened by sending since hourStart
	opened       uint32 // conversations ever opened by sending

	newest             uint32 // 1 + index of the conversation with the newest activity, 0 = none
	convs              array[conv]
	cold               array[coldConv] // of those convs that need one
	byPeer             table           // indexes into convs by peer name, kept once there are many
	extra              array[extra]    // of those convs that need one
	dedup              dedupWindow     // what the user sent within the dedup window
	removedDedup       dedupWindow     // the same for messages that left the log before their time
	outbox             []outQueue      // letters that wait for other shards
	sessions           []session
	account            *account            // what an administrator has set, nil = nothing
	imports            array[importRecord] // by conversation
	memberships        array[membership]   // by group name
	membershipsArrival uint64              // arrival number of the newest change of memberships
	group              *groupRecord        // set if this is a group's record; the group's log is its only conversation
}

// firstArrival is the arrival number before a user's first, so that the cursor of a
// device that has seen nothing yet differs from no cursor (0).
const firstArrival = 1

// NewState returns an empty shard that owns no slots.
func NewState(id uint32) *State {
	return &State{
		id: id, arena: ring.NewArena(), limits: command.Limits{}.WithDefaults(), epoch: 1,
		byAge: newAgeIndex(), seed: maphash.MakeSeed(), commands: command.NewSet(newCommand),
	}
}

// Now returns the highest time applied, in ms.
func (s *State) Now() int64 { return s.now }

// Epoch returns the store's epoch. Cursors of another epoch are void.
func (s *State) Epoch() uint64 { return s.epoch }

// Limits returns the limits in force.
func (s *State) Limits() command.Limits { return s.limits }

// Owns reports whether the shard serves the slot.
func (s *State) Owns(slot uint16) bool { return s.slots[slot] != nil && !s.slots[slot].frozen }

// Size returns the bytes the state takes in memory, except for sessions and unused
// heap. Logs, conversations and dedup records are counted as pieces of the arena.
func (s *State) Size() int {
	const blockBytes = int(unsafe.Sizeof([usersPerBlock]user{}))
	return s.arena.Stats().Used + len(s.blocks)*blockBytes + s.tableBytes + s.letterBytes + s.hooks.size()
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

// lookup returns a user for reading, or nil if the user is not in this shard or
// nothing is kept of them.
func (s *State) lookup(name command.UserID) *user {
	sl := s.slotFor(name)
	if sl == nil {
		return nil
	}
	return s.inSlot(sl, name)
}

// userMut returns a user for writing. If there is none, it makes one if create is set,
// and returns nil otherwise. Before anything changes it copies the user for a snapshot
// and evicts what lies below the cutoff.
func (s *State) userMut(sl *slot, name command.UserID, create bool) *user {
	u := s.inSlot(sl, name)
	if u == nil {
		if !create {
			return nil
		}
		u = s.newUser(sl, name)
	}
	s.copyForSnapshot(u)
	if s.cutoffReaches(u) {
		s.evictToCutoff(u)
	}
	return u
}

// signal lists the user, or the group, in the outcome as one whose order or sessions
// moved on.
func (s *State) signal(u *user) {
	if u.group != nil {
		s.out.Groups = append(s.out.Groups, u.group.id)
		return
	}
	s.out.Users = append(s.out.Users, u.name)
}
