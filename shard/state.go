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
	epoch       uint64 // of the store: a restore from backup raises it and so voids cursors
	now         int64  // ms, the highest time applied
	cutoff      int64  // ms, messages up to here are gone for want of memory; 0 = none are
	slots       [command.Slots]*slot
	snapshot    *SnapshotWriter // the snapshot being taken, nil when none is
	snapshots   uint64          // snapshots marked so far
	staleImages [][]*user       // who got images of views that were released before their end, by view

	blocks      []*[usersPerBlock]user
	users       int          // in use, of all slots
	freeNumbers []uint32     // numbers of users in blocks, used once and free again
	seed        maphash.Seed // of the tables: it has a part in speed, but in no result

	hooks        hookQueue
	frozenHooks  map[*slot]*hookQueue // what waited for hooks when a slot was frozen: it moves along
	letterBytes  int                  // waiting in outboxes
	dedupRecords int                  // in dedupe windows
	tableBytes   int                  // of the tables of users
	byAge        ageIndex
	longestTTL   int64 // ms, that was set of a user since the state was made

	commands command.CommandSet
	out      *Outcome // of the Apply that runs
}

// A user holds everything kept for one account. Only mutate gives one out for
// writing.
type user struct {
	name         command.UserID
	snapshot     uint64 // snapshot marks this user was saved for or is younger than
	image        *image // as he was at the mark, while a view still needs that
	arrival      uint64 // last number given in the arrival order of messages and changes
	lastSession  command.SessionID
	lastSeen     int64 // ms, his last sign of life that was replicated
	bytes        int   // of all logs, headers included
	queued       int   // messages in the offline queue, expired ones included until purged
	queuedBytes  int
	due          int64 // ms, not after the first time at which something he holds expires; 0 = unknown
	oldest       int64 // ms, not after the time of any message he holds; derived
	hourStart    int64
	blockedUsers uint32 // users he has blocked
	hourOpened   uint32 // conversations opened by sending since hourStart
	opened       uint32 // ever

	newest             uint32 // 1 + index of the conversation with the newest activity
	convs              array[conv]
	cold               array[coldConv]
	byPeer             table // of indexes into convs, kept once there are many
	extra              array[extra]
	dedup              dedupWindow
	removedDedup       dedupWindow // of messages that left the log before their time
	outbox             []outQueue
	sessions           []session
	account            *account            // what an administrator has set; nil = nothing
	imports            array[importRecord] // by conversation
	memberships        array[membership]   // groups, by name
	membershipsArrival uint64              // arrival number of the newest change of them
	group              *groupRecord        // of a group, whose log is its only conversation; nil for a user
}

// firstArrival is what the arrival order of a user begins after, so that the
// cursor of a device that has seen nothing yet differs from none.
const firstArrival = 1

// NewState returns an empty shard that owns no slots.
func NewState(id uint32) *State {
	return &State{
		id: id, arena: ring.NewArena(), limits: command.Limits{}.WithDefaults(), epoch: 1,
		byAge: newAgeIndex(), seed: maphash.MakeSeed(),
	}
}

// Now is the highest time applied, ms.
func (s *State) Now() int64 { return s.now }

// Epoch is the store's: cursors of another one are void.
func (s *State) Epoch() uint64 { return s.epoch }

// Limits are those in force.
func (s *State) Limits() command.Limits { return s.limits }

// Owns tells whether the shard serves the slot.
func (s *State) Owns(slot uint16) bool { return s.slots[slot] != nil && !s.slots[slot].frozen }

// Size tells how many bytes the state takes in memory, but for sessions and
// what a heap leaves unused: logs, conversations and dedupe records are pieces
// of the arena.
func (s *State) Size() int {
	const blockBytes = int(unsafe.Sizeof([usersPerBlock]user{}))
	return s.arena.Stats().Used + len(s.blocks)*blockBytes + s.tableBytes + s.letterBytes + s.hooks.size()
}

// slotFor is nil when the key's slot is frozen or elsewhere.
func (s *State) slotFor(key command.UserID) *slot {
	sl := s.slots[command.SlotOf(string(key))]
	if sl == nil || sl.frozen {
		return nil
	}
	return sl
}

// lookup finds a user for reading. nil: not here, or nothing is known of him.
func (s *State) lookup(name command.UserID) *user {
	sl := s.slotFor(name)
	if sl == nil {
		return nil
	}
	return s.inSlot(sl, name)
}

// userMut finds a user for writing and makes him when create says so.
func (s *State) userMut(sl *slot, name command.UserID, create bool) *user {
	u := s.inSlot(sl, name)
	if u == nil {
		if !create {
			return nil
		}
		u = s.newUser(sl, name)
	}
	s.preserve(u)
	if s.cutoffReaches(u) {
		s.evictToCutoff(u)
	}
	return u
}

func (s *State) signal(u *user) {
	if u.group != nil {
		s.out.Groups = append(s.out.Groups, u.group.id)
		return
	}
	s.out.Users = append(s.out.Users, u.name)
}
