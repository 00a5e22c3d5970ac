package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/danielgtaylor/huma/v2"
)

// A Cluster is what administration needs of a node of a cluster. Nodes are given by name
// or UUID. A refusal is a *store.ClusterError; without a leader of placement changes fail
// with store.ErrUnavailable, or store.ErrUnknown if they may still be made.
type Cluster interface {
	// Status works on any node, and without quorum from what that node knows.
	Status(ctx context.Context) (*store.ClusterStatus, error)
	Admit(ctx context.Context, node string) error
	Maintain(ctx context.Context, node string, on bool) error
	RemoveNode(ctx context.Context, node string, fewer bool) error
	ReplaceNode(ctx context.Context, old, new string) error
	// SetConfig fails unless the present version is expect.
	SetConfig(ctx context.Context, expect uint64, limits command.Limits, hookBytes int) error
	// Transfer returns nil once the shard's replica on node leads.
	Transfer(ctx context.Context, shard uint32, node string) error
	RebuildReplica(ctx context.Context, shard uint32, node string) error
}

// clusterPath is where the calls begin that need ScopeCluster.
const clusterPath = "/v1/cluster"

func (a *API) clusterOperations() {
	if a.config.Cluster == nil {
		return
	}
	get := func(path, id, summary, description string) huma.Operation {
		return a.operation(http.MethodGet, clusterPath+path, id, "Cluster", summary, description)
	}
	change := func(method, path, id, summary, description string) huma.Operation {
		op := a.operation(method, clusterPath+path, id, "Cluster", summary, description)
		op.DefaultStatus = http.StatusNoContent
		return op
	}
	huma.Register(a.huma, get("", "getCluster", "How the cluster does.",
		"As this node sees it; what it cannot know without the others is missing. The level of the verdict is 0 if all is as it should be, 1 if all is served, else 2."), a.getCluster)
	huma.Register(a.huma, get("/safe-to-stop", "safeToStop", "Whether nodes may be stopped now.",
		"Together, without anything not being served: that needs all other replicas to be caught up."), a.safeToStop)
	huma.Register(a.huma, get("/config", "getClusterConfig", "What all nodes go by.", ""), a.getClusterConfig)
	huma.Register(a.huma, change(http.MethodPatch, "/config", "setClusterConfig", "Change what all nodes go by.",
		"What is absent stays. With version, the change is refused unless that is the present one."), a.setClusterConfig)
	huma.Register(a.huma, change(http.MethodPost, "/admit", "admitNode", "Let a node take part that has joined.", ""), a.admitNode)
	huma.Register(a.huma, change(http.MethodPost, "/maintenance", "maintainNode", "Begin or end a node's maintenance.",
		"Meanwhile it gets no leadership and no new replica."), a.maintainNode)
	huma.Register(a.huma, change(http.MethodPost, "/remove-node", "removeNode", "Let a node leave.",
		"It goes once others hold what it held. Refused if that could never end."), a.removeNode)
	huma.Register(a.huma, change(http.MethodPost, "/replace-node", "replaceNode", "Let a node take the place of another.",
		"For one that is lost, or that comes back without its data under the same name."), a.replaceNode)
	huma.Register(a.huma, change(http.MethodPost, "/transfer", "transferLeader", "Let another node lead a shard.", ""), a.transferLeader)
	huma.Register(a.huma, change(http.MethodPost, "/rebuild-replica", "rebuildReplica", "Make a replica anew from the others.",
		"For one whose folder is lost or wrong. The shard needs a majority without it."), a.rebuildReplica)
}

type ClusterStatus struct {
	Cluster  string        `json:"cluster" doc:"UUID; empty = none yet"`
	Asked    string        `json:"asked" doc:"the node that answers"`
	Version  uint64        `json:"version" doc:"of the map of nodes, replicas and slots"`
	Level    int           `json:"level" enum:"0,1,2" doc:"0 healthy, 1 degraded, 2 not all is served"`
	Verdict  string        `json:"verdict" doc:"for people"`
	Survives int           `json:"survives" doc:"so many further nodes may be lost; negative = not all is served"`
	Problems []string      `json:"problems" nullable:"false" doc:"for people, the worst first"`
	Warnings []string      `json:"warnings" nullable:"false" doc:"for people; they do not raise the level"`
	Leader   string        `json:"leader" doc:"the node that decides on changes of the cluster; empty = none is known"`
	Voters   []string      `json:"voters" nullable:"false" doc:"the nodes that vote on such changes"`
	Nodes    []NodeStatus  `json:"nodes" nullable:"false"`
	Shards   []ShardStatus `json:"shards" nullable:"false"`
}

type NodeStatus struct {
	ID          string   `json:"id" doc:"UUID"`
	Name        string   `json:"name"`
	Address     string   `json:"address"`
	Roles       string   `json:"roles"`
	State       string   `json:"state" enum:"asked,connected,lost,waiting" doc:"asked = the one that answers"`
	Admitted    bool     `json:"admitted"`
	Maintenance bool     `json:"maintenance,omitempty"`
	Leaving     bool     `json:"leaving,omitempty"`
	Leads       int      `json:"leads" doc:"shards"`
	Replicas    int      `json:"replicas"`
	Problems    []string `json:"problems" nullable:"false"`

	ClockOffset  float64  `json:"clockOffset" doc:"seconds that the other nodes' clocks are ahead of its own"`
	LeadsNothing string   `json:"leadsNothing,omitempty" doc:"why it is to lead no shard"`
	Draining     bool     `json:"draining,omitempty"`
	SlowDisk     bool     `json:"slowDisk,omitempty" doc:"its disk has hung of late"`
	DiskLow      bool     `json:"diskLow,omitempty" doc:"it refuses sends for want of disk"`
	MemoryFull   bool     `json:"memoryFull,omitempty"`
	FlagsDiffer  []string `json:"flagsDiffer,omitempty" doc:"its flags that differ from the cluster's configuration and count for nothing"`

	Speaks map[string]string `json:"speaks,omitempty" doc:"the versions that it reads, as 1 or 1 to 2, by protocol between nodes"`
}

type ShardStatus struct {
	Shard    uint32          `json:"shard"`
	Slots    int             `json:"slots"`
	Leader   string          `json:"leader" doc:"name of a node; empty = none is known"`
	Replicas []ReplicaStatus `json:"replicas" nullable:"false"`
}

type ReplicaStatus struct {
	ID       string `json:"id"`
	Node     string `json:"node" doc:"name"`
	State    string `json:"state" enum:"leader,follower,learner,new,leaving"`
	Up       bool   `json:"up" doc:"it answers its leader"`
	CaughtUp bool   `json:"caughtUp"`
	Lag      uint64 `json:"lag" doc:"entries of the log that it lacks"`
	Problem  string `json:"problem,omitempty" doc:"why it is not open"`
	Stopped  bool   `json:"stopped,omitempty" doc:"it has stopped for good"`
	Diverged bool   `json:"diverged,omitempty" doc:"it differs from another one, and nobody can tell which is right"`
}

func statusOf(s *store.ClusterStatus) ClusterStatus {
	v := s.Verdict()
	out := ClusterStatus{
		Cluster: s.Cluster, Asked: s.Asked, Version: s.Version, Leader: s.Leader, Voters: orEmpty(s.Voters),
		Level: int(v.Level), Verdict: v.Text, Survives: v.Survives, Problems: v.Problems, Warnings: orEmpty(v.Warnings),
		Nodes: make([]NodeStatus, 0, len(s.Nodes)), Shards: make([]ShardStatus, 0, len(s.Shards)),
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		out.Nodes = append(out.Nodes, NodeStatus{
			ID: n.ID, Name: n.Name, Address: n.Address, Roles: n.Roles, State: string(n.State), Admitted: n.Admitted,
			Maintenance: n.Maintenance, Leaving: n.Leaving, Leads: n.Leads, Replicas: n.Replicas, Problems: orEmpty(n.Problems),
			ClockOffset: n.ClockOffset.Seconds(), LeadsNothing: n.LeadsNothing, Draining: n.Draining, SlowDisk: n.SlowDisk,
			DiskLow: n.DiskLow, MemoryFull: n.MemoryFull, FlagsDiffer: n.FlagsDiffer, Speaks: n.Speaks,
		})
	}
	for i := range s.Shards {
		sh := &s.Shards[i]
		of := ShardStatus{Shard: sh.ID, Slots: sh.Slots, Leader: sh.Leader, Replicas: make([]ReplicaStatus, 0, len(sh.Replicas))}
		for k := range sh.Replicas {
			r := &sh.Replicas[k]
			of.Replicas = append(of.Replicas, ReplicaStatus{
				ID: r.ID, Node: r.Node, State: string(r.State), Up: r.Up, CaughtUp: r.CaughtUp, Lag: r.Lag, Problem: r.Problem,
				Stopped: r.Stopped, Diverged: r.Diverged,
			})
		}
		out.Shards = append(out.Shards, of)
	}
	return out
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (a *API) status(ctx context.Context) (*store.ClusterStatus, error) {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	s, err := a.config.Cluster.Status(ctx)
	if err != nil {
		return nil, a.errorOf(err)
	}
	return s, nil
}

type clusterOutput struct{ Body ClusterStatus }

func (a *API) getCluster(ctx context.Context, _ *struct{}) (*clusterOutput, error) {
	s, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	return &clusterOutput{statusOf(s)}, nil
}

type safeInput struct {
	Nodes string `query:"nodes" required:"true" maxLength:"4096" doc:"names, with commas between"`
}

type safeOutput struct {
	Body struct {
		Safe    bool     `json:"safe"`
		Reasons []string `json:"reasons" nullable:"false" doc:"why not, for people"`
	}
}

func (a *API) safeToStop(ctx context.Context, in *safeInput) (*safeOutput, error) {
	s, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	names := strings.Split(in.Nodes, ",")
	for _, name := range names {
		if s.Node(name) == nil {
			return nil, badRequest("nodes: there is no node " + name)
		}
	}
	out := new(safeOutput)
	out.Body.Reasons = orEmpty(s.Obstacles(names))
	out.Body.Safe = len(out.Body.Reasons) == 0
	return out, nil
}

// A clusterConfig is the configuration, in an answer or, where fields may be absent, in a
// change. -1 is no limit.
type clusterConfig[T, V any] struct {
	Version V `json:"version,omitempty" doc:"rises with each change"`

	OfflineTTL         T `json:"offlineTtl,omitempty" doc:"seconds that an unread message stays in the offline queue"`
	OfflineMaxMessages T `json:"offlineMaxMessages,omitempty"`
	OfflineMaxBytes    T `json:"offlineMaxBytes,omitempty"`
	HistoryTTL         T `json:"historyTtl,omitempty" doc:"seconds that a message stays in history"`
	UserBytes          T `json:"userBytes,omitempty"`
	DedupWindow        T `json:"dedupWindow,omitempty" doc:"seconds"`
	RecallWindow       T `json:"recallWindow,omitempty" doc:"seconds"`
	Recents            T `json:"recents,omitempty"`
	MaxDevices         T `json:"maxDevices,omitempty"`
	NewConversations   T `json:"newConversations,omitempty" doc:"an hour; -1 = no limit"`
	GroupBytes         T `json:"groupBytes,omitempty"`
	GroupRate          T `json:"groupRate,omitempty" doc:"messages a second; -1 = no limit"`
	GroupBurst         T `json:"groupBurst,omitempty"`
	HookBytes          T `json:"hookBytes,omitempty" doc:"of references to messages that wait for webhooks; 0 = none are kept"`
}

type ClusterConfig clusterConfig[int, uint64]

type ConfigChange clusterConfig[*int, *uint64]

// fields calls f for each setting of a change, with where it is stored.
func (c *ConfigChange) fields(l *command.Limits, hookBytes *int, f func(name string, value *int, duration *time.Duration, number *int, least int)) {
	f("offlineTtl", c.OfflineTTL, &l.OfflineTTL, nil, 1)
	f("offlineMaxMessages", c.OfflineMaxMessages, nil, &l.OfflineMaxMessages, 1)
	f("offlineMaxBytes", c.OfflineMaxBytes, nil, &l.OfflineMaxBytes, 1<<10)
	f("historyTtl", c.HistoryTTL, &l.HistoryTTL, nil, 1)
	f("userBytes", c.UserBytes, nil, &l.UserBytes, 1<<10)
	f("dedupWindow", c.DedupWindow, &l.DedupWindow, nil, 1)
	f("recallWindow", c.RecallWindow, &l.RecallWindow, nil, 1)
	f("recents", c.Recents, nil, &l.Recents, 1)
	f("maxDevices", c.MaxDevices, nil, &l.MaxDevices, 1)
	f("newConversations", c.NewConversations, nil, &l.NewConversations, -1)
	f("groupBytes", c.GroupBytes, nil, &l.GroupBytes, 1<<10)
	f("groupRate", c.GroupRate, nil, &l.GroupRate, -1)
	f("groupBurst", c.GroupBurst, nil, &l.GroupBurst, 1)
	f("hookBytes", c.HookBytes, nil, hookBytes, 0)
}

// most bounds a setting: seconds of a hundred years, and 1 GiB.
const most = 3_153_600_000

// apply changes limits, and returns a refusal of a value.
func (c *ConfigChange) apply(l *command.Limits, hookBytes *int) (refused *Error) {
	c.fields(l, hookBytes, func(name string, value *int, duration *time.Duration, number *int, least int) {
		switch {
		case value == nil || refused != nil:
		case *value < least || *value == 0 && least != 0 || *value > most:
			refused = badRequest(name + ": is out of its range")
		case duration != nil:
			*duration = time.Duration(*value) * time.Second
		default:
			*number = *value
		}
	})
	if refused == nil && l.OfflineTTL > l.HistoryTTL {
		refused = badRequest("offlineTtl: is above historyTtl, and the queue is a part of history")
	}
	return refused
}

type configOutput struct{ Body ClusterConfig }

func (a *API) getClusterConfig(ctx context.Context, _ *struct{}) (*configOutput, error) {
	s, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	l, seconds := &s.Config.Limits, func(d time.Duration) int { return int(d / time.Second) }
	return &configOutput{ClusterConfig{
		Version: s.Config.Version, OfflineTTL: seconds(l.OfflineTTL), OfflineMaxMessages: l.OfflineMaxMessages,
		OfflineMaxBytes: l.OfflineMaxBytes, HistoryTTL: seconds(l.HistoryTTL), UserBytes: l.UserBytes,
		DedupWindow: seconds(l.DedupWindow), RecallWindow: seconds(l.RecallWindow), Recents: l.Recents, MaxDevices: l.MaxDevices,
		NewConversations: l.NewConversations, GroupBytes: l.GroupBytes, GroupRate: l.GroupRate, GroupBurst: l.GroupBurst,
		HookBytes: s.Config.HookBytes,
	}}, nil
}

type configInput struct{ Body ConfigChange }

func (a *API) setClusterConfig(ctx context.Context, in *configInput) (*struct{}, error) {
	s, err := a.status(ctx)
	if err != nil {
		return nil, err
	}
	expect, limits, hookBytes := s.Config.Version, s.Config.Limits, s.Config.HookBytes
	if in.Body.Version != nil {
		expect = *in.Body.Version
	}
	if refused := in.Body.apply(&limits, &hookBytes); refused != nil {
		return nil, refused
	}
	return a.changed(ctx, "", func(ctx context.Context) error {
		return a.config.Cluster.SetConfig(ctx, expect, limits, hookBytes)
	})
}

// changed makes a change of the cluster, with target in the audit.
func (a *API) changed(ctx context.Context, target string, change func(context.Context) error) (*struct{}, error) {
	callOf(ctx).target = target
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	if err := change(ctx); err != nil {
		return nil, a.errorOf(err)
	}
	return nil, nil
}

type nodeInput struct {
	Body struct {
		Node string `json:"node" minLength:"1" maxLength:"64" doc:"name or UUID"`
	}
}

func (a *API) admitNode(ctx context.Context, in *nodeInput) (*struct{}, error) {
	return a.changed(ctx, in.Body.Node, func(ctx context.Context) error { return a.config.Cluster.Admit(ctx, in.Body.Node) })
}

type maintainInput struct {
	Body struct {
		Node string `json:"node" minLength:"1" maxLength:"64" doc:"name or UUID"`
		On   bool   `json:"on"`
	}
}

func (a *API) maintainNode(ctx context.Context, in *maintainInput) (*struct{}, error) {
	return a.changed(ctx, in.Body.Node, func(ctx context.Context) error {
		return a.config.Cluster.Maintain(ctx, in.Body.Node, in.Body.On)
	})
}

type removeInput struct {
	Body struct {
		Node  string `json:"node" minLength:"1" maxLength:"64" doc:"name or UUID"`
		Fewer bool   `json:"fewer,omitempty" doc:"shards may have fewer replicas afterwards"`
	}
}

func (a *API) removeNode(ctx context.Context, in *removeInput) (*struct{}, error) {
	return a.changed(ctx, in.Body.Node, func(ctx context.Context) error {
		return a.config.Cluster.RemoveNode(ctx, in.Body.Node, in.Body.Fewer)
	})
}

type replaceInput struct {
	Body struct {
		Old string `json:"old" minLength:"1" maxLength:"64" doc:"name or UUID"`
		New string `json:"new" minLength:"1" maxLength:"64" doc:"name or UUID; the UUID of a node that has not joined yet is expected then"`
	}
}

func (a *API) replaceNode(ctx context.Context, in *replaceInput) (*struct{}, error) {
	return a.changed(ctx, in.Body.Old+" by "+in.Body.New, func(ctx context.Context) error {
		return a.config.Cluster.ReplaceNode(ctx, in.Body.Old, in.Body.New)
	})
}

type shardInput struct {
	Body struct {
		Shard uint32 `json:"shard" maximum:"65535"`
		Node  string `json:"node" minLength:"1" maxLength:"64" doc:"name or UUID"`
	}
}

func (a *API) transferLeader(ctx context.Context, in *shardInput) (*struct{}, error) {
	return a.changed(ctx, in.Body.Node, func(ctx context.Context) error {
		return a.config.Cluster.Transfer(ctx, in.Body.Shard, in.Body.Node)
	})
}

func (a *API) rebuildReplica(ctx context.Context, in *shardInput) (*struct{}, error) {
	return a.changed(ctx, in.Body.Node, func(ctx context.Context) error {
		return a.config.Cluster.RebuildReplica(ctx, in.Body.Shard, in.Body.Node)
	})
}
