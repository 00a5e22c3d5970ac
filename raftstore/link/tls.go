package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// reloadEvery is how often the files are looked at. Reading three small files is
// cheaper than to follow how each tool replaces them: in place, by renaming, or by
// turning the link of a folder, as Kubernetes does.
const reloadEvery = 2 * time.Second

// uriScheme begins the name of a node in its certificate: belfry://CLUSTER/NODE.
const uriScheme = "belfry"

// certs hold this node's certificate, and what those of others are verified with.
type certs struct {
	files TLSFiles
	name  string
	log   *slog.Logger
	every time.Duration // how often the files are looked at
	now   atomic.Pointer[keys]
}

// keys are what the files said when they were last read whole.
type keys struct {
	files   [3][]byte // certificate, key, CA
	cert    tls.Certificate
	roots   *x509.CertPool
	cluster string // that the certificate names, "" if it names its node by DNS alone
}

// openCerts reads the files, which must fit together and name this node.
func openCerts(files TLSFiles, name string, log *slog.Logger) (*certs, error) {
	c := &certs{files: files, name: name, log: log, every: reloadEvery}
	k, err := c.load()
	if err != nil {
		return nil, err
	}
	c.now.Store(k)
	return c, nil
}

func (c *certs) load() (*keys, error) {
	k := new(keys)
	for i, f := range []struct{ field, path string }{
		{"certificate", c.files.Cert}, {"key", c.files.Key}, {"CA", c.files.CA},
	} {
		b, err := os.ReadFile(f.path)
		if err != nil {
			return nil, fmt.Errorf("link: %s: %w", f.field, err)
		}
		k.files[i] = b
	}
	var err error
	if k.cert, err = tls.X509KeyPair(k.files[0], k.files[1]); err != nil {
		return nil, fmt.Errorf("link: certificate %s with key %s: %w", c.files.Cert, c.files.Key, err)
	}
	k.roots = x509.NewCertPool()
	if !k.roots.AppendCertsFromPEM(k.files[2]) {
		return nil, fmt.Errorf("link: CA %s: no certificate in it", c.files.CA)
	}
	for _, u := range k.cert.Leaf.URIs {
		if u.Scheme == uriScheme && nodeOf(u) == c.name {
			k.cluster = u.Host
		}
	}
	if err := k.names(k.cert.Leaf, c.name); err != nil {
		return nil, fmt.Errorf("link: certificate %s: %w", c.files.Cert, err)
	}
	if err := k.verify(k.cert.Leaf, nil, x509.ExtKeyUsageAny); err != nil {
		c.log.Warn("other nodes may refuse the certificate of this node", "certificate", c.files.Cert, "err", err)
	}
	return k, nil
}

// watch reads the files again when they changed, until ctx ends. What does not fit
// together, as when only one of two files is replaced yet, is left for the next time.
func (c *certs) watch(ctx context.Context) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	var failed string
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !c.changed() {
			continue
		}
		k, err := c.load()
		if err != nil {
			if err.Error() != failed {
				failed = err.Error()
				c.log.Warn("the files of TLS changed and are not usable; those read before stay", "err", err)
			}
			continue
		}
		failed = ""
		c.now.Store(k)
		c.log.Info("read the files of TLS again", "certificate", c.files.Cert, "expires", k.cert.Leaf.NotAfter)
	}
}

func (c *certs) changed() bool {
	for i, path := range []string{c.files.Cert, c.files.Key, c.files.CA} {
		if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, c.now.Load().files[i]) {
			return true
		}
	}
	return false
}

// The chain of a peer is verified after the handshake, not in it: then whoever refuses
// can say why, where TLS has only the number of an alert. Nothing that the peer sends
// is used before.

func (c *certs) server() *tls.Config {
	var protocols []string
	for _, k := range kinds {
		protocols = append(protocols, string(k))
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             protocols,
		Certificates:           []tls.Certificate{c.now.Load().cert},
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // a resumed session would keep an old certificate
	}
}

func (c *certs) client(k kind) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{string(k)},
		Certificates:       []tls.Certificate{c.now.Load().cert},
		InsecureSkipVerify: true, // see above
	}
}

// check verifies the chain of a peer. usage is what the peer's certificate has to be for.
func (c *certs) check(state tls.ConnectionState, usage x509.ExtKeyUsage) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("it has no certificate")
	}
	return c.now.Load().verify(state.PeerCertificates[0], state.PeerCertificates[1:], usage)
}

func (k *keys) verify(leaf *x509.Certificate, chain []*x509.Certificate, usage x509.ExtKeyUsage) error {
	between := x509.NewCertPool()
	for _, c := range chain {
		between.AddCert(c)
	}
	if chain == nil {
		for _, der := range k.cert.Certificate[1:] {
			if c, err := x509.ParseCertificate(der); err == nil {
				between.AddCert(c)
			}
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: k.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return fmt.Errorf("the certificate of %s is not accepted: %w", describe(leaf), err)
	}
	return nil
}

// names reports an error unless leaf is for the node of that name, and for the cluster
// that this node's own certificate names, if it names one.
func (k *keys) names(leaf *x509.Certificate, name string) error {
	if k.cluster == "" {
		for _, dns := range leaf.DNSNames {
			if equalDNS(dns, name) {
				return nil
			}
		}
	}
	for _, u := range leaf.URIs {
		if u.Scheme == uriScheme && nodeOf(u) == name && (k.cluster == "" || equalDNS(u.Host, k.cluster)) {
			return nil
		}
	}
	want := fmt.Sprintf("the DNS name %s or a URI %s://CLUSTER/%s", name, uriScheme, name)
	if k.cluster != "" {
		want = fmt.Sprintf("the URI %s://%s/%s", uriScheme, k.cluster, name)
	}
	return fmt.Errorf("the certificate is that of %s, want %s", describe(leaf), want)
}

// equalDNS compares names as RFC 5280, 7.2, and RFC 6125, 6.4.1, have it: without regard to
// the case of the letters of ASCII. Names in certificates have no others; those that fold
// to a letter of ASCII are longer.
func equalDNS(certificate, name string) bool {
	return len(certificate) == len(name) && strings.EqualFold(certificate, name)
}

func nodeOf(u *url.URL) string { return strings.TrimPrefix(u.Path, "/") }

// describe says what a certificate names.
func describe(leaf *x509.Certificate) string {
	var names []string
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	names = append(names, leaf.DNSNames...)
	if len(names) == 0 {
		return fmt.Sprintf("%q, which names no node", leaf.Subject.String())
	}
	if len(names) > 4 {
		names = append(names[:4], "…")
	}
	return strings.Join(names, ", ")
}
