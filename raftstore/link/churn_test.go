package link

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestChurn breaks connections, freezes the network, takes peers out and puts them back,
// and replaces transports, while calls go on; at the end all have to work again.
func TestChurn(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			noLeak(t)
			r := rand.New(rand.NewPCG(seed, 0))
			var nodes []*testNode
			for _, name := range []string{"a", "b", "c"} {
				n := newTestNode(t, name, func(c *Config) { c.Silence, c.RPC, c.Handshake = 300*time.Millisecond, time.Second, time.Second })
				n.Server().RegisterService(&echoDesc, echo{})
				n.start(t)
				nodes = append(nodes, n)
			}
			// peers[i] are those of node i, behind proxies of its own.
			proxies := make([][]*testProxy, len(nodes))
			peers := make([][]Peer, len(nodes))
			for i := range nodes {
				for _, o := range nodes {
					proxy := newTestProxy(t, o.Addr().String())
					proxies[i] = append(proxies[i], proxy)
					peers[i] = append(peers[i], Peer{ID: o.id, Name: o.name, Address: proxy.addr()})
				}
				nodes[i].SetPeers(peers[i])
			}
			trs := make([]*Transport, len(nodes))
			fakes := make([]*fakeReplica, len(nodes))
			open := func(i int) {
				trs[i] = openTransport(t, nodes[i], "g")
				fakes[i] = serveFake(t, trs[i])
			}
			for i := range nodes {
				open(i)
			}
			stop := make(chan struct{})
			var calls sync.WaitGroup
			for i, n := range nodes {
				for j, o := range nodes {
					if i == j {
						continue
					}
					calls.Go(func() {
						for k := uint64(1); ; k++ {
							select {
							case <-stop:
								return
							default:
							}
							n.SetStatus(fmt.Appendf(nil, "%d", k))
							say(t.Context(), n.Conn(o.id), "hi")
							n.Offset()
							if tr := n.Link.group("g"); tr != nil {
								tr.RequestVote(replicaID(o.id), "", &raft.RequestVoteRequest{RPCHeader: header, Term: k}, new(raft.RequestVoteResponse))
								if k%16 == 0 {
									tr.Campaign(t.Context())
								}
							}
							time.Sleep(time.Millisecond)
						}
					})
				}
			}
			for range 60 {
				i, j := r.IntN(len(nodes)), r.IntN(len(nodes))
				n := nodes[i]
				switch r.IntN(4) {
				case 0:
					k := kinds[r.IntN(len(kinds))]
					n.closeConns(func(c *conn) bool { return c.kind == k })
				case 1:
					proxies[i][j].freeze(true)
					time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
					proxies[i][j].freeze(false)
				case 2:
					n.SetPeers(peers[i][:r.IntN(len(nodes))])
					time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
					n.SetPeers(peers[i])
				case 3:
					trs[i].Close()
					open(i)
				}
			}
			close(stop)
			calls.Wait()
			for i, n := range nodes {
				if err := n.SetStatus([]byte("last of " + n.name)); err != nil {
					t.Fatal(err)
				}
				for j, o := range nodes {
					if i == j {
						continue
					}
					eventually(t, n.name+" and "+o.name+" are connected", func() bool { return n.State(o.id) == Connected })
					eventually(t, "a call works", func() bool { _, err := say(t.Context(), n.Conn(o.id), "hi"); return err == nil })
					eventually(t, "the status arrives", func() bool { return o.statusOf(n) == "last of "+n.name })
					for _, request := range []*raft.AppendEntriesRequest{heartbeatRequest(1 << 40), entriesRequest(1<<40, 1, 1)} {
						done := call(func() error {
							return trs[i].AppendEntries(trs[j].local, "", request, new(raft.AppendEntriesResponse))
						})
						if err := result(t, "AppendEntries", done); err != nil {
							t.Error(err)
						}
					}
				}
			}
		})
	}
}
