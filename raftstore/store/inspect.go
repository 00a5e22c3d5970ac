package store

import "github.com/belfry-im/belfry/shard/command"

// A NodeView is what one node says of its memory and of its replicas, from its own memory.
type NodeView struct {
	Memory   MemoryView
	Replicas []ReplicaView // in order of shard
}

// A MemoryView is a node's budget and what takes it, in bytes.
type MemoryView struct {
	Limit       int64 // 0 = none
	Soft        int64 // past which messages are kept for less time
	Used        int64 // garbage excluded
	Reserved    int64 // for Other, which counts as so much against the limits, whatever it is; 0 = nothing is
	Resident    int64 // that the process has from the system
	Messages    int64
	Users       int64 // users, groups, conversations
	Dedupe      int64
	Letters     int64 // that wait for other shards
	Other       int64 // connections and the rest of the process
	Full        bool  // sends are refused for want of memory
	DiskLow     bool  // sends are refused for want of disk
	DiskFree    int64 // -1 = unknown
	DiskReserve int64 // free space below which sends are refused
}

// A ReplicaView is a replica, as its own node sees it.
type ReplicaView struct {
	Shard     uint32
	Leads     bool
	Term      uint64 // of its leadership, else of the newest entry that it has applied
	Applied   uint64 // index of that entry
	Last      uint64 // index of the newest entry of its log
	Bytes     int64  // of its state in memory
	AppendP50 int64  // µs that an append to the log takes, fsync included
	AppendP99 int64  // µs
	Problem   string // why it has stopped, "" if it has not
	Cutoff    int64  // ms, up to which messages were evicted for want of memory; 0 = none were
	Retention int64  // ms for which messages are kept at most
	Now       int64  // ms, the time as of which all this is
	Losses    Losses
	Followers []FollowerView // of a leader
}

// A FollowerView is another replica of the shard, as its leader sees it.
type FollowerView struct {
	ID     string
	Voter  bool
	Up     bool
	Lag    uint64 // entries that it lacks
	Behind int64  // ms for which it has lacked what the leader had
}

// Losses are what limits took since a replica was opened.
type Losses struct {
	Queue, History, Memory Loss   // in all: of offline queues, of history, for want of memory
	Latest                 []Loss // from whom, the newest first; as many are remembered as a replica has room for
}

// LossKind says which limit took something.
type LossKind string

const (
	LostQueue   LossKind = "queue"   // that of the offline queue
	LostHistory LossKind = "history" // that of a user's or group's bytes
	LostMemory  LossKind = "memory"  // the node's
)

// A Loss is what one limit took from one user or group.
type Loss struct {
	Kind        LossKind
	User        command.UserID
	Group       command.GroupID // instead of User
	Messages    int
	Bytes       int
	First, Last int64 // ms
}
