package auth

import (
	"fmt"
	"path"
	"strings"
)

// CheckOrigin returns what is wrong with a pattern of allowed origins, or nil. A
// pattern that matches no browser's Origin header is wrong.
func CheckOrigin(pattern string) error {
	scheme, host, hasScheme := strings.Cut(strings.ToLower(pattern), "://")
	if !hasScheme {
		scheme, host = "", scheme
	}
	wrong := ""
	switch _, err := path.Match(pattern, ""); {
	case err != nil:
		wrong = "is no pattern"
	case pattern == "null":
		wrong = "is no origin: browsers send it for pages that have none, such as a sandboxed frame of any site"
	case host == "" && scheme != "file":
		wrong = "names no host"
	case scheme == "ws" || scheme == "wss":
		wrong = "is no page's: want http or https"
	case strings.ContainsAny(host, "/@#, \t"):
		wrong = "is more than a scheme and a host"
	case strings.HasPrefix(host, "[") && strings.Contains(host, ":"):
		wrong = `takes the brackets for a set of characters: want \[ and \]`
	case scheme == "http" && strings.HasSuffix(host, ":80"), scheme == "https" && strings.HasSuffix(host, ":443"):
		wrong = "has the port that browsers leave out"
	case strings.ContainsFunc(pattern, func(r rune) bool { return r <= ' ' || r > '~' }):
		wrong = "is not ASCII: want the form that browsers send, xn--…"
	default:
		return nil
	}
	return fmt.Errorf("%q %s", pattern, wrong)
}
