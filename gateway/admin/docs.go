package admin

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strings"
)

// docsPage is a page that shows the OpenAPI document and can make its calls, with a
// token that the reader types in. It loads nothing but that document, so it works
// without the Internet.
//
//go:embed docs.html
var docsPage []byte

// docsPolicy lets the page run its own script and style, and nothing else.
var docsPolicy = strings.Join([]string{
	"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "connect-src 'self'",
	"script-src " + inline("script"), "style-src " + inline("style"),
}, "; ")

// inline returns the source expression of the policy, a hash, for the page's
// only element of a given name.
func inline(element string) string {
	_, rest, _ := strings.Cut(string(docsPage), "<"+element+">")
	text, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func serveDocs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", docsPolicy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(docsPage)
}
