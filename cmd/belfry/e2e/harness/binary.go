package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// program is the package of the binary that the tests run.
const program = "github.com/belfry-im/belfry/cmd/belfry"

// noServers is the environment variable that skips all tests that run the binary,
// as `make quick` does.
const noServers = "BELFRY_TEST_NO_SERVERS"

// binDir holds the binaries that this process has built.
var binDir string

// Main runs the tests of a package and exits. It is the TestMain of a package that
// uses the harness:
//
//	func TestMain(m *testing.M) { harness.Main(m) }
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "belfry-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Binary returns the path of the plain build. Each build is made once per package
// and run, for the first test that needs it.
func Binary(t testing.TB) string { return built(t, plainBinary) }

var (
	plainBinary  = sync.OnceValues(func() (string, error) { return build("belfry") })
	faultsBinary = sync.OnceValues(func() (string, error) { return build("belfry-faults", "-tags", "faults") })
	// raceBinary is built with the race detector if the tests are. The detector takes
	// several times the memory and the time.
	raceBinary = sync.OnceValues(func() (string, error) {
		if !raceEnabled {
			return plainBinary()
		}
		return build("belfry-race", "-race")
	})
)

// built returns the path of binary, and ends the test if there is none.
func built(t testing.TB, binary func() (string, error)) string {
	t.Helper()
	if os.Getenv(noServers) != "" {
		t.Skip(noServers + " is set")
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func build(name string, flags ...string) (string, error) {
	if err := openSources(); err != nil {
		return "", err
	}
	path := filepath.Join(binDir, name)
	if _, err := goTool(append(append([]string{"build", "-o", path}, flags...), program)...); err != nil {
		return "", err
	}
	return path, nil
}

// openSources opens the folders of all our packages that the binary is made of. go
// test repeats an earlier result without running the test if the test and the files
// that it opened have not changed, so it has to see the sources of the binary among
// these.
var openSources = sync.OnceValue(func() error {
	folders, err := goTool("list", "-deps", "-tags", "faults", "-f", "{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}", program)
	if err != nil {
		return err
	}
	for folder := range strings.FieldsSeq(folders) {
		if _, err := os.ReadDir(folder); err != nil {
			return err
		}
	}
	return nil
})

func goTool(args ...string) (output string, err error) {
	var stdout, stderr strings.Builder
	cmd := exec.Command("go", args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// CleanEnv returns the environment without the variables that would configure the
// server.
func CleanEnv() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "BELFRY_") {
			env = append(env, e)
		}
	}
	return env
}
