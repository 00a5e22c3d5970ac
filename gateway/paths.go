package gateway

import (
	"net/http"
	"path"
	"strings"
)

// ExactPaths returns a handler that serves requests for clean paths with next, and
// others, such as /a//b and /a/../b, with unclean: a ServeMux would redirect them.
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
