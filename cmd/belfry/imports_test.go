package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/belfry-im/belfry"

// ours lists, for each folder and what lies below it, the folders of ours that
// its code may import. Imports only run downwards, so this table is the
// architecture. A folder that is not here has to be added, with its reason.
var ours = []struct {
	folder  string
	imports []string
	reason  string
}{
	{"shard", []string{"shard"}, "the core is pure: what it knows, every replica and every test has to bring"},
	{"shard/codec", nil, "how bytes are written does not depend on what they mean"},
	{"shard/command", []string{"shard/codec"}, "commands are values: what may be read or applied is not theirs to know"},
	{"shard/query", []string{"shard/codec", "shard/command"}, "what is read is named as what is written, and knows no state either"},
	{"shard/ring", nil, "a container knows nothing of what it contains"},
	{"raftstore", []string{"raftstore", "shard"}, "the store serves any edge and so knows none"},
	{"raftstore/peer", []string{"raftstore/store", "raftstore/versions", "shard/codec", "shard/command", "shard/query"}, "messages between nodes are carried, whoever executes them"},
	{"raftstore/placement", []string{"raftstore/diskgate", "raftstore/link", "raftstore/store", "raftstore/versions", "shard/codec", "shard/command"}, "which node holds what is settled without asking what is held"},
	{"raftstore/link", []string{"raftstore/versions"}, "nodes are connected whatever they say to each other"},
	{"raftstore/diskgate", nil, "when a disk hangs does not depend on what is written to it"},
	{"raftstore/sharedlog", nil, "a log stores entries, whoever replicates them and whatever they say"},
	{"raftstore/replica", []string{"raftstore/diskgate", "raftstore/sharedlog", "raftstore/store", "shard"}, "one shard's replica knows nothing of the other shards, nor of who is told"},
	{"raftstore/watch", []string{"raftstore/store", "raftstore/versions", "shard"}, "who is told does not depend on what a shard is, nor on how nodes are connected"},
	{"raftstore/versions", nil, "the rule by which formats change does not depend on any of them"},
	{"raftstore/store", []string{"shard"}, "what the edge and the store share is linked by an edge that has no Raft"},
	{"gateway", []string{"gateway", "raftstore/store", "shard"}, "the edge is above the store and beside the clients"},
	{"gateway/protocol", nil, "clients import it, and with it nothing of the server"},
	{"gateway/admission", []string{"gateway/ratelimit"}, "it counts connections and their memory, whatever they carry"},
	{"gateway/ws", []string{"gateway/ws", "gateway/admission"}, "a WebSocket carries frames; sessions, users and ops are the gateway's"},
	{"gateway/wire", []string{"gateway/enum", "gateway/protocol", "shard/command", "shard/query"}, "it converts what is read to frames, whoever reads and sends"},
	{"gateway/hooks", []string{"gateway/hooks", "gateway/enum", "gateway/protocol", "gateway/webhook", "gateway/wire", "raftstore/store", "shard"}, "events and decisions are about messages, not about sessions"},
	{"gateway/auth", []string{"gateway/auth", "gateway/protocol"}, "a token says who somebody is, whatever they do then"},
	{"gateway/inspect", []string{"raftstore/store", "shard/command"}, "what an operator sees of one node does not depend on what knows it"},
	{"gateway/ratelimit", nil, "how often something is done does not depend on what"},
	{"gateway/turns", nil, "who is next does not depend on what for"},
	{"gateway/console", nil, "pages come from files; what they ask for, they ask of the listeners"},
	{"gateway/webhook", []string{"gateway/turns"}, "it tells events to a receiver, and knows nothing of what they mean"},
	{"client", []string{"client", "gateway/protocol"}, "an application links the client; the server must not come with it"},
	{"client/store", []string{"gateway/protocol"}, "what is kept does not depend on how it came"},
	{"loadtest", []string{"loadtest", "client", "gateway/protocol"}, "a load generator sees what a client sees, or it measures something else"},
	{"cmd/belfry/e2e", []string{"cmd/belfry/e2e"}, "what checks the contract is written after its text, and uses nothing of what it checks"},
	{"cmd", []string{"cmd", "client", "gateway", "loadtest", "raftstore", "shard"}, "the binary wires everything"},
}

// bans list imports that only some folders may have.
var bans = []struct {
	imports []string // import paths; what lies below them is meant too
	except  []string // folders; nil = nobody may
	within  string   // the folder that the ban is for; "" = everywhere
	reason  string
}{
	{
		imports: []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "github.com/hashicorp/raft-boltdb"},
		except:  []string{"raftstore/replica", "raftstore/sharedlog", "raftstore/link", "raftstore/placement"},
		reason:  "only a replica and placement know how they are replicated, a log what it stores, and the link how its RPCs travel; the rest would not notice another library",
	},
	{
		imports: []string{"github.com/coder/websocket"},
		except:  []string{"gateway/ws", "client", "loadtest/torture", "cmd/belfry/e2e/wstest"},
		reason:  "the WebSocket library ends at the two sides that speak it, and where a device is played that does what no client does",
	},
	{
		imports: []string{"os", "net", "syscall", "io/fs", "log", "math/rand", "crypto/rand", "sync", "context", "runtime"},
		within:  "shard",
		reason:  "the same commands must give the same state on every replica: no I/O, no chance, no goroutines to guard against",
	},
}

func TestImports(t *testing.T) {
	for _, p := range listPackages(t) {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		best := -1
		for i, o := range ours {
			if below(folder, o.folder) && (best < 0 || len(o.folder) > len(ours[best].folder)) {
				best = i
			}
		}
		if best < 0 {
			t.Errorf("%s: no row in the table of this test", folder)
			continue
		}
		for _, imported := range p.Imports {
			if rest, ok := strings.CutPrefix(imported, module+"/"); ok {
				row := ours[best]
				if !slices.ContainsFunc(row.imports, func(f string) bool { return below(rest, f) }) {
					t.Errorf("%s imports %s: %s", folder, rest, row.reason)
				}
			}
			for _, ban := range bans {
				hit := slices.ContainsFunc(ban.imports, func(i string) bool { return below(imported, i) })
				excused := slices.ContainsFunc(ban.except, func(f string) bool { return below(folder, f) })
				if hit && !excused && (ban.within == "" || below(folder, ban.within)) {
					t.Errorf("%s imports %s: %s", folder, imported, ban.reason)
				}
			}
		}
	}
}

// TestGatewayLinksNoRaft looks at all that the gateway brings along, directly or not.
func TestGatewayLinksNoRaft(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", module+"/gateway/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for imported := range strings.Lines(string(out)) {
		imported = strings.TrimSpace(imported)
		raft := strings.HasPrefix(imported, "github.com/hashicorp/raft")
		if raft || below(imported, module+"/raftstore") && imported != module+"/raftstore/store" {
			t.Errorf("the gateway links %s: it talks to a store, however that is replicated", imported)
		}
	}
}

// TestShardReadsNoClock holds the core to what imports cannot say: package time
// is there for its durations, and nothing runs beside Apply.
func TestShardReadsNoClock(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "Sleep", "NewTimer", "NewTicker", "LoadLocation", "Local"}
	for _, p := range listPackages(t) {
		if !below(p.ImportPath, module+"/shard") {
			continue
		}
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: a goroutine: the core has none", fset.Position(n.Pos()))
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
						t.Errorf("%s: time.%s: time enters only with commands", fset.Position(n.Pos()), n.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// below reports whether path is folder or lies in it. A major version's suffix
// counts as below: raft-boltdb/v2 is raft-boltdb.
func below(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

type listedPackage struct {
	Dir, ImportPath  string
	GoFiles, Imports []string
}

// listPackages lists every package of the module, without its tests but with
// the files that the tag "faults" adds.
func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-e", "-tags", "faults", "-json=Dir,ImportPath,GoFiles,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listedPackage
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
