package gateway

import (
	"net/http"
	"path"
	"strings"
)

// ExactPaths returns a handler that passes requests for clean paths to next, and
// requests for others, such as /a//b and /a/../b, to unclean. A ServeMux would
// redirect the latter.
func ExactPaths(next, unclean http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.EscapedPath()
		if !strings.HasPrefix(p, "/") || strings.TrimSuffix(p, "/") != strings.TrimSuffix(path.Clean(p), "/") {
			unclean.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
