// Package console serves the web console: pages that were built from client/console
// and are part of the binary. The pages talk to the listener that they come from,
// and load nothing from elsewhere.
//
// A page is always asked for anew (by its ETag); what it refers to has a hash in its
// name and may be kept forever. So a browser never mixes files of two versions.
package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// The files are made by `npm run console` in client; a test of client/console
// compares them with what its sources build.
//
//go:embed all:dist
var dist embed.FS

// A Page is one of the pages in dist.
type Page string

const (
	// Chat is for users. It speaks to /v1/ws of its own origin.
	Chat Page = "index.html"
	// Operator is for administrators. It speaks to the administration API of its own origin.
	Operator Page = "operator.html"
)

// policy is the Content-Security-Policy of all pages. Scripts and styles are files,
// and no script can make markup out of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// A Config configures a handler.
type Config struct {
	// Page is served at /; required.
	Page Page
	// Token returns a login token for a user, whose name it checks. It is for servers
	// that anybody who reaches them may use as any user; nil: the page asks people for
	// a token that they have.
	Token func(user string) (string, error)
}

// New returns a handler that serves at / the page and below it what the page
// refers to, /console.json, which tells the page how people sign in, and, if there
// is Config.Token, POST /dev/token.
func New(c Config) (http.Handler, error) {
	files, err := built()
	if err != nil {
		return nil, err
	}
	page, found := files[string(c.Page)]
	if !found {
		return nil, fmt.Errorf("console: no page %q in the binary", c.Page)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", page)
	for name, f := range files {
		if path.Ext(name) != ".html" {
			mux.Handle("GET /"+name, f)
		}
	}
	mux.HandleFunc("GET /console.json", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]bool{"devTokens": c.Token != nil})
	})
	if c.Token != nil {
		mux.Handle("POST /dev/token", tokens(c.Token))
	}
	return secured(mux), nil
}

// secured adds the headers that every answer has.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// A file is one of the built files.
type file struct {
	content   func() content // made when it is first asked for: most servers are never asked
	mediaType string
	immutable bool
}

type content struct {
	body   []byte
	zipped []byte // nil if that is no shorter
	tag    string // of the ETag, without quotes
}

// built returns the files of dist by their path below it.
var built = sync.OnceValues(func() (map[string]*file, error) {
	files := make(map[string]*file)
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		below := strings.TrimPrefix(name, "dist/")
		files[below] = &file{
			content:   sync.OnceValue(func() content { return read(name) }),
			mediaType: mediaType(below),
			immutable: strings.HasPrefix(below, "assets/"),
		}
		return nil
	})
	return files, err
})

// read returns the content of a file that dist has.
func read(name string) content {
	body, err := dist.ReadFile(name)
	if err != nil {
		panic(err) // it is part of the program
	}
	sum := sha256.Sum256(body)
	return content{body: body, zipped: zip(body), tag: hex.EncodeToString(sum[:12])}
}

// mediaType does not ask the machine it runs on, unless it has to.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".woff2":
		return "font/woff2"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

func zip(body []byte) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = z.Write(body)
	_ = z.Close()
	if b.Len() > len(body)*9/10 {
		return nil
	}
	return b.Bytes()
}

func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.mediaType)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if f.immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	c := f.content()
	body, tag := c.body, c.tag
	if c.zipped != nil && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body, tag = c.zipped, c.tag+"-gzip"
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip does without the weights that no browser sends: a client that refuses
// gzip does not name it.
func acceptsGzip(r *http.Request) bool {
	for _, accepted := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		if name, weight, _ := strings.Cut(accepted, ";"); strings.TrimSpace(name) == "gzip" {
			return strings.TrimSpace(weight) != "q=0"
		}
	}
	return false
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
