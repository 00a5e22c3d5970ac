package placement

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

// errVotesLost means that this node votes, or may have voted, and that what it needs to
// do so only once in a term is not there.
var errVotesLost = errors.New("placement: the votes of this node are lost, and must not be given again")

// errUnsure means that this node is to vote and has nothing of Raft: either it is new, or
// what it had is lost together with all that would show it. The leader knows which.
var errUnsure = errors.New("placement: only the leader knows whether this node has voted")

// markKey is where raft.db has the mark.
var markKey = []byte("belfry-mark")

// markPath is the file that has the mark too. It lies beside the directory of raft.db, so
// that it is there when that was emptied.
func (g *Group) markPath() string { return filepath.Clean(g.cfg.Dir) + ".voter" }

// markVotes checks that raft.db is the one in which this node has voted, and marks a new
// one before Raft may vote: the same random text is in raft.db and in a file elsewhere.
// exists says that there is anything of Raft, lost that there should be, unsure that there
// may have been.
func (g *Group) markVotes(stable raft.StableStore, exists, lost, unsure bool) error {
	file, err := os.ReadFile(g.markPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mark := strings.TrimSpace(string(file))
	has, err := stable.Get(markKey)
	if err != nil && err.Error() != "not found" { // as all stores of Raft say it
		return err
	}
	term, err := stable.GetUint64(termKey)
	if err != nil && err.Error() != "not found" {
		return err
	}
	unmarked := mark == "" && len(has) == 0
	switch {
	case unmarked && unsure:
		return errUnsure
	case unmarked && !lost && (!exists || term > 0):
		// New, or of a time before there were marks. Raft does not run yet, so this need not
		// wait for room on the disk: whoever opens it tries again.
		if p, ok := stable.(*patientStore); ok {
			stable = p.StableStore
		}
		g.cfg.Hold()
		has = []byte(rand.Text())
		if err := stable.Set(markKey, has); err != nil {
			return err
		}
	case len(has) > 0 && (mark == "" || mark == string(has)):
	default:
		return fmt.Errorf("%w: %s is not the one that this node had: begin with an empty data folder, and then run on another node the command that this one names: belfry cluster replace-node %s UUID",
			errVotesLost, filepath.Join(g.cfg.Dir, "raft.db"), g.cfg.Node.Name)
	}
	if mark == string(has) {
		return nil
	}
	g.cfg.Hold()
	return writeFile(g.markPath(), has)
}

// startRaft turns the panics of NewRaft, about a log that lacks entries, into errors.
func startRaft(conf *raft.Config, f *fsm, log raft.LogStore, st stores, transport raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: log and snapshots in %s do not fit (%v): begin with an empty data folder, and then run on another node the command that this one names: belfry cluster replace-node %s UUID",
				errVotesLost, f.g.cfg.Dir, cause, f.g.cfg.Node.Name)
		}
	}()
	return raft.NewRaft(conf, f, log, st.stable, st.snapshots, transport)
}
