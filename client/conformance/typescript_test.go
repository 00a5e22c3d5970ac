//go:build clients

package conformance

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// TestTypeScript runs the suite with the TypeScript SDK in Node, with its file store.
func TestTypeScript(t *testing.T) {
	harness.Binary(t)
	bundle := filepath.Join(t.TempDir(), "driver.cjs")
	workspace := wstest.InRepo("client")
	cmd := exec.Command("npx", "--no-install", "esbuild", "js/test/conformance/driver.ts", "--bundle",
		"--platform=node", "--format=cjs", "--log-level=warning", "--outfile="+bundle)
	cmd.Dir = workspace
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("esbuild: %v\n%s", err, out)
	}
	playAll(t, sdk{command: []string{"node", "--enable-source-maps", bundle}, retells: true})
}
