package gateway

import (
	"net/http"
	"path"
	"strings"
)

// ExactPaths passes requests on to next whose path is the one that would be
// served, and others to unclean: a ServeMux would redirect /a//b and /a/../b, and
// with them what they ask for, to a path that nobody wrote.
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
