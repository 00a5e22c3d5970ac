package nodes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

// TestMain runs the tests where they can make network namespaces.
func TestMain(m *testing.M) {
	if smalldisk.Inside() {
		code := m.Run()
		os.RemoveAll(builtIn)
		os.Exit(code)
	}
	cmd := smalldisk.Command(context.Background(), os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// server builds the server once for all tests.
var server = sync.OnceValues(func() (path string, err error) {
	if builtIn, err = os.MkdirTemp("", "belfry-nodes-test-"); err != nil {
		return "", err
	}
	path = filepath.Join(builtIn, "belfry")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/belfry-im/belfry/cmd/belfry").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// builtIn is the folder of server; "" if no test needed it.
var builtIn string
