package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const clientsFolder = ".ci/clients"

// clientTests runs the server's tests with those clients in JavaScript that are
// installed. It names the others, each of which counts as a failure under CI.
func clientTests(t *tally) {
	var there []string
	for _, c := range []struct{ name, missing string }{
		{"node", missing("node")},
		{"ws", installed(clientsFolder)},
		{"undici", installed(clientsFolder)},
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
