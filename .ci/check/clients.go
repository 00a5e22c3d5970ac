package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const clientsFolder = ".ci/clients"

// clientTests runs the server's tests with those clients in JavaScript that are
// installed. It names the others, each of which counts as a failure under CI.
func clientTests(t *tally) {
	var there []string
	for _, c := range []struct{ name, missing string }{
		{"node", missing("node")},
		{"ws", missingPackages()},
		{"undici", missingPackages()},
		{"chromium", missing("chromium")},
	} {
		switch {
		case c.missing == "":
			there = append(there, c.name)
		case os.Getenv("CI") != "":
			t.fail("client %s: %s", c.name, c.missing)
		default:
			fmt.Printf("NOT RUN: client %s: %s\n", c.name, c.missing)
		}
	}
	if len(there) > 0 {
		t.goTest("-vet=off", "-timeout", "5m", "-tags", "clients",
			"-run", "^TestClientsInJavaScript$/^("+strings.Join(there, "|")+")$", "./cmd/belfry/e2e/wsconformance")
	}
}

// missing returns a text that a program is not installed, "" if it is.
func missing(program string) string {
	if _, err := exec.LookPath(program); err != nil {
		return program + " is not installed"
	}
	return ""
}

// missingPackages returns the reason why npm packages are missing, "" if they
// are there. It installs them if the lock file is newer than they are.
func missingPackages() string {
	lock, err := os.Stat(filepath.Join(clientsFolder, "package-lock.json"))
	if err != nil {
		return err.Error()
	}
	if done, err := os.Stat(filepath.Join(clientsFolder, "node_modules", ".package-lock.json")); err == nil && !done.ModTime().Before(lock.ModTime()) {
		return missing("node")
	}
	if m := missing("npm"); m != "" {
		return m
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved")
	npm.Dir = clientsFolder
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Sprintf("npm ci: %v\n%s", err, out)
	}
	return missing("node")
}
