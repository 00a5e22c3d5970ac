package nodes

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/belfry-im/belfry/loadtest/smalldisk"
)

// TestMain runs the tests where they can make network namespaces.
func TestMain(m *testing.M) {
	if smalldisk.Inside() {
		os.Exit(m.Run())
	}
	cmd := smalldisk.Command(context.Background(), os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
