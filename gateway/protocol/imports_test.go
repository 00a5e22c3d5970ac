package protocol

import (
	"go/build"
	"slices"
	"strings"
	"testing"
)

// Clients import this package, so what it imports they carry: the standard
// library, and the library of message ids.
func TestPackageIsALeaf(t *testing.T) {
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pkg.Imports {
		domain, _, _ := strings.Cut(path, "/")
		if strings.Contains(domain, ".") && !slices.Contains([]string{"github.com/oklog/ulid/v2"}, path) {
			t.Errorf("protocol imports %s", path)
		}
	}
}
