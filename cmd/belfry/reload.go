package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/admin"
	"github.com/belfry-im/belfry/gateway/auth"
)

const (
	// reloadPoll is the interval between two reads of the files. New content is applied
	// once two reads in a row agree, because a file may be half written.
	reloadPoll = 250 * time.Millisecond
	// maxSourceFile bounds a file of a source, in bytes.
	maxSourceFile = 1 << 20
)

// A source is a group of files that are applied together: at the start, when they
// change, and on SIGHUP.
type source struct {
	what  string // in the log and the metric
	files []sourceFile
	take  func(contents [][]byte) error // applies all contents, or fails and changes nothing

	// Digests of the contents that were applied last, that failed last and that were
	// read last. A failure is logged once for the same contents.
	taken, failed, seen [sha256.Size]byte
}

type sourceFile struct {
	flag, path string
	secret     bool // only the user of the process may read it
}

// read returns the contents of the files, in their order, and a digest of the
// contents or of the error.
func (s *source) read() (contents [][]byte, digest [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, f := range s.files {
		content, err := readSourceFile(f.path)
		if err != nil {
			err = fmt.Errorf("--%s: %w", f.flag, err)
			fmt.Fprintln(h, err)
			return nil, [sha256.Size]byte(h.Sum(nil)), err
		}
		contents = append(contents, content)
		fmt.Fprintf(h, "%d %s", len(content), content)
	}
	return contents, [sha256.Size]byte(h.Sum(nil)), nil
}

func readSourceFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSourceFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > maxSourceFile:
		return nil, fmt.Errorf("%s: is larger than %s", path, cli.FormatSize(maxSourceFile))
	case len(auth.TrimSecret(content)) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	}
	return content, nil
}

// readFirst reads the files for the first time and returns their contents, which the
// caller applies.
func (s *source) readFirst(log *slog.Logger) ([][]byte, error) {
	contents, digest, err := s.read()
	if err == nil {
		s.taken, s.seen = digest, digest
		s.warn(log)
	}
	return contents, err
}

// warn logs each secret that every local user can read or change.
func (s *source) warn(log *slog.Logger) {
	for _, f := range s.files {
		if !f.secret {
			continue
		}
		if info, err := os.Stat(f.path); err == nil && info.Mode()&0o007 != 0 {
			log.Warn("every local user can read or change a secret: chmod o= it", "flag", "--"+f.flag, "file", f.path, "mode", info.Mode().String())
		}
	}
}

// A reloader applies the files of a running server again when they change.
type reloader struct {
	sources  []*source
	log      *slog.Logger
	outcomes *prometheus.CounterVec // by what and outcome
}

func newReloader(log *slog.Logger, registry *prometheus.Registry, sources ...*source) *reloader {
	r := &reloader{log: log, outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "belfry_reloads_total",
		Help: "Times that changed secrets, keys, certificates or admin tokens were read from their files: ok, or failed and left as they were.",
	}, []string{"what", "outcome"})}
	registry.MustRegister(r.outcomes)
	for _, s := range sources {
		if len(s.files) == 0 {
			continue
		}
		r.sources = append(r.sources, s)
		for _, outcome := range []string{"ok", "failed"} {
			r.outcomes.WithLabelValues(s.what, outcome)
		}
	}
	return r
}

// run applies sources that have changed, and all sources at each hangup, until ctx
// ends.
func (r *reloader) run(ctx context.Context, hangups <-chan os.Signal) {
	tick := time.NewTicker(reloadPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			r.log.Info("SIGHUP: reading secrets, keys, certificates and admin tokens")
			for _, s := range r.sources {
				contents, digest, err := s.read()
				s.seen = digest
				r.take(s, contents, digest, err)
			}
		case <-tick.C:
			for _, s := range r.sources {
				r.reloadIfChanged(s)
			}
		}
	}
}

// reloadIfChanged applies a source if its contents have changed and stand still.
func (r *reloader) reloadIfChanged(s *source) {
	contents, digest, err := s.read()
	still := digest == s.seen
	s.seen = digest
	switch {
	case digest == s.taken:
		s.failed = [sha256.Size]byte{}
	case still && digest != s.failed:
		r.take(s, contents, digest, err)
	}
}

func (r *reloader) take(s *source, contents [][]byte, digest [sha256.Size]byte, err error) {
	if err == nil {
		err = s.take(contents)
	}
	if err != nil {
		s.failed = digest
		r.outcomes.WithLabelValues(s.what, "failed").Inc()
		r.log.Error("changed files are wrong: all stays as it was", "what", s.what, "error", err)
		return
	}
	s.taken, s.failed = digest, [sha256.Size]byte{}
	r.outcomes.WithLabelValues(s.what, "ok").Inc()
	r.log.Info("files were read again", "what", s.what, "files", s.paths())
	s.warn(r.log)
}

func (s *source) paths() string {
	paths := make([]string, len(s.files))
	for i, f := range s.files {
		paths[i] = f.path
	}
	return strings.Join(paths, " ")
}

// authSource returns the files that login tokens are checked against: secrets, and
// then the key set.
func (o *serveOptions) authSource() *source {
	s := &source{what: "auth"}
	for _, path := range o.authSecretFiles {
		s.files = append(s.files, sourceFile{"auth-secret-file", path, true})
	}
	if o.authJWKS != "" {
		s.files = append(s.files, sourceFile{"auth-jwks", o.authJWKS, false})
	}
	return s
}

// authConfig returns the configuration of logins from the contents of authSource.
func (o *serveOptions) authConfig(contents [][]byte) (auth.Config, error) {
	c := auth.Config{Audience: o.authAudience, Issuer: o.authIssuer, Leeway: o.authLeeway}
	if o.authLeeway == 0 {
		c.Leeway = -1
	}
	for i, path := range o.authSecretFiles {
		if n := len(auth.TrimSecret(contents[i])); n < auth.MinSecret {
			return c, fmt.Errorf("--auth-secret-file: %s: a secret of %d bytes, want %d or more (openssl rand -base64 48 makes one)", path, n, auth.MinSecret)
		}
		c.Secrets = append(c.Secrets, contents[i])
	}
	if o.authJWKS != "" {
		c.JWKS = contents[len(contents)-1]
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("--auth-jwks: %s: %w", o.authJWKS, err)
	}
	return c, nil
}

// certificateSource returns the files of a listener's certificate and its key; none
// without cert.
func certificateSource(what, certFlag, cert, keyFlag, key string) *source {
	s := &source{what: what}
	if cert != "" {
		s.files = []sourceFile{{certFlag, cert, false}, {keyFlag, key, true}}
	}
	return s
}

// inputs are the sources that a server reads while it runs, and its certificates.
type inputs struct {
	auth, admins, webhooks, tls, adminTLS *source

	certificate, adminCertificate *liveCertificate // nil: without TLS
}

func (o *serveOptions) sources() *inputs {
	in := &inputs{
		auth: o.authSource(), admins: &source{what: "admin-tokens"}, webhooks: o.webhooks.source(),
		tls:      certificateSource("tls", "tls-cert", o.tlsCert, "tls-key", o.tlsKey),
		adminTLS: certificateSource("admin-tls", "admin-tls-cert", o.adminTLSCert, "admin-tls-key", o.adminTLSKey),
	}
	if o.adminTokenFile != "" {
		in.admins.files = []sourceFile{{"admin-token-file", o.adminTokenFile, true}}
	}
	return in
}

// readCredentials reads and applies for the first time the sources of logins, administrators
// and certificates. It returns who may log in, and the tokens of administrators: if
// there is no file of these, a development server lets everybody administrate, and
// any other serves health alone.
func (o *serveOptions) readCredentials(in *inputs, log *slog.Logger) (auth auth.Config, admins *admin.Tokens, err error) {
	contents, err := in.auth.readFirst(log)
	if err != nil {
		return auth, nil, err
	}
	if auth, err = o.authConfig(contents); err != nil {
		return auth, nil, err
	}
	if o.dev && o.adminTokenFile == "" {
		admins = admin.OpenTokens()
	} else if o.adminTokenFile != "" {
		admins = new(admin.Tokens)
		in.admins.take = func(contents [][]byte) error {
			if err := admins.Replace(string(contents[0])); err != nil {
				return fmt.Errorf("--admin-token-file: %s: %w", o.adminTokenFile, err)
			}
			return nil
		}
	}
	in.certificate, in.adminCertificate = in.tls.certificate(), in.adminTLS.certificate()
	for _, s := range []*source{in.admins, in.tls, in.adminTLS} {
		if len(s.files) == 0 {
			continue
		}
		contents, err := s.readFirst(log)
		if err == nil {
			err = s.take(contents)
		}
		if err != nil {
			return auth, nil, err
		}
	}
	return auth, admins, nil
}

// certificate returns a certificate that the source keeps up to date, nil if the
// source has no files.
func (s *source) certificate() *liveCertificate {
	if len(s.files) == 0 {
		return nil
	}
	c := new(liveCertificate)
	s.take = func(contents [][]byte) error {
		if err := c.replace(contents); err != nil {
			return fmt.Errorf("--%s, --%s: %w", s.files[0].flag, s.files[1].flag, err)
		}
		return nil
	}
	return c
}

// serve serves on a listener, with TLS if there is a certificate.
func (in *inputs) serve(server *http.Server, listen net.Listener, c *liveCertificate) error {
	if c == nil {
		return server.Serve(listen)
	}
	server.TLSConfig = c.config()
	return server.ServeTLS(listen, "", "")
}
