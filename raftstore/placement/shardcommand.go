package placement

import "slices"

// AddReplica adds a replica to a shard; the node has to make it.
type AddReplica struct {
	Shard uint32 `json:"shard"`
	NewReplica
}

func (c *AddReplica) apply(t *change) error {
	old := t.Shard(c.Shard)
	if old == nil {
		return refuse("shard", "there is no shard %d", c.Shard)
	}
	if r := old.Replica(c.ID); r != nil && r.Node == c.Node {
		return nil
	}
	if err := t.checkNewReplica(c.NewReplica); err != nil {
		return err
	}
	if !t.Node(c.Node).takesReplicas() {
		return refuse("node", "%q takes no replicas: it must be an admitted store that is neither leaving nor in maintenance", t.Node(c.Node).Name)
	}
	if r := old.On(c.Node); r != nil {
		return refuse("node", "%q has replica %s of shard %d", t.Node(c.Node).Name, r.ID, c.Shard)
	}
	if old.staying() >= ReplicasPer || len(old.Replicas) >= maxReplicas {
		return refuse("shard", "shard %d has its %d replicas", c.Shard, ReplicasPer)
	}
	sh := t.shard(c.Shard)
	sh.Replicas = append(sh.Replicas, Replica{ID: c.ID, Node: c.Node})
	if len(sh.Founders) == 0 {
		sh.Founders = []string{c.ID}
	}
	return nil
}

// checkNewReplica refuses an ID that is or was in use, and an unknown node.
func (t *change) checkNewReplica(r NewReplica) error {
	if CheckName(r.ID) != nil { // it is a part of the name of a directory
		return refuse("id", "%.80q is no ID of a replica", r.ID)
	}
	if t.Node(r.Node) == nil {
		return refuse("node", "there is no node %q", r.Node)
	}
	used := func(s Shard) bool { return s.Replica(r.ID) != nil }
	was := func(old RetiredReplica) bool { return old.ID == r.ID }
	if slices.ContainsFunc(t.Shards, used) || slices.ContainsFunc(t.state.retired.Replicas, was) {
		return refuse("id", "%q is, or was, the ID of another replica", r.ID)
	}
	return nil
}

// replica returns a replica of a shard, or a refusal.
func (t *change) replica(shard uint32, id string) (*Replica, error) {
	sh := t.Shard(shard)
	if sh == nil {
		return nil, refuse("shard", "there is no shard %d", shard)
	}
	r := sh.Replica(id)
	if r == nil {
		return nil, refuse("id", "shard %d has no replica %q", shard, id)
	}
	return r, nil
}

// ReplicaMade notes that the directory of a replica exists, before Raft is started in
// it. From then on a node without it has lost the replica.
type ReplicaMade struct {
	Shard uint32 `json:"shard"`
	ID    string `json:"id"`
}

func (c *ReplicaMade) apply(t *change) error {
	old, err := t.replica(c.Shard, c.ID)
	if err != nil || old.Made {
		return err
	}
	t.shard(c.Shard).Replica(c.ID).Made = true
	return nil
}

// LeaveReplica lets a replica leave its shard, so that another one can be made.
type LeaveReplica struct {
	Shard uint32 `json:"shard"`
	ID    string `json:"id"`
}

func (c *LeaveReplica) apply(t *change) error {
	if slices.Contains(t.state.retired.Replicas, RetiredReplica{c.Shard, c.ID}) {
		return nil
	}
	old, err := t.replica(c.Shard, c.ID)
	if err != nil || old.Leaving {
		return err
	}
	others := slices.ContainsFunc(t.Shard(c.Shard).Replicas, func(r Replica) bool {
		return r.ID != c.ID && r.Made && !r.Leaving
	})
	if !others {
		return refuse("id", "shard %d has no other replica that stays", c.Shard)
	}
	t.leaveReplica(c.Shard, c.ID)
	return nil
}

// RemoveReplica notes that a leaving replica is no member of its Raft group any more.
// Its node deletes it.
type RemoveReplica struct {
	Shard uint32 `json:"shard"`
	ID    string `json:"id"`
}

func (c *RemoveReplica) apply(t *change) error {
	if slices.Contains(t.state.retired.Replicas, RetiredReplica{c.Shard, c.ID}) {
		return nil
	}
	old, err := t.replica(c.Shard, c.ID)
	if err != nil {
		return err
	}
	if !old.Leaving {
		return refuse("id", "replica %s of shard %d is not leaving", c.ID, c.Shard)
	}
	made := slices.ContainsFunc(t.Shard(c.Shard).Replicas, func(r Replica) bool { return r.Made && r.ID != c.ID })
	if !made {
		return refuse("id", "it is the only replica of shard %d that was made", c.Shard)
	}
	t.removeReplica(c.Shard, c.ID)
	return nil
}

// Prefer makes a replica the one that should lead its shard.
type Prefer struct {
	Shard uint32 `json:"shard"`
	ID    string `json:"id"`
}

func (c *Prefer) apply(t *change) error {
	r, err := t.replica(c.Shard, c.ID)
	if err != nil {
		return err
	}
	if r.Leaving || !r.Made {
		return refuse("id", "replica %s of shard %d cannot lead: it is leaving, or not made yet", c.ID, c.Shard)
	}
	if old := t.Shard(c.Shard); old.Replicas[0].ID == c.ID {
		return nil
	}
	sh := t.shard(c.Shard)
	i := slices.IndexFunc(sh.Replicas, func(r Replica) bool { return r.ID == c.ID })
	first := sh.Replicas[i]
	sh.Replicas = slices.Insert(slices.Delete(sh.Replicas, i, i+1), 0, first)
	return nil
}
