//go:build unix

package main

// hasModes tells that a file's mode says who can read it.
const hasModes = true
