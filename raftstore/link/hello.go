package link

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/belfry-im/belfry/raftstore/versions"
)

// protocolVersion is that of what follows the hello. The hello itself has none: its
// fields have names, and keep their meanings.
const protocolVersion = 1

var linkVersions = versions.Only(protocolVersion)

const (
	maxHello   = 8 << 10 // bytes of a hello or welcome; more is refused
	maxWord    = 128     // bytes of each id, name and group in it
	maxReason  = 1 << 10 // bytes of a reason; the rest is cut
	maxPreface = 32      // bytes of the line that names the kind without TLS
)

// A kind says what a connection carries. It is the protocol that ALPN settles.
type kind string

const (
	kindControl kind = "belfry-ctl"  // one for each pair of nodes
	kindRaft    kind = "belfry-raft" // RPCs of one Raft group, but for snapshots
	kindBulk    kind = "belfry-bulk" // snapshots of one Raft group
	kindRPC     kind = "h2"          // gRPC
)

var kinds = []kind{kindControl, kindRaft, kindBulk, kindRPC}

// A hello is what the dialer says first.
type hello struct {
	Speaks  versions.Set `json:"speaks,omitempty"` // what the node reads
	Cluster string       `json:"cluster,omitempty"`
	From    NodeID       `json:"from,omitempty"`
	Name    string       `json:"name,omitempty"`
	To      NodeID       `json:"to,omitempty"` // the node that it expects; "" = any
	Group   string       `json:"group,omitempty"`
	Replica string       `json:"replica,omitempty"` // of the group, that it expects
	Boot    uint64       `json:"boot,omitempty"`    // a number of the process
	Refused string       `json:"refused,omitempty"` // why the dialer goes no further; nothing else counts then
}

// A welcome answers a hello.
type welcome struct {
	Speaks  versions.Set `json:"speaks,omitempty"` // what the node reads
	Cluster string       `json:"cluster,omitempty"`
	ID      NodeID       `json:"id,omitempty"`
	Name    string       `json:"name,omitempty"`
	Boot    uint64       `json:"boot,omitempty"`
	Refused string       `json:"refused,omitempty"` // why the connection ends here
	Code    string       `json:"code,omitempty"`    // of the refusal
}

// Codes of refusals, which are labels of a metric too.
const (
	codeTLS         = "tls"         // one side speaks it, the other does not, or they do not agree
	codeCertificate = "certificate" // not vouched for, expired, or of another node
	codeVersion     = "version"
	codeCluster     = "cluster"
	codeNode        = "node"      // not the one that was expected, or not in the map
	codeGroup       = "group"     // no such replica here
	codeLimit       = "limit"     // too many connections
	codeDuplicate   = "duplicate" // the other control connection of the pair stays
	codeMalformed   = "malformed"
	codeTimeout     = "timeout" // of the handshake, or the peer left within it
)

// A refusal is why one side of a connection did not take the other.
type refusal struct {
	code   string
	reason string
	remote bool // the other side refused
}

func (r *refusal) Error() string {
	if r.remote {
		return "link: refused by the peer: " + r.reason
	}
	return "link: refused: " + r.reason
}

func refuse(code, format string, args ...any) *refusal {
	return &refusal{code: code, reason: cut(fmt.Sprintf(format, args...))}
}

func cut(reason string) string { return reason[:min(len(reason), maxReason)] }

// writeMessage writes a hello or welcome, after the bytes of prefix.
func writeMessage(w io.Writer, prefix string, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(body) > maxHello {
		return fmt.Errorf("link: hello of %d bytes, at most %d", len(body), maxHello)
	}
	b := binary.BigEndian.AppendUint16([]byte(prefix), uint16(len(body)))
	_, err = w.Write(append(b, body...))
	return err
}

// readMessage reads what writeMessage writes, and no byte more.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxHello {
		return nil, refuse(codeMalformed, "hello of %d bytes, at most %d", n, maxHello)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return body, nil
}

// parseHello reads a hello, of a node that has to speak what speaks has.
func parseHello(body []byte, speaks versions.Set) (hello, error) {
	var h hello
	if err := json.Unmarshal(body, &h); err != nil {
		return hello{}, refuse(codeMalformed, "hello: %v", err)
	}
	h.Refused = cut(h.Refused)
	if h.Refused != "" {
		return h, nil
	}
	if err := speaks.Fits(h.Speaks); err != nil {
		return h, refuse(codeVersion, "%v", err)
	}
	err := checkWords("hello", map[string]string{
		"cluster": h.Cluster, "from": string(h.From), "name": h.Name,
		"to": string(h.To), "group": h.Group, "replica": h.Replica,
	})
	if err == nil && (h.From == "" || h.Name == "") {
		err = refuse(codeMalformed, "hello without from or name")
	}
	return h, err
}

// parseWelcome reads a welcome, of a node that has to speak what speaks has.
func parseWelcome(body []byte, speaks versions.Set) (welcome, error) {
	var w welcome
	if err := json.Unmarshal(body, &w); err != nil {
		return welcome{}, refuse(codeMalformed, "welcome: %v", err)
	}
	if w.Refused != "" {
		return w, &refusal{code: w.Code, reason: cut(w.Refused), remote: true}
	}
	if err := speaks.Fits(w.Speaks); err != nil {
		return w, refuse(codeVersion, "%v", err)
	}
	err := checkWords("welcome", map[string]string{"cluster": w.Cluster, "id": string(w.ID), "name": w.Name})
	if err == nil && (w.ID == "" || w.Name == "") {
		err = refuse(codeMalformed, "welcome without id or name")
	}
	return w, err
}

func checkWords(message string, words map[string]string) error {
	for field, word := range words {
		if len(word) > maxWord {
			return refuse(codeMalformed, "%s: %s of %d bytes, at most %d", message, field, len(word), maxWord)
		}
	}
	return nil
}

// prefaceFor is the line that stands for ALPN where there is no TLS.
func prefaceFor(k kind) string { return "belfry " + string(k) + "\n" }

// readPreface reads the line and no byte more.
func readPreface(r io.Reader) (kind, error) {
	line := make([]byte, 0, maxPreface)
	for len(line) < maxPreface {
		var b [1]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		if len(line) == 0 && b[0] == 0x16 { // a record of TLS with its handshake
			return "", refuse(codeTLS, "the peer speaks TLS, this node does not")
		}
		line = append(line, b[0])
		if b[0] == '\n' {
			break
		}
	}
	word, ok := strings.CutPrefix(string(line), "belfry ")
	for _, k := range kinds {
		if ok && word == string(k)+"\n" {
			return k, nil
		}
	}
	return "", refuse(codeMalformed, "the first line is %q, want \"belfry\" and a kind of connection", line)
}
